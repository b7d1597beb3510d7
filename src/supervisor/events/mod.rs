//! What each event means in each state. One file for each party that events come from; here is time, and
//! what several of them do.

mod election;
mod guardian;
mod signals;

use std::time::Duration;

use tokio::time::Instant;

use crate::cli::OnLoss;
use crate::clock::BootInstant;
use crate::election::{Command, Outage, Wait};
use crate::exit_status::ExitStatus;
use crate::report::{LogEvent, LossReason, escape};
use crate::rules::Rule;
use crate::supervisor::start::LAST_WORDS;
use crate::supervisor::state::{Afterwards, Cause, State};
use crate::supervisor::{FAREWELL, QUICK_FAREWELL, Supervisor};
use crate::sys::SignalNumber;

impl Supervisor {
    pub(in crate::supervisor) fn on_alarm(&mut self) {
        match &mut self.state {
            State::Standby | State::Elected(_) => {
                if self
                    .campaign
                    .give_up_at
                    .is_some_and(|at| at <= Instant::now())
                {
                    self.give_up();
                }
            }
            State::Running(run) => {
                if run.unproven_at() > BootInstant::now() {
                    run.suspected = None;
                    return;
                }
                // After a stop of this process, the news that the tree is empty may be on its way.
                let suspected = *run.suspected.get_or_insert_with(Instant::now);
                if suspected.elapsed() >= Duration::from_secs(1) {
                    self.log.event(LogEvent::error(
                        "leadership can no longer be held, and the command's process tree is not \
                         proven dead: another may start although some of it lives; \
                         the guardian goes on killing it",
                    ));
                    self.state = State::Done(ExitStatus::NotProven);
                }
            }
            State::Holding { status, until, .. } => {
                if *until <= Instant::now() {
                    let then = Afterwards::Exit(*status);
                    self.release(then);
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
            State::Done(_) => {}
        }
    }

    /// `--try` or `--wait` is over.
    fn give_up(&mut self) {
        if let Some((outage, error)) = self.campaign.trouble.take() {
            let message = match outage {
                Outage::Silent => format!("etcd has never answered: {error}"),
                Outage::Full | Outage::Refusing => format!("{outage}: {error}"),
            };
            self.log.event(LogEvent::error(message));
            self.leave(ExitStatus::Failed);
            return;
        }
        let why = match &self.campaign.waiting {
            Some(Wait::Queue { leader, .. }) => format!("{} leads", escape(leader)),
            Some(Wait::Record { .. }) => {
                "an earlier leader's command may still be running".to_owned()
            }
            // The first answer was still being waited for: nobody knows whether anybody leads.
            None => {
                let endpoints = &self.options.endpoints;
                self.log.event(LogEvent::error(format!(
                    "etcd at {endpoints} has not answered in time"
                )));
                self.leave(ExitStatus::Failed);
                return;
            }
        };
        self.log
            .event(LogEvent::warning(format!("not elected: {why}")));
        self.leave(ExitStatus::NotElected(self.options.conflict_exit_code));
    }

    pub(super) fn say_lost(&mut self, reason: LossReason) {
        self.log.event(LogEvent::Lost { reason });
        self.health.lost(reason);
        self.hooks.lost(reason);
    }

    pub(super) fn leave(&mut self, status: ExitStatus) {
        let _ = self.election.commands.send(Command::Leave);
        self.await_leaving(status, QUICK_FAREWELL);
    }

    /// Ends `--min-hold` before its time: the record stands, so others wait until it has run out.
    pub(super) fn cut_hold_short(&mut self, status: ExitStatus) {
        let _ = self.election.commands.send(Command::LeaveRecord);
        self.await_leaving(status, QUICK_FAREWELL);
    }

    /// Waits for the election's answer to a farewell, and exits with `status` then.
    fn await_leaving(&mut self, status: ExitStatus, limit: Duration) {
        self.systemd.stopping(None);
        let until = Instant::now() + limit;
        self.gone_by = Some(until);
        self.state = State::Leaving { status, until };
        if self.election_ended {
            self.state = State::Done(status);
        }
    }

    /// What follows a run, now that its tree is empty.
    pub(super) fn after_run(&self) -> Afterwards {
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

    pub(super) fn after_loss(&self) -> Afterwards {
        match self.options.on_loss {
            OnLoss::Exit => Afterwards::Exit(ExitStatus::Lost),
            OnLoss::Campaign if self.asked_to_end => Afterwards::Exit(ExitStatus::Lost),
            OnLoss::Campaign => Afterwards::Campaign,
        }
    }

    /// Stops this process as the terminal's job that it is, once what was logged can be read.
    fn stop_too(&self, signal: SignalNumber) {
        self.log.flush(LAST_WORDS);
        self.job.stop(signal);
    }

    /// Gives up the term. Only ever over an empty tree.
    pub(super) fn release(&mut self, then: Afterwards) {
        let campaign_again = then == Afterwards::Campaign;
        if !campaign_again {
            self.systemd.stopping(None);
        }
        let _ = self.election.commands.send(Command::End { campaign_again });
        let until = Instant::now() + FAREWELL;
        self.state = State::Releasing { then, until };
        if self.election_ended {
            self.on_released();
        }
    }

    pub(super) fn break_release_order(&mut self) {
        if Rule::ReleaseOrder.is_off() {
            let _ = self.election.commands.send(Command::End {
                campaign_again: false,
            });
        }
    }
}
