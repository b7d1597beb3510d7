//! The promises, each of them judged in a single state; what concerns the future, by letting it go on
//! without another fault.

use stateright::{Model, Property};

use super::rules::{Promise, Rule};
use super::state::{Phase, State, Tree, Who};
use super::steps::{Act, Election, Step};

impl Model for Election {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        self.steps(state, actions);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(self.after(state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let property = |promise: &Promise| {
            let condition: fn(&Self, &State) -> bool = match promise {
                Promise::Exclusion => |_, state| !(state.a.is_alive() && state.b.is_alive()),
                Promise::Order => |_, state| !state.misordered,
                Promise::Finality => is_final,
                Promise::Patience => |model, state| {
                    Who::BOTH
                        .into_iter()
                        .all(|who| model.may_take_its_time(state, who))
                },
                Promise::SomebodyCanLead => |model, state| {
                    let longest = 2 * model.ticks.ttl;
                    model.ticks_to_a_leader(state, longest).is_some()
                },
                Promise::PromptTakeOver => |model, state| {
                    !nobody_is_missing(state)
                        || model.ticks_to_a_leader(state, model.ticks.grace).is_some()
                },
            };
            Property::always(promise.name(), condition)
        };
        self.promises.iter().map(property).collect()
    }
}

fn is_final(model: &Election, state: &State) -> bool {
    Who::BOTH.into_iter().all(|who| {
        state[who].run.is_none_or(|run| {
            run.withstands || run.told.is_none_or(|told| told <= model.ticks.grace)
        })
    })
}

/// Whether one waits in the queue, and what is left of the other, if anything is, is still in somebody's
/// hands.
fn nobody_is_missing(state: &State) -> bool {
    let waits = |who: Who| state[who].phase == Phase::Standby && state[who].key.is_some();
    Who::BOTH.into_iter().any(|who| {
        let other = who.other();
        waits(who)
            && (waits(other) || !matches!(state[other].phase, Phase::Standby | Phase::Out))
            && (state.record.is_none() || state.record_is_of(other))
    })
}

/// Whether a command runs under a standing key, with nothing in its way.
fn leads(state: &State) -> bool {
    Who::BOTH.into_iter().any(|who| {
        let c = &state[who];
        c.key.is_some() && c.tree == Tree::Whole && c.run.is_some_and(|r| r.fenced.is_none())
    })
}

impl Election {
    /// Whether a command of this candidate that was asked to stop is left alone for as long as no fault happens.
    fn may_take_its_time(&self, state: &State, who: Who) -> bool {
        let asked = |state: &State| state[who].run.is_some_and(|run| run.stopping);
        let in_order = state[who].key.is_some() && state.record_is_of(who);
        if !asked(state) || !in_order || !self.may_sleep(state, who) {
            return true;
        }
        let mut state = state.clone();
        let mut possible = Vec::new();
        let stalled = false;
        let renewal = [Act::Send { stalled }, Act::Apply, Act::TakeAnswer];
        let awaited = [Act::Apply, Act::TakeAnswer];
        let mut turn: Vec<Step> = awaited
            .into_iter()
            .chain(renewal)
            .map(|act| Step::By(who, act))
            .collect();
        turn.push(Step::Tick);
        for _ in 0..self.ticks.ttl {
            for step in &turn {
                self.steps(&state, &mut possible);
                if possible.contains(step) {
                    state = self.after(&state, *step);
                } else if *step == Step::Tick {
                    return false;
                }
                possible.clear();
            }
        }
        asked(&state)
    }

    /// After how many ticks a command runs under a standing key with nothing in its way, if no fault happens
    /// any more; `None` if that takes longer than `longest`.
    fn ticks_to_a_leader(&self, state: &State, longest: u8) -> Option<u8> {
        if leads(state) {
            return Some(0);
        }
        let mut state = state.clone();
        // What is late is lost.
        (state.a.late, state.b.late) = (None, None);
        let mut ticks = 0;
        let mut steps = Vec::new();
        // More than a live-lock could need to show.
        for _ in 0..200 {
            self.steps(&state, &mut steps);
            let ranked = steps
                .drain(..)
                .filter_map(|step| Some((self.rank(&state, step, ticks)?, step)));
            let (_, step) = ranked.min_by_key(|(rank, _)| *rank)?;
            if step == Step::Tick {
                if ticks == longest {
                    return None;
                }
                ticks += 1;
            }
            state = self.after(&state, step);
            if leads(&state) {
                return Some(ticks);
            }
        }
        None
    }

    /// What is done first when nothing goes wrong; `None` for what is a fault, or of no use.
    fn rank(&self, state: &State, step: Step, ticks: u8) -> Option<u8> {
        let Step::By(who, act) = step else {
            return Some(20);
        };
        let c = &state[who];
        match act {
            Act::ObeyTheClock => Some(0),
            Act::Apply => Some(1),
            Act::TakeAnswer => Some(2),
            Act::Notice => Some(3),
            Act::Release => Some(4),
            Act::Adopt => Some(5),
            Act::Join => Some(6),
            Act::Look => Some(7),
            Act::KeepAlive => Some(8),
            Act::Send { stalled: false } => (c.run.is_none()).then_some(9),
            // Nobody will give it back, so the lease has to run out.
            Act::FailToRelease => {
                (!self.keeps(Rule::OrphanRelease) && c.phase == Phase::Orphan).then_some(10)
            }
            Act::LoseKey => (c.phase == Phase::Out && ticks >= self.ticks.ttl).then_some(11),
            // It is kept up, to where it matters.
            Act::Hold => c.run.is_some_and(|r| r.withstands).then_some(12),
            Act::Send { stalled: true }
            | Act::ApplyLate
            | Act::Gain
            | Act::GiveUp
            | Act::Forget
            | Act::AskToStop
            | Act::Die
            | Act::KillInVain
            | Act::MainExits
            | Act::AllExit
            | Act::StartForeign => None,
        }
    }
}
