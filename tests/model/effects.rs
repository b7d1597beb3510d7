//! What comes of a step.

use leaderrun::guardian::fence::Due;

use super::rules::{Rule, Setting};
use super::state::{
    Candidate, Flight, Key, Phase, Record, Run, Seen, Sent, State, Tree, Version, Who,
};
use super::steps::{Act, Election, Step};

impl Election {
    /// What comes of a step that can be taken.
    pub fn after(&self, before: &State, step: Step) -> State {
        let mut state = before.clone();
        match step {
            Step::Tick => self.tick(&mut state),
            Step::By(who, act) => self.act(&mut state, who, act),
        }
        self.tidy(&mut state);
        state
    }

    fn act(&self, state: &mut State, who: Who, act: Act) {
        match act {
            Act::LoseKey => state[who].key = None,
            Act::Apply => {
                if let Some(mut flight) = state[who].flight {
                    flight.written = Some(self.write(state, who, flight.sent));
                    state[who].flight = Some(flight);
                }
            }
            Act::ApplyLate => {
                if let Some(sent) = state[who].late.take() {
                    self.write(state, who, sent);
                }
            }
            Act::Join => join(state, who),
            Act::Gain => {
                if let Some(seen) = &mut state[who].seen {
                    (seen.first, seen.gained) = (self.ticks.ttl.min(seen.first + 1), true);
                }
            }
            Act::KeepAlive => state[who].key = Some(Key { renewed: 0 }),
            Act::Look => {
                let first = match state[who].seen {
                    Some(seen) if !self.keeps(Rule::PresentVersion) => seen.first,
                    _ => 0,
                };
                state[who].seen = Some(Seen {
                    first,
                    present: true,
                    gained: false,
                });
            }
            Act::Adopt => state[who].phase = Phase::Leading,
            Act::Send { stalled } => send(state, who, stalled),
            Act::TakeAnswer => self.take_answer(state, who),
            Act::GiveUp => abandon_flight(&mut state[who]),
            Act::Forget => state[who].flight = None,
            Act::AskToStop => {
                if let Some(run) = &mut state[who].run {
                    run.stopping = true;
                }
            }
            Act::Notice => self.lose(state, who),
            Act::Hold => {
                if let Some(record) = &mut state.record {
                    record.sent = 0;
                }
                record_changed(state);
            }
            Act::Release => self.release(state, who),
            Act::FailToRelease => state[who].phase = Phase::Out,
            Act::Die => {
                let c = &mut state[who];
                abandon_flight(c);
                (c.phase, c.seen) = (Phase::Orphan, None);
                if let Some(run) = &mut c.run {
                    begin_fencing(run);
                }
            }
            Act::ObeyTheClock => self.obey_the_clock(state, who),
            Act::KillInVain => {
                if let Some(run) = &mut state[who].run {
                    if run.deadline <= 0 {
                        begin_fencing(run);
                    }
                    run.withstands = true;
                }
            }
            Act::MainExits => {
                let c = &mut state[who];
                c.tree = Tree::Left;
                if !self.keeps(Rule::Sweep) {
                    tree_is_empty(c);
                } else if let Some(run) = &mut c.run
                    && run.fenced.is_none()
                {
                    (run.left, run.stopping) = (Some(0), false);
                }
            }
            Act::AllExit if self.is_foreign(who) => {
                let c = &mut state[who];
                (c.phase, c.key, c.tree) = (Phase::Out, None, Tree::Empty);
            }
            Act::AllExit => {
                let c = &mut state[who];
                c.tree = Tree::Empty;
                tree_is_empty(c);
            }
            Act::StartForeign => {
                (state[who].phase, state[who].tree) = (Phase::Leading, Tree::Whole);
            }
        }
    }

    /// Whether the comparisons of a transaction would succeed now.
    fn compares(&self, state: &State, who: Who, sent: Sent) -> bool {
        let key = state[who].key.is_some() || !self.keeps(Rule::KeyCompared);
        let version = match sent.expects {
            Version::Absent => state.record.is_none(),
            Version::Present => state.record.is_some(),
            Version::Outdated => false,
        };
        key && (version || !self.keeps(Rule::RecordCompared) || !self.keeps(Rule::Record))
    }

