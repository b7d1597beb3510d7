//! `etcdctl del --prefix KEY` removes the candidates and the term record at once. Nothing in etcd
//! says then that a command is running; whoever saw the record before has to remember it. The same goes for an
//! etcd that has lost its data.

mod support;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Running, Signal, assert_no_overlap, eventually, is_alive,
    require_etcd,
};

/// Leads with a command that ignores the stop signal, so that it lives for as long as it may.
fn leader(etcd: &Etcd, beat: &Beat) -> (Running, u64) {
    let leader = Candidate::new(etcd).id("leader").ttl("6s");
    let leader = leader.life(beat.life().ignores_term()).spawn();
    let token = beat.wait_tokens(1);
    (leader, token)
}

fn follower(etcd: &Etcd, beat: &Beat, id: &str) -> Running {
    let follower = Candidate::new(etcd).id(id).ttl("6s");
    follower.life(beat.life()).spawn()
}

fn delete_everything(etcd: &Etcd) {
    let deleted = etcd.etcdctl(&["del", "--prefix", KEY]);
    assert!(
        deleted.trim().parse::<u32>().is_ok_and(|n| n >= 2),
        "{deleted}"
    );
}

#[test]
fn a_standby_outlasts_the_command_of_the_leader() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let beat = Beat::new();
    let (leader, token) = leader(&etcd, &beat);
    let standby = follower(&etcd, &beat, "standby");
    standby.wait_event("waiting");
    delete_everything(&etcd);
    assert_eq!(leader.wait_event("stopping")["reason"], "key-lost");
    beat.wait_tokens(2);
    assert_eq!(leader.wait().code(), Some(75));
    assert_eq!(assert_no_overlap(&beat)[0], token);
}

#[test]
fn a_standby_outlasts_the_command_of_a_leader_that_is_frozen() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let beat = Beat::new();
    let (leader, token) = leader(&etcd, &beat);
    let standby = follower(&etcd, &beat, "standby");
    standby.wait_event("waiting");
    let command = leader.command_pid();
    leader.signal(Signal::SIGSTOP);
    delete_everything(&etcd);
    // Nobody writes the record anew; the guardian kills at the deadline.
    beat.wait_tokens(2);
    eventually(LIMIT, || !is_alive(command));
    assert_eq!(assert_no_overlap(&beat)[0], token);
}

#[test]
fn a_standby_outlasts_the_command_when_etcd_has_lost_its_data() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // So that tokens are larger than an empty etcd gives.
    for n in 0..20 {
        etcd.put("other", &n.to_string());
    }
    let beat = Beat::new();
    let (leader, token) = leader(&etcd, &beat);
    let standby = follower(&etcd, &beat, "standby");
    standby.wait_event("waiting");
    let command = leader.command_pid();
    leader.signal(Signal::SIGSTOP);
    etcd.kill();
    etcd.member(0).restart_empty();
    let warning = eventually(LIMIT, || {
        standby.events_named("warning").into_iter().find(|w| {
            w["message"]
                .as_str()
                .is_some_and(|m| m.contains("history has gone back"))
        })
    });
    println!("{warning}");
    let another = beat.wait_tokens(2);
    eventually(LIMIT, || !is_alive(command));
    assert_eq!(assert_no_overlap(&beat)[0], token);
    assert!(
        another < token,
        "or this test shows nothing: {token} {another}"
    );
}

#[test]
fn a_newcomer_finds_the_record_written_anew() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let beat = Beat::new();
    let (leader, token) = leader(&etcd, &beat);
    delete_everything(&etcd);
    let record = eventually(LIMIT, || etcd.get(&format!("{KEY}.term")));
    assert!(record.contains(&format!("\"token\":{token},")), "{record}");
    let newcomer = follower(&etcd, &beat, "newcomer");
    assert_eq!(newcomer.wait_event("waiting")["reason"], "record");
    beat.wait_tokens(2);
    assert_eq!(leader.wait().code(), Some(75));
    assert_eq!(assert_no_overlap(&beat)[0], token);
    // The end of the first took away nothing of the second.
    let record = etcd.get(&format!("{KEY}.term")).expect("a term runs");
    assert!(!record.contains(&format!("\"token\":{token},")), "{record}");
}
