//! Why things happen, in the words of the log: the values of the field `reason`, and how the
//! command ended.

use std::time::Duration;

use serde::Serialize;

use super::json::{maybe_seconds, outside};
use crate::clock::BootInstant;
use crate::election::{Loss, Token, Wait};

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

impl WaitReason {
    /// What the election says that it waits for, at the instant `now`.
    pub fn at(wait: &Wait, now: BootInstant) -> Self {
        match wait {
            Wait::Queue { leader, ahead } => Self::Queue {
                leader: leader.clone(),
                ahead: *ahead,
            },
            Wait::Record { holder, until } => Self::Record {
                holder: *holder,
                remaining: until.map(|until| until.saturating_since(now)),
            },
        }
    }
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

impl LossReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Resigned,
        Self::KeyLost,
        Self::LeaseLost,
        Self::RenewalTimeout,
        Self::SupervisorLost,
        Self::GuardianLost,
    ];

    /// Its name, as the log has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resigned => "resigned",
            Self::KeyLost => "key-lost",
            Self::LeaseLost => "lease-lost",
            Self::RenewalTimeout => "renewal-timeout",
            Self::SupervisorLost => "supervisor-lost",
            Self::GuardianLost => "guardian-lost",
        }
    }
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
