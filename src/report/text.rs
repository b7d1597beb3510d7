//! The text form: a sentence that reads well at three in the morning.

use std::fmt;

use super::event::LogEvent;
use super::reason::{Ending, KillReason, LossReason, StopReason, WaitReason};
use super::{escape, escape_sentence};
use crate::election::{GivenUp, Outage};
use crate::exit_status::{ExitStatus, signal_name};
use crate::timing::show;

/// The event as a line without its line feed.
pub(super) fn line(event: &LogEvent) -> String {
    format!("leaderrun: {event}")
}

impl fmt::Display for LogEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { address } => write!(f, "listening at {}", escape(address)),
            Self::Campaigning {
                key,
                lease,
                id,
                ttl,
            } => write!(
                f,
                "campaigning for {} as {} (TTL {}, lease {lease})",
                escape(key),
                escape(id),
                show(*ttl)
            ),
            Self::Waiting(reason) => reason.fmt(f),
            Self::Elected {
                key, token, waited, ..
            } => write!(
                f,
                "elected leader of {} with token {token} after {}",
                escape(key),
                show(*waited)
            ),
            Self::Started { pid } => write!(f, "command started as process {pid}"),
            Self::Renewed { remaining } => {
                write!(f, "renewed, good for another {}", show(*remaining))
            }
            Self::RenewalFailed {
                endpoint,
                error,
                remaining,
            } => write!(
                f,
                "renewal failed at {}: {}; {} left before the command is stopped",
                escape(endpoint),
                escape_sentence(error),
                show(*remaining)
            ),
            Self::Stopping {
                reason,
                signal,
                error,
            } => {
                let signal = signal_name(*signal);
                write!(f, "stopping the command with {signal}: {reason}")?;
                match error {
                    Some(error) => write!(f, " ({})", escape_sentence(error)),
                    None => Ok(()),
                }
            }
            Self::Killed { reason } => write!(f, "killing the process tree: {reason}"),
            Self::CommandExited(ending) => ending.fmt(f),
            Self::TreeEmpty { headroom } if *headroom < 0.0 => write!(
                f,
                "all processes of the command are dead, {:.3}s AFTER another could have started",
                -headroom
            ),
            Self::TreeEmpty { headroom } => write!(
                f,
                "all processes of the command are dead, {headroom:.3}s before another could start"
            ),
            Self::Released { given_up } => f.write_str(match given_up {
                GivenUp::Nothing | GivenUp::Place => "left the queue",
                GivenUp::All => "released, the next candidate may go ahead",
                GivenUp::AllButRecord => {
                    "left the queue; the next candidate waits until the term has run out"
                }
            }),
            Self::Lost {
                reason: reason @ LossReason::Resigned,
            } => write!(f, "leadership handed over: {reason}"),
            Self::Lost { reason } => write!(f, "leadership lost: {reason}"),
            Self::Exiting {
                status: status @ (ExitStatus::Signalled(signal) | ExitStatus::ToldToEnd(signal)),
            } => write!(
                f,
                "exiting by {}, {} to a shell ({status})",
                signal_name(*signal),
                status.code()
            ),
            Self::Exiting { status } => {
                write!(f, "exiting with status {} ({status})", status.code())
            }
            Self::Warning { message } => write!(f, "warning: {}", escape_sentence(message)),
            Self::Error { message } => write!(f, "error: {}", escape_sentence(message)),
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { leader, ahead: 1 } => {
                write!(f, "waiting behind one candidate, '{}'", escape(leader))
            }
            Self::Queue { leader, ahead } => write!(
                f,
                "waiting behind {ahead} candidates, the first is '{}'",
                escape(leader)
            ),
            Self::Record { holder, remaining } => {
                f.write_str("waiting: next in line, but the command of an earlier term")?;
                if let Some(token) = holder {
                    write!(f, " (token {token})")?;
                }
                match remaining {
                    Some(d) => write!(
                        f,
                        " may still be running; {} to go unless it renews",
                        show(*d)
                    ),
                    None => {
                        f.write_str(" may still be running, and its record has to be removed first")
                    }
                }
            }
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "command exited with status {code}"),
            Self::Signal(signal) => write!(f, "command was killed by {}", signal_name(*signal)),
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loss() {
            None => f.write_str("leaderrun was told to stop"),
            Some(loss) => loss.fmt(f),
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resigned => "somebody asked this leader to resign",
            Self::KeyLost => "its key in etcd was deleted or taken over",
            Self::LeaseLost => "its lease expired or was revoked",
            Self::RenewalTimeout => "no renewal was confirmed in time",
            Self::SupervisorLost => "the supervising process died",
            Self::GuardianLost => "the guardian process died or froze",
        })
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "etcd does not answer",
            Self::Full => "etcd answers but does not write",
            Self::Refusing => "etcd refuses us",
        })
    }
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadline => "leadership is about to run out",
            Self::Grace => "the grace period is over",
            Self::StopTimeout => "the stop timeout is over",
            Self::Leftovers => "the command has ended and left processes behind",
            Self::GuardianLost => "the guardian process died or froze",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::election::{LeaseId, Token};

    #[test]
    fn lines_read_well() {
        let ms = Duration::from_millis;
        let lines = [
            (
                LogEvent::Elected {
                    key: "/election/x".into(),
                    token: Token(42),
                    lease: LeaseId(1),
                    waited: ms(3_200),
                },
                "leaderrun: elected leader of /election/x with token 42 after 3.2s",
            ),
            (
                LogEvent::Waiting(WaitReason::Queue {
                    leader: "db1:7".into(),
                    ahead: 2,
                }),
                "leaderrun: waiting behind 2 candidates, the first is 'db1:7'",
            ),
            (
                LogEvent::Stopping {
                    reason: StopReason::RenewalTimeout,
                    signal: 15,
                    error: Some("renew the lease: permission denied".into()),
                },
                "leaderrun: stopping the command with SIGTERM: no renewal was confirmed in time \
                 (renew the lease: permission denied)",
            ),
            (
                LogEvent::CommandExited(Ending::Signal(9)),
                "leaderrun: command was killed by SIGKILL",
            ),
            (
                LogEvent::TreeEmpty { headroom: 1.4567 },
                "leaderrun: all processes of the command are dead, 1.457s before another could start",
            ),
            (
                LogEvent::Exiting {
                    status: ExitStatus::Lost,
                },
                "leaderrun: exiting with status 75 (leadership was lost, no command runs)",
            ),
            (
                LogEvent::Exiting {
                    status: ExitStatus::Signalled(9),
                },
                "leaderrun: exiting by SIGKILL, 137 to a shell (the command was killed by it)",
            ),
            (
                LogEvent::Exiting {
                    status: ExitStatus::ToldToEnd(15),
                },
                "leaderrun: exiting by SIGTERM, 143 to a shell (leaderrun was told to end, no command ran)",
            ),
        ];
        for (event, expected) in lines {
            assert_eq!(line(&event), expected);
        }
    }

    #[test]
    fn nobody_outside_can_forge_a_line() {
        let evil = "x\nleaderrun: elected\u{1b}[2J".to_owned();
        for event in [
            LogEvent::Waiting(WaitReason::Queue {
                leader: evil.clone(),
                ahead: 1,
            }),
            LogEvent::RenewalFailed {
                endpoint: evil.clone(),
                error: evil.clone(),
                remaining: Duration::ZERO,
            },
            LogEvent::warning(evil.clone()),
            LogEvent::error(evil),
        ] {
            assert!(!line(&event).contains(char::is_control), "{event:?}");
        }
    }
}
