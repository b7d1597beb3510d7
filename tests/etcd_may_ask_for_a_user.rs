//! An etcd that asks for users: leaderrun logs in, again whenever that is due, needs no more than its
//! own keys, and lets nobody see its password.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::guarded::{Guarded, PASSWORD, USER, permissions, refusal, texts};
use support::pki::LOOPBACK;
use support::*;

#[test]
fn the_permissions_in_the_readme_are_enough_for_all_that_it_does() {
    if !require_etcd() {
        return;
    }
    let readme = include_str!("../README.md").replace("/election/scheduler", KEY);
    for permission in permissions() {
        let line = format!("grant-permission scheduler {}\n", permission.join(" "));
        assert!(readme.contains(&line), "{line}");
    }
    let guarded = Guarded::start(&[]);
    let first = guarded.candidate().id("first").arg("-v").spawn();
    first.wait_nth_event("renewed", 2);
    let second = guarded.candidate().id("second").spawn();
    second.wait_event("waiting");
    // The guardian logs in too, to give the leadership back.
    first.signal(Signal::SIGKILL);
    second.wait_event("started");
    // Taken away by hand, with the record left standing, it is held and then released.
    let lease = second.wait_event("elected")["lease"]
        .as_str()
        .expect("hex")
        .to_owned();
    guarded.etcd.revoke(&lease);
    assert_eq!(second.wait().code(), Some(75));
    for run in [&first, &second] {
        let told = texts(run, "warning", "message") + &texts(run, "renewal-failed", "error");
        assert!(
            !told.contains("permission") && !told.contains("could not"),
            "{told}"
        );
    }
    guarded.etcd.assert_nothing_left();
}

#[test]
fn a_wrong_or_missing_login_is_refused_at_once_and_told() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    let message = refusal(Candidate::new(&guarded.etcd));
    assert!(
        message.contains("etcd asks for a user: give --user"),
        "{message}"
    );
    guarded.write_password("wrong");
    let file = guarded.password_file();
    let message = refusal(guarded.candidate());
    let expected = format!(
        "does not accept the user \\\"{USER}\\\" with the password in --password-file {}",
        file.display()
    );
    assert!(
        message.contains(&expected) && !message.contains("wrong"),
        "{message}"
    );
    fs::remove_file(&file).expect("own file");
    let message = refusal(guarded.candidate());
    assert!(
        message.contains("--password-file") && message.contains("No such file"),
        "{message}"
    );
    let by_variable = |user: &str, password: &str| {
        Candidate::new(&guarded.etcd)
            .env("LEADERRUN_USER", user)
            .env("LEADERRUN_PASSWORD", password)
    };
    let message = refusal(by_variable(USER, "wrong"));
    assert!(
        message.contains("with the password in LEADERRUN_PASSWORD"),
        "{message}"
    );
    let message = refusal(by_variable("nobody", PASSWORD));
    assert!(
        message.contains("does not accept the user \\\"nobody\\\""),
        "{message}"
    );
    guarded.etcd.assert_nothing_left();
}

#[test]
fn etcdctls_user_serves_and_nobody_sees_the_password() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    let ours = Candidate::new(&guarded.etcd)
        .env("ETCDCTL_USER", USER)
        .env("LEADERRUN_PASSWORD", PASSWORD)
        .arg("-v")
        .sh("env; exec sleep 600")
        .spawn();
    ours.wait_event("renewed");
    eventually(LIMIT, || ours.stdout().contains("LEADERRUN_ENDPOINTS"));
    assert!(
        ours.stdout().contains("ETCDCTL_USER=scheduler\n")
            && !ours.stdout().contains("LEADERRUN_USER"),
        "{}",
        ours.stdout()
    );
    let log = format!("{:?}", ours.events());
    let mut seen = vec![ours.stdout(), ours.stderr(), log];
    for pid in [ours.pid(), ours.guardian_pid(), ours.command_pid()] {
        seen.push(fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("alive"));
    }
    let environment = fs::read_to_string(format!("/proc/{}/environ", ours.command_pid()));
    seen.push(environment.expect("own process"));
    assert!(seen.iter().all(|text| !text.contains(PASSWORD)), "{seen:?}");
    guarded.end(&ours);

    let theirs = Candidate::new(&guarded.etcd)
        .env("ETCDCTL_USER", format!("{USER}:{PASSWORD}"))
        .command(&["true"]);
    assert_eq!(theirs.output().code(), 0);
    let file = guarded.candidate().sh("env").spawn();
    assert_eq!(file.wait().code(), Some(0));
    let line = format!(
        "LEADERRUN_PASSWORD_FILE={}\n",
        guarded.password_file().display()
    );
    assert!(file.stdout().contains(&line), "{}", file.stdout());
}

