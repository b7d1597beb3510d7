//! Names with several addresses, of both families: one that refuses or hangs does not keep us from the others.

mod support;

use std::fs;
use std::net::TcpListener;

use support::*;

/// A name that no resolver knows.
const NAME: &str = "etcd.leaderrun.test";

/// The candidate, in a mount namespace where `NAME` has these addresses, in their order.
fn where_name_is(addresses: &[&str], files: &Scratch, candidate: Candidate) -> Candidate {
    let lines = addresses.join(&format!(" {NAME}\n")) + &format!(" {NAME}\n");
    let hosts = files.path("hosts");
    fs::write(&hosts, lines).expect("own directory");
    let bind = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    candidate.under(&["unshare", "--mount", "sh", "-c", &bind, "sh"])
}

/// Whether the tests have what they need.
#[track_caller]
fn can_name() -> bool {
    if !require_etcd() {
        return false;
    }
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("only root can give a name its addresses");
    }
    root
}

#[test]
fn an_address_that_refuses_is_passed_over() {
    if !can_name() {
        return;
    }
    let etcd = Etcd::start();
    let files = Scratch::new("hosts");
    let port = etcd
        .endpoint()
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    for addresses in [
        &["127.0.0.2", "127.0.0.3", "127.0.0.1"][..],
        &["::1", "127.0.0.1"],
    ] {
        let candidate = Candidate::new(&etcd)
            .endpoints(format!("{NAME}:{port}"))
            .command(&["true"]);
        let run = where_name_is(addresses, &files, candidate).output();
        assert_eq!(run.code(), 0, "{addresses:?} {:?}", run.events);
        let warnings = run.events.iter().filter(|e| e["event"] == "warning");
        assert_eq!(warnings.count(), 0, "{:?}", run.events);
    }
    // Where all refuse, each is named.
    let candidate = Candidate::new(&etcd).endpoints(format!("{NAME}:{port}"));
    let run = where_name_is(&["127.0.0.2", "127.0.0.3"], &files, candidate).spawn();
    let message = run.wait_event("warning")["message"].to_string();
    for address in ["127.0.0.2", "127.0.0.3"] {
        assert!(
            message.contains(&format!("{address} Connection refused")),
            "{message}"
        );
    }
}

#[test]
fn an_address_that_hangs_costs_an_attempt_and_no_more() {
    if !can_name() {
        return;
    }
    // The resolver puts 127.0.0.1 first, so that is the one to hang.
    let etcd = Etcd::start_also_at("http://127.0.0.8", &[]);
    let (files, port) = (Scratch::new("hosts"), etcd.port());
    // Like a member that is frozen: it accepts, and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let candidate = Candidate::new(&etcd).endpoints(format!("{NAME}:{port}"));
    let run = where_name_is(&["127.0.0.1", "127.0.0.8"], &files, candidate).spawn();
    run.wait_event("started");
    drop(silent);
    run.signal(Signal::SIGTERM);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn the_certificate_has_to_be_for_the_name_whatever_the_address() {
    if !can_name() {
        return;
    }
    if TcpListener::bind("[::1]:0").is_err() {
        skip("there is no IPv6 here");
        return;
    }
    let pki = Pki::new();
    let etcd = Etcd::start_also_at("https://[::1]", &pki.etcd_arguments(false));
    let files = Scratch::new("hosts");
    // Its certificate is read for each handshake. The silent address hangs in the handshake.
    let _silent = TcpListener::bind(("127.0.0.2", etcd.port())).expect("a free port");
    let candidate = || {
        let candidate = Candidate::new(&etcd)
            .endpoints(format!("{NAME}:{}", etcd.port()))
            .arg("--cacert")
            .arg(pki.cert("ca"))
            .command(&["true"]);
        where_name_is(&["127.0.0.2", "::1"], &files, candidate)
    };
    pki.issue("server", "ca", "etcd", &format!("DNS:{NAME}"), 1);
    let run = candidate().output();
    assert_eq!(run.code(), 0, "{:?}", run.events);
    pki.issue("server", "ca", "etcd", "IP:::1", 1);
    let run = candidate().spawn();
    let message = run.wait_event("warning")["message"].to_string();
    let expected = format!("::1 its certificate is not for the name {NAME}");
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn who_asks_passes_over_an_address_that_hangs() {
    if !can_name() {
        return;
    }
    let etcd = Etcd::start_also_at("http://127.0.0.8", &[]);
    let files = Scratch::new("hosts");
    let port = etcd.port();
    let _silent = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    for question in ["status", "resign"] {
        let asking = Candidate::bare()
            .args([question, "--key", KEY])
            .args(["--endpoints", &format!("{NAME}:{port}")]);
        let asked = where_name_is(&["127.0.0.1", "127.0.0.8"], &files, asking).output();
        assert_eq!(asked.code(), 1, "{question}: {}", asked.stderr);
    }
}
