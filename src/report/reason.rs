//! Why things happen, in the words of the log: the values of the field `reason`, and how the
//! command ended.

use std::time::Duration;

use serde::Serialize;

use super::json::{maybe_seconds, outside};
use crate::election::{Loss, Token};

/// What a candidate waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum WaitReason {
    /// Others stand before us.
    Queue {
        /// The identity of the first, which may be anything; its key if it has none.
        #[serde(serialize_with = "outside")]
        leader: String,
        /// How many stand before us.
        ahead: usize,
    },
    /// We are next, but an earlier term's command may still be running.
    Record {
        /// The token of that term, if its record can be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<Token>,
        /// Until the record will have run out; `None` if only its removal ends the wait.
        #[serde(
            skip_serializing_if = "Option::is_none",
            serialize_with = "maybe_seconds"
        )]
        remaining: Option<Duration>,
    },
}

/// Why the command is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the text form says what each means")]
pub enum StopReason {
    Signal,
    Resigned,
    KeyLost,
    LeaseLost,
    RenewalTimeout,
    SupervisorLost,
    GuardianLost,
}

/// Why a leadership was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are those of StopReason")]
pub enum LossReason {
    Resigned,
    KeyLost,
    LeaseLost,
    RenewalTimeout,
    SupervisorLost,
    GuardianLost,
}

/// Why the process tree gets SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillReason {
    /// The SIGKILL instant of the timeline has come.
    Deadline,
    /// The grace period since the stop signal is over, before the deadline.
    Grace,
    /// `--stop-timeout` is over.
    StopTimeout,
    /// The command has ended and left descendants behind.
    Leftovers,
    /// The guardian is gone or froze.
    GuardianLost,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this status.
    Code(u8),
    /// This signal killed it.
    Signal(i32),
}

impl From<LossReason> for StopReason {
    fn from(loss: LossReason) -> Self {
        match loss {
            LossReason::Resigned => Self::Resigned,
            LossReason::KeyLost => Self::KeyLost,
            LossReason::LeaseLost => Self::LeaseLost,
            LossReason::RenewalTimeout => Self::RenewalTimeout,
            LossReason::SupervisorLost => Self::SupervisorLost,
            LossReason::GuardianLost => Self::GuardianLost,
        }
    }
}

impl From<Loss> for LossReason {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::KeyLost => Self::KeyLost,
            Loss::LeaseLost => Self::LeaseLost,
        }
    }
}

impl StopReason {
    /// The loss that the stop turns into; `None` for a stop that loses nothing.
    pub fn loss(self) -> Option<LossReason> {
        match self {
            Self::Signal => None,
            Self::Resigned => Some(LossReason::Resigned),
            Self::KeyLost => Some(LossReason::KeyLost),
            Self::LeaseLost => Some(LossReason::LeaseLost),
            Self::RenewalTimeout => Some(LossReason::RenewalTimeout),
            Self::SupervisorLost => Some(LossReason::SupervisorLost),
            Self::GuardianLost => Some(LossReason::GuardianLost),
        }
    }
}
