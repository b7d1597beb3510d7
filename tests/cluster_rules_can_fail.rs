//! The tests of a cluster's failures, with the rule switched off that they are about: each has to
//! see the violation.

#![cfg(feature = "break-rules")]

mod support;

use support::isolation::Isolation;
use support::require_etcd;

#[test]
fn without_confirmation_a_raft_leader_without_a_quorum_prolongs_the_term() {
    if !require_etcd() {
        return;
    }
    let it = Isolation::of(|candidate| candidate.break_rule("confirmation"));
    println!("{it:#?}");
    assert_ne!(it.unproven(), 0);
    // Beyond the instant at which others may start.
    let [.., another] = Isolation::allowed();
    assert!(it.outlived() > another, "{}", it.outlived());
}
