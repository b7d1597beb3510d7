//! Signals to leaderrun.

use nix::libc;

use crate::exit_status::ExitStatus;
use crate::guardian::message::ToGuardian;
use crate::report::{LogEvent, StopReason};
use crate::supervisor::Supervisor;
use crate::supervisor::state::{Cause, State};
use crate::sys::{self, SignalInfo, SignalNumber};

impl Supervisor {
    pub(in crate::supervisor) fn on_signal(&mut self, info: SignalInfo) {
        let signal = info.signal;
        match &mut self.state {
            State::Standby | State::Elected(_) => {
                let ends = match signal.0 {
                    libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => true,
                    libc::SIGHUP => sys::has_controlling_terminal(),
                    _ => false,
                };
                if ends && !self.dispositions.ignores(signal) {
                    self.leave(ExitStatus::Signalled(signal.0));
                }
            }
            State::Running(run) => {
                let asks_to_stop = matches!(signal.0, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT)
                    && !self.dispositions.ignores(signal);
                if asks_to_stop && run.cause.is_none() {
                    run.note(Cause::Command);
                    let signal = match signal.0 {
                        libc::SIGTERM => self.options.stop_signal.into(),
                        _ => signal,
                    };
                    self.log.event(LogEvent::Stopping {
                        reason: StopReason::Signal,
                        signal: signal.0,
                    });
                    let kill_after = self.options.stop_timeout;
                    self.watch.tell(ToGuardian::Stop { signal, kill_after });
                } else if is_forwarded(signal) {
                    self.watch.tell(ToGuardian::Signal(signal));
                }
            }
            // A person who asks twice does not want to wait.
            State::Leaving { .. } if signal.0 == libc::SIGINT || signal.0 == libc::SIGTERM => {
                self.state = State::Done(ExitStatus::Signalled(signal.0));
            }
            State::Releasing { .. } | State::Leaving { .. } | State::Done(_) => {}
        }
    }
}

/// Signals that mean something to a command. Those of job control are the terminal's business, and
/// SIGPIPE is about our own streams.
fn is_forwarded(signal: SignalNumber) -> bool {
    !matches!(
        signal.0,
        libc::SIGCHLD
            | libc::SIGPIPE
            | libc::SIGTSTP
            | libc::SIGTTIN
            | libc::SIGTTOU
            | libc::SIGCONT
    )
}
