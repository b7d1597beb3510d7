//! What can happen next.
//!
//! Nobody but the guardian ever has to do anything. A supervisor that is frozen or stuck, a network that is
//! cut, an etcd without a quorum and an answer that is late or lost are therefore all in the model, for as
//! long and as often as one likes: the step is not taken, or is taken later.

use leaderrun::guardian::fence::Due;

use super::rules::{Rule, Setting};
use super::state::{Flight, Phase, State, Tree, Who};
use super::time::Ticks;

/// The model: where it plays, and by which rules.
#[derive(Debug)]
pub struct Election {
    pub setting: Setting,
    pub without: Option<Rule>,
    pub promises: Vec<super::rules::Promise>,
    pub ticks: Ticks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time goes on.
    Tick,
    By(Who, Act),
}

/// What one candidate does, or what is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    // The clocks
    Gain,
    // etcd and its administrators
    /// The candidate key is gone, by itself or with its lease.
    LoseKey,
    Apply,
    ApplyLate,
    // The supervisor
    Join,
    KeepAlive,
    Look,
    Adopt,
    Send {
        stalled: bool,
    },
    TakeAnswer,
    GiveUp,
    /// Gives up a request that is lost, and not only late.
    Forget,
    Notice,
    AskToStop,
    Hold,
    Release,
    FailToRelease,
    Die,
    // The guardian
    ObeyTheClock,
    KillInVain,
    // The command
    MainExits,
    AllExit,
    // A foreign client
    StartForeign,
}

impl Election {
    pub fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    pub fn is_foreign(&self, who: Who) -> bool {
        self.setting == Setting::Foreign && who == Who::B
    }

