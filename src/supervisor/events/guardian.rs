//! What the guardian says, and what the watch over it has seen.

use nix::errno::Errno;
use nix::libc;
use tokio::time::Instant;

use crate::clock::BootInstant;
use crate::election::Term;
use crate::exit_status::ExitStatus;
use crate::guardian::message::{self, FromGuardian, Reason, Step, ToGuardian};
use crate::guardian::watch::News;
use crate::lookup;
use crate::report::{KillReason, LogEvent, LossReason, StopReason};
use crate::supervisor::job::AfterStop;
use crate::supervisor::start::streams_to_let_go;
use crate::supervisor::state::{Afterwards, Cause, State};
use crate::supervisor::{Supervisor, words};
use crate::sys::{self, End, SignalNumber};

impl Supervisor {
    pub(in crate::supervisor) fn on_news(&mut self, news: News) {
        match news {
            News::Said(FromGuardian::Started { pid }) => self.on_started(pid),
            News::Said(FromGuardian::NotStarted { errno, step }) => {
                self.on_not_started(Errno::from_raw(errno), step);
            }
            News::Said(FromGuardian::Refused) => {
                if let State::Running(run) = &self.state {
                    self.state = State::Elected(run.term.clone());
                }
            }
            News::Said(FromGuardian::Acknowledged(deadline)) => {
                if let State::Running(run) = &mut self.state {
                    run.acknowledged = deadline;
                }
            }
            News::Said(FromGuardian::Fencing {
                reason,
                signal,
                first,
            }) => self.on_fencing(reason, signal, first),
            News::Said(FromGuardian::Killed(reason)) => {
                self.log.event(words::killed(reason));
                match reason {
                    message::KillReason::Deadline | message::KillReason::Grace => {
                        self.hooks.fenced(BootInstant::now());
                    }
                    // Leadership goes on.
                    message::KillReason::StopTimeout | message::KillReason::Leftovers => {}
                }
            }
            News::Said(FromGuardian::Stopped(signal)) => self.on_stopped(signal),
            News::Said(FromGuardian::Exited(end)) => self.on_exited(end),
            News::Said(FromGuardian::LeftBehind {
                count,
                signal,
                kill_after,
            }) => self
                .log
                .event(words::left_behind(count, signal, kill_after)),
            News::Said(FromGuardian::Stuck(stuck)) | News::Stuck(stuck) => {
                self.log.event(words::stuck(&stuck));
            }
            News::Said(FromGuardian::TreeEmpty { at, .. }) => self.on_tree_empty(at),
            News::Lost { killed_by_us } => self.on_guardian_lost(killed_by_us),
            News::TreeEmpty => self.on_tree_empty(BootInstant::now()),
        }
    }

    fn on_started(&mut self, pid: i32) {
        self.log.event(LogEvent::Started { pid });
        self.hooks.started();
        self.job.started(pid);
        if let State::Running(run) = &mut self.state {
            run.command = Some(pid);
        }
        self.systemd.ready();
        // The command has its streams; a pipe is to end when the command does.
        let _ = sys::point_standard_streams_at_null(streams_to_let_go(self.options.on_loss));
    }

    fn on_not_started(&mut self, errno: Errno, step: Step) {
        let name = self.options.command[0].to_string_lossy().into_owned();
        let (what, status) = match (step, errno) {
            (Step::Fork, _) => ("start a process for", ExitStatus::Failed),
            (Step::Prepare, _) => ("prepare a process or its cgroup for", ExitStatus::Failed),
            (Step::Exec, Errno::ENOENT | Errno::ENOTDIR) => ("execute", ExitStatus::NotFound),
            (Step::Exec, _) => ("execute", ExitStatus::CannotExecute),
        };
        let why = match (step, errno) {
            (Step::Exec, Errno::ENOENT) => self.missing_interpreter(),
            _ => None,
        };
        let why = why.unwrap_or_else(|| errno.desc().to_owned());
        let message = format!("cannot {what} '{name}': {why}");
        self.log.event(LogEvent::error(message));
        let State::Running(run) = &mut self.state else {
            return;
        };
        run.note(Cause::NotStarted(status));
        if step == Step::Fork {
            // There is no process, so no word of its end will come.
            let then = self.after_run();
            self.release(then);
        }
    }

