//! What each event means in each state.

use nix::errno::Errno;
use nix::libc;
use tokio::time::Instant;

use crate::cli::{OnLoss, Patience};
use crate::clock::BootInstant;
use crate::election::{self, Command, Event, Term, Wait};
use crate::exit_status::ExitStatus;
use crate::guardian::message::{self, FromGuardian, Reason, Start, Stuck, ToGuardian};
use crate::guardian::watch::News;
use crate::report::{Ending, KillReason, LogEvent, LossReason, StopReason};
use crate::rules::Rule;
use crate::supervisor::start::streams_to_let_go;
use crate::supervisor::state::{Afterwards, Cause, Run, State};
use crate::supervisor::{Campaign, FAREWELL, QUICK_FAREWELL, Supervisor, environment};
use crate::sys::{self, End, SignalInfo, SignalNumber};
use crate::timing::Deadline;

impl Supervisor {
    // ---- the election ----

    pub(super) fn on_election(&mut self, event: Event) {
        match event {
            Event::Campaigning { lease, ttl } => {
                self.etcd_answered();
                self.log.event(LogEvent::Campaigning {
                    key: self.options.key.clone(),
                    lease,
                    id: self.options.id.clone(),
                    ttl,
                });
            }
            Event::Waiting(wait) => self.on_waiting(wait),
            Event::Elected(term) => self.on_elected(term),
            Event::Extended(deadline) => self.on_extended(deadline),
            Event::RenewalFailed { endpoint, error } => self.on_renewal_failed(endpoint, error),
            Event::Lost(loss) => self.on_loss(loss.into()),
            Event::Unreachable {
                answered_before,
                error,
            } => {
                self.on_unreachable(answered_before, error);
            }
            Event::Warning(message) => self.log.event(LogEvent::warning(message)),
            Event::Released => {
                self.log.event(LogEvent::Released);
                self.on_released();
            }
            Event::ReleaseFailed(error) => {
                let message = format!("etcd could not be told that we are done: {error}");
                self.log.event(LogEvent::warning(message));
                self.on_released();
            }
            Event::Failed(error) => self.on_failed(&error),
        }
    }

    fn etcd_answered(&mut self) {
        self.campaign.unanswered = None;
        if let Some(event) = self.trouble.answered(BootInstant::now()) {
            self.log.event(event);
        }
    }

    fn on_waiting(&mut self, wait: Wait) {
        self.etcd_answered();
        self.log.event(LogEvent::waiting(&wait, BootInstant::now()));
        self.campaign.waiting = Some(wait);
        if matches!(self.state, State::Standby) && self.options.wait == Patience::Try {
            self.give_up();
        }
    }

    fn on_elected(&mut self, term: Term) {
        self.etcd_answered();
        self.log.event(LogEvent::Elected {
            key: self.options.key.clone(),
            token: term.token,
            lease: term.lease,
            waited: term.waited,
        });
        match self.state {
            State::Standby => self.order_start(term),
            // It crossed our leaving, which gives up the term as well.
            State::Leaving { .. } | State::Done(_) => {}
            State::Elected(_) | State::Running(_) | State::Releasing { .. } => {
                unreachable!("a term within a term")
            }
        }
    }

    fn order_start(&mut self, term: Term) {
        let deadline = term.deadline;
        let order = Start {
            environment: environment::of_command(
                &self.options.key,
                &self.options.id,
                &self.options.endpoints,
                &term,
            ),
            deadline,
            grace: term.timeline.grace(),
            margin: term.timeline.margin(),
        };
        self.watch.start(order, term.timeline);
        self.state = State::Running(Run::new(term, deadline));
    }

    fn on_extended(&mut self, deadline: Deadline) {
        match &mut self.state {
            State::Elected(term) => {
                let mut term = term.clone();
                term.deadline = deadline;
                self.order_start(term);
            }
            State::Running(run) => {
                run.deadline = run.deadline.max(deadline);
                self.watch.extend(deadline);
                let stop = run.deadline.stop_at(run.term.timeline.grace());
                let remaining = stop.saturating_since(BootInstant::now());
                self.log.event(LogEvent::Renewed { remaining });
            }
            State::Standby | State::Releasing { .. } | State::Leaving { .. } | State::Done(_) => {}
        }
    }

