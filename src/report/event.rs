//! The events of a run, by the names and fields that the manual gives them.
//!
//! Names and fields are an interface: scripts and the tests read them. The order of fields here
//! is their order in JSON.

use std::time::Duration;

use serde::Serialize;

use super::json::{hex, outside, outside_if, seconds, seconds_of, signal_as_name};
use super::reason::{Ending, KillReason, LossReason, StopReason, WaitReason};
use crate::clock::BootInstant;
use crate::election::{GivenUp, LeaseId, Token, Wait};
use crate::exit_status::ExitStatus;

/// How much an event matters; what is less than the wanted level is not logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A person has to know; all that `-q` leaves.
    Error,
    /// A person should look some time.
    Warn,
    /// The course of a run.
    #[default]
    Info,
    /// Every renewal; `-v`.
    Debug,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum LogEvent {
    /// Health and metrics can be asked for. At debug level: who needs the port that the kernel chose asks for it.
    Listening {
        /// Where.
        #[serde(serialize_with = "outside")]
        address: String,
    },
    /// The candidate key is in the queue.
    Campaigning {
        /// The election.
        key: String,
        /// The candidacy's lease.
        #[serde(serialize_with = "hex")]
        lease: LeaseId,
        /// Our identity.
        id: String,
        /// As granted by the server.
        #[serde(serialize_with = "seconds")]
        ttl: Duration,
    },
    /// Not elected yet.
    Waiting(WaitReason),
    /// A term has begun. The election's key is for the text form; in JSON `campaigning` has it.
    Elected {
        /// The election.
        #[serde(skip)]
        key: String,
        /// The fencing token.
        token: Token,
        /// The term's lease.
        #[serde(serialize_with = "hex")]
        lease: LeaseId,
        /// From the start of the campaign.
        #[serde(serialize_with = "seconds")]
        waited: Duration,
    },
    /// The command runs.
    Started {
        /// Its process.
        pid: i32,
    },
    /// A renewal is confirmed. At debug level: there is one every renew interval.
    Renewed {
        /// Until the stop signal, if no other renewal follows.
        #[serde(serialize_with = "seconds")]
        remaining: Duration,
    },
    /// An attempt at a renewal failed.
    RenewalFailed {
        /// Where.
        endpoint: String,
        /// Why.
        #[serde(serialize_with = "outside")]
        error: String,
        /// Until the stop signal, if no renewal succeeds.
        #[serde(serialize_with = "seconds")]
        remaining: Duration,
    },
    /// The command is asked to stop.
    Stopping {
        /// Why.
        reason: StopReason,
        /// The number of the signal that it gets.
        #[serde(serialize_with = "signal_as_name")]
        signal: i32,
        /// What kept renewals from being confirmed, where that is the reason.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "outside_if")]
        error: Option<String>,
    },
    /// The process tree gets SIGKILL.
    Killed {
        /// Why.
        reason: KillReason,
    },
    /// The command itself is dead; descendants may live.
    CommandExited(Ending),
    /// The command and all of its descendants are dead.
    TreeEmpty {
        /// Seconds left until another may start; negative if the promise was broken.
        #[serde(serialize_with = "seconds_of")]
        headroom: f64,
    },
    /// What was held in etcd is given back.
    Released {
        /// How much that was; for the text form.
        #[serde(skip)]
        given_up: GivenUp,
    },
    /// Leadership is over although we did not end it.
    Lost {
        /// Why.
        reason: LossReason,
    },
    /// The last event of a run.
    Exiting {
        /// With what status.
        status: ExitStatus,
    },
    /// Something that a person should look at.
    Warning {
        /// What.
        #[serde(serialize_with = "outside")]
        message: String,
    },
    /// Something that a person has to look at: processes that cannot be killed, or a failed run.
    Error {
        /// What.
        #[serde(serialize_with = "outside")]
        message: String,
    },
}

/// How much it matters that this is lost, or nothing.
const fn level_of(loss: Option<LossReason>) -> Level {
    match loss {
        None | Some(LossReason::Resigned) => Level::Info,
        Some(
            LossReason::KeyLost
            | LossReason::LeaseLost
            | LossReason::RenewalTimeout
            | LossReason::SupervisorLost
            | LossReason::GuardianLost,
        ) => Level::Error,
    }
}

impl LogEvent {
    /// How much the event matters.
    pub fn level(&self) -> Level {
        match self {
            Self::Error { .. } => Level::Error,
            // What somebody has planned is no error, be it a stop or a hand-over.
            Self::Stopping { reason, .. } => level_of(reason.loss()),
            Self::Lost { reason } => level_of(Some(*reason)),
            Self::RenewalFailed { .. } | Self::Warning { .. } => Level::Warn,
            Self::Renewed { .. } | Self::Listening { .. } => Level::Debug,
            Self::Campaigning { .. }
            | Self::Waiting(_)
            | Self::Elected { .. }
            | Self::Started { .. }
            | Self::Killed { .. }
            | Self::CommandExited(_)
            | Self::TreeEmpty { .. }
            | Self::Released { .. }
            | Self::Exiting { .. } => Level::Info,
        }
    }

    /// The event for what the election says that it waits for.
    pub fn waiting(wait: &Wait, now: BootInstant) -> Self {
        Self::Waiting(WaitReason::at(wait, now))
    }

    /// The event for what a farewell has given up; `None` where there was nothing.
    pub fn released(given_up: GivenUp) -> Option<Self> {
        (given_up != GivenUp::Nothing).then_some(Self::Released { given_up })
    }

    /// A warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::Warning {
            message: message.into(),
        }
    }

    /// An error.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error {
            message: message.into(),
        }
    }
}
