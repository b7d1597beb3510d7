//! For one key, exactly one command at a time; the next in the queue starts when the last process of
//! the one before is dead.

mod support;

use std::time::Duration;

use support::{Beat, Candidate, Etcd, Running, Signal, Value, assert_no_overlap, require_etcd};

/// A candidate that stands in the queue before this returns, so that the order is known.
fn join(candidate: Candidate) -> Running {
    let running = candidate.ttl("5s").spawn();
    running.wait_event("campaigning");
    running
}

fn token(run: &Running) -> u64 {
    run.wait_elected()
}

fn ts(event: &Value) -> String {
    event["ts"].as_str().expect("a time").to_owned()
}

/// The command of `next` was started after the tree of `before` was empty.
#[track_caller]
fn assert_follows(before: &Running, next: &Running) {
    // The instants are in UTC and of one form, so their text sorts as they do.
    let (empty, started) = (before.wait_event("tree-empty"), next.wait_event("started"));
    assert!(ts(&empty) <= ts(&started), "{empty} and then {started}");
}

#[test]
fn of_two_candidates_the_second_starts_when_the_first_is_dead() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = join(Candidate::new(&etcd).id("one").life(beat.life()));
    let standby = join(
        Candidate::new(&etcd)
            .id("two")
            .life(beat.life().exits(0, Duration::from_millis(50))),
    );
    let first = token(&leader);
    let waiting = standby.wait_event("waiting");
    assert_eq!(waiting["leader"], "one");
    beat.wait_stamp(first, "beat");
    assert_eq!(beat.tokens(), [first], "one command at a time");
    assert!(standby.events_named("elected").is_empty());

    leader.signal(Signal::SIGTERM);
    let second = token(&standby);
    leader.wait_gone();
    standby.wait_gone();
    assert_follows(&leader, &standby);
    assert_eq!(assert_no_overlap(&beat), [first, second]);
    assert!(second > first, "fencing tokens grow");
    etcd.assert_nothing_left();
}

#[test]
fn five_candidates_lead_one_after_the_other_in_the_order_of_the_queue() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    // Each leaves a daemon that ignores SIGTERM: it too has to be dead before the next starts.
    let life = || beat.life().ignores_term().with_daemon();
    let runs: Vec<Running> = (0..5)
        .map(|i| {
            let candidate = Candidate::new(&etcd).id(&format!("c{i}")).life(life());
            join(candidate.grace("200ms"))
        })
        .collect();
    for (i, run) in runs.iter().enumerate().skip(1) {
        assert_eq!(run.wait_event("waiting")["ahead"], i);
    }
    let mut order = Vec::new();
    for run in &runs {
        let token = token(run);
        beat.wait_stamp(token, "daemon");
        order.push(token);
        // Forwarded to the main process alone, and not ignored by it.
        run.signal(Signal::SIGUSR1);
    }
    for run in &runs {
        run.wait_gone();
    }
    assert_eq!(assert_no_overlap(&beat), order);
    assert!(order.is_sorted(), "{order:?}");
    for pair in runs.windows(2) {
        assert_follows(&pair[0], &pair[1]);
    }
    etcd.assert_nothing_left();
}

#[test]
fn whoever_leaves_the_queue_holds_up_nobody() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = join(Candidate::new(&etcd).id("one"));
    leader.wait_event("started");
    let leaving = join(Candidate::new(&etcd).id("two"));
    let last = join(Candidate::new(&etcd).id("three").command(&["true"]));
    assert_eq!(last.wait_event("waiting")["ahead"], 2);
    leaving.signal(Signal::SIGTERM);
    assert_eq!(last.wait_nth_event("waiting", 2)["ahead"], 1);
    leaving.wait_gone();
    leader.signal(Signal::SIGTERM);
    assert_eq!(last.wait().code(), Some(0));
    leader.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn different_keys_are_different_elections() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // One name is the beginning of the other, and one lies below the other.
    let keys = ["/election/a", "/election/ab", "/election/a/b"];
    let runs = keys.map(|key| Candidate::new(&etcd).key(key).ttl("5s").spawn());
    for run in &runs {
        run.wait_event("started");
    }
    for run in &runs {
        run.signal(Signal::SIGTERM);
    }
    for run in &runs {
        run.wait_gone();
    }
    etcd.assert_nothing_left();
}
