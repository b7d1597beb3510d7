//! Killed or frozen, alone or with its process group, the supervisor leaves no command behind: the
//! whole tree is dead before another starts, and after a kill nobody waits for the TTL.

mod support;

use std::time::Duration;

use nix::sys::signal::kill;
use support::{
    Beat, Candidate, Etcd, KEY, Running, Signal, assert_no_overlap, eventually, now, require_etcd,
};

/// A hand-over that did not wait for the TTL of 30 s. It takes some 50 ms, and the promise is a
/// second; the rest is for a busy machine.
const PROMPT: f64 = 3.0;
/// How late a busy machine may run us.
const SLACK: f64 = 0.8;
/// Stamps are rounded down to 10 ms, log lines to 1 ms.
const ROUNDING: f64 = 0.015;

fn candidate(etcd: &Etcd, id: &str, ttl: &str) -> Candidate {
    Candidate::new(etcd).id(id).ttl(ttl).arg("-v")
}

/// The next in the queue has started: how long after `since`.
#[track_caller]
fn next_start(beat: &Beat, since: f64) -> f64 {
    let next = beat.wait_tokens(2);
    assert_no_overlap(beat);
    beat.first_stamp(next).at - since
}

/// A leader with a daemon, and a standby, both with a TTL of 30 s; then the supervisor dies.
fn dies(prepare: impl FnOnce(Candidate) -> Candidate, die: impl FnOnce(&Running)) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "30s").life(beat.life().with_daemon());
    let leader = prepare(leader).spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = candidate(&etcd, "standby", "30s").life(beat.life()).spawn();
    standby.wait_event("waiting");
    let killed = now();
    die(&leader);
    let gap = next_start(&beat, killed);
    println!("next start {gap:.3}s after the kill, at a TTL of 30s");
    assert!(gap < PROMPT, "{gap}");
    leader.wait_gone();
    leader.wait_event("released");
    assert_eq!(
        leader.wait_event("stopping")["reason"],
        "supervisor-lost",
        "the orphan tells what it did"
    );
}

#[test]
fn killed() {
    dies(|c| c, |leader| leader.signal(Signal::SIGKILL));
}

#[test]
fn killed_with_its_group() {
    dies(Candidate::own_group, |leader| {
        leader.signal_group(Signal::SIGKILL);
    });
}

#[test]
fn aborted() {
    dies(|c| c, |leader| leader.signal(Signal::SIGABRT));
}

#[test]
fn killed_by_timeout() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "30s")
        .under(&["timeout", "-s", "KILL", "5"])
        .life(beat.life().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = candidate(&etcd, "standby", "30s").life(beat.life()).spawn();
    // timeout dies with its group.
    leader.wait();
    let killed = now();
    let gap = next_start(&beat, killed);
    println!("next start {gap:.3}s after timeout's, at a TTL of 30s");
    assert!(gap < PROMPT, "{gap}");
    leader.wait_gone();
    standby.wait_elected();
}

#[test]
fn killed_while_the_command_ignores_the_stop_signal() {
    const GRACE: f64 = 2.0;
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "30s")
        .args(["--grace", "2s"])
        .life(beat.life().notes_term().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = candidate(&etcd, "standby", "30s").life(beat.life()).spawn();
    standby.wait_event("waiting");
    let killed = now();
    leader.signal(Signal::SIGKILL);
    let gap = next_start(&beat, killed);
    let last = beat.last_stamp(token).at;
    println!(
        "SIGKILL {:+.3}s from its grace, next start {gap:.3}s after the supervisor's death",
        last - killed - GRACE
    );
    // It gets its grace period, and no more.
    assert!(beat.wait_stamp(token, "term").at < killed + SLACK);
    assert!(last > killed + GRACE - SLACK, "{killed} {last}");
    assert!(last < killed + GRACE + SLACK, "{killed} {last}");
    assert!(gap < GRACE + PROMPT, "{gap}");
    leader.wait_gone();
}

