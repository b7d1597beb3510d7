//! The promise, checked on a model: two candidates, etcd, its administrators and the clocks, in every order
//! in which anything can happen.
//!
//! The model has no bound on faults and none on time. What may go wrong at any instant and as often as one
//! likes: a supervisor is frozen, stuck, cut off or killed, or its host lost; a request is applied late or never,
//! an answer comes late or never; etcd or a person revokes a lease or deletes a candidate key; the command
//! ignores the stop signal, ends, or leaves descendants. For how long is a matter of ticks, and ages that are past
//! mattering are equal, so the states are finitely many and all of them are visited.
//!
//! Not modelled are the timeline (`timing::Timeline`), the fence (`guardian::fence::Fence`) and from when on a record
//! that was first seen at some instant is free (`election::Record::free_at`): they are the product's own code,
//! called with ticks turned into instants ([`model::time`]). All else is written down from the design, also which
//! version of the record a candidate has seen and since when, which the product's `election::take_over` keeps: what
//! can happen in [`model::steps`], what comes of it in [`model::effects`].
//!
//! Each rule of the design's sections 3 to 5 that the model knows is left out once, and then a promise is broken:
//! exclusion, or, where a rule serves something else, that; and then exclusion is seen to hold without
//! it. To read how it comes about:
//!
//! ```text
//! cargo test --test model -- --nocapture without::
//! ```
//!
//! A keepalive is always acknowledged, since a stalled member may do that whatever has become of the lease; only
//! the client that trusts leases makes a difference between members. A guardian is late by less than a tick.
//!
//! Left out are whatever happens between guardian and command (`tests/rules_can_fail.rs` does that with real
//! processes), a record deleted by hand and the longer wait after a record has vanished, detached keys,
//! `--min-hold`, more than two candidates, and more than one abandoned request of each at a time. A
//! leaderrun whose predecessor in its place has left a key behind joins the queue when that is gone, instead of
//! standing behind it.

mod model {
    pub mod effects;
    pub mod promises;
    pub mod rules;
    pub mod state;
    pub mod steps;
    pub mod story;
    pub mod time;
}

use std::time::Instant;

use model::rules::{Promise, Rule, Setting};
use model::state::State;
use model::steps::{Election, Step};
use model::story;
use model::time::Ticks;
use stateright::{Checker, HasDiscoveries, Model, Path};

const ALL: [Promise; 6] = [
    Promise::Exclusion,
    Promise::Order,
    Promise::Finality,
    Promise::Patience,
    Promise::SomebodyCanLead,
    Promise::PromptTakeOver,
];

/// A promise that is broken, and the shortest way there.
type Violation = (Promise, Path<State, Step>);

/// Looks at every state, nearest first, until one breaks a promise. How many they were, and that one.
fn explore(model: Election) -> (usize, Option<Violation>) {
    let promises = model.promises.clone();
    // With a second thread the first violation found may be another each time.
    let checker = model.checker().threads(1);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let broken = |promise: Promise| Some((promise, checker.discovery(promise.name())?));
    let violation = promises.into_iter().find_map(broken);
    (checker.unique_state_count(), violation)
}

#[track_caller]
fn holds(setting: Setting, ticks: Ticks, without: Option<Rule>, promises: &[Promise]) {
    let began = Instant::now();
    let model = |ticks| Election {
        setting,
        without,
        promises: promises.to_vec(),
        ticks,
    };
    let ttl = ticks.ttl;
    let (states, violation) = explore(model(ticks));
    if let Some((promise, path)) = violation {
        let story = story::tell(setting, path, promise).join("\n");
        panic!("{}, {setting:?}:\n{story}", promise.name());
    }
    let rules = without.map_or("with every rule".into(), |rule| format!("without {rule:?}"));
    let names: Vec<&str> = promises.iter().map(|promise| promise.name()).collect();
    println!(
        "{setting:?}, a TTL of {ttl} ticks, {rules}: {states} states in {:.1?}: {}",
        began.elapsed(),
        names.join(", ")
    );
}

