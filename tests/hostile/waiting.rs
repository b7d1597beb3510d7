//! A candidate that is lied to while it joins or waits: it leads only by a truthful answer, and then soon; it goes on
//! to an endpoint that tells the truth, and what it cannot have, it does not keep from others.

use crate::hostile::liar::{Call, Deed, Liar, Lie, truth};
use crate::hostile::lies::{self, Named};
use crate::hostile::wire::{Message, TTL};
use crate::support::{Candidate, Etcd, KEY, Running, Signal, now, require_etcd};

/// Long enough for whoever would be elected wrongly.
const A_WHILE: f64 = 1.5;

fn candidate(etcd: &Etcd, n: usize, name: &str, endpoints: String) -> Candidate {
    Candidate::new(etcd)
        .id(name)
        .key(format!("/hostile/{n}"))
        .endpoints(endpoints)
        .ttl("3s")
        .arg("-v")
}

/// Whether a panic, or anything else that is none of the log's, was said.
#[track_caller]
fn assert_sound(running: &Running) {
    assert_eq!(running.stderr(), "");
}

/// Within the time that a test waits at the most.
fn elected_soon(running: &Running) {
    running.wait_event("elected");
    running.wait_event("renewed");
    assert_sound(running);
}

/// What a lie about joining, or about being next, may not do for ever: with another endpoint it does it not at all.
fn of_joining() -> Vec<Named> {
    let empty = |call| lies::change(call, |_| Message::default());
    vec![
        ("granted for 0s", lies::grants_of(0)),
        ("granted for less than nothing", lies::grants_of(i64::MIN)),
        ("granted for ever", lies::grants_of(i64::MAX)),
        ("a grant that says nothing", empty(Call::Grant)),
        (
            "no keepalives",
            lies::change(Call::KeepAlive, |m| m.with_number(TTL, 0)),
        ),
        ("transactions that say nothing", empty(Call::Txn)),
        (
            "transactions of 100 MB",
            lies::instead(Call::Txn, |_, _| vec![Deed::Bulk(lies::BULK)]),
        ),
        ("silence", Lie::new(|_, _, _| vec![Deed::Hang])),
    ]
}

/// Renewals that go well in all, and prove nothing.
fn answered_in_vain() -> Vec<Named> {
    let names = ["a shorter TTL", "an earlier raft term", "a later raft term"];
    let lies: Vec<_> = lies::of_no_proof()
        .into_iter()
        .filter(|(name, _)| names.contains(name))
        .collect();
    assert_eq!(lies.len(), names.len());
    lies
}

#[test]
fn another_endpoint_helps() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let start = |(n, (name, lie)): (usize, Named)| {
        let liar = Liar::new(&etcd);
        liar.tell(lie);
        let both = format!("{},{}", liar.endpoint(), etcd.endpoint());
        (candidate(&etcd, n, name, both).spawn(), liar)
    };
    let revision = lies::of_no_matter().into_iter();
    let revision = revision.filter(|(name, _)| *name == "a huge revision");
    let lies = of_joining()
        .into_iter()
        .chain([("a grant of another lease", lies::grant_of_another())])
        .chain(answered_in_vain())
        .chain(revision);
    let candidates: Vec<_> = lies.enumerate().map(start).collect();
    for (candidate, _) in &candidates {
        elected_soon(candidate);
    }
}

/// A leader goes on to it as well, and keeps its term.
#[test]
fn another_endpoint_keeps_the_term() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let start = |(n, (name, lie)): (usize, Named)| {
        let liar = Liar::new(&etcd);
        let both = format!("{},{}", liar.endpoint(), etcd.endpoint());
        let leader = candidate(&etcd, n, name, both).spawn();
        leader.wait_elected();
        liar.tell(lie);
        (leader, liar)
    };
    let leaders: Vec<_> = answered_in_vain()
        .into_iter()
        .enumerate()
        .map(start)
        .collect();
    // Longer than a term lasts without a renewal.
    let end = now() + 4.0;
    for (leader, _) in &leaders {
        leader.no_event_until("stopping", end);
        leader.wait_another_event("renewed");
    }
}

