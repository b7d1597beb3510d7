//! Killed, stopped or frozen, the guardian leaves no command behind either: the supervisor notices, the
//! whole tree is dead before another starts, and nobody waits for the TTL.

mod support;

use std::time::Duration;

use nix::sys::signal::kill;
use support::{
    Beat, Candidate, Etcd, Freezer, KEY, LIMIT, Pid, Proxy, Running, Signal, assert_no_overlap,
    eventually, now, require_etcd,
};

/// A hand-over that did not wait for the TTL.
const PROMPT: f64 = 3.0;
/// How late a busy machine may run us.
const SLACK: f64 = 0.8;

fn candidate(etcd: &Etcd, id: &str, ttl: &str) -> Candidate {
    Candidate::new(etcd).id(id).ttl(ttl).arg("-v")
}

#[track_caller]
fn send(pid: Pid, signal: Signal) {
    kill(pid, signal).expect("it lives");
}

/// Something happens to the guardian of a leader whose tree ignores SIGTERM. Returns when the next
/// candidate has started: how long after the deed.
#[track_caller]
fn harmed(ttl: &str, deed: impl FnOnce(&Running)) -> f64 {
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", ttl)
        .life(beat.life().ignores_term().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = candidate(&etcd, "standby", ttl).life(beat.life()).spawn();
    standby.wait_event("waiting");
    let done = now();
    deed(&leader);
    let next = beat.wait_tokens(2);
    assert_no_overlap(&beat);
    assert_eq!(leader.wait().code(), Some(75));
    assert_eq!(leader.wait_event("stopping")["reason"], "guardian-lost");
    assert_eq!(leader.wait_event("lost")["reason"], "guardian-lost");
    leader.wait_event("released");
    leader.wait_gone();
    let gap = beat.first_stamp(next).at - done;
    println!("next start {gap:.3}s after the deed, at a TTL of {ttl}");
    gap
}

#[test]
fn killed() {
    if !require_etcd() {
        return;
    }
    let gap = harmed("30s", |leader| send(leader.guardian_pid(), Signal::SIGKILL));
    assert!(gap < PROMPT, "{gap}");
}

#[test]
fn stopped() {
    if !require_etcd() {
        return;
    }
    let gap = harmed("30s", |leader| send(leader.guardian_pid(), Signal::SIGSTOP));
    assert!(gap < PROMPT, "{gap}");
}

/// A stopped supervisor is continued by its death: nobody else is left to kill what descends from the command.
#[test]
fn killed_while_the_supervisor_is_stopped() {
    if !require_etcd() {
        return;
    }
    let gap = harmed("30s", |leader| {
        let guardian = leader.guardian_pid();
        leader.signal(Signal::SIGSTOP);
        eventually(LIMIT, || support::is_stopped(leader.pid()));
        send(guardian, Signal::SIGKILL);
    });
    assert!(gap < PROMPT, "{gap}");
}

/// No signal tells of this one, only that it does not answer.
#[test]
fn frozen_by_a_cgroup() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::mortal() else {
        return;
    };
    // The next renewal comes within a second, and is waited for as long.
    let gap = harmed("6s", |leader| freezer.freeze(leader.guardian_pid()));
    assert!(gap < 2.0 + PROMPT, "{gap}");
}

