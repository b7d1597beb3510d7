//! TLS: etcd's certificate is checked and ours is shown, what is wrong with either is said in words
//! that say what to change, and certificates can be replaced under a running leaderrun.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::pki::LOOPBACK;
use support::*;

/// An etcd that asks for certificates of `pki`, which has one for us too: `client`.
fn secure(pki: &Pki) -> Etcd {
    pki.issue("client", "ca", "client", LOOPBACK, 1);
    Etcd::start_also_at("https://127.0.0.1", &pki.etcd_arguments(true))
}

/// A candidate with all that such an etcd asks for.
fn candidate(etcd: &Etcd, pki: &Pki) -> Candidate {
    with(
        etcd,
        &pki.cert("ca"),
        &pki.cert("client"),
        &pki.key("client"),
    )
}

fn with(etcd: &Etcd, ca: &Path, cert: &Path, key: &Path) -> Candidate {
    Candidate::new(etcd)
        .endpoints(format!("127.0.0.1:{}", etcd.port()))
        .arg("--cacert")
        .arg(ca)
        .arg("--cert")
        .arg(cert)
        .arg("--cert-key")
        .arg(key)
}

/// The last error of a run that is refused at once.
#[track_caller]
fn refusal(candidate: Candidate) -> String {
    let run = candidate.spawn();
    let code = run.wait().code();
    let errors = run.events_named("error");
    let message = errors.last().map(|e| e["message"].to_string());
    let message = message.unwrap_or_else(|| run.stderr());
    assert_eq!(code, Some(125), "{message}");
    assert!(run.events_named("campaigning").is_empty(), "{message}");
    message
}

fn warnings(run: &Running) -> String {
    let text = |e: Value| e["message"].to_string();
    run.events_named("warning").into_iter().map(text).collect()
}

#[test]
fn it_leads_with_a_private_ca_and_a_certificate_of_its_own() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = secure(&pki);
    // By relative names, which the command may not understand where it goes.
    let enter = format!("cd {} && exec \"$@\"", pki.dir().dir().display());
    let run = Candidate::new(&etcd)
        .endpoints(format!("127.0.0.1:{}", etcd.port()))
        .under(&["sh", "-c", &enter, "sh"])
        .env("ETCDCTL_CACERT", "/no/such/file")
        .env("LEADERRUN_CACERT", "ca.pem")
        .env("ETCDCTL_CERT", "client.pem")
        .args(["--cert-key", "client.key"])
        .sh("env; exec sleep 600")
        .spawn();
    run.wait_event("started");
    eventually(LIMIT, || run.stdout().contains("LEADERRUN_ENDPOINTS"));
    for (name, path) in [
        ("LEADERRUN_CACERT", pki.cert("ca")),
        ("LEADERRUN_CERT", pki.cert("client")),
        ("LEADERRUN_CERT_KEY", pki.key("client")),
    ] {
        let line = format!("{name}={}\n", path.display());
        assert!(run.stdout().contains(&line), "{line}{}", run.stdout());
    }
    run.signal(Signal::SIGTERM);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn without_a_ca_of_ours_that_of_the_system_counts() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = Etcd::start_also_at("https://127.0.0.1", &pki.etcd_arguments(false));
    let plain = || Candidate::new(&etcd).endpoints(format!("https://127.0.0.1:{}", etcd.port()));
    // What the system trusts, as rustls-native-certs and OpenSSL take it.
    let trusting = plain().env("SSL_CERT_FILE", pki.cert("ca"));
    assert_eq!(trusting.command(&["true"]).output().code(), 0);
    pki.authority("other");
    let message = refusal(plain().env("SSL_CERT_FILE", pki.cert("other")));
    assert!(
        message.contains("not signed by a CA that the system trusts: use --cacert"),
        "{message}"
    );
}