/// While they are lied to they do not lead, and afterwards they do; neither keeps them busy.
fn waits_for_the_truth(lies: Vec<Named>) {
    let etcd = Etcd::start();
    let start = |(n, (name, lie)): (usize, Named)| {
        let liar = Liar::new(&etcd);
        liar.tell(lie);
        (candidate(&etcd, n, name, liar.endpoint()).spawn(), liar)
    };
    let candidates: Vec<_> = lies.into_iter().enumerate().map(start).collect();
    let (begun, end) = (now(), now() + A_WHILE);
    for (candidate, _) in &candidates {
        candidate.no_event_until("elected", end);
    }
    for (candidate, liar) in &candidates {
        assert!(candidate.try_wait().is_none(), "{:?}", candidate.events());
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let rate = liar.seen().streams as f64 / (now() - begun);
        println!("{rate:.1} requests a second");
        assert!(rate < 60.0, "{rate} {:?}", candidate.events());
        liar.tell(truth());
    }
    for (candidate, _) in &candidates {
        elected_soon(candidate);
    }
}

#[test]
fn no_lie_about_joining_is_the_end() {
    if require_etcd() {
        waits_for_the_truth(of_joining());
    }
}

/// Every second of the lies, from the `first` on: a few at a time are enough for one machine.
fn waits_for_a_proof(first: usize) {
    if require_etcd() {
        let lies = lies::of_no_proof().into_iter().skip(first).step_by(2);
        waits_for_the_truth(lies.collect());
    }
}

#[test]
fn nobody_leads_without_a_proof_1() {
    waits_for_a_proof(0);
}

#[test]
fn nobody_leads_without_a_proof_2() {
    waits_for_a_proof(1);
}

#[test]
fn a_watch_that_lies_costs_no_election() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let start = |(n, (name, lie)): (usize, Named)| {
        let leader = candidate(&etcd, n, "leader", etcd.endpoint()).spawn();
        leader.wait_elected();
        let liar = Liar::new(&etcd);
        liar.tell(lie);
        (
            leader,
            candidate(&etcd, n, name, liar.endpoint()).spawn(),
            liar,
        )
    };
    let pairs: Vec<_> = lies::of_watches()
        .into_iter()
        .enumerate()
        .map(start)
        .collect();
    let (begun, end) = (now(), now() + A_WHILE);
    for (_, standby, _) in &pairs {
        standby.wait_event("waiting");
        standby.no_event_until("elected", end);
    }
    for (leader, _, liar) in &pairs {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let rate = liar.seen().streams as f64 / (now() - begun);
        println!("{rate:.1} requests a second");
        assert!(rate < 60.0, "{rate}");
        leader.signal(Signal::SIGTERM);
    }
    for (_, standby, _) in &pairs {
        elected_soon(standby);
    }
}

fn alone_with(lie: Lie) -> (Etcd, Liar, Running) {
    let etcd = Etcd::start();
    let liar = Liar::new(&etcd);
    liar.tell(lie);
    let running = Candidate::new(&etcd)
        .endpoints(liar.endpoint())
        .ttl("3s")
        .arg("-v")
        .spawn();
    (etcd, liar, running)
}

#[test]
fn a_first_answer_of_another_cluster_is_forgotten() {
    if require_etcd() {
        let (_etcd, _liar, running) = alone_with(lies::cluster_of_first(1));
        elected_soon(&running);
    }
}

#[test]
fn keys_that_are_no_candidates_are_ignored() {
    if require_etcd() {
        let (_etcd, _liar, running) = alone_with(lies::malformed_keys(KEY));
        elected_soon(&running);
        let warning = running.wait_event("warning");
        let text = warning["message"].as_str().unwrap_or_default();
        assert!(text.contains("is not a candidate's"), "{warning}");
        assert!(!text.contains(char::is_control), "{warning}");
    }
}

#[test]
fn a_longer_ttl_is_taken_only_if_the_lease_has_it() {
    if !require_etcd() {
        return;
    }
    let (etcd, liar, running) = alone_with(lies::grants_of(5));
    // The lease is renewed for 3 s, which is no proof of 5 s.
    running.wait_event("campaigning");
    let other = Candidate::new(&etcd).id("other").ttl("3s").spawn();
    other.wait_event("waiting");
    // Who cannot lead gives its place up.
    other.wait_event("elected");
    assert!(running.events_named("elected").is_empty());
    other.signal(Signal::SIGTERM);
    liar.tell(Lie::new(|call, _, m| {
        let longer = [Call::Grant, Call::KeepAlive].contains(&call);
        vec![Deed::Say(if longer { m.with_number(TTL, 5) } else { m })]
    }));
    elected_soon(&running);
    let campaigning = running.events_named("campaigning").pop();
    assert_eq!(campaigning.expect("an event")["ttl"], 5.0);
}
