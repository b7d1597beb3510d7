//! Where a run stands, for those who ask over `--listen`.

use crate::election::Term;
use crate::report::{Claim, Stage, Standing};
use crate::supervisor::Supervisor;
use crate::supervisor::state::{Run, State};
use crate::timing::Deadline;

impl Supervisor {
    /// Notes it; each note is also a sign of life.
    pub(super) fn note_standing(&self) {
        if self.options.listen.is_some() {
            self.health.note(self.standing());
        }
    }

    fn standing(&self) -> Standing {
        let stage = match &self.state {
            State::Standby if !self.campaign.stands => Stage::Connecting,
            // A term in which no command may run yet is a wait for the next renewal.
            State::Standby | State::Elected(_) => Stage::Standby,
            State::Running(run) if is_stopping(run) => Stage::Stopping(claim_of(run)),
            State::Running(run) => Stage::Leading(claim_of(run)),
            State::Holding { term, .. } => Stage::Holding(claim(term, term.deadline, false)),
            State::Releasing { .. } | State::Leaving { .. } | State::Done(_) => Stage::Leaving,
        };
        let (command, waiting) = match &self.state {
            State::Standby => (None, self.campaign.waits_for().cloned()),
            State::Running(run) => (run.command, None),
            State::Elected(_)
            | State::Holding { .. }
            | State::Releasing { .. }
            | State::Leaving { .. }
            | State::Done(_) => (None, None),
        };
        let outage = self.outage.as_ref();
        Standing {
            stage,
            command,
            waiting,
            outage: outage.map(|(outage, error)| format!("{outage}: {error}")),
        }
    }
}

fn is_stopping(run: &Run) -> bool {
    run.cause.is_some() || is_lost(run)
}

/// The guardian may not have heard of it yet.
fn is_lost(run: &Run) -> bool {
    run.lost || run.loss_told
}

fn claim_of(run: &Run) -> Claim {
    // Not the latest that was earned: an extension that comes after the stop signal rescues nobody, and only
    // the guardian knows which came first.
    claim(&run.term, run.acknowledged, is_lost(run))
}

fn claim(term: &Term, deadline: Deadline, lost: bool) -> Claim {
    Claim {
        token: term.token,
        lease: term.lease,
        since: term.since,
        timeline: term.timeline,
        deadline,
        lost,
    }
}