    /// What is wrong with a command that exists, although its exec says that something does not.
    fn missing_interpreter(&self) -> Option<String> {
        let path = std::env::var_os("PATH");
        let interpreter = lookup::missing_interpreter(&self.options.command[0], path.as_deref())?;
        let interpreter = interpreter.display();
        Some(format!(
            "it exists, but its interpreter '{interpreter}' does not"
        ))
    }

    fn on_fencing(&mut self, reason: Reason, signal: SignalNumber, first: bool) {
        let failed = self.outage.as_ref().map(|(_, error)| error.clone());
        self.log.event(words::fencing(reason, signal, failed));
        let State::Running(run) = &mut self.state else {
            return;
        };
        run.note_fence(words::loss(reason), first);
        self.hooks
            .fenced(BootInstant::now() + run.term.timeline.grace());
        self.hooks.stopping(words::loss(reason).into());
        self.break_release_order();
    }

    fn on_stopped(&mut self, signal: SignalNumber) {
        match self.job.command_stopped(signal) {
            AfterStop::Nothing => {}
            AfterStop::Continue => {
                let signal = SignalNumber(libc::SIGCONT);
                self.watch.tell(ToGuardian::Signal(signal));
            }
            AfterStop::StopToo(signal) => self.stop_too(signal),
        }
    }

    fn on_exited(&mut self, end: End) {
        self.job.ended(matches!(end, End::Signal(_)));
        let State::Running(run) = &mut self.state else {
            return;
        };
        let not_started = matches!(run.cause, Some(Cause::NotStarted(_)));
        run.note(Cause::Command);
        run.end = Some(end);
        if !not_started {
            self.log.event(words::exited(end));
        }
        self.break_release_order();
    }

    fn on_guardian_lost(&mut self, killed_by_us: bool) {
        let how = if killed_by_us {
            "stopped working and was killed"
        } else {
            "was killed"
        };
        match &mut self.state {
            State::Running(run) => {
                self.log.event(LogEvent::Stopping {
                    reason: StopReason::GuardianLost,
                    signal: libc::SIGKILL,
                    error: None,
                });
                self.log.event(LogEvent::Killed {
                    reason: KillReason::GuardianLost,
                });
                run.note(Cause::Lost(LossReason::GuardianLost));
                run.lost = true;
                run.guardian_lost = true;
                self.hooks.stopping(StopReason::GuardianLost);
            }
            State::Standby | State::Elected(_) => {
                let message = format!("the guardian {how}: no command can be started");
                self.log.event(LogEvent::error(message));
                self.leave(ExitStatus::Failed);
            }
            State::Releasing { then, .. } => {
                // There is nobody left to start a command after the next election.
                if *then == Afterwards::Campaign {
                    *then = Afterwards::Exit(ExitStatus::Lost);
                }
            }
            // During a hold there is nothing left to guard.
            State::Holding { .. } | State::Leaving { .. } | State::Done(_) => {}
        }
    }

    fn on_tree_empty(&mut self, at: BootInstant) {
        let State::Running(run) = &self.state else {
            return;
        };
        let headroom = run.another_may_start().seconds_since(at);
        self.log.event(LogEvent::TreeEmpty { headroom });
        if run.lost {
            self.health.fenced(headroom);
        }
        self.hooks.stopped();
        let (cause, lost, began) = (run.cause, run.lost, run.began);
        let mut term = run.term.clone();
        term.deadline = run.deadline;
        if let Some(Cause::Lost(reason)) = cause {
            self.say_lost(reason);
        }
        let then = self.after_run();
        if let (Afterwards::Exit(status), Some(Cause::Command)) = (then, cause)
            && !lost
        {
            let until = began + self.options.min_hold;
            if until > Instant::now() {
                if self.asked_to_end {
                    self.cut_hold_short(status);
                } else {
                    self.hold(term, status, until);
                }
                return;
            }
        }
        self.release(then);
    }

    /// The command is over, and leadership is kept until `until` all the same.
    fn hold(&mut self, term: Term, status: ExitStatus, until: Instant) {
        // If we are killed now, the record is to stand.
        self.watch.tell(ToGuardian::Lease(None));
        self.state = State::Holding {
            term,
            status,
            until,
        };
    }
}
