//! `resign`: the leader, wherever it runs, is asked to step down; it stops its command as planned.

mod support;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Signal, ask, assert_no_overlap, eventually, now,
    require_etcd,
};

fn candidate(etcd: &Etcd, id: &str) -> Candidate {
    Candidate::new(etcd).id(id)
}

#[test]
fn resign_is_a_planned_stop_and_then_a_loss() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "web1")
        .life(beat.life().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let next = candidate(&etcd, "web2").life(beat.life()).spawn();
    next.wait_event("waiting");
    let asked = ask(&etcd, &["resign", "--wait"]).output();
    assert_eq!(asked.code(), 0, "{}", asked.stderr);
    let second = next.wait_elected();
    let says = format!("web1 (token {token}) has resigned: web2 leads (token {second})\n");
    let may_say = format!("web1 (token {token}) has resigned: web2 is next\n");
    assert!([says, may_say].contains(&asked.stdout), "{}", asked.stdout);
    assert_eq!(leader.wait_event("stopping")["reason"], "resigned");
    assert_eq!(leader.wait_event("lost")["reason"], "resigned");
    assert_eq!(leader.wait().code(), Some(75));
    assert_eq!(assert_no_overlap(&beat), [token, second]);
    // The request was to that term, and is none to the next.
    next.no_event_until("stopping", now() + 0.5);
}

#[test]
fn a_hand_over_is_no_error() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "web1")
        .arg("--quiet")
        .sh("echo up; exec sleep 600")
        .spawn();
    eventually(LIMIT, || leader.stdout().contains("up"));
    let asked = ask(&etcd, &["resign", "--wait"]).output();
    assert_eq!(asked.code(), 0, "{}", asked.stderr);
    assert_eq!(leader.wait().code(), Some(75));
    assert!(leader.events().is_empty(), "{:?}", leader.events());
}

#[test]
fn resign_waits_for_a_slow_end_and_the_leader_renews_meanwhile() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "web1")
        .ttl("3s")
        .args(["--stop-timeout", "5s", "-v"])
        .life(beat.life().ignores_term())
        .spawn();
    leader.wait_elected();
    leader.wait_event("renewed");
    let late = ask(&etcd, &["resign", "--wait", "1s"]).output();
    assert_eq!(late.code(), 124, "{}", late.stdout);
    leader.wait_another_event("renewed");
    let killed = leader.wait_event("killed");
    assert_eq!(killed["reason"], "stop-timeout");
    assert_eq!(leader.wait().code(), Some(75));
    let nobody = ask(&etcd, &["resign"]).output();
    assert_eq!(
        (nobody.code(), nobody.stdout.as_str()),
        (1, "nobody leads\n")
    );
}

/// A frozen leader cannot answer, but its time runs out.
#[test]
fn resign_ends_its_wait_when_the_term_has_run_out() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "frozen").ttl("4s").spawn();
    leader.wait_event("started");
    leader.signal(Signal::SIGSTOP);
    let asked = ask(&etcd, &["resign", "--wait", "25s"]).output();
    assert_eq!(asked.code(), 0, "{}", asked.stderr);
    assert!(asked.stdout.contains("has run out"), "{}", asked.stdout);
}

#[test]
fn resign_makes_a_campaigner_stand_again_at_the_tail() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let first = candidate(&etcd, "first")
        .args(["--on-loss", "campaign"])
        .spawn();
    let token = first.wait_elected();
    first.wait_event("started");
    let second = candidate(&etcd, "second").spawn();
    second.wait_event("waiting");
    assert_eq!(ask(&etcd, &["resign", "--wait"]).output().code(), 0);
    let next = second.wait_elected();
    assert!(next > token);
    first.wait_nth_event("campaigning", 2);
    first.wait_event("waiting");
    // A request that stands is none to whoever comes later, and one more ends the second.
    assert_eq!(ask(&etcd, &["resign", "--wait"]).output().code(), 0);
    assert_eq!(second.wait().code(), Some(75));
    let again = first.wait_nth_event("elected", 2);
    assert!(again["token"].as_u64() > Some(next));
}

/// The watch makes it prompt, but a request that it has missed is found by the next renewal.
#[test]
fn a_request_that_came_while_etcd_was_away_is_heard() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let proxy = support::Proxy::new(&etcd);
    let leader = candidate(&etcd, "web1").endpoints(proxy.endpoint()).spawn();
    leader.wait_event("started");
    proxy.pause();
    assert_eq!(ask(&etcd, &["resign"]).output().code(), 0);
    leader.wait_event("renewal-failed");
    proxy.cut();
    proxy.resume();
    assert_eq!(leader.wait_event("stopping")["reason"], "resigned");
    assert_eq!(leader.wait().code(), Some(75));
}

/// However long etcd takes to answer.
#[test]
fn resign_waits_no_longer_than_it_was_told_to() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let proxy = support::Proxy::new(&etcd);
    let leader = candidate(&etcd, "web1")
        .sh("trap : TERM; while :; do sleep 0.1; done")
        .spawn();
    leader.wait_event("started");
    let asking = Candidate::bare()
        .arg("resign")
        .args([
            "--key",
            KEY,
            "--endpoints",
            &proxy.endpoint(),
            "--wait",
            "2s",
        ])
        .spawn();
    let begun = now();
    leader.wait_event("stopping");
    proxy.pause();
    assert_eq!(asking.wait().code(), Some(124));
    let took = now() - begun;
    assert!(took < 4.0, "{took}");
}

/// Also where etcd says nothing from the start, so that nobody was asked.
#[test]
fn resign_gives_up_in_time_when_etcd_does_not_answer() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let proxy = support::Proxy::new(&etcd);
    proxy.pause();
    let begun = now();
    let asked = Candidate::bare()
        .arg("resign")
        .args(["--key", KEY, "--endpoints", &proxy.endpoint()])
        .args(["--wait", "2s"])
        .output();
    let took = now() - begun;
    assert_eq!(asked.code(), 124, "{}", asked.stderr);
    assert!((2.0..4.0).contains(&took), "{took}");
    let says = "etcd has not answered in time: whether the leader has been asked is not known";
    assert!(asked.stderr.contains(says), "{}", asked.stderr);
}
