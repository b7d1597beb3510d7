//! What supervisor and runner say to each other.

use serde::{Deserialize, Serialize};

use crate::clock::BootInstant;
use crate::sys::End;

/// From the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToRunner {
    /// Run the hook. Only when nothing runs.
    Run {
        /// What is added to its environment.
        variables: Vec<(String, String)>,
        /// When it has to be dead at the latest, where the fence says so.
        dead_by: Option<BootInstant>,
    },
    /// What runs has to be dead by then: the fence has moved.
    DeadBy(BootInstant),
    /// Kill what runs, and end.
    Exit,
}

/// From the runner: the answer to each [`ToRunner::Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether processes of it survive SIGKILL.
    pub survivors: bool,
}

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// By itself.
    Ended(End),
    /// It could not be started, for this errno.
    NotStarted(i32),
    /// It took too long, and was killed.
    TimedOut,
    /// The fence came, and it was killed.
    Fenced,
}
