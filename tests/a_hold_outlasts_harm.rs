//! `--min-hold`: once the command is done there is nothing left to guard, so neither the guardian's death nor
//! a lost key shortens the time for which nobody else starts.

mod support;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Running, Signal, Value, eventually, kill, now, require_etcd,
};

const RECORD: &str = "/election/test.term";
/// From the `elected` event to the instant from which the hold counts, at most.
const ROUNDING: f64 = 0.1;

/// A leader that holds, and the next in the queue.
fn holding(etcd: &Etcd, beat: &Beat, hold: &str, ttl: &str) -> (Running, Running, f64) {
    let leader = Candidate::new(etcd)
        .id("leader")
        .ttl(ttl)
        .args(["--min-hold", hold, "-v"])
        .sh("exit 3")
        .spawn();
    let elected = support::instant_of(&leader.wait_event("elected"));
    leader.wait_event("tree-empty");
    let standby = Candidate::new(etcd)
        .id("standby")
        .ttl(ttl)
        .life(beat.life())
        .spawn();
    standby.wait_event("waiting");
    assert!(leader.try_wait().is_none());
    (leader, standby, elected)
}

#[test]
fn a_killed_guardian_does_not_end_it() {
    const HOLD: f64 = 6.0;
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, standby, elected) = holding(&etcd, &beat, "6s", "3s");
    kill(leader.guardian_pid(), Signal::SIGKILL);
    let revision = || etcd.entry(RECORD).expect("the record").mod_revision;
    let before = revision();
    // It still renews, or the hold could be no longer than the TTL.
    eventually(LIMIT, || revision() > before);
    let status = leader.wait();
    let started = beat.wait_stamp(standby.wait_elected(), "start").at;
    println!(
        "the next one started {:.3}s after the election",
        started - elected
    );
    assert!(started > elected + HOLD - ROUNDING, "{elected} {started}");
    assert_eq!(status.code(), Some(3), "the command's");
    for event in ["lost", "stopping", "error"] {
        assert!(leader.events_named(event).is_empty(), "{event}");
    }
    leader.wait_event("released");
    leader.wait_gone();
}

/// When another may start by the record, in seconds since boot.
#[track_caller]
fn held_until(etcd: &Etcd) -> f64 {
    let record = etcd.get(RECORD).expect("the record stands");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    let number = |name: &str| record[name].as_f64().expect("a number");
    number("d") / 1e9 + number("m") / 1e3
}

fn the_key_is_lost(lose: impl FnOnce(&Etcd)) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, standby, _) = holding(&etcd, &beat, "60s", "5s");
    let since = now();
    lose(&etcd);
    assert_eq!(leader.wait().code(), Some(3), "the command's");
    leader.wait_gone();
    let until = held_until(&etcd);
    println!("the record holds for {:.3}s after the loss", until - since);
    assert!(until > since + 1.0, "{until} {since}");
    let started = beat.wait_stamp(standby.wait_elected(), "start").at;
    println!("the next one started {:+.3}s from then", started - until);
    assert!(started > until - 0.02, "{started} {until}");
}

#[test]
fn a_deleted_key_lets_the_record_stand() {
    the_key_is_lost(|etcd| {
        let queue = etcd.entries_under(&format!("{KEY}/"));
        let first = queue.iter().min_by_key(|e| e.create_revision);
        assert!(etcd.del(&first.expect("the leader's").key));
    });
}

#[test]
fn a_revoked_lease_lets_the_record_stand() {
    the_key_is_lost(|etcd| {
        let queue = etcd.entries_under(&format!("{KEY}/"));
        let first = queue.iter().min_by_key(|e| e.create_revision);
        let key = &first.expect("the leader's").key;
        etcd.revoke(key.rsplit('/').next().expect("the lease"));
    });
}

#[test]
fn a_killed_supervisor_lets_the_record_stand() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, standby, _) = holding(&etcd, &beat, "60s", "5s");
    leader.signal(Signal::SIGKILL);
    leader.wait_gone();
    let until = held_until(&etcd);
    let started = beat.wait_stamp(standby.wait_elected(), "start").at;
    println!(
        "the next one started {:+.3}s from the record's end",
        started - until
    );
    assert!(started > until - 0.02, "{started} {until}");
}
