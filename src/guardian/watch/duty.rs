//! What the guardian owes its supervisor, and when it is to be given up.

use std::collections::HashSet;
use std::time::Duration;

use nix::unistd::Pid;

use crate::clock::BootInstant;
use crate::guardian::message::{FromGuardian, Step};
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

/// How far the guardian has come with the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    Nothing,
    /// The stop signal is sent.
    Stopped,
    /// SIGKILL is sent; no more can be owed.
    Killed,
}

#[derive(Debug)]
struct Owed {
    timeline: Timeline,
    /// The latest deadline that it was told.
    told: Deadline,
    /// Since when that has been unacknowledged, if it is.
    unanswered_since: Option<BootInstant>,
    /// What the fence has demanded so far that the guardian has done.
    done: Done,
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
            done: Done::Nothing,
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
                if *deadline >= owed.told || owed.done > Done::Nothing {
                    owed.unanswered_since = None;
                }
            }
            FromGuardian::Started { .. }
            | FromGuardian::Stopped(_)
            | FromGuardian::NotStarted {
                step: Step::Prepare | Step::Exec,
                ..
            }
            | FromGuardian::LeftBehind { .. }
            | FromGuardian::Exited(_) => owed.unanswered_since = None,
            FromGuardian::Fencing { .. } => {
                owed.done = owed.done.max(Done::Stopped);
                owed.unanswered_since = None;
            }
            FromGuardian::Killed(_) | FromGuardian::Stuck(_) => {
                owed.done = Done::Killed;
                owed.unanswered_since = None;
            }
            FromGuardian::Refused
            | FromGuardian::NotStarted {
                step: Step::Fork, ..
            }
            | FromGuardian::TreeEmpty { .. } => self.term = None,
        }
    }

    /// Whether a run of the command was ordered and its tree is not known to be empty.
    pub const fn is_running(&self) -> bool {
        self.term.is_some()
    }

    /// How much longer a guardian that looks overdue is listened to.
    pub fn second_look(&self) -> Duration {
        let longest = Duration::from_millis(150);
        self.term
            .as_ref()
            .map_or(longest, |owed| (owed.timeline.margin() / 4).min(longest))
    }

    /// When the guardian is to be given up, if nothing is heard of it before.
    pub fn give_up_at(&self) -> Option<BootInstant> {
        match self.dismissed {
            Some(since) => Some(since + PATIENCE),
            None => self.term.as_ref().and_then(Owed::give_up_at),
        }
    }
}

/// An answer, or an end, may take this long on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

impl Owed {
    /// When the guardian is to be given up, if nothing is heard of it before.
    fn give_up_at(&self) -> Option<BootInstant> {
        let (grace, margin) = (self.timeline.grace(), self.timeline.margin());
        // It does all of this by itself. To give it up costs the command what is left of its grace
        // period, so a machine that is only busy gets half of that to let it speak; the other half is
        // the time to kill it and the tree.
        let must_have_acted = match self.done {
            Done::Nothing => {
                let slack = (grace / 2).max(margin / 4);
                Some(self.told.stop_at(grace) + slack)
            }
            Done::Stopped => Some(self.told.0 + margin / 4),
            Done::Killed => None,
        };
        let must_have_answered = self
            .unanswered_since
            .map(|since| since + self.timeline.interval().max(PATIENCE));
        [must_have_acted, must_have_answered]
            .into_iter()
            .flatten()
            .min()
    }
}