/// Without renewals there is nothing to answer to, so the missed stop instant tells of it.
fn with_the_network_gone(harm: impl FnOnce(Pid)) {
    const GRACE: Duration = Duration::from_secs(2);
    const MARGIN: Duration = Duration::from_secs(1);
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let proxy = Proxy::new(&etcd);
    let leader = candidate(&etcd, "leader", "6s")
        .endpoints(proxy.endpoint())
        .args(["--grace", "2s", "--margin", "1s"])
        .life(beat.life().ignores_term().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = candidate(&etcd, "standby", "5s").life(beat.life()).spawn();
    standby.wait_event("waiting");
    leader.wait_another_event("renewed");
    proxy.pause();
    harm(leader.guardian_pid());
    beat.wait_tokens(2);
    assert_no_overlap(&beat);
    let due = leader.instants(GRACE, MARGIN);
    let last = beat.last_stamp(token).at;
    println!(
        "last sign of life {:+.3}s from SIGKILL's instant",
        last - due.kill
    );
    assert!(last < due.kill + SLACK, "{last} {due:?}");
    proxy.resume();
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
}

#[test]
fn stopped_while_the_network_is_gone() {
    if require_etcd() {
        with_the_network_gone(|guardian| send(guardian, Signal::SIGSTOP));
    }
}

#[test]
fn frozen_by_a_cgroup_while_the_network_is_gone() {
    if !require_etcd() {
        return;
    }
    if let Some(freezer) = Freezer::mortal() {
        with_the_network_gone(|guardian| freezer.freeze(guardian));
    }
}

#[test]
fn killed_it_gives_up_the_lead_although_asked_to_campaign_again() {
    if !require_etcd() {
        return;
    }
    let gap = harmed_campaigner();
    assert!(gap < PROMPT, "{gap}");
}

fn harmed_campaigner() -> f64 {
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "30s")
        .args(["--on-loss", "campaign"])
        .life(beat.life())
        .spawn();
    beat.wait_tokens(1);
    let standby = candidate(&etcd, "standby", "30s").life(beat.life()).spawn();
    standby.wait_event("waiting");
    let done = now();
    send(leader.guardian_pid(), Signal::SIGKILL);
    // Without a guardian it could start no command.
    assert_eq!(leader.wait().code(), Some(75));
    let next = beat.wait_tokens(2);
    assert_no_overlap(&beat);
    beat.first_stamp(next).at - done
}

/// In standby there is no command; without a guardian there never would be one.
fn harmed_in_standby(harm: Signal, what: &str) {
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "5s").life(beat.life()).spawn();
    let token = leader.wait_elected();
    // Whether the socket of a killed one closes before its death can be waited for is an accident.
    for _ in 0..8 {
        let standby = candidate(&etcd, "standby", "30s").life(beat.life()).spawn();
        standby.wait_event("waiting");
        send(standby.guardian_pid(), harm);
        assert_eq!(standby.wait().code(), Some(125));
        standby.wait_gone();
        let errors = standby.events_named("error");
        assert_eq!(errors.len(), 1, "{errors:?}");
        let says = format!("the guardian {what}: no command can be started");
        assert_eq!(errors[0]["message"], says);
        assert_eq!(etcd.keys(&format!("{KEY}/")).len(), 1);
        assert_eq!(etcd.leases().len(), 1);
    }
    leader.wait_another_event("renewed");
    assert_eq!(beat.tokens(), [token]);
}

#[test]
fn killed_in_standby() {
    if require_etcd() {
        harmed_in_standby(Signal::SIGKILL, "was killed");
    }
}

#[test]
fn stopped_in_standby() {
    if require_etcd() {
        harmed_in_standby(Signal::SIGSTOP, "stopped working and was killed");
    }
}

/// Nothing from outside but SIGKILL and SIGSTOP ends or stops the guardian: it changes nothing.
#[test]
fn no_signal_that_can_be_caught_means_anything_to_it() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "3s").life(beat.life()).spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "beat");
    let guardian = leader.guardian_pid();
    let own = [Signal::SIGKILL as i32, Signal::SIGSTOP as i32];
    for signal in (1..=64).filter(|s| !own.contains(s)) {
        support::send(guardian, signal);
        // What kills does so before the next one is sent; it shows which it was.
        assert!(support::is_alive(guardian), "it died of signal {signal}");
    }
    // It still answers, and its timer still serves.
    leader.wait_another_event("renewed");
    leader.wait_another_event("renewed");
    assert_eq!(leader.guardian_pid(), guardian);
    assert!(!support::is_stopped(guardian));
    for event in ["stopping", "killed", "lost", "warning", "error"] {
        assert!(leader.events_named(event).is_empty(), "{event}");
    }
    assert_eq!(beat.tokens(), [token]);
    leader.signal(Signal::SIGKILL);
    leader.wait_event("released");
    leader.wait_gone();
}
