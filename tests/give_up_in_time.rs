//! `--try` and `--wait`: whoever is not elected in time says why, and with what status.

mod support;

use std::net::TcpListener;

use support::{Candidate, Etcd, KEY, Running, Signal, now, require_etcd};

/// An address where nobody listens, as long as the listener is not used for anything.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

fn leader(etcd: &Etcd) -> Running {
    let leader = Candidate::new(etcd).id("boss").spawn();
    leader.wait_event("started");
    leader
}

#[test]
fn try_gives_up_at_once_if_somebody_else_leads() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = leader(&etcd);
    for (arguments, code) in [
        (&["--try"][..], 124),
        (&["-n", "-E", "0"], 0),
        (&["--wait=0s", "--conflict-exit-code=7"], 7),
    ] {
        let run = Candidate::new(&etcd).args(arguments).text_log().spawn();
        assert_eq!(run.wait().code(), Some(code));
        assert!(
            run.stderr().contains("not elected: boss leads"),
            "{}",
            run.stderr()
        );
        // Nobody may go ahead because of that.
        let left = "\nleaderrun: left the queue\n";
        assert!(run.stderr().contains(left), "{}", run.stderr());
        run.wait_gone();
        assert_eq!(etcd.keys(&format!("{KEY}/")).len(), 1);
        assert_eq!(etcd.leases().len(), 1);
    }
    leader.signal(Signal::SIGTERM);
    leader.wait_gone();
    let run = Candidate::new(&etcd).arg("--try").command(&["true"]);
    assert_eq!(run.output().code(), 0, "nobody leads any longer");
    etcd.assert_nothing_left();
}

#[test]
fn wait_gives_up_when_its_time_is_over() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = leader(&etcd);
    for (arguments, code) in [(&["--wait=600ms"][..], 124), (&["-w600ms", "-E3"], 3)] {
        let begun = now();
        let run = Candidate::new(&etcd).args(arguments).spawn();
        assert_eq!(run.wait().code(), Some(code));
        assert!(now() - begun >= 0.6);
        assert_eq!(run.wait_event("waiting")["leader"], "boss");
        assert!(run.events_named("started").is_empty());
        run.wait_gone();
        assert_eq!(etcd.keys(&format!("{KEY}/")).len(), 1);
        assert_eq!(etcd.leases().len(), 1);
    }
    // In time, and then the wait limits nothing any longer.
    let run = Candidate::new(&etcd)
        .arg("--wait=20s")
        .command(&["true"])
        .spawn();
    run.wait_event("waiting");
    leader.signal(Signal::SIGTERM);
    assert_eq!(run.wait().code(), Some(0));
    leader.wait_gone();
    let long = Candidate::new(&etcd)
        .arg("--wait=300ms")
        .command(&["sleep", "0.6"]);
    assert_eq!(long.output().code(), 0);
    etcd.assert_nothing_left();
}

#[test]
fn the_wait_for_an_earlier_terms_record_counts() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // A term of another boot that would have to be waited out for a minute.
    let record =
        r#"{"token":1,"lease":"1f","ttl":60000,"since":1,"boot":"other","ns":0,"d":5,"m":200}"#;
    etcd.put(&format!("{KEY}.term"), record);
    for arguments in [&["--try"][..], &["--wait=600ms"]] {
        let run = Candidate::new(&etcd).args(arguments).spawn();
        assert_eq!(run.wait().code(), Some(124));
        assert_eq!(run.wait_event("waiting")["reason"], "record");
        assert!(run.events_named("started").is_empty());
        run.wait_gone();
    }
    assert_eq!(etcd.keys(""), [format!("{KEY}.term")]);
    assert!(etcd.leases().is_empty());
}

/// Without an answer from etcd nobody knows whether anybody leads: that is a failure of ours.
fn fails_unanswered(endpoint: &str, arguments: &[&str]) {
    // -q leaves what a person has to know.
    for quiet in [false, true] {
        let mut run = Candidate::bare()
            .key(KEY)
            .endpoints(endpoint)
            .args(arguments.iter().copied())
            .text_log()
            .command(&["true"]);
        if quiet {
            run = run.arg("-q");
        }
        let run = run.spawn();
        assert_eq!(run.wait().code(), Some(125), "{arguments:?}");
        let stderr = run.stderr();
        assert!(!stderr.contains("released"), "nothing was held: {stderr}");
        let error = stderr.lines().find(|line| line.contains("error: "));
        assert!(
            error.is_some_and(|line| line.contains(endpoint)),
            "{arguments:?}, quiet {quiet}: no reason in {stderr}"
        );
        run.wait_gone();
    }
}

#[test]
fn try_fails_at_once_if_etcd_does_not_answer() {
    fails_unanswered(&nobody(), &["--try", "-E0"]);
}

#[test]
fn wait_fails_when_its_time_is_over_and_etcd_never_answered() {
    let begun = now();
    fails_unanswered(&nobody(), &["--wait=700ms", "-E0"]);
    assert!(now() - begun >= 1.4);
}

#[test]
fn wait_fails_also_if_etcd_has_kept_silent_all_the_time() {
    // It accepts connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address").to_string();
    fails_unanswered(&address, &["--wait=700ms"]);
    fails_unanswered(&address, &["--try"]);
}

/// A frozen etcd that never answered has nothing of ours that anybody waits for, so nothing is waited for.
#[test]
fn wait_ends_in_time_if_etcd_is_frozen_from_the_start() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.stop();
    let begun = now();
    let run = Candidate::new(&etcd).arg("--wait=2s").spawn();
    assert_eq!(run.wait().code(), Some(125));
    let took = now() - begun;
    println!("took {took:.3}s");
    assert!(took > 1.9 && took < 2.7, "{took}");
    run.wait_gone();
    assert!(run.events_named("released").is_empty());
    etcd.cont();
}

/// It answers, so the message must not say that it does not, but what has to be done about it.
#[test]
fn an_etcd_that_is_full_is_not_said_to_be_silent() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start_with(1, &["--quota-backend-bytes=200000"]);
    let value = "x".repeat(100_000);
    let full = (0..50).any(|_| etcd.try_etcdctl(&["put", "filler", &value]).is_err());
    assert!(full, "no alarm");
    for arguments in [&["--try"][..], &["--wait=1500ms"]] {
        let run = Candidate::new(&etcd).args(arguments).spawn();
        assert_eq!(run.wait().code(), Some(125), "{arguments:?}");
        let error = run.wait_event("error")["message"].to_string();
        for part in ["answers but does not write", "etcdctl alarm disarm"] {
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
        assert!(run.events_named("released").is_empty());
        run.wait_gone();
    }
}
