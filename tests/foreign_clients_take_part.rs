//! `etcdctl elect` and `etcdctl lock`, which are Go's `clientv3/concurrency`, stand in one queue
//! with leaderrun.

mod support;

use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Life, Running, Signal, assert_no_overlap, eventually,
    is_alive, require_etcd,
};

/// `etcdctl lock KEY COMMAND`, once it stands in the queue as the `n`-th.
fn lock(etcd: &Etcd, life: &Life, n: usize) -> Running {
    let argv = life.argv();
    let words = argv.iter().map(|word| word.to_str().expect("UTF-8"));
    let arguments: Vec<&str> = ["lock", KEY].into_iter().chain(words).collect();
    let lock = etcd.spawn_etcdctl(&arguments);
    wait_for_length(etcd, n);
    lock
}

/// `etcdctl elect KEY PROPOSAL`, once it stands in the queue as the `n`-th.
fn elect(etcd: &Etcd, proposal: &str, n: usize) -> Running {
    let elect = etcd.spawn_etcdctl(&["elect", KEY, proposal]);
    wait_for_length(etcd, n);
    elect
}

/// A leaderrun, once it stands in the queue as the `n`-th.
fn leaderrun(etcd: &Etcd, id: &str, life: Life, n: usize) -> Running {
    let candidate = Candidate::new(etcd).id(id).life(life).spawn();
    wait_for_length(etcd, n);
    candidate
}

fn wait_for_length(etcd: &Etcd, n: usize) {
    eventually(LIMIT, || etcd.keys(&format!("{KEY}/")).len() == n);
}

/// Elected, `etcdctl elect` prints its key and its proposal.
fn has_won(elect: &Running, proposal: &str) -> bool {
    elect.stdout().lines().any(|line| line == proposal)
}

#[test]
fn leaderrun_waits_behind_a_lock_and_starts_when_it_ends() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let beat = Beat::new();
    let lock = lock(&etcd, &beat.life().exits(0, Duration::from_secs(3)), 1);
    let locked = beat.wait_tokens(1);
    let standby = leaderrun(&etcd, "standby", beat.life(), 2);
    let waiting = standby.wait_event("waiting");
    assert_eq!(
        (&waiting["reason"], &waiting["ahead"]),
        (&"queue".into(), &1.into())
    );
    let token = standby.wait_elected();
    beat.wait_stamp(token, "start");
    assert!(lock.wait().success());
    assert_eq!(assert_no_overlap(&beat), [locked, token]);
    // The lock's last word came before ours.
    beat.wait_stamp(locked, "end");
}

#[test]
fn leaderrun_waits_behind_an_election_and_starts_when_it_resigns() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let beat = Beat::new();
    let foreigner = elect(&etcd, "foreigner", 1);
    eventually(LIMIT, || has_won(&foreigner, "foreigner"));
    let standby = leaderrun(&etcd, "standby", beat.life(), 2);
    assert_eq!(standby.wait_event("waiting")["leader"], "foreigner");
    assert!(standby.events_named("elected").is_empty());
    foreigner.signal(Signal::SIGINT);
    let token = standby.wait_elected();
    beat.wait_stamp(token, "start");
    foreigner.wait();
}

#[test]
fn leaderrun_waits_for_a_foreign_lease_to_expire() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let lock = etcd.spawn_etcdctl(&["lock", "--ttl=2", KEY, "sleep", "600"]);
    wait_for_length(&etcd, 1);
    let standby = leaderrun(&etcd, "standby", Beat::new().life(), 2);
    standby.wait_event("waiting");
    lock.signal(Signal::SIGKILL);
    standby.wait_elected();
}

#[test]
fn a_lock_waits_behind_leaderrun_until_its_tree_is_empty() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let beat = Beat::new();
    let leader = leaderrun(&etcd, "leader", beat.life().with_daemon(), 1);
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let _lock = lock(&etcd, &beat.life(), 2);
    leader.signal(Signal::SIGTERM);
    let locked = beat.wait_tokens(2);
    leader.wait_gone();
    assert_eq!(assert_no_overlap(&beat), [token, locked]);
}

#[test]
fn an_election_waits_behind_leaderrun() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let beat = Beat::new();
    let leader = leaderrun(&etcd, "leader", beat.life(), 1);
    let command = leader.command_pid();
    let foreigner = elect(&etcd, "foreigner", 2);
    assert!(!has_won(&foreigner, "foreigner"));
    leader.signal(Signal::SIGTERM);
    eventually(LIMIT, || has_won(&foreigner, "foreigner"));
    assert!(!is_alive(command));
}

#[test]
fn a_mixed_queue_keeps_its_order() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let beat = Beat::new();
    let first = leaderrun(&etcd, "first", beat.life(), 1);
    let token = first.wait_elected();
    beat.wait_stamp(token, "start");
    let second = lock(&etcd, &beat.life().exits(0, Duration::from_millis(300)), 2);
    let third = leaderrun(&etcd, "third", beat.life(), 3);
    let fourth = elect(&etcd, "fourth", 4);
    let fifth = leaderrun(&etcd, "fifth", beat.life(), 5);
    assert_eq!(third.wait_event("waiting")["ahead"], 2);
    assert_eq!(fifth.wait_event("waiting")["ahead"], 4);
    let order: Vec<u64> = etcd
        .entries_under(&format!("{KEY}/"))
        .into_iter()
        .map(|e| e.create_revision)
        .collect();

    first.signal(Signal::SIGTERM);
    // Not its create revision: etcdctl gives its command the revision at which the wait ended.
    let locked = beat.wait_tokens(2);
    assert!(!order.contains(&locked));
    assert!(second.wait().success());
    assert_eq!(third.wait_elected(), order[2]);
    beat.wait_stamp(order[2], "start");
    assert!(!has_won(&fourth, "fourth"));
    third.signal(Signal::SIGTERM);
    eventually(LIMIT, || has_won(&fourth, "fourth"));
    assert!(fifth.events_named("elected").is_empty());
    third.wait_gone();
    fourth.signal(Signal::SIGINT);
    assert_eq!(fifth.wait_elected(), order[4]);
    beat.wait_stamp(order[4], "start");
    first.wait_gone();
    let tokens = [order[0], locked, order[2], order[4]];
    assert_eq!(assert_no_overlap(&beat), tokens);
}
