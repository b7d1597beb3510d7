//! A raft leader without a quorum may go on answering keepalives that no other member will ever
//! see (etcd issue 15247). They do not count.

mod support;

use support::isolation::Isolation;
use support::require_etcd;

#[test]
fn a_renewal_that_only_an_isolated_raft_leader_has_seen_does_not_count() {
    if !require_etcd() {
        return;
    }
    let it = Isolation::of(|candidate| candidate);
    println!("{it:#?}");
    assert_eq!(it.unproven(), 0);
    assert_eq!(it.stopping["reason"], "renewal-timeout");
    assert_eq!(it.code, 75);
    // On time: the stop signal not before its instant, the last sign of life before SIGKILL's, with
    // half of the margin for a busy machine.
    let [stop, kill, another] = Isolation::allowed();
    assert!(it.stopped_after() > stop - 0.1, "{}", it.stopped_after());
    assert!(it.outlived() > kill - 1.0, "{}", it.outlived());
    assert!(
        it.outlived() < f64::midpoint(kill, another),
        "{}",
        it.outlived()
    );
}
