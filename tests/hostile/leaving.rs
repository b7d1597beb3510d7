//! Whoever leaves while it is lied to about leases: it ends in bounded time, and is in nobody's way.

use crate::hostile::liar::{Call, Liar};
use crate::hostile::lies::{self, Named};
use crate::support::{
    Candidate, Etcd, LIMIT, Running, Signal, Value, death_of, eventually, instant_of, now,
    require_etcd,
};

/// One who is lied to, and another who is not.
struct Pair {
    name: &'static str,
    key: String,
    lied_to: Running,
    other: Running,
    _liar: Liar,
}

/// For each of the lies; the one who is lied to leads, or the other does.
fn pairs(etcd: &Etcd, lies: Vec<Named>, leads: bool) -> Vec<Pair> {
    let start = |(n, (name, lie)): (usize, Named)| {
        let liar = Liar::new(etcd);
        let key = format!("/hostile/{n}");
        let spawn = |id: &str, endpoint: String| {
            let candidate = Candidate::new(etcd).id(id).key(&key).ttl("4s").arg("-v");
            candidate.endpoints(endpoint).spawn()
        };
        let lied_to = || spawn(name, liar.endpoint());
        let other = || spawn("other", etcd.endpoint());
        let (lied_to, other) = if leads {
            let leader = lied_to();
            leader.wait_event("started");
            (leader, other())
        } else {
            let leader = other();
            leader.wait_event("started");
            (lied_to(), leader)
        };
        let standby = if leads { &other } else { &lied_to };
        standby.wait_event("waiting");
        liar.tell(lie);
        Pair {
            name,
            key,
            lied_to,
            other,
            _liar: liar,
        }
    };
    lies.into_iter().enumerate().map(start).collect()
}

#[test]
fn whatever_a_revocation_is_answered_the_term_ends_and_the_next_leads() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let pairs = pairs(&etcd, lies::of_one_answer(Call::Revoke), true);
    for pair in &pairs {
        pair.lied_to.signal(Signal::SIGTERM);
    }
    for pair in &pairs {
        pair.other.wait_elected();
        // The record has gone with the key, whatever became of the lease.
        let reasons = pair.other.events_named("waiting");
        assert!(
            reasons.iter().all(|w| w["reason"] == "queue"),
            "{}: {reasons:?}",
            pair.name
        );
        assert_eq!(death_of(pair.lied_to.wait()), 15, "{}", pair.name);
        assert_eq!(pair.lied_to.stderr(), "", "{}", pair.name);
    }
}

#[test]
fn whatever_a_revocation_is_answered_a_place_in_the_queue_is_given_up() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let pairs = pairs(&etcd, lies::of_one_answer(Call::Revoke), false);
    for pair in &pairs {
        pair.lied_to.signal(Signal::SIGTERM);
    }
    for pair in &pairs {
        assert_eq!(death_of(pair.lied_to.wait()), 15, "{}", pair.name);
        let queue = etcd.entries_under(&format!("{}/", pair.key));
        assert!(
            queue.iter().all(|e| e.value == "other"),
            "{}: {queue:?}",
            pair.name
        );
        assert_eq!(pair.other.events_named("stopping"), Vec::<Value>::new());
        assert_eq!(pair.lied_to.stderr(), "", "{}", pair.name);
    }
}

#[test]
fn whatever_is_said_of_its_lease_a_leader_without_its_key_ends_its_term() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let pairs = pairs(&etcd, lies::of_times_to_live(), true);
    let delete_own = |pair: &Pair| {
        let own = etcd.entries_under(&format!("{}/", pair.key)).remove(0);
        assert_eq!(own.value, pair.name);
        assert!(etcd.del(&own.key));
        now()
    };
    let deleted: Vec<f64> = pairs.iter().map(delete_own).collect();
    for (pair, deleted) in pairs.iter().zip(deleted) {
        let stopping = pair.lied_to.wait_event("stopping");
        let reason = stopping["reason"].as_str().unwrap_or_default();
        println!(
            "{}: {reason} after {:.3} s",
            pair.name,
            instant_of(&stopping) - deleted
        );
        assert!(
            ["key-lost", "lease-lost"].contains(&reason),
            "{}: {stopping}",
            pair.name
        );
        assert_eq!(pair.lied_to.wait().code(), Some(75), "{}", pair.name);
        eventually(LIMIT, || !pair.other.events_named("elected").is_empty());
        assert_eq!(pair.lied_to.stderr(), "", "{}", pair.name);
    }
}