#[test]
fn a_password_that_everybody_can_read_is_warned_about() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    let file = guarded.password_file();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("own file");
    let run = guarded.candidate().command(&["true"]).spawn();
    assert_eq!(run.wait().code(), Some(0));
    let warnings = texts(&run, "warning", "message");
    assert!(
        warnings.contains("every user of this host can read it"),
        "{warnings}"
    );
}

/// Leads for a while in which every token ends more than once, and nobody notices.
#[track_caller]
fn assert_tokens_may_end(arguments: &[String]) {
    let guarded = Guarded::start(arguments);
    let standby_of = |id: &str| guarded.candidate().id(id).ttl("15s");
    let leader = standby_of("leader").arg("-v").spawn();
    leader.wait_event("started");
    let standby = standby_of("standby").spawn();
    standby.wait_event("waiting");
    // Every 2.1 s, while tokens last for one or two.
    leader.wait_nth_event("renewed", 4);
    for run in [&leader, &standby] {
        let told = texts(run, "renewal-failed", "error") + &texts(run, "warning", "message");
        assert!(told.is_empty(), "{told}");
    }
    leader.signal(Signal::SIGTERM);
    leader.wait_gone();
    standby.wait_event("started");
    guarded.end(&standby);
}

#[test]
fn simple_tokens_may_end_while_it_leads() {
    if require_etcd() {
        assert_tokens_may_end(&["--auth-token-ttl=1".to_owned()]);
    }
}

#[test]
fn a_login_that_takes_longer_than_an_attempt_is_waited_for() {
    if !require_etcd() {
        return;
    }
    // A password takes etcd more than a second to check, which is what an attempt is given.
    let slow = Guarded::start(&[
        "--bcrypt-cost=14".to_owned(),
        "--auth-token-ttl=1".to_owned(),
    ]);
    let leader = slow.candidate().grace("1s").arg("-v").spawn();
    leader.wait_event("started");
    leader.wait_nth_event("renewed", 2);
    let failed = texts(&leader, "renewal-failed", "error");
    assert!(
        failed.contains("log in: no answer yet"),
        "this tests nothing: {failed}"
    );
    assert!(leader.events_named("stopping").is_empty());
}

/// What has etcd sign its tokens.
fn jwt(pki: &Pki, ttl: &str) -> Vec<String> {
    pki.authority("jwt");
    let (public, private) = (pki.cert("jwt"), pki.key("jwt"));
    vec![format!(
        "--auth-token=jwt,pub-key={},priv-key={},sign-method=ES256,ttl={ttl}",
        public.display(),
        private.display()
    )]
}

#[test]
fn signed_tokens_may_end_while_it_leads() {
    if require_etcd() {
        let pki = Pki::new();
        assert_tokens_may_end(&jwt(&pki, "2s"));
    }
}

#[test]
fn changes_of_users_and_roles_do_not_disturb_a_leader() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    // Each change makes every JWT that was signed before "old".
    for arguments in [Vec::new(), jwt(&pki, "1h")] {
        let guarded = Guarded::start(&arguments);
        let leader = guarded.candidate().ttl("5s").arg("-v").spawn();
        leader.wait_event("started");
        let before = leader.events_named("renewed").len();
        let mut n = 0;
        eventually(LIMIT, || {
            n += 1;
            guarded.etcd.etcdctl(&["role", "add", &format!("r{n}")]);
            leader.events_named("renewed").len() > before + 5
        });
        let failed = texts(&leader, "renewal-failed", "error");
        assert!(failed.is_empty(), "{failed}");
        guarded.end(&leader);
    }
}

