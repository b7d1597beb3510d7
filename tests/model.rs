//! The promise, checked on a model: two candidates, etcd, its administrators and the clocks, in every order
//! in which anything can happen.
//!
//! The model has no bound on faults and none on time. What may go wrong at any instant and as often as one
//! likes: a supervisor is frozen, stuck, cut off or killed, or its host lost; a request is applied late or never,
//! an answer comes late or never; etcd or a person revokes a lease or deletes a candidate key; the command
//! ignores the stop signal, ends, or leaves descendants. For how long is a matter of ticks, and ages that are past
//! mattering are equal, so the states are finitely many and all of them are visited.
//!
//! Timeline, fence and take-over rule are not modelled: they are the product's own code, called with ticks
//! turned into instants ([`model::time`]). The rest is written down from the design: what can happen in
//! [`model::steps`], what comes of it in [`model::effects`].
//!
//! Each rule of the design's sections 3 to 5 that the model knows is left out once, and then a promise is broken:
//! exclusion, or, where a rule serves something else, that; and then exclusion is seen to hold without
//! it. To read how it comes about:
//!
//! ```text
//! cargo test --test model -- --nocapture without::
//! ```
//!
//! Left out are whatever happens *between* guardian and command (`tests/rules_can_fail.rs` does that with real
//! processes), a record deleted by hand, detached keys, `--min-hold`, more than two candidates, and more
//! than one abandoned request of each at a time. A guardian is late by less than the margin; that, and no
//! drift, is what the margin is used up by. A leaderrun whose predecessor in its place has left a key behind
//! joins the queue when that is gone, instead of standing behind it.

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

#[track_caller]
fn breaks(rule: Rule, setting: Setting, promise: Promise) {
    let (_, violation) = explore(Election {
        setting,
        without: Some(rule),
        promises: vec![promise],
        ticks: Ticks::few(),
    });
    let Some((broken, path)) = violation else {
        panic!("without {rule:?}: {} holds all the same", promise.name());
    };
    assert_eq!(broken, promise);
    let story = story::tell(setting, path, promise);
    println!(
        "Without {rule:?} ({setting:?}), {} steps:\n{}\n",
        story.len() - 1,
        story.join("\n")
    );
    match rule {
        // There are over a million states then, which takes a minute. Exclusion held in all of them.
        Rule::KeyCompared | Rule::Queue => {}
        _ if promise == Promise::Exclusion => {}
        _ => holds(setting, Ticks::few(), Some(rule), &[Promise::Exclusion]),
    }
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

macro_rules! without {
    ($($name:ident: $rule:ident, $setting:ident => $promise:ident;)*) => {
        mod without {
            use super::*;

            $(
                #[test]
                fn $name() {
                    breaks(Rule::$rule, Setting::$setting, Promise::$promise);
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