#[test]
fn a_wrong_certificate_of_etcd_is_refused_at_once_and_told() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = secure(&pki);
    pki.authority("other");
    let (cert, key) = (pki.cert("client"), pki.key("client"));
    let message = refusal(with(&etcd, &pki.cert("other"), &cert, &key));
    let expected = format!(
        "connect to https://127.0.0.1:{}: its certificate is not signed by the CA in --cacert {}",
        etcd.port(),
        pki.cert("other").display()
    );
    assert!(message.contains(&expected), "{message}");

    // etcd reads its certificate for each connection.
    pki.issue("server", "ca", "etcd", LOOPBACK, -1);
    let message = refusal(candidate(&etcd, &pki));
    assert!(message.contains("its certificate has expired"), "{message}");

    pki.issue("server", "ca", "etcd", "DNS:etcd.example,IP:127.0.0.2", 1);
    let message = refusal(candidate(&etcd, &pki));
    assert!(
        message.contains("its certificate is not for the name 127.0.0.1 but for ")
            && message.contains("etcd.example")
            && !message.contains("DnsName"),
        "{message}"
    );
    etcd.assert_nothing_left();
}

#[test]
fn a_wrong_certificate_of_ours_is_refused_at_once_and_told() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = secure(&pki);
    let (ca, cert, key) = (pki.cert("ca"), pki.cert("client"), pki.key("client"));
    let none = Candidate::new(&etcd)
        .endpoints(format!("127.0.0.1:{}", etcd.port()))
        .arg("--cacert")
        .arg(&ca);
    let message = refusal(none);
    assert!(
        message.contains("that we have no client certificate") && message.contains("give --cert"),
        "{message}"
    );

    pki.authority("other");
    pki.issue("foreign", "other", "client", LOOPBACK, 1);
    let message = refusal(with(&etcd, &ca, &pki.cert("foreign"), &pki.key("foreign")));
    assert!(
        message.contains("it refuses our client certificate"),
        "{message}"
    );

    pki.issue("old", "ca", "client", LOOPBACK, -1);
    let message = refusal(with(&etcd, &ca, &pki.cert("old"), &pki.key("old")));
    assert!(
        message.contains("it refuses our client certificate"),
        "{message}"
    );

    let message = refusal(with(&etcd, &ca, &cert, &pki.key("old")));
    assert!(
        message.contains("--cert-key") && message.contains("the key does not belong to --cert"),
        "{message}"
    );

    let missing = pki.dir().path("missing");
    let message = refusal(with(&etcd, &missing, &cert, &key));
    let expected = format!("--cacert {}: No such file or directory", missing.display());
    assert!(message.contains(&expected), "{message}");
    let message = refusal(with(&etcd, &ca, &ca, &cert));
    assert!(
        message.contains("--cert-key") && message.contains("no private key in it"),
        "{message}"
    );
    let message = refusal(with(&etcd, &ca, &key, &key));
    assert!(
        message.contains("--cert ") && message.contains("no certificate in it"),
        "{message}"
    );
    etcd.assert_nothing_left();
}

#[test]
fn what_does_not_speak_tls_is_told_as_that() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = secure(&pki);
    // Either may be a member that is being shut down, so the next attempt follows.
    let warning = |candidate: Candidate| {
        let run = candidate.spawn();
        run.wait_event("warning")["message"].to_string()
    };
    let https_to_http = candidate(&etcd, &pki).endpoints(etcd.endpoint());
    let message = warning(https_to_http);
    assert!(message.contains("is TLS spoken there at all?"), "{message}");
    let port = etcd.port();
    let http_to_https = Candidate::new(&etcd).endpoints(format!("http://127.0.0.1:{port}"));
    let message = warning(http_to_https);
    assert!(
        message.contains("does etcd there ask for https?"),
        "{message}"
    );
    let run = candidate(&etcd, &pki)
        .endpoints(format!("http://{}", etcd.endpoint()))
        .output();
    assert_eq!(run.code(), 2, "{}", run.stderr);
    assert!(
        run.stderr.contains("there is a setting for it (--cacert"),
        "{}",
        run.stderr
    );
}