/// Without a rule, or with one that is asked too much, a promise is broken. Tells how.
#[track_caller]
fn breaks(setting: Setting, without: Option<Rule>, promise: Promise) {
    let (_, violation) = explore(Election {
        setting,
        without,
        promises: vec![promise],
        ticks: Ticks::few(),
    });
    let rules = without.map_or("With every rule".into(), |rule| format!("Without {rule:?}"));
    let Some((broken, path)) = violation else {
        panic!(
            "{rules}, {setting:?}: {} holds all the same",
            promise.name()
        );
    };
    assert_eq!(broken, promise);
    let story = story::tell(setting, path, promise);
    println!(
        "{rules}, {setting:?}, {} lines:\n{}\n",
        story.len(),
        story.join("\n")
    );
}

/// Exclusion does not need the rule.
#[track_caller]
fn is_safe(setting: Setting, without: Rule) {
    holds(setting, Ticks::few(), Some(without), &[Promise::Exclusion]);
}

/// Without these there are so many states that it takes a minute or two.
const LONG: [Rule; 2] = [Rule::KeyCompared, Rule::Queue];

#[test]
fn exclusion_holds_without_a_comparison_with_the_key_many_times() {
    is_safe(Setting::OneHost, Rule::KeyCompared);
}

#[test]
fn exclusion_holds_without_a_queue_many_times() {
    is_safe(Setting::OneHost, Rule::Queue);
}

mod the_promise_holds {
    use super::*;

    #[test]
    fn on_one_host() {
        holds(Setting::OneHost, Ticks::few(), None, &ALL);
    }

    #[test]
    fn on_two_hosts() {
        holds(Setting::TwoHosts, Ticks::few(), None, &ALL);
    }

    #[test]
    fn by_clocks_that_drift_within_the_margin() {
        holds(Setting::Drifting, Ticks::wide_margin(), None, &ALL);
    }

    #[test]
    fn over_a_tree_that_withstands_sigkill() {
        holds(Setting::Withstanding, Ticks::few(), None, &ALL);
    }

    #[test]
    fn beside_a_client_that_trusts_leases() {
        let safe = [Promise::Exclusion, Promise::Finality];
        holds(Setting::Foreign, Ticks::few(), None, &safe);
    }

    #[test]
    fn with_more_time_between_the_instants() {
        holds(Setting::TwoHosts, Ticks::more(), None, &ALL);
    }
}

/// The assumption that there is about clocks is needed.
#[test]
fn it_does_not_hold_by_clocks_that_drift_by_more_than_the_margin() {
    breaks(Setting::Drifting, None, Promise::Exclusion);
}

macro_rules! without {
    ($($name:ident: $rule:ident, $setting:ident => $promise:ident;)*) => {
        mod without {
            use super::*;

            $(
                #[test]
                fn $name() {
                    breaks(Setting::$setting, Some(Rule::$rule), Promise::$promise);
                    if Promise::$promise != Promise::Exclusion && !LONG.contains(&Rule::$rule) {
                        is_safe(Setting::$setting, Rule::$rule);
                    }
                }
            )*
        }
    };
}

without! {
    // The timeline.
    sent_instant: SentInstant, OneHost => Exclusion;
    margin: Margin, OneHost => Exclusion;
    fence: Fence, OneHost => Exclusion;
    start_refused: StartRefused, OneHost => Exclusion;
    no_rescue: NoRescue, OneHost => Finality;
    planned_stop: PlannedStop, OneHost => Patience;
    // The record, and what confirms a renewal.
    record: Record, OneHost => Exclusion;
    key_compared: KeyCompared, OneHost => Order;
    record_compared: RecordCompared, OneHost => Exclusion;
    own_record_found: OwnRecordFound, OneHost => PromptTakeOver;
    confirmation: Confirmation, OneHost => Exclusion;
    same_raft_term: SameRaftTerm, Foreign => Exclusion;
    // The take-over.
    take_over_wait: TakeOverWait, OneHost => Exclusion;
    present_version: PresentVersion, TwoHosts => Exclusion;
    own_boot: OwnBoot, TwoHosts => Exclusion;
    runs_out: RunsOut, OneHost => SomebodyCanLead;
    // The end of a term.
    release_order: ReleaseOrder, OneHost => Exclusion;
    sweep: Sweep, OneHost => Exclusion;
    own_record_removed: OwnRecordRemoved, OneHost => Exclusion;
    hold_while_alive: HoldWhileAlive, Withstanding => Exclusion;
    orphan_release: OrphanRelease, OneHost => PromptTakeOver;
    // The queue.
    queue: Queue, OneHost => Order;
    rejoin: Rejoin, OneHost => SomebodyCanLead;
    key_watch: KeyWatch, OneHost => PromptTakeOver;
}
