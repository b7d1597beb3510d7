//! A candidate key deleted, revoked or overwritten by hand ends the term at once, and nobody starts
//! before the command is dead: neither who waits nor who joins an empty queue, also when the leader
//! cannot know.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, KEY, Proxy, Running, Signal, assert_no_overlap, eventually, is_stopped,
    now, require_etcd,
};

const GRACE: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(1);

/// "At once", on a busy machine; without its watch the leader would not notice before its next
/// renewal, 6 s away.
const AT_ONCE: f64 = 3.0;
/// How late a busy machine may run us.
const SLACK: f64 = 0.8;
/// Stamps are rounded down to 10 ms, log lines to 1 ms.
const ROUNDING: f64 = 0.015;

/// What somebody does to the leader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Delete,
    Revoke,
    Overwrite,
}

impl Deed {
    fn is_done(self, etcd: &Etcd) {
        let key = etcd.entries_under(&format!("{KEY}/")).remove(0);
        match self {
            Self::Delete => assert!(etcd.del(&key.key)),
            Self::Revoke => etcd.revoke(&key.lease),
            // Attached to no lease from now on.
            Self::Overwrite => etcd.put(&key.key, "mine"),
        }
    }
}

/// A leader whose whole tree notes SIGTERM and has to be killed.
fn leader(etcd: &Etcd, beat: &Beat, ttl: &str) -> Candidate {
    Candidate::new(etcd)
        .id("leader")
        .ttl(ttl)
        .grace("2s")
        .margin("1s")
        .arg("-v")
        .life(beat.life().notes_term().with_daemon())
}

fn another(etcd: &Etcd, beat: &Beat) -> Running {
    Candidate::new(etcd)
        .id("another")
        .ttl("10s")
        .arg("-v")
        .life(beat.life())
        .spawn()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    Waits,
    JoinsLater,
}

/// The leader can hear of the deed.
fn noticed(deed: Deed, other: Other) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat, "30s").spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let waits = (other == Other::Waits).then(|| {
        let another = another(&etcd, &beat);
        another.wait_event("waiting");
        another
    });
    let before = now();
    deed.is_done(&etcd);
    let done = now();
    let another = waits.unwrap_or_else(|| another(&etcd, &beat));

    let reason = leader.wait_event("stopping")["reason"].clone();
    let wanted = if deed == Deed::Revoke {
        "lease-lost"
    } else {
        "key-lost"
    };
    assert_eq!(reason, wanted);
    let term = beat.wait_stamp(token, "term").at;
    leader.wait_event("tree-empty");
    let last = beat.last_stamp(token).at;
    assert_eq!(leader.wait_event("killed")["reason"], "grace");
    assert_eq!(leader.wait().code(), Some(75));

    another.wait_elected();
    let next = beat.wait_tokens(2);
    assert_no_overlap(&beat);
    let first = beat.first_stamp(next).at;
    let grace = GRACE.as_secs_f64();
    println!(
        "{deed:?}: stop signal after {:.3}s, SIGKILL {:+.3}s from its grace, next start {:.3}s after",
        term - done,
        last - term - grace,
        first - last
    );
    assert!(term - done < AT_ONCE, "{done} {term}");
    assert!(last > before + grace - SLACK, "{before} {term} {last}");
    assert!(last < term + grace + SLACK, "{done} {term} {last}");
    // Its record was removed: the TTL was not waited for.
    assert!(first - last < 3.0, "{last} {first}");
    leader.wait_gone();
    another.signal(Signal::SIGTERM);
    another.wait_event("released");
    eventually(support::LIMIT, || etcd.leases().is_empty());
    assert_eq!(etcd.keys(KEY), [] as [&str; 0]);
}

#[test]
fn key_deleted_while_another_waits() {
    noticed(Deed::Delete, Other::Waits);
}

#[test]
fn lease_revoked_while_another_waits() {
    noticed(Deed::Revoke, Other::Waits);
}

#[test]
fn key_overwritten_while_another_waits() {
    noticed(Deed::Overwrite, Other::Waits);
}

#[test]
fn key_deleted_and_another_joins_the_empty_queue() {
    noticed(Deed::Delete, Other::JoinsLater);
}

#[test]
fn lease_revoked_and_another_joins_the_empty_queue() {
    noticed(Deed::Revoke, Other::JoinsLater);
}

#[test]
fn key_overwritten_and_another_joins() {
    noticed(Deed::Overwrite, Other::JoinsLater);
}