    /// etcd carries out a transaction that writes the record.
    fn write(&self, state: &mut State, who: Who, sent: Sent) -> bool {
        let succeeds = self.compares(state, who, sent);
        if succeeds && self.keeps(Rule::Record) {
            state.record = Some(Record {
                owner: who,
                current: true,
                sent: sent.ago,
            });
            record_changed(state);
        }
        succeeds
    }

    fn take_answer(&self, state: &mut State, who: Who) {
        let Some(flight) = state[who].flight.take() else {
            return;
        };
        let written = flight.written == Some(true);
        match state[who].phase {
            Phase::Standby if written => {
                (state[who].phase, state[who].seen) = (Phase::Leading, None);
                self.confirm(state, who, flight.sent);
            }
            Phase::Leading if written || !self.keeps(Rule::Confirmation) => {
                self.confirm(state, who, flight.sent);
            }
            Phase::Leading => {
                let recorded = state.record_is_of(who) || !self.keeps(Rule::Record);
                if !(recorded && state[who].key.is_some()) {
                    self.lose(state, who);
                }
            }
            Phase::Standby | Phase::Out | Phase::Lost | Phase::Ending | Phase::Orphan => {}
        }
    }

    fn confirm(&self, state: &mut State, who: Who, sent: Sent) {
        if sent.stalled && self.keeps(Rule::SameRaftTerm) {
            return;
        }
        let earned = self.earned(who, sent.ago);
        if let Some(run) = &mut state[who].run {
            self.extend(who, run, earned);
            return;
        }
        let run = Run {
            deadline: earned,
            stopping: false,
            left: None,
            fenced: None,
            told: None,
            withstands: false,
        };
        if self.may_start(who, run) {
            (state[who].run, state[who].tree) = (Some(run), Tree::Whole);
            state.misordered |= state[who].outranked;
            if state.older == who.other() {
                state[who.other()].outranked = true;
            }
        }
    }

    /// The leadership is known to be lost.
    fn lose(&self, state: &mut State, who: Who) {
        if !self.keeps(Rule::KeyWatch) {
            return;
        }
        let c = &mut state[who];
        abandon_flight(c);
        if let Some(run) = &mut c.run {
            begin_fencing(run);
            c.phase = Phase::Lost;
        } else {
            (c.phase, c.key) = (Phase::Standby, None);
        }
    }

    fn release(&self, state: &mut State, who: Who) {
        state[who].key = None;
        if state.record_is_of(who) || !self.keeps(Rule::OwnRecordRemoved) {
            state.record = None;
            record_changed(state);
        }
        let c = &mut state[who];
        c.phase = match c.phase {
            Phase::Standby => Phase::Standby,
            Phase::Ending | Phase::Orphan => Phase::Out,
            // With the rule of the release's order left out.
            Phase::Leading | Phase::Lost => Phase::Lost,
            Phase::Out => unreachable!("nothing is left to release"),
        };
    }

    fn obey_the_clock(&self, state: &mut State, who: Who) {
        let c = &mut state[who];
        let Some(run) = &mut c.run else { return };
        match self.due(who, *run) {
            Due::Nothing => {}
            Due::Stop => begin_fencing(run),
            Due::Kill => {
                c.tree = Tree::Empty;
                tree_is_empty(c);
            }
        }
    }

    fn tick(&self, state: &mut State) {
        let (ttl, grace) = (self.ticks.ttl, self.ticks.grace);
        if let Some(record) = &mut state.record {
            record.sent = ttl.min(record.sent + 1);
        }
        for who in Who::BOTH {
            let c = &mut state[who];
            let sent = [c.flight.as_mut().map(|f| &mut f.sent), c.late.as_mut()];
            for sent in sent.into_iter().flatten() {
                sent.ago = ttl.min(sent.ago + 1);
            }
            if let Some(seen) = &mut c.seen {
                seen.first = ttl.min(seen.first + 1);
            }
            if let Some(key) = &mut c.key {
                key.renewed = ttl.min(key.renewed + 1);
            }
            if let Some(run) = &mut c.run {
                run.deadline = (run.deadline - 1).max(-1);
                for since in [&mut run.left, &mut run.fenced, &mut run.told] {
                    *since = since.map(|age| (grace + 1).min(age + 1));
                }
            }
        }
    }

