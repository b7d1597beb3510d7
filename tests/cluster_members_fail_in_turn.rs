//! One member of three may fail at a time, the raft leader included, without costing the term at
//! the default timeline: etcd elects a new raft leader in one to two seconds.

mod support;

use support::{Beat, Candidate, Etcd, Member, Running, Signal, assert_no_overlap, require_etcd};

/// Fails each member in turn, then whichever is the raft leader; `mended` is called while a leader
/// goes on renewing without the one that failed.
fn one_after_the_other(fail: fn(&Member), mend: fn(&Member), meanwhile: impl Fn(&Etcd, usize)) {
    let etcd = Etcd::cluster(3);
    let beat = Beat::new();
    let leader = Candidate::new(&etcd)
        .ttl("15s")
        .arg("-v")
        .life(beat.life())
        .spawn();
    let token = leader.wait_elected();
    let mut raft_leaders = 0;
    for turn in 0..4 {
        let raft_leader = etcd.leader_index();
        let victim = if turn < 3 { turn } else { raft_leader };
        raft_leaders += usize::from(victim == raft_leader);
        fail(etcd.member(victim));
        renews(&leader, 2);
        meanwhile(&etcd, victim);
        mend(etcd.member(victim));
        etcd.wait_ready();
        renews(&leader, 1);
    }
    let failed = leader.events_named("renewal-failed");
    let left = failed.iter().filter_map(|e| e["remaining"].as_f64());
    println!(
        "{raft_leaders} of 4 victims were the raft leader; {} attempts at a renewal failed, and {:?} s were left \
         before the stop signal at the worst",
        failed.len(),
        left.reduce(f64::min)
    );
    assert_eq!(
        leader.events_named("stopping"),
        Vec::<support::Value>::new()
    );
    leader.signal(Signal::SIGTERM);
    leader.wait_gone();
    assert_eq!(assert_no_overlap(&beat), [token]);
}

/// Waits for `n` further renewals.
#[track_caller]
fn renews(leader: &Running, n: usize) {
    leader.wait_nth_event("renewed", leader.events_named("renewed").len() + n);
}

#[test]
fn members_that_are_killed_and_restarted_cost_no_term() {
    if !require_etcd() {
        return;
    }
    one_after_the_other(Member::kill, Member::restart, |etcd, dead| {
        // Whoever comes now, with the dead member first, is held up a little only.
        let order = [dead, (dead + 1) % 3, (dead + 2) % 3].map(|i| etcd.member(i).endpoint());
        let newcomer = Candidate::new(etcd)
            .key("/election/newcomer")
            .endpoints(order.join(","))
            .arg("-v")
            .spawn();
        newcomer.wait_elected();
        renews(&newcomer, 1);
        newcomer.signal(Signal::SIGTERM);
        newcomer.wait_event("released");
        newcomer.wait_gone();
    });
}

#[test]
fn members_that_freeze_and_thaw_cost_no_term() {
    if !require_etcd() {
        return;
    }
    one_after_the_other(Member::stop, Member::cont, |etcd, frozen| {
        // The frozen member still accepts connections, and answers nothing.
        let order = [frozen, (frozen + 1) % 3, (frozen + 2) % 3].map(|i| etcd.member(i).endpoint());
        let newcomer = Candidate::new(etcd)
            .key("/election/newcomer")
            .endpoints(order.join(","))
            .spawn();
        newcomer.wait_elected();
        newcomer.signal(Signal::SIGTERM);
        newcomer.wait_event("released");
        newcomer.wait_gone();
    });
}
