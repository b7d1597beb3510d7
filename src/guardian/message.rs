//! What the supervisor and the guardian say to each other, one JSON object a message.
//!
//! JSON, because both ends are the same build, messages are few and small, and a stray one can be
//! read in a trace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::BootInstant;
use crate::election::{LeaseId, Tenancy};
use crate::sys::{End, Process, SignalNumber};
use crate::timing::Deadline;

/// Why leadership is over, and the command has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The candidate key was lost.
    KeyLost,
    /// The lease was lost.
    LeaseLost,
    /// No renewal was confirmed in time.
    RenewalTimeout,
    /// The supervisor is gone.
    SupervisorLost,
}

/// Why what is left of the tree gets SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillReason {
    /// The SIGKILL instant of the timeline has come.
    Deadline,
    /// The grace period since the stop signal is over, before the deadline.
    Grace,
    /// A planned stop took longer than it was given.
    StopTimeout,
    /// The command has ended, and the descendants that it left took longer than the grace period.
    Leftovers,
}

/// From the supervisor to the guardian.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToGuardian {
    /// The lease that an orphaned guardian has to give back; told before it is granted.
    Lease(Option<LeaseId>),
    /// Start the command. Its three standard streams come along as descriptors.
    Start(Start),
    /// A renewal is confirmed.
    Extend(Deadline),
    /// Hand a signal to the command.
    Signal(SignalNumber),
    /// Stop the command as planned, while renewals go on.
    Stop {
        /// The stop signal.
        signal: SignalNumber,
        /// From the stop signal to SIGKILL; no limit if `None`.
        kill_after: Option<Duration>,
    },
    /// Leadership is over: stop the command within the grace that the deadline still allows.
    Fence(Reason),
    /// All is done and released: end.
    Exit,
}

/// All that is known only once a term has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Variables to add to the command's environment.
    pub environment: Vec<(String, String)>,
    /// The SIGKILL instant, until it is extended.
    pub deadline: Deadline,
    /// From the stop signal to SIGKILL.
    pub grace: Duration,
    /// From SIGKILL to the instant at which another may start.
    pub margin: Duration,
    /// Its process group.
    pub placement: Placement,
    /// The term that it runs in, for whoever has to hold it if the supervisor is gone.
    pub tenancy: Tenancy,
}

/// The process group that the command is to live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// A group of its own, in the background of a terminal if there is one.
    OwnGroup,
    /// A group of its own that becomes the terminal's foreground.
    Foreground,
    /// This group, that of the supervisor: one job with the other members of a pipeline.
    Job(i32),
}

/// From the guardian to the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromGuardian {
    /// The command has been executed.
    Started {
        /// Its process id.
        pid: i32,
    },
    /// The command could not be started.
    NotStarted {
        /// Why, as errno(3).
        errno: i32,
        /// What failed.
        step: Step,
    },
    /// The stop instant had passed already when the order to start arrived.
    Refused,
    /// The deadline that the timer now obeys.
    Acknowledged(Deadline),
    /// The stop signal has been sent because leadership is over.
    Fencing {
        /// Why.
        reason: Reason,
        /// The stop signal.
        signal: SignalNumber,
        /// Whether that came first: nothing had asked the command to stop, and it had not ended.
        first: bool,
    },
    /// SIGKILL has been sent to what was left of the tree.
    Killed(KillReason),
    /// The main process of the command was stopped by a signal.
    Stopped(SignalNumber),
    /// The main process of the command has ended; descendants may live on.
    Exited(End),
    /// The main process has ended, and the descendants that it left have been sent the stop signal.
    LeftBehind {
        /// How many they are; zero if /proc does not show them.
        count: usize,
        /// The stop signal.
        signal: SignalNumber,
        /// From the stop signal to SIGKILL.
        kill_after: Duration,
    },
    /// Processes survive SIGKILL.
    Stuck(Stuck),
    /// The last descendant is gone.
    TreeEmpty {
        /// When that was proven.
        at: BootInstant,
        /// When another may start its command, as far as the guardian knows.
        another_may_start: BootInstant,
    },
}

/// A step on the way from the order to start to a running command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// There is no process.
    Fork,
    /// Its process group, its cgroup, its streams.
    Prepare,
    /// The program itself.
    Exec,
}

/// Processes that survive SIGKILL, for a message that a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// How many there are; zero if /proc does not show them.
    pub count: usize,
    /// Whether some may not be signalled by us at all (another user's, as of a setuid program).
    pub not_permitted: bool,
    /// The first few, as `pid (name, state)`.
    pub examples: Vec<String>,
}

impl Stuck {
    /// For these processes, of which `not_permitted` tells whether some may not be signalled.
    pub fn new(alive: &[Process], not_permitted: bool) -> Self {
        let one = |p: &Process| format!("{} ({}, {})", p.pid, p.name, p.state);
        Self {
            count: alive.len(),
            not_permitted,
            examples: alive.iter().take(5).map(one).collect(),
        }
    }
}

/// The bytes of a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages have string keys and no failing parts")
}

/// The message in `bytes`, or `None` if they are none of this build's.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::Token;

    #[test]
    fn messages_survive_the_way() {
        let start = ToGuardian::Start(Start {
            environment: vec![("LEADERRUN_ID".into(), "a \"b\" \u{1F600}".into())],
            deadline: Deadline(BootInstant::from_duration(Duration::from_nanos(u64::MAX))),
            grace: Duration::from_millis(1),
            margin: Duration::MAX,
            placement: Placement::Job(7),
            tenancy: Tenancy {
                token: Token(i64::MAX),
                lease: LeaseId(i64::MAX),
                ttl: Duration::MAX,
                since: u64::MAX,
            },
        });
        assert_eq!(decode(&encode(&start)), Some(start));
        let killed = FromGuardian::Killed(KillReason::Leftovers);
        assert_eq!(decode(&encode(&killed)), Some(killed));
        assert_eq!(decode::<FromGuardian>(b"{\"no\":1}"), None);
    }
}
