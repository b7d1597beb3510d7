//! The guardian's words as log events: for the supervisor as they come, for an orphan afterwards.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::exit_status::signal_name;
use crate::guardian::message::{self, FromGuardian, Reason, Stuck};
use crate::report::{Ending, KillReason, LogEvent, LossReason};
use crate::sys::{End, SignalNumber};
use crate::timing::show;

/// The event for what was said to nobody, if there is one. `held` is the instant until which the leadership
/// was held since, if it was.
pub fn of_orphan(message: &FromGuardian, held: Option<BootInstant>) -> Option<LogEvent> {
    Some(match message {
        FromGuardian::Fencing { reason, signal, .. } => fencing(*reason, *signal, None),
        FromGuardian::Killed(reason) => killed(*reason),
        FromGuardian::Exited(end) => exited(*end),
        FromGuardian::LeftBehind {
            count,
            signal,
            kill_after,
        } => left_behind(*count, *signal, *kill_after),
        FromGuardian::Stuck(processes) => stuck(processes),
        FromGuardian::TreeEmpty {
            at,
            another_may_start,
        } => LogEvent::TreeEmpty {
            headroom: held
                .map_or(*another_may_start, |held| held.max(*another_may_start))
                .seconds_since(*at),
        },
        FromGuardian::Started { pid } => LogEvent::Started { pid: *pid },
        FromGuardian::NotStarted { .. }
        | FromGuardian::Stopped(_)
        | FromGuardian::Refused
        | FromGuardian::Acknowledged(_) => {
            return None;
        }
    })
}

/// Leadership is over; `error` is what renewals failed with last.
pub fn fencing(reason: Reason, signal: SignalNumber, error: Option<String>) -> LogEvent {
    LogEvent::Stopping {
        reason: loss(reason).into(),
        signal: signal.0,
        error: error.filter(|_| reason == Reason::RenewalTimeout),
    }
}

/// The main process has ended.
pub fn exited(end: End) -> LogEvent {
    LogEvent::CommandExited(match end {
        End::Code(code) => Ending::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        End::Signal(signal) => Ending::Signal(signal.0),
    })
}

/// The main process has left others behind, which were told to stop.
pub fn left_behind(count: usize, signal: SignalNumber, kill_after: Duration) -> LogEvent {
    let (who, verb) = match count {
        0 => ("processes that /proc does not show".to_owned(), "get"),
        1 => ("1 process".to_owned(), "gets"),
        n => (format!("{n} processes"), "get"),
    };
    LogEvent::warning(format!(
        "the command has ended and left {who}, which {verb} {}, and SIGKILL after {}",
        signal_name(signal.0),
        show(kill_after)
    ))
}

/// SIGKILL did not help.
pub fn stuck(stuck: &Stuck) -> LogEvent {
    let who = match stuck.count {
        0 => "processes of the command that /proc does not show".to_owned(),
        n => format!("{n} of the command's processes"),
    };
    let why = if stuck.not_permitted {
        "we are not permitted to kill some of them: they run as another user"
    } else {
        "they are in the kernel, frozen, or hidden"
    };
    let list = stuck.examples.join(", ");
    LogEvent::error(format!(
        "{who} survive SIGKILL ({why}): trying again, and holding the leadership as long as etcd lets us{}",
        if list.is_empty() {
            list
        } else {
            format!("; {list}")
        }
    ))
}

/// Why leadership is lost.
pub fn loss(reason: Reason) -> LossReason {
    match reason {
        Reason::KeyLost => LossReason::KeyLost,
        Reason::LeaseLost => LossReason::LeaseLost,
        Reason::RenewalTimeout => LossReason::RenewalTimeout,
        Reason::SupervisorLost => LossReason::SupervisorLost,
    }
}

/// What is left gets SIGKILL.
pub fn killed(reason: message::KillReason) -> LogEvent {
    let reason = match reason {
        message::KillReason::Deadline => KillReason::Deadline,
        message::KillReason::Grace => KillReason::Grace,
        message::KillReason::StopTimeout => KillReason::StopTimeout,
        message::KillReason::Leftovers => KillReason::Leftovers,
    };
    LogEvent::Killed { reason }
}
