//! The statuses that leaderrun exits with, all in one place.
//!
//! 71 and 75 are `EX_OSERR` and `EX_TEMPFAIL` of `sysexits.h`; 124 to 127 mean what they mean to
//! `timeout(1)`, `env(1)` and the shell.

use std::fmt;

use nix::libc;
use nix::sys::signal::Signal;
use serde::{Serialize, Serializer};

/// How leaderrun ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// The command ended by itself or in a planned stop, with this status.
    Command(u8),
    /// The same, by this signal: leaderrun dies by it too. The number stands for itself, since
    /// real-time signals have no name of their own.
    Signalled(i32),
    /// leaderrun was told to end by this signal while no command ran: it dies by it.
    ToldToEnd(i32),
    /// Wrong usage; nothing was tried.
    Usage,
    /// Leadership was lost and the command was fenced: start leaderrun again.
    Lost,
    /// Leadership can no longer be held and the process tree could not be proven dead.
    NotProven,
    /// Not elected in time (`--try`, `--wait`); the status is the user's choice, by default
    /// [`ExitStatus::NOT_ELECTED`].
    NotElected(u8),
    /// leaderrun itself failed: etcd refused us, a log file cannot be opened, …
    Failed,
    /// The command was found but could not be executed.
    CannotExecute,
    /// The command was not found.
    NotFound,
}

impl ExitStatus {
    /// The status for "not elected in time" where none was asked for, as `timeout(1)` has it.
    pub const NOT_ELECTED: u8 = 124;

    /// The number that a parent sees. A death by signal N is the N that `wait(2)` reports; where
    /// leaderrun cannot die by it (as PID 1), it exits with 128 + N as shells do.
    pub fn code(self) -> u8 {
        match self {
            Self::Command(code) | Self::NotElected(code) => code,
            Self::Signalled(signal) | Self::ToldToEnd(signal) => {
                u8::try_from(signal).map_or(u8::MAX, |n| n.saturating_add(128))
            }
            Self::Usage => 2,
            Self::Lost => 75,
            Self::NotProven => 71,
            Self::Failed => 125,
            Self::CannotExecute => 126,
            Self::NotFound => 127,
        }
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// What the status means, for the last line of a log.
impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(_) => f.write_str("the command's own"),
            Self::Signalled(_) => f.write_str("the command was killed by it"),
            Self::ToldToEnd(_) => f.write_str("leaderrun was told to end, no command ran"),
            Self::Usage => f.write_str("wrong usage"),
            Self::Lost => f.write_str("leadership was lost, no command runs"),
            Self::NotProven => f.write_str("the process tree could not be proven dead"),
            Self::NotElected(_) => f.write_str("not elected in time"),
            Self::Failed => f.write_str("leaderrun failed"),
            Self::CannotExecute => f.write_str("the command could not be executed"),
            Self::NotFound => f.write_str("the command was not found"),
        }
    }
}

/// A status is logged as the number that a shell shows.
impl Serialize for ExitStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}

/// `SIGTERM` for 15, `SIGRTMIN+6` for 40; `signal 99` for what is none.
pub fn signal_name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) if number == libc::SIGRTMIN() => "SIGRTMIN".to_owned(),
        Err(_) if (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) => {
            format!("SIGRTMIN+{}", number - libc::SIGRTMIN())
        }
        Err(_) => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statuses_are_those_of_the_manual() {
        let statuses = [
            (ExitStatus::Command(3), 3),
            (ExitStatus::Signalled(11), 139),
            (ExitStatus::ToldToEnd(15), 143),
            (ExitStatus::Usage, 2),
            (ExitStatus::Lost, 75),
            (ExitStatus::NotProven, 71),
            (ExitStatus::NotElected(ExitStatus::NOT_ELECTED), 124),
            (ExitStatus::NotElected(0), 0),
            (ExitStatus::Failed, 125),
            (ExitStatus::CannotExecute, 126),
            (ExitStatus::NotFound, 127),
        ];
        for (status, code) in statuses {
            assert_eq!(status.code(), code, "{status:?}");
        }
    }

    #[test]
    fn signals_are_named_where_they_have_a_name() {
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(libc::SIGRTMIN()), "SIGRTMIN");
        assert_eq!(signal_name(libc::SIGRTMIN() + 6), "SIGRTMIN+6");
        assert_eq!(signal_name(99), "signal 99");
    }
}