#[test]
fn a_password_that_is_changed_with_its_file_does_not_disturb_a_leader() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&["--auth-token-ttl=1".to_owned()]);
    let leader = guarded.candidate().arg("-v").spawn();
    leader.wait_event("started");
    guarded.write_password("new password");
    guarded.etcd.etcdctl(&["user", "delete", USER]);
    guarded
        .etcd
        .etcdctl(&["user", "add", &format!("{USER}:new password")]);
    guarded.etcd.etcdctl(&["user", "grant-role", USER, USER]);
    leader.wait_another_event("renewed");
    leader.wait_another_event("renewed");
    assert!(leader.events_named("stopping").is_empty());
    guarded.end(&leader);
}

#[test]
fn a_leader_goes_on_when_etcd_begins_to_ask_for_users() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let guarded = Guarded::not_yet(etcd);
    // Where nobody is asked for a user, to have one does no harm.
    let leader = guarded.candidate().arg("-v").spawn();
    leader.wait_event("renewed");
    guarded.etcd.ask_for_users();
    leader.wait_another_event("renewed");
    leader.wait_another_event("renewed");
    let failed = texts(&leader, "renewal-failed", "error");
    assert!(failed.is_empty(), "{failed}");
    guarded.end(&leader);
}

/// A leader that loses its right to lead by `change` is stopped in time, and says why it could not renew.
#[track_caller]
fn assert_stopped_in_time(guarded: &Guarded, candidate: Candidate, change: &[&str], reason: &str) {
    let beat = Beat::new();
    let leader = candidate
        .ttl("5s")
        .grace("1s")
        .listening()
        .life(beat.life())
        .spawn();
    let token = leader.wait_elected();
    leader.wait_event("renewed");
    guarded.etcd.etcdctl(change);
    let outage = eventually(LIMIT, || {
        leader.status()["outage"].as_str().map(str::to_owned)
    });
    assert!(outage.starts_with("etcd refuses us: "), "{outage}");
    let stopping = leader.wait_event("stopping");
    assert_eq!(stopping["reason"], "renewal-timeout");
    assert_eq!(leader.wait().code(), Some(75));
    let headroom = leader.wait_event("tree-empty")["headroom"].as_f64();
    assert!(headroom.expect("a number") > 0.0);
    assert!(beat.last_stamp(token).at > 0.0);
    let errors = texts(&leader, "renewal-failed", "error");
    assert!(errors.contains(reason), "{errors}");
    // Also for those who read no warnings.
    assert!(
        texts(&leader, "stopping", "error").contains(reason),
        "{stopping}"
    );
}

#[test]
fn a_leader_whose_user_is_deleted_is_stopped_in_time() {
    if require_etcd() {
        let guarded = Guarded::start(&[]);
        let reason = "does not accept the user \\\"scheduler\\\"";
        assert_stopped_in_time(
            &guarded,
            guarded.candidate(),
            &["user", "delete", USER],
            reason,
        );
    }
}

#[test]
fn a_leader_whose_role_is_revoked_is_stopped_in_time() {
    if require_etcd() {
        let guarded = Guarded::start(&[]);
        let revoke = ["user", "revoke-role", USER, USER];
        assert_stopped_in_time(&guarded, guarded.candidate(), &revoke, "permission denied");
    }
}

#[test]
fn the_common_name_of_a_certificate_is_a_user_too() {
    if !require_etcd() {
        return;
    }
    let pki = Pki::new();
    pki.issue("client", "ca", USER, LOOPBACK, 1);
    let secure = Etcd::start_also_at("https://127.0.0.1", &pki.etcd_arguments(true));
    let guarded = Guarded::guard(secure);
    let candidate = || {
        Candidate::new(&guarded.etcd)
            .endpoints(format!("127.0.0.1:{}", guarded.etcd.port()))
            .arg("--cacert")
            .arg(pki.cert("ca"))
            .arg("--cert")
            .arg(pki.cert("client"))
            .arg("--cert-key")
            .arg(pki.key("client"))
    };
    let message = refusal(candidate().key("/election/other"));
    assert!(
        message.contains("the user that the certificate in --cert names"),
        "{message}"
    );
    let revoke = ["user", "revoke-role", USER, USER];
    assert_stopped_in_time(&guarded, candidate(), &revoke, "permission denied");
}
