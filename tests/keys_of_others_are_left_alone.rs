//! What stands under an election's key without being a candidate's: keys of people and of other
//! programs, and other elections.

mod support;

use support::{Candidate, Etcd, KEY, LIMIT, Running, Signal, eventually, require_etcd};

/// A lease of ten minutes, by its id in hex.
fn grant(etcd: &Etcd) -> String {
    // "lease 694d7a1f0b5c0042 granted with TTL(600s)"
    let answer = etcd.etcdctl(&["lease", "grant", "600"]);
    answer.split(' ').nth(1).expect("a lease").to_owned()
}

#[test]
fn keys_that_are_no_candidates_are_ignored_with_one_warning() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let lease = grant(&etcd);
    let foreign = [
        format!("{KEY}/config"),
        format!("{KEY}/{lease}/settings"),
        format!("{KEY}/1f/2e"),
        format!("{KEY}/{}", "694D7A1F0B5C0042"),
        format!("{KEY}/-1"),
        format!("{KEY}/0x1f"),
        format!("{KEY}/"),
    ];
    for key in &foreign {
        // On a living lease: that would make a candidate of them, if their names did.
        etcd.etcdctl(&["put", &format!("--lease={lease}"), "--", key, "x"]);
    }
    let leader = Candidate::new(&etcd).id("leader").ttl("3s").spawn();
    leader.wait_elected();
    let standby = Candidate::new(&etcd).id("standby").ttl("3s").spawn();
    assert_eq!(standby.wait_event("waiting")["ahead"], 1);
    leader.signal(Signal::SIGTERM);
    standby.wait_elected();
    for candidate in [&leader, &standby] {
        let warnings = candidate.events_named("warning");
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        let message = warnings[0]["message"].as_str().expect("text");
        let named = |key: &String| message.contains(&format!("{key:?}"));
        assert!(foreign.iter().any(named), "{message}");
    }
    for key in &foreign {
        assert!(etcd.entry(key).is_some(), "{key} was removed");
    }
}

#[test]
fn a_key_without_a_lease_counts_while_the_lease_in_its_name_lives() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let (dead, living) = (grant(&etcd), grant(&etcd));
    etcd.revoke(&dead);
    etcd.put(&format!("{KEY}/{dead}"), "dead");
    let first = Candidate::new(&etcd).id("first").ttl("3s").spawn();
    first.wait_elected();
    assert!(first.events_named("waiting").is_empty());
    first.signal(Signal::SIGTERM);
    first.wait();

    etcd.put(&format!("{KEY}/{living}"), "living");
    let second = Candidate::new(&etcd).id("second").ttl("3s").spawn();
    let waiting = second.wait_event("waiting");
    assert_eq!(
        (&waiting["leader"], &waiting["ahead"]),
        (&"living".into(), &1.into())
    );
    assert!(second.events_named("elected").is_empty());
    etcd.revoke(&living);
    second.wait_elected();
    assert!(etcd.get(&format!("{KEY}/{living}")).is_some());
}

#[test]
fn elections_with_similar_names_do_not_disturb_each_other() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // Under each other, prefixes of each other, with a name that looks like a lease or a record.
    let keys = ["/e/x", "/e/xy", "/e/x/b", "/e/x/1f", "/e/x.term", "/e"];
    let start = |key: &str, id: &str| {
        let id = format!("{id} of {key}");
        Candidate::new(&etcd).key(key).id(&id).ttl("3s").spawn()
    };
    let leaders: Vec<Running> = keys.iter().map(|key| start(key, "leader")).collect();
    for leader in &leaders {
        leader.wait_event("started");
        assert!(leader.events_named("waiting").is_empty());
    }
    let standbys: Vec<Running> = keys.iter().map(|key| start(key, "standby")).collect();
    for (key, standby) in keys.iter().zip(&standbys) {
        let waiting = standby.wait_event("waiting");
        assert_eq!(waiting["leader"], format!("leader of {key}"), "{waiting}");
        assert_eq!(waiting["ahead"], 1, "{waiting}");
    }
    // One after the other is handed over; those that are not yet, lead on.
    for (turn, leader) in leaders.iter().enumerate() {
        leader.signal(Signal::SIGTERM);
        standbys[turn].wait_event("started");
        for (other, standby) in standbys.iter().enumerate() {
            assert_eq!(
                standby.events_named("elected").len(),
                usize::from(other <= turn)
            );
        }
    }
    for (key, standby) in keys.iter().zip(&standbys) {
        assert_eq!(
            etcd.keys(&format!("{key}.term"))
                .iter()
                .filter(|k| *k == &format!("{key}.term"))
                .count(),
            1
        );
        standby.signal(Signal::SIGTERM);
    }
    eventually(LIMIT, || etcd.keys("/e").is_empty());
}