    fn on_renewal_failed(&mut self, endpoint: String, error: String) {
        let State::Running(Run {
            deadline,
            term,
            lost,
            ..
        }) = &self.state
        else {
            return;
        };
        // Once it is over, failing renewals are no news.
        if !lost {
            let stop = deadline.stop_at(term.timeline.grace());
            let remaining = stop.saturating_since(BootInstant::now());
            self.log.event(LogEvent::RenewalFailed {
                endpoint,
                error,
                remaining,
            });
        }
    }

    fn on_loss(&mut self, reason: StopReason) {
        match &mut self.state {
            State::Running(_) => {
                let message = match reason {
                    StopReason::LeaseLost => Reason::LeaseLost,
                    _ => Reason::KeyLost,
                };
                self.watch.tell(&ToGuardian::Fence(message));
            }
            State::Elected(_) => {
                self.log.event(LogEvent::Lost {
                    reason: loss_of(reason),
                });
                self.release(self.after_loss());
            }
            State::Standby | State::Releasing { .. } | State::Leaving { .. } | State::Done(_) => {}
        }
    }

    fn on_unreachable(&mut self, answered_before: bool, error: String) {
        if !matches!(self.state, State::Standby) {
            return;
        }
        if !answered_before {
            self.campaign.unanswered = Some(error.clone());
        }
        if self.options.wait == Patience::Try {
            self.log
                .event(LogEvent::error(format!("etcd does not answer: {error}")));
            self.leave(ExitStatus::Failed);
        } else if let Some(event) = self.trouble.failed(&error, BootInstant::now()) {
            self.log.event(event);
        }
    }

    fn on_released(&mut self) {
        match self.state {
            State::Releasing {
                then: Afterwards::Exit(status),
                ..
            }
            | State::Leaving { status, .. } => self.state = State::Done(status),
            State::Releasing {
                then: Afterwards::Campaign,
                ..
            } => {
                self.campaign = Campaign::begin(&self.options);
                self.state = State::Standby;
            }
            // With the rule of the release's order switched off, it comes while the command runs.
            State::Running(_) | State::Standby | State::Elected(_) | State::Done(_) => {}
        }
    }

    fn on_failed(&mut self, error: &election::ElectionError) {
        self.election_ended = true;
        self.log.event(LogEvent::error(error.to_string()));
        match self.state {
            State::Standby | State::Elected(_) => self.state = State::Done(ExitStatus::Failed),
            State::Releasing {
                then: Afterwards::Exit(status),
                ..
            }
            | State::Leaving { status, .. } => self.state = State::Done(status),
            State::Releasing {
                then: Afterwards::Campaign,
                ..
            } => {
                self.state = State::Done(ExitStatus::Failed);
            }
            // The fence decides while a command runs.
            State::Running(_) | State::Done(_) => {}
        }
    }