    /// All that can happen.
    pub fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        if Who::BOTH.into_iter().all(|who| self.may_sleep(state, who)) {
            steps.push(Step::Tick);
        }
        for who in Who::BOTH {
            let mut acts = Vec::new();
            if self.is_foreign(who) {
                Self::foreign_acts(state, who, &mut acts);
            } else {
                self.etcd_acts(state, who, &mut acts);
                self.host_acts(state, who, &mut acts);
                self.supervisor_acts(state, who, &mut acts);
            }
            steps.extend(acts.into_iter().map(|act| Step::By(who, act)));
        }
    }

    /// Whether time may go on as far as this guardian is concerned. It is never late by a whole tick, which is
    /// the margin.
    pub fn may_sleep(&self, state: &State, who: Who) -> bool {
        let Some(run) = state[who].run else {
            return true;
        };
        match self.due(who, run) {
            Due::Nothing => true,
            Due::Stop => run.fenced.is_some(),
            // It is promised only as long as renewals succeed.
            Due::Kill => {
                let held = state.record.is_none_or(|r| r.sent == 0) || !state.record_is_of(who);
                let idle = matches!(state[who].phase, Phase::Lost | Phase::Orphan)
                    && !self.keeps(Rule::HoldWhileAlive);
                run.withstands && (held || idle)
            }
        }
    }

    fn foreign_acts(state: &State, who: Who, acts: &mut Vec<Act>) {
        match state[who].phase {
            Phase::Out => acts.push(Act::Join),
            Phase::Standby if state.is_next(who) => acts.push(Act::StartForeign),
            Phase::Leading => acts.push(Act::AllExit),
            Phase::Standby | Phase::Lost | Phase::Ending | Phase::Orphan => {}
        }
    }

    fn etcd_acts(&self, state: &State, who: Who, acts: &mut Vec<Act>) {
        let c = &state[who];
        if let Some(key) = c.key
            && (self.setting != Setting::Foreign || key.renewed >= self.ticks.ttl)
        {
            acts.push(Act::LoseKey);
        }
        if let Some(Flight { written: None, .. }) = c.flight {
            acts.push(Act::Apply);
        }
        if c.late.is_some() {
            acts.push(Act::ApplyLate);
        }
    }

    fn host_acts(&self, state: &State, who: Who, acts: &mut Vec<Act>) {
        let c = &state[who];
        match c.run.map(|run| (run, self.due(who, run))) {
            None | Some((_, Due::Nothing)) => {}
            Some((run, Due::Stop)) => {
                if run.fenced.is_none() {
                    acts.push(Act::ObeyTheClock);
                }
            }
            Some((run, Due::Kill)) => {
                acts.push(Act::ObeyTheClock);
                if self.setting == Setting::Withstanding && !run.withstands {
                    acts.push(Act::KillInVain);
                }
            }
        }
        if self.setting == Setting::Drifting
            && who == Who::B
            && c.seen.is_some_and(|seen| !seen.gained)
        {
            acts.push(Act::Gain);
        }
        match c.tree {
            Tree::Empty => {}
            Tree::Whole => acts.extend([Act::AllExit, Act::MainExits]),
            Tree::Left => acts.push(Act::AllExit),
        }
    }

    fn supervisor_acts(&self, state: &State, who: Who, acts: &mut Vec<Act>) {
        let c = &state[who];
        match c.phase {
            Phase::Out => {
                // What an earlier process has left in the queue would be before us.
                if c.key.is_none() {
                    acts.push(Act::Join);
                }
            }
            Phase::Standby => self.standby_acts(state, who, acts),
            Phase::Leading => {
                let stopping = c.run.is_some_and(|run| run.stopping);
                if c.flight.is_none() && (!stopping || self.keeps(Rule::PlannedStop)) {
                    self.send_acts(acts);
                }
                if let Some(run) = c.run
                    && !run.stopping
                    && run.fenced.or(run.left).is_none()
                {
                    acts.push(Act::AskToStop);
                }
                if c.key.is_none() && self.keeps(Rule::KeyWatch) {
                    acts.push(Act::Notice);
                }
            }
            Phase::Lost => {
                if self.would_hold(state, who) {
                    acts.push(Act::Hold);
                }
            }
            Phase::Ending => acts.extend([Act::Release, Act::FailToRelease]),
            Phase::Orphan => {
                if c.run.is_none() {
                    if self.keeps(Rule::OrphanRelease) {
                        acts.push(Act::Release);
                    }
                    acts.push(Act::FailToRelease);
                } else if self.would_hold(state, who) {
                    acts.push(Act::Hold);
                }
            }
        }
        if matches!(c.phase, Phase::Leading | Phase::Lost)
            && !self.keeps(Rule::ReleaseOrder)
            && c.run
                .is_some_and(|r| r.left.is_some() || r.fenced.is_some())
        {
            acts.push(Act::Release);
        }
        if c.flight.is_some_and(|f| f.written.is_some()) {
            acts.push(Act::TakeAnswer);
        }
        if c.flight.is_some() {
            acts.push(Act::GiveUp);
            // What would be given up instead of what was given up before.
            if c.late.is_some() {
                acts.push(Act::Forget);
            }
        }
        if !matches!(c.phase, Phase::Out | Phase::Orphan) {
            acts.push(Act::Die);
        }
    }

    fn would_hold(&self, state: &State, who: Who) -> bool {
        state.record_is_of(who)
            && state[who].is_alive()
            && self.keeps(Rule::HoldWhileAlive)
            && (state.record.is_some_and(|r| r.sent > 0)
                || state[who.other()].seen.is_some_and(|s| s.present))
    }

    fn standby_acts(&self, state: &State, who: Who, acts: &mut Vec<Act>) {
        let c = &state[who];
        if c.key.is_none() {
            // A term that was over before its command started; or nothing of it is removed.
            if state.record_is_of(who) && c.flight.is_none() {
                acts.push(Act::Release);
            }
            if self.keeps(Rule::Rejoin) && c.flight.is_none() {
                acts.push(Act::Join);
            }
            return;
        }
        if self.setting == Setting::Foreign && c.key.is_some_and(|k| k.renewed > 0) {
            acts.push(Act::KeepAlive);
        }
        if state.record_is_of(who) && self.keeps(Rule::OwnRecordFound) {
            // The answer was lost, unless it is still awaited.
            if c.flight.is_none() {
                acts.push(Act::Adopt);
            }
            return;
        }
        if state.record.is_some() && !c.seen.is_some_and(|s| s.present) {
            acts.push(Act::Look);
        }
        let next = state.is_next(who) || !self.keeps(Rule::Queue);
        if next && c.flight.is_none() && self.record_allows(state, who) {
            self.send_acts(acts);
        }
    }

    /// The take-over rule.
    fn record_allows(&self, state: &State, who: Who) -> bool {
        let Some(record) = &state.record else {
            return true;
        };
        match state[who].seen {
            _ if !self.keeps(Rule::TakeOverWait) => true,
            Some(seen) if seen.present => {
                self.keeps(Rule::RunsOut) && self.is_free(who, *record, seen.first)
            }
            Some(_) | None => false,
        }
    }

    /// A keepalive, at once acknowledged, and the transaction. Only to those who trust leases does it
    /// matter who has acknowledged it.
    fn send_acts(&self, acts: &mut Vec<Act>) {
        acts.push(Act::Send { stalled: false });
        if self.setting == Setting::Foreign {
            acts.push(Act::Send { stalled: true });
        }
    }
}