/// The leader cannot hear of the deed: the record, and its own fence, have to hold.
fn unnoticed(
    deed: Deed,
    other: Other,
    hide: impl FnOnce(&Running, &Proxy),
    show: impl FnOnce(&Running, &Proxy),
) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let proxy = Proxy::new(&etcd);
    let leader = leader(&etcd, &beat, "6s")
        .endpoints(proxy.endpoint())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let waits = (other == Other::Waits).then(|| {
        let another = another(&etcd, &beat);
        assert_eq!(another.wait_event("waiting")["reason"], "queue");
        another
    });
    leader.wait_another_event("renewed");
    hide(&leader, &proxy);
    deed.is_done(&etcd);
    let another = waits.unwrap_or_else(|| another(&etcd, &beat));
    if deed != Deed::Overwrite {
        // It is next, and nothing but the record holds it off.
        eventually(support::LIMIT, || {
            another
                .events_named("waiting")
                .iter()
                .any(|w| w["reason"] == "record" && w["holder"] == token)
        });
    }
    let next = another.wait_elected();
    let first = beat.wait_stamp(next, "start").at;
    let last = beat.last_stamp(token).at;
    assert_no_overlap(&beat);
    let due = leader.instants(GRACE, MARGIN);
    println!(
        "{deed:?}: SIGKILL {:+.3}s, next start {:+.3}s from the earliest, {:.3}s after the last sign of life",
        last - due.kill,
        first - due.another,
        first - last
    );
    assert!(first > due.another - ROUNDING, "{first} {due:?}");
    assert!(last < due.kill + SLACK, "{last} {due:?}");

    // The old one comes back, and leaves its successor alone.
    show(&leader, &proxy);
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
    another.wait_another_event("renewed");
    let record = etcd.get(&format!("{KEY}.term")).expect("the successor's");
    assert!(record.contains(&format!("\"token\":{next},")), "{record}");
    assert_eq!(assert_no_overlap(&beat), [token, next]);
}

fn cut_off(deed: Deed, other: Other) {
    unnoticed(
        deed,
        other,
        |_, proxy| proxy.pause(),
        |_, proxy| proxy.resume(),
    );
}

fn frozen(deed: Deed, other: Other) {
    let freeze = |leader: &Running, _: &Proxy| {
        leader.signal(Signal::SIGSTOP);
        eventually(support::LIMIT, || is_stopped(leader.pid()));
    };
    unnoticed(deed, other, freeze, |leader, _| {
        leader.signal(Signal::SIGCONT);
    });
}

#[test]
fn key_deleted_while_the_leader_is_cut_off() {
    cut_off(Deed::Delete, Other::JoinsLater);
}

#[test]
fn key_deleted_while_the_leader_is_cut_off_and_another_waits() {
    cut_off(Deed::Delete, Other::Waits);
}

#[test]
fn lease_revoked_while_the_leader_is_cut_off() {
    cut_off(Deed::Revoke, Other::JoinsLater);
}

#[test]
fn key_overwritten_while_the_leader_is_cut_off() {
    cut_off(Deed::Overwrite, Other::JoinsLater);
}

#[test]
fn key_deleted_while_the_supervisor_is_frozen() {
    frozen(Deed::Delete, Other::JoinsLater);
}

#[test]
fn key_deleted_while_the_supervisor_is_frozen_and_another_waits() {
    frozen(Deed::Delete, Other::Waits);
}

#[test]
fn lease_revoked_while_the_supervisor_is_frozen() {
    frozen(Deed::Revoke, Other::JoinsLater);
}

#[test]
fn key_overwritten_while_the_supervisor_is_frozen() {
    frozen(Deed::Overwrite, Other::JoinsLater);
}

/// On another machine the recorded instants mean nothing: the TTL counts from the first look.
#[test]
fn who_has_another_clock_waits_for_the_whole_ttl() {
    const TTL: f64 = 6.0;
    let elsewhere = ["unshare", "--time", "--fork", "--kill-child", "--"];
    let can = Command::new(elsewhere[0])
        .args(&elsewhere[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !require_etcd() {
        return;
    }
    if !can.is_ok_and(|status| status.success()) {
        support::skip("no time namespace can be made (as root it can, from Linux 5.6 on)");
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat, "6s").spawn();
    let token = leader.wait_elected();
    leader.wait_another_event("renewed");
    leader.signal(Signal::SIGSTOP);
    Deed::Delete.is_done(&etcd);
    // So that the record is seen not long before its deadline.
    beat.wait_stamp(token, "term");
    let joined = now();
    let another = Candidate::new(&etcd)
        .id("elsewhere")
        .under(&elsewhere)
        .life(beat.life())
        .spawn();
    let waiting = another.wait_event("waiting");
    let remaining = waiting["remaining"].as_f64().expect("seconds");
    assert!(remaining > TTL - 0.5, "{waiting}");
    let next = another.wait_elected();
    let first = beat.wait_stamp(next, "start").at;
    assert!(first > joined + TTL, "{joined} {first}");
    assert_no_overlap(&beat);
}
