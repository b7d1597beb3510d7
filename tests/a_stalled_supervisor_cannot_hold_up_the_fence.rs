//! The supervisor never has to act for the command to die in time: with its runtime stuck, or with
//! nobody who listens to the guardian, the fence falls all the same.

mod support;

use std::time::Duration;

use nix::sys::signal::kill;
use support::{
    Beat, Candidate, Etcd, Freezer, Running, Signal, Stalled, assert_no_overlap, eventually,
    is_stopped, now, require_etcd,
};

const TTL: f64 = 5.0;
const GRACE: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_secs(1);
/// How late a busy machine may run us.
const SLACK: f64 = 0.8;
/// Stamps are rounded down to 10 ms, log lines to 1 ms.
const ROUNDING: f64 = 0.015;

fn leader(etcd: &Etcd, beat: &Beat) -> Candidate {
    Candidate::new(etcd)
        .id("leader")
        .ttl("5s")
        .grace("1s")
        .margin("1s")
        .arg("-v")
        .life(beat.life().notes_term().with_daemon())
}

fn standby(etcd: &Etcd, beat: &Beat) -> Running {
    let standby = Candidate::new(etcd)
        .id("standby")
        .ttl("5s")
        .arg("-v")
        .life(beat.life())
        .spawn();
    standby.wait_event("waiting");
    standby
}

/// The next one has started: not before it may, and the tree was dead by then.
#[track_caller]
fn assert_fenced_in_time(leader: &Running, beat: &Beat, token: u64) {
    let next = beat.wait_tokens(2);
    assert_no_overlap(beat);
    let due = leader.instants(GRACE, MARGIN);
    let (first, last) = (beat.first_stamp(next).at, beat.last_stamp(token).at);
    println!(
        "SIGKILL {:+.3}s, next start {:+.3}s",
        last - due.kill,
        first - due.another
    );
    assert!(last < due.kill + SLACK, "{last} {due:?}");
    assert!(first > due.another - ROUNDING, "{first} {due:?}");
    assert!(first < due.another + 2.0, "{first} {due:?}");
}

#[test]
fn the_runtime_is_stuck() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat).spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = standby(&etcd, &beat);
    leader.wait_event("renewed");
    let stalled = Stalled::main_thread(leader.pid());
    assert_fenced_in_time(&leader, &beat, token);
    // By the guardian, whose work it is: the watch over it would kill without a stop signal.
    let due = leader.instants(GRACE, MARGIN);
    let term = beat.wait_stamp(token, "term").at;
    assert!(term > due.stop - ROUNDING, "{term} {due:?}");
    assert!(beat.last_stamp(token).at > due.kill - SLACK, "{due:?}");
    // It finds out, and leaves its successor alone.
    drop(stalled);
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
    standby.wait_another_event("renewed");
    assert_eq!(assert_no_overlap(&beat).len(), 2);
}

/// The watch over the guardian does not share the runtime.
#[test]
fn the_runtime_is_stuck_and_the_guardian_stopped() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat).spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let _standby = standby(&etcd, &beat);
    leader.wait_event("renewed");
    let guardian = leader.guardian_pid();
    let stalled = Stalled::main_thread(leader.pid());
    let stopped = now();
    kill(guardian, Signal::SIGSTOP).expect("it lives");
    assert_fenced_in_time(&leader, &beat, token);
    let last = beat.last_stamp(token).at;
    println!(
        "last sign of life {:+.3}s after the guardian's stop",
        last - stopped
    );
    assert!(last < stopped + SLACK, "{stopped} {last}");
    drop(stalled);
    assert_eq!(leader.wait().code(), Some(75));
}

/// The guardian frozen by a cgroup instead: only the missed stop instant tells of it.
#[test]
fn the_runtime_is_stuck_and_the_guardian_frozen() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::mortal() else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat).spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let _standby = standby(&etcd, &beat);
    leader.wait_event("renewed");
    let guardian = leader.guardian_pid();
    let stalled = Stalled::main_thread(leader.pid());
    freezer.freeze(guardian);
    assert_fenced_in_time(&leader, &beat, token);
    drop(stalled);
    assert_eq!(leader.wait().code(), Some(75));
}

/// Nobody takes the guardian's words from the socket, whose queue holds ten messages on most systems.
/// The guardian answers every renewal, so it is soon full; then the whole supervisor freezes.
#[test]
fn the_queue_to_a_frozen_supervisor_is_full() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat)
        .args(["--renew-interval", "100ms"])
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = standby(&etcd, &beat);
    let stalled = Stalled::thread(leader.pid(), "watch");
    let before = leader.events_named("renewed").len();
    // The thread that would give up a silent guardian stands still as well.
    leader.wait_nth_event("renewed", before + 25);
    leader.signal(Signal::SIGSTOP);
    eventually(support::LIMIT, || is_stopped(leader.pid()));
    assert_fenced_in_time(&leader, &beat, token);
    let gap = beat.first_stamp(standby.wait_elected()).at - beat.last_stamp(token).at;
    assert!(gap < TTL, "{gap}");
    drop(stalled);
    leader.signal(Signal::SIGCONT);
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
}

/// A guardian that complains of what it cannot kill, to a supervisor that does not hear it, goes on
/// killing; and the first to hear of it all is the log of the woken supervisor.
#[test]
fn a_frozen_supervisor_over_a_tree_that_cannot_be_killed() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::immortal() else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat).spawn();
    let token = leader.wait_elected();
    let daemon = support::Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    leader.wait_event("renewed");
    freezer.freeze(daemon);
    leader.signal(Signal::SIGSTOP);
    let command = leader.command_pid();
    eventually(support::LIMIT, || !support::is_alive(command));
    assert!(support::is_alive(daemon));
    // Nobody renews for it any more, and it has been told to die.
    freezer.thaw();
    eventually(support::LIMIT, || !support::is_alive(daemon));
    leader.signal(Signal::SIGCONT);
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_event("tree-empty");
    leader.wait_gone();
}
