//! Signals to leaderrun: the table of signals by state.

use nix::libc;

use crate::exit_status::ExitStatus;
use crate::guardian::message::ToGuardian;
use crate::report::{LogEvent, StopReason};
use crate::supervisor::Supervisor;
use crate::supervisor::signals::{asks_to_end, ends_a_wait, is_stop};
use crate::supervisor::state::{Afterwards, Cause, State};
use crate::sys::{SignalInfo, SignalNumber};

impl Supervisor {
    pub(in crate::supervisor) fn on_signal(&mut self, info: SignalInfo) {
        let signal = info.signal;
        // What we were told to ignore from the start (nohup, a shell's `&`) is nothing to act upon. A command
        // that has installed a handler all the same gets it, as it would without us.
        let ignored = self.dispositions.ignores(signal);
        // Whatever else it means now, no other campaign follows.
        self.asked_to_end |= asks_to_end(signal) && !ignored && !self.job.command_had(info);
        match &mut self.state {
            State::Standby | State::Elected(_) => {
                if ends_a_wait(signal, &self.job) && !ignored {
                    self.leave(ExitStatus::ToldToEnd(signal.0));
                } else if signal.0 == libc::SIGHUP && !ignored {
                    self.election.reload();
                } else if is_stop(signal) && !ignored {
                    self.stop_too(signal);
                }
            }
            State::Running(run) => {
                if self.job.command_had(info) {
                    // The command does with it what it likes. If it stops, we hear so and stop too, and not before:
                    // what is typed to the shell then must not go to a command that still reads.
                } else if asks_to_end(signal) && !ignored && run.cause.is_none() && !run.loss_told {
                    run.note(Cause::Command);
                    let signal = match signal.0 {
                        libc::SIGTERM => self.options.stop_signal,
                        _ => signal,
                    };
                    self.plan_stop(StopReason::Signal, signal);
                } else if signal.0 == libc::SIGCONT {
                    self.job.continued();
                    self.watch.tell(ToGuardian::Signal(signal));
                } else if is_forwarded(signal) {
                    self.watch.tell(ToGuardian::Signal(signal));
                }
            }
            State::Holding { status, .. } => {
                if asks_to_end(signal) && !ignored {
                    let status = *status;
                    self.cut_hold_short(status);
                }
            }
            State::Releasing { then, .. } => {
                if self.asked_to_end && *then == Afterwards::Campaign {
                    *then = Afterwards::Exit(ExitStatus::Lost);
                }
            }
            // Soon over in any case. timeout(1), for one, signals its child and then the child's group: whoever
            // went at once by the second signal would leave others waiting for the TTL.
            State::Leaving { .. } | State::Done(_) => {}
        }
    }

    /// Whether a signal ends what is left to do once the run is over.
    pub(in crate::supervisor) fn ends(&self, info: SignalInfo) -> bool {
        asks_to_end(info.signal) && !self.dispositions.ignores(info.signal)
    }

    /// Asks the command to stop; renewals go on.
    pub(super) fn plan_stop(&mut self, reason: StopReason, signal: SignalNumber) {
        self.log.event(LogEvent::Stopping {
            reason,
            signal: signal.0,
            error: None,
        });
        self.hooks.stopping(reason);
        let kill_after = self.options.stop_timeout;
        self.systemd.stopping(kill_after);
        self.watch.tell(ToGuardian::Stop { signal, kill_after });
    }
}

/// Signals that mean something to a command. SIGCHLD is about our own children, SIGPIPE about our own
/// streams, and SIGTTIN and SIGTTOU about our own use of the terminal.
fn is_forwarded(signal: SignalNumber) -> bool {
    !matches!(
        signal.0,
        libc::SIGCHLD | libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU
    )
}