    /// Makes states equal that differ only in what can have no effect any more.
    fn tidy(&self, state: &mut State) {
        for who in Who::BOTH {
            let doomed = |sent: &Sent| {
                let key_gone = state[who].key.is_none() && self.keeps(Rule::KeyCompared);
                key_gone || sent.expects == Version::Outdated && self.keeps(Rule::RecordCompared)
            };
            let late = state[who].late.filter(|sent| !doomed(sent));
            let mut flight = state[who].flight;
            if let Some(f) = &mut flight {
                if f.written.is_none() && doomed(&f.sent) {
                    f.written = Some(false);
                }
                if f.written.is_some() {
                    f.sent.expects = Version::Outdated;
                }
                if f.written == Some(false) && self.keeps(Rule::Confirmation) {
                    (f.sent.ago, f.sent.stalled) = (0, false);
                }
            }
            let record = state.record.is_some();
            let c = &mut state[who];
            (c.late, c.flight) = (late, flight);
            c.seen = c.seen.filter(|_| record && c.phase == Phase::Standby);
            if let Some(seen) = &mut c.seen
                && !seen.present
                && self.keeps(Rule::PresentVersion)
            {
                c.seen = None;
            }
            if !matches!(c.phase, Phase::Standby | Phase::Leading) {
                c.outranked = false;
            }
            if let Some(key) = &mut c.key
                && self.setting != Setting::Foreign
            {
                key.renewed = 0;
            }
        }
        for who in Who::BOTH {
            if state[who].phase == Phase::Out && state[who].key.is_none() {
                state.older = who.other();
            }
        }
    }
}

/// A new candidacy, at the queue's tail.
fn join(state: &mut State, who: Who) {
    if let Some(record) = &mut state.record
        && record.owner == who
    {
        record.current = false;
    }
    state.older = who.other();
    let c = &mut state[who];
    (c.phase, c.key) = (Phase::Standby, Some(Key { renewed: 0 }));
    (c.outranked, c.flight, c.late) = (false, None, None);
}

/// No version that was seen before is the present one.
fn record_changed(state: &mut State) {
    for who in Who::BOTH {
        let c = &mut state[who];
        let sent = [c.flight.as_mut().map(|f| &mut f.sent), c.late.as_mut()];
        for sent in sent.into_iter().flatten() {
            if sent.expects == Version::Present {
                sent.expects = Version::Outdated;
            }
        }
        if let Some(seen) = &mut c.seen {
            seen.present = false;
        }
    }
}

/// Sends a keepalive, which is acknowledged at once, and the transaction.
fn send(state: &mut State, who: Who, stalled: bool) {
    let expects = match &state.record {
        None => Version::Absent,
        Some(_) if state[who].phase == Phase::Standby || state.record_is_of(who) => {
            Version::Present
        }
        Some(_) => Version::Outdated,
    };
    let c = &mut state[who];
    if let Some(key) = &mut c.key
        && !stalled
    {
        key.renewed = 0;
    }
    let sent = Sent {
        ago: 0,
        expects,
        stalled,
    };
    let written = None;
    c.flight = Some(Flight { sent, written });
}

/// What etcd has not carried out yet may still be carried out.
fn abandon_flight(c: &mut Candidate) {
    if let Some(flight) = c.flight.take()
        && flight.written.is_none()
    {
        c.late = Some(flight.sent);
    }
}

fn begin_fencing(run: &mut Run) {
    run.stopping = false;
    run.fenced.get_or_insert(0);
    run.told.get_or_insert(0);
}

/// The guardian takes the tree for empty.
fn tree_is_empty(c: &mut Candidate) {
    abandon_flight(c);
    c.run = None;
    if matches!(c.phase, Phase::Leading | Phase::Lost) {
        c.phase = Phase::Ending;
    }
}