#[test]
fn certificates_that_are_replaced_count_from_the_next_connection_on() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = secure(&pki);
    let proxy = Proxy::to(&format!("127.0.0.1:{}", etcd.port()));
    let run = candidate(&etcd, &pki)
        .endpoints(proxy.endpoint())
        .arg("-v")
        .ttl("5s")
        .spawn();
    run.wait_event("started");
    // The new CA signs etcd's certificate; etcd itself goes on trusting the old one for ours.
    pki.authority("next");
    pki.issue("server", "next", "etcd", LOOPBACK, 1);
    run.wait_another_event("renewed");
    proxy.cut();
    proxy.resume();
    let error = run.wait_event("renewal-failed");
    eventually(LIMIT, || {
        let errors = run.events_named("renewal-failed");
        errors
            .iter()
            .any(|e| e["error"].to_string().contains("not signed by the CA"))
    });
    fs::copy(pki.cert("next"), pki.cert("ca.tmp")).expect("own directory");
    fs::rename(pki.cert("ca.tmp"), pki.cert("ca")).expect("own directory");
    run.wait_another_event("renewed");
    assert!(run.events_named("stopping").is_empty(), "{error}");
    run.signal(Signal::SIGTERM);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_hang_up_has_a_standby_read_its_files_anew() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = secure(&pki);
    let leader = Candidate::new(&etcd).id("leader").spawn();
    leader.wait_event("started");
    let standby = candidate(&etcd, &pki).id("standby").spawn();
    standby.wait_event("waiting");
    let aside = pki.dir().path("aside");
    fs::rename(pki.cert("client"), &aside).expect("own directory");
    standby.signal(Signal::SIGHUP);
    eventually(LIMIT, || {
        warnings(&standby).contains("No such file or directory")
    });
    assert!(
        warnings(&standby).contains("--cert "),
        "{}",
        warnings(&standby)
    );
    // It is back, and the standby has kept its place.
    fs::rename(&aside, pki.cert("client")).expect("own directory");
    leader.signal(Signal::SIGTERM);
    standby.wait_event("started");
    assert_eq!(standby.events_named("campaigning").len(), 1);
    standby.signal(Signal::SIGTERM);
    standby.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_hung_handshake_costs_neither_the_election_nor_the_leadership() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = secure(&pki);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = silent.local_addr().expect("an address").to_string();
    let run = candidate(&etcd, &pki)
        .endpoints(&silent)
        .arg("--wait=2s")
        .output();
    assert_eq!(run.code(), 125);
    let proxy = Proxy::to(&format!("127.0.0.1:{}", etcd.port()));
    let run = candidate(&etcd, &pki)
        .endpoints(format!("{silent},{}", proxy.endpoint()))
        .ttl("10s")
        .arg("-v")
        .spawn();
    run.wait_event("started");
    // From the endpoint that answers to the one that does not, and back.
    proxy.cut();
    proxy.resume();
    run.wait_event("renewal-failed");
    eventually(LIMIT, || {
        let errors = run.events_named("renewal-failed");
        errors.iter().any(|e| {
            e["error"]
                .to_string()
                .contains("TLS handshake was not over")
        })
    });
    run.wait_another_event("renewed");
    assert!(run.events_named("stopping").is_empty());
}

#[test]
fn an_address_of_ipv6_has_its_certificate_checked_too() {
    if !require_etcd() {
        return;
    }
    if TcpListener::bind("[::1]:0").is_err() {
        skip("there is no IPv6 here");
        return;
    }
    let pki = Pki::new();
    let etcd = Etcd::start_also_at("https://[::1]", &pki.etcd_arguments(false));
    let at = format!("[::1]:{}", etcd.port());
    let candidate = || {
        Candidate::new(&etcd)
            .endpoints(&at)
            .arg("--cacert")
            .arg(pki.cert("ca"))
    };
    assert_eq!(candidate().command(&["true"]).output().code(), 0);
    pki.issue("server", "ca", "etcd", "IP:127.0.0.1", 1);
    let message = refusal(candidate());
    assert!(
        message.contains("its certificate is not for the name ::1"),
        "{message}"
    );
    etcd.assert_nothing_left();
}

#[test]
fn a_key_that_everybody_can_read_is_warned_about() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = secure(&pki);
    let warned = || {
        let run = candidate(&etcd, &pki).command(&["true"]).output();
        assert_eq!(run.code(), 0);
        let warnings = run.events.iter().filter(|e| e["event"] == "warning");
        let text: String = warnings.map(|e| e["message"].to_string()).collect();
        text.contains("--cert-key") && text.contains("every user of this host can read it")
    };
    let mode = |mode| {
        fs::set_permissions(pki.key("client"), fs::Permissions::from_mode(mode)).expect("own file");
    };
    mode(0o640);
    assert!(!warned());
    mode(0o644);
    assert!(warned());
}