    // ---- the guardian ----

    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Said(FromGuardian::Started { pid }) => self.on_started(pid),
            News::Said(FromGuardian::NotStarted { errno, at_exec }) => {
                self.on_not_started(Errno::from_raw(errno), at_exec);
            }
            News::Said(FromGuardian::Refused) => {
                if let State::Running(run) = &self.state {
                    self.state = State::Elected(run.term.clone());
                }
            }
            News::Said(FromGuardian::Acknowledged(_)) => {}
            News::Said(FromGuardian::Fencing { reason, signal }) => self.on_fencing(reason, signal),
            News::Said(FromGuardian::Killed(reason)) => {
                self.log.event(LogEvent::Killed {
                    reason: killed_because(reason),
                });
            }
            News::Said(FromGuardian::Exited(end)) => self.on_exited(end),
            News::Said(FromGuardian::Stuck(stuck)) | News::Stuck(stuck) => self.on_stuck(&stuck),
            News::Said(FromGuardian::TreeEmpty { at }) => self.on_tree_empty(at),
            News::Lost { killed_by_us } => self.on_guardian_lost(killed_by_us),
            News::TreeEmpty => self.on_tree_empty(BootInstant::now()),
        }
    }

    fn on_started(&mut self, pid: i32) {
        self.log.event(LogEvent::Started { pid });
        // The command has its streams; a pipe is to end when the command does.
        let _ = sys::point_standard_streams_at_null(streams_to_let_go(self.options.on_loss));
    }

    fn on_not_started(&mut self, errno: Errno, at_exec: bool) {
        let name = self.options.command[0].to_string_lossy().into_owned();
        let status = match errno {
            _ if !at_exec => ExitStatus::Failed,
            Errno::ENOENT | Errno::ENOTDIR => ExitStatus::NotFound,
            _ => ExitStatus::CannotExecute,
        };
        let what = if at_exec {
            "execute"
        } else {
            "start a process for"
        };
        let message = format!("cannot {what} '{name}': {}", errno.desc());
        self.log.event(LogEvent::error(message));
        let State::Running(run) = &mut self.state else {
            return;
        };
        run.note(Cause::NotStarted(status));
        if !at_exec {
            // There is no process, so no word of its end will come.
            let then = self.after_run();
            self.release(then);
        }
    }

    fn on_fencing(&mut self, reason: Reason, signal: SignalNumber) {
        let reason = stopped_because(reason);
        self.log.event(LogEvent::Stopping {
            reason,
            signal: signal.0,
        });
        let State::Running(run) = &mut self.state else {
            return;
        };
        run.note(Cause::Lost(reason));
        run.lost = true;
        self.break_release_order();
    }

    fn on_exited(&mut self, end: End) {
        let State::Running(run) = &mut self.state else {
            return;
        };
        let not_started = matches!(run.cause, Some(Cause::NotStarted(_)));
        run.note(Cause::Command);
        run.end = Some(end);
        if !not_started {
            self.log.event(LogEvent::CommandExited(match end {
                End::Code(code) => Ending::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
                End::Signal(signal) => Ending::Signal(signal.0),
            }));
        }
        self.break_release_order();
    }

    fn on_stuck(&mut self, stuck: &Stuck) {
        let why = if stuck.not_permitted {
            "we are not permitted to kill some of them: they run as another user"
        } else {
            "they are in the kernel, or frozen"
        };
        self.log.event(LogEvent::error(format!(
            "{} of the command's processes survive SIGKILL ({why}): {}; trying again, and holding the \
             leadership as long as etcd lets us",
            stuck.count,
            stuck.examples.join(", ")
        )));
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
                });
                self.log.event(LogEvent::Killed {
                    reason: KillReason::GuardianLost,
                });
                run.note(Cause::Lost(StopReason::GuardianLost));
                run.lost = true;
                run.guardian_lost = true;
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
            State::Leaving { .. } | State::Done(_) => {}
        }
    }

    fn on_tree_empty(&mut self, at: BootInstant) {
        let State::Running(run) = &self.state else {
            return;
        };
        let headroom = run.another_may_start().seconds_since(at);
        self.log.event(LogEvent::TreeEmpty { headroom });
        if let Some(Cause::Lost(reason)) = run.cause {
            self.log.event(LogEvent::Lost {
                reason: loss_of(reason),
            });
        }
        let then = self.after_run();
        self.release(then);
    }

    // ---- signals ----

    pub(super) fn on_signal(&mut self, info: SignalInfo) {
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
                    self.watch.tell(&ToGuardian::Stop { signal, kill_after });
                } else if is_forwarded(signal) {
                    self.watch.tell(&ToGuardian::Signal(signal));
                }
            }
            // A person who asks twice does not want to wait.
            State::Leaving { .. } if signal.0 == libc::SIGINT || signal.0 == libc::SIGTERM => {
                self.state = State::Done(ExitStatus::Signalled(signal.0));
            }
            State::Releasing { .. } | State::Leaving { .. } | State::Done(_) => {}
        }
    }

    // ---- time ----

    pub(super) fn on_alarm(&mut self) {
        match &self.state {
            State::Standby => {
                if self
                    .campaign
                    .give_up_at
                    .is_some_and(|at| at <= Instant::now())
                {
                    self.give_up();
                }
            }
            State::Running(run) => {
                if run.unproven_at() <= BootInstant::now() {
                    self.log.event(LogEvent::error(
                        "leadership can no longer be held, and the command's process tree is not \
                         proven dead: another may start although some of it lives; \
                         the guardian goes on killing it",
                    ));
                    self.state = State::Done(ExitStatus::NotProven);
                }
            }
            State::Releasing { until, .. } | State::Leaving { until, .. } => {
                if *until <= Instant::now() {
                    self.log.event(LogEvent::warning(
                        "etcd could not be told in time that we are done",
                    ));
                    self.on_released();
                }
            }
            State::Elected(_) | State::Done(_) => {}
        }
    }

    // ---- what several of them do ----

    /// `--try` or `--wait` is over.
    fn give_up(&mut self) {
        if let Some(error) = self.campaign.unanswered.take() {
            self.log
                .event(LogEvent::error(format!("etcd has never answered: {error}")));
            self.leave(ExitStatus::Failed);
            return;
        }
        let why = match &self.campaign.waiting {
            Some(Wait::Queue { leader, .. }) => format!("{leader} leads"),
            Some(Wait::Record { .. }) => {
                "an earlier leader's command may still be running".to_owned()
            }
            None => "etcd has not answered in time".to_owned(),
        };
        self.log
            .event(LogEvent::warning(format!("not elected: {why}")));
        let status = match self.campaign.waiting {
            Some(_) => ExitStatus::NotElected(self.options.conflict_exit_code),
            None => ExitStatus::Failed,
        };
        self.leave(status);
    }

    fn leave(&mut self, status: ExitStatus) {
        let _ = self.election.commands.send(Command::Leave);
        let until = Instant::now() + QUICK_FAREWELL;
        self.state = State::Leaving { status, until };
        if self.election_ended {
            self.state = State::Done(status);
        }
    }

    /// What follows a run, now that its tree is empty.
    fn after_run(&self) -> Afterwards {
        match &self.state {
            State::Running(run) if matches!(run.cause, Some(Cause::Lost(_))) => {
                if run.guardian_lost {
                    Afterwards::Exit(ExitStatus::Lost)
                } else {
                    self.after_loss()
                }
            }
            State::Running(run) => Afterwards::Exit(run.status()),
            _ => Afterwards::Exit(ExitStatus::Failed),
        }
    }

    fn after_loss(&self) -> Afterwards {
        match self.options.on_loss {
            OnLoss::Exit => Afterwards::Exit(ExitStatus::Lost),
            OnLoss::Campaign => Afterwards::Campaign,
        }
    }

    /// Gives up the term. Only ever over an empty tree.
    fn release(&mut self, then: Afterwards) {
        let campaign_again = then == Afterwards::Campaign;
        let _ = self.election.commands.send(Command::End { campaign_again });
        let until = Instant::now() + FAREWELL;
        self.state = State::Releasing { then, until };
        if self.election_ended {
            self.on_released();
        }
    }

    fn break_release_order(&mut self) {
        if Rule::ReleaseOrder.is_off() {
            let _ = self.election.commands.send(Command::End {
                campaign_again: false,
            });
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

fn stopped_because(reason: Reason) -> StopReason {
    match reason {
        Reason::KeyLost => StopReason::KeyLost,
        Reason::LeaseLost => StopReason::LeaseLost,
        Reason::RenewalTimeout => StopReason::RenewalTimeout,
        Reason::SupervisorLost => StopReason::SupervisorLost,
    }
}

fn killed_because(reason: message::KillReason) -> KillReason {
    match reason {
        message::KillReason::Deadline => KillReason::Deadline,
        message::KillReason::Grace => KillReason::Grace,
        message::KillReason::StopTimeout => KillReason::StopTimeout,
        message::KillReason::Leftovers => KillReason::Leftovers,
    }
}

fn loss_of(reason: StopReason) -> LossReason {
    reason.loss().unwrap_or(LossReason::KeyLost)
}