#[test]
fn killed_when_the_deadline_is_nearer_than_the_grace_period() {
    const GRACE: Duration = Duration::from_secs(2);
    const MARGIN: Duration = Duration::from_secs(1);
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "6s")
        .args(["--grace", "2s", "--margin", "1s"])
        .life(beat.life().notes_term())
        .spawn();
    let token = leader.wait_elected();
    leader.wait_event("renewed");
    let standby = candidate(&etcd, "standby", "5s").life(beat.life()).spawn();
    standby.wait_event("waiting");
    leader.signal(Signal::SIGSTOP);
    // The fence falls by the guardian's timer; the death of the supervisor prolongs nothing.
    beat.wait_stamp(token, "term");
    let killed = now();
    leader.signal(Signal::SIGKILL);
    let gap = next_start(&beat, killed);
    let due = leader.instants(GRACE, MARGIN);
    let last = beat.last_stamp(token).at;
    println!(
        "SIGKILL {:+.3}s, next start after {gap:.3}s",
        last - due.kill
    );
    assert!(last > due.kill - SLACK, "{last} {due:?}");
    assert!(last < due.kill + SLACK, "{last} {due:?}");
    leader.wait_gone();
}

#[test]
fn a_killed_standby_in_the_middle_of_the_queue_holds_nobody_up() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "30s").life(beat.life()).spawn();
    leader.wait_event("started");
    let middle = candidate(&etcd, "middle", "30s").life(beat.life()).spawn();
    middle.wait_event("waiting");
    let last = candidate(&etcd, "last", "30s").life(beat.life()).spawn();
    last.wait_event("waiting");
    beat.wait_tokens(1);

    middle.signal(Signal::SIGKILL);
    middle.wait_gone();
    assert_eq!(etcd.keys(&format!("{KEY}/")).len(), 2);
    let ended = now();
    leader.signal(Signal::SIGTERM);
    let gap = next_start(&beat, ended);
    println!("next start {gap:.3}s after the leader's SIGTERM");
    assert!(gap < PROMPT, "{gap}");
    last.wait_elected();
}

/// The supervisor is stopped, its lease runs out, another leads; then it wakes up.
fn is_frozen(freeze: impl FnOnce(&Running), thaw: impl FnOnce(&Running)) {
    const TTL: f64 = 5.0;
    const GRACE: Duration = Duration::from_secs(1);
    const MARGIN: Duration = Duration::from_secs(1);
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "5s")
        .args(["--grace", "1s", "--margin", "1s"])
        .own_group()
        .life(beat.life().notes_term().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = candidate(&etcd, "standby", "5s").life(beat.life()).spawn();
    standby.wait_event("waiting");
    leader.wait_event("renewed");
    let frozen = now();
    freeze(&leader);
    let gap = next_start(&beat, frozen);
    let due = leader.instants(GRACE, MARGIN);
    let last = beat.last_stamp(token).at;
    println!(
        "SIGKILL {:+.3}s, next start {gap:.3}s after the freeze at a TTL of {TTL}s",
        last - due.kill
    );
    assert!(beat.wait_stamp(token, "term").at > due.stop - ROUNDING);
    assert!(last < due.kill + SLACK, "{last} {due:?}");
    assert!(frozen + gap > due.another - ROUNDING, "{gap} {due:?}");
    assert!(gap < TTL + 2.0, "{gap}");

    // It wakes up to a lost leadership, and does not touch its successor.
    let next = standby.wait_elected();
    let before = etcd.entries_under(&format!("{KEY}/"));
    thaw(&leader);
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
    standby.wait_another_event("renewed");
    assert_eq!(etcd.entries_under(&format!("{KEY}/")), before);
    let record = etcd.get(&format!("{KEY}.term")).expect("the successor's");
    assert!(record.contains(&format!("\"token\":{next},")), "{record}");
    let beats = beat.stamps().len();
    eventually(support::LIMIT, || beat.stamps().len() > beats);
    assert_eq!(assert_no_overlap(&beat), [token, next]);
}

#[test]
fn frozen() {
    is_frozen(
        |leader| leader.signal(Signal::SIGSTOP),
        |leader| leader.signal(Signal::SIGCONT),
    );
}

#[test]
fn frozen_with_its_group() {
    is_frozen(
        |leader| leader.signal_group(Signal::SIGSTOP),
        |leader| leader.signal_group(Signal::SIGCONT),
    );
}

#[test]
fn frozen_then_killed_it_is_released_by_the_guardian() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "30s").life(beat.life()).spawn();
    beat.wait_tokens(1);
    let standby = candidate(&etcd, "standby", "30s").life(beat.life()).spawn();
    standby.wait_event("waiting");
    leader.signal(Signal::SIGSTOP);
    kill(leader.pid(), Signal::SIGKILL).expect("not yet waited for");
    let gap = next_start(&beat, now());
    assert!(gap < PROMPT, "{gap}");
    leader.wait_gone();
}
