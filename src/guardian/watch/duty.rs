//! What the guardian owes its supervisor, and when it is to be given up.

use std::collections::HashSet;
use std::time::Duration;

use nix::unistd::Pid;

use crate::clock::BootInstant;
use crate::guardian::message::FromGuardian;
use crate::timing::{Deadline, Timeline};

/// What the guardian owes us.
#[derive(Debug, Default)]
pub(super) struct Duty {
    /// Since when it has been asked to end, if it has.
    pub dismissed: Option<BootInstant>,
    /// The term that runs, if one does.
    term: Option<Owed>,
    /// Children that are none of the command's: `helper & exec leaderrun` left them to us.
    pub spared: HashSet<Pid>,
}

#[derive(Debug)]
struct Owed {
    timeline: Timeline,
    /// The latest deadline that it was told.
    told: Deadline,
    /// Since when that has been unacknowledged, if it is.
    unanswered_since: Option<BootInstant>,
    /// Whether the guardian has begun to stop the command, so that its stop instant is met.
    stopping: bool,
}

impl Duty {
    /// Nothing is owed yet.
    pub fn sparing(spared: HashSet<Pid>) -> Self {
        Self {
            spared,
            ..Self::default()
        }
    }

    /// The guardian has been ordered to start a command.
    pub fn begin(&mut self, timeline: Timeline, deadline: Deadline) {
        self.term = Some(Owed {
            timeline,
            told: deadline,
            unanswered_since: Some(BootInstant::now()),
            stopping: false,
        });
    }

    /// It has been told of a renewal.
    pub fn extend(&mut self, deadline: Deadline) {
        if let Some(owed) = &mut self.term {
            owed.told = owed.told.max(deadline);
            owed.unanswered_since.get_or_insert_with(BootInstant::now);
        }
    }

    /// Takes note of what the guardian has said.
    pub fn note(&mut self, message: &FromGuardian) {
        let Some(owed) = &mut self.term else { return };
        match message {
            FromGuardian::Acknowledged(deadline) => {
                if *deadline >= owed.told || owed.stopping {
                    owed.unanswered_since = None;
                }
            }
            FromGuardian::Started { .. }
            | FromGuardian::Stopped(_)
            | FromGuardian::NotStarted { at_exec: true, .. }
            | FromGuardian::Exited(_) => owed.unanswered_since = None,
            FromGuardian::Fencing { .. } | FromGuardian::Killed(_) | FromGuardian::Stuck(_) => {
                owed.stopping = true;
                owed.unanswered_since = None;
            }
            FromGuardian::Refused
            | FromGuardian::NotStarted { at_exec: false, .. }
            | FromGuardian::TreeEmpty { .. } => self.term = None,
        }
    }

    /// When the guardian is to be given up, if nothing is heard of it before.
    pub fn give_up_at(&self) -> Option<BootInstant> {
        match self.dismissed {
            Some(since) => Some(since + PATIENCE),
            None => self.term.as_ref().and_then(Owed::give_up_at),
        }
    }
}

/// An answer may take this long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1);

impl Owed {
    /// When the guardian is to be given up, if nothing is heard of it before.
    fn give_up_at(&self) -> Option<BootInstant> {
        // It should have fenced by then, by itself; what is left is the time to kill it and the tree.
        let slack = (self.timeline.grace().max(self.timeline.margin()) / 4).min(PATIENCE);
        let must_have_fenced =
            (!self.stopping).then(|| self.told.stop_at(self.timeline.grace()) + slack);
        let must_have_answered = self
            .unanswered_since
            .map(|since| since + self.timeline.interval().max(PATIENCE));
        [must_have_fenced, must_have_answered]
            .into_iter()
            .flatten()
            .min()
    }
}
