//! What the election says.

use std::time::Duration;

use tokio::time::Instant;

use crate::cli::{Patience, SdReady};
use crate::clock::BootInstant;
use crate::election::{ElectionError, Event, Loss, Outage, Term, Wait};
use crate::exit_status::ExitStatus;
use crate::guardian::message::{Reason, Start, ToGuardian};
use crate::report::{LogEvent, LossReason, StopReason};
use crate::supervisor::state::{Afterwards, Cause, Run, State};
use crate::supervisor::{Campaign, Supervisor, environment, leftovers};
use crate::timing::{Deadline, Settings, Timeline};

impl Supervisor {
    pub(in crate::supervisor) fn on_election(&mut self, event: Event) {
        match event {
            Event::Campaigning { lease, ttl } => {
                self.etcd_answered();
                self.campaign.stands = true;
                self.campaign.waiting = None;
                self.log.event(LogEvent::Campaigning {
                    key: self.options.key.clone(),
                    lease,
                    id: self.options.id.clone(),
                    ttl,
                });
                self.warn_of_short_timeline(ttl);
                self.hooks.standby();
                self.stands_by();
            }
            Event::LeadsSince(since) => self.log.leads_since(since),
            Event::Leader(leader) => self.hooks.new_leader(&leader),
            Event::Displaced => self.campaign.stands = false,
            Event::Waiting(wait) => self.on_waiting(wait),
            Event::Elected(term) => self.on_elected(term),
            Event::Extended(deadline) => self.on_extended(deadline),
            Event::Held(until) => {
                if let State::Running(run) = &mut self.state {
                    run.held = Some(until);
                }
            }
            Event::RenewalFailed {
                endpoint,
                outage,
                error,
            } => self.on_renewal_failed(endpoint, outage, error),
            Event::ResignAsked => self.on_resign_asked(),
            Event::Lost(loss) => self.on_loss(loss),
            Event::Unreachable {
                outage,
                answered_before,
                error,
            } => {
                self.on_unreachable(outage, answered_before, &error);
            }
            Event::Reachable => self.etcd_answered(),
            Event::Warning(message) => self.log.event(LogEvent::warning(message)),
            Event::Released(given_up) => {
                if let Some(event) = LogEvent::released(given_up) {
                    self.log.event(event);
                    self.hooks.released();
                }
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

    /// A standby does what it is there for as soon as it tries: an outage of etcd is no failure of ours. What
    /// ends us at once (etcd refuses us, no such host) was told by then, and fails the start.
    fn stands_by(&mut self) {
        if self.options.sd_ready == SdReady::Standby {
            self.systemd.ready();
        }
    }

    /// Once, and of the TTL that etcd has granted: it may have raised what was asked for.
    fn warn_of_short_timeline(&mut self, ttl: Duration) {
        let settings = Settings {
            ttl,
            ..self.options.settings
        };
        let warning = Timeline::new(&settings).ok().and_then(|t| t.warning());
        if let Some(warning) = warning
            && !std::mem::replace(&mut self.warned_short, true)
        {
            self.log.event(LogEvent::warning(warning));
        }
    }

    fn etcd_answered(&mut self) {
        self.campaign.trouble = None;
        self.outage = None;
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
        self.note_renewal(&term.timeline, term.deadline);
        match self.state {
            State::Standby => {
                let told = term.clone();
                self.order_start(term);
                self.hooks.elected(&self.options, &told);
            }
            // It crossed our leaving, which gives up the term as well.
            State::Leaving { .. } | State::Done(_) => {}
            State::Elected(_)
            | State::Running(_)
            | State::Holding { .. }
            | State::Releasing { .. } => {
                unreachable!("a term within a term")
            }
        }
    }

    fn order_start(&mut self, term: Term) {
        // However long it takes, the guardian refuses a start that comes too late.
        for event in leftovers::end(self.options.cgroup) {
            self.log.event(event);
        }
        let deadline = term.deadline;
        let order = Start {
            environment: environment::of_command(&self.options, &term),
            deadline,
            grace: term.timeline.grace(),
            margin: term.timeline.margin(),
            placement: self.job.place(),
            tenancy: term.tenancy(),
        };
        let mut run = Run::new(term, deadline);
        if !self.options.min_hold.is_zero() {
            // If we are killed now, the record is to stand, so that nobody runs the command again at once.
            run.withheld = Some(run.term.lease);
            self.watch.tell(ToGuardian::Lease(None));
        }
        self.watch.start(order, run.term.timeline);
        self.state = State::Running(run);
    }

    fn on_extended(&mut self, deadline: Deadline) {
        self.hooks.extended(deadline.0);
        match &mut self.state {
            State::Elected(term) => {
                let mut term = term.clone();
                term.deadline = deadline;
                self.note_renewal(&term.timeline, deadline);
                self.order_start(term);
            }
            State::Holding { term, .. } => {
                term.deadline = term.deadline.max(deadline);
                let timeline = term.timeline;
                self.note_renewal(&timeline, deadline);
                self.outage = None;
            }
            State::Running(run) => {
                let timeline = run.term.timeline;
                run.deadline = run.deadline.max(deadline);
                self.watch.extend(deadline);
                if run.began.elapsed() >= self.options.min_hold
                    && let Some(lease) = run.withheld.take()
                {
                    self.watch.tell(ToGuardian::Lease(Some(lease)));
                }
                let stop = run.deadline.stop_at(run.term.timeline.grace());
                let remaining = stop.saturating_since(BootInstant::now());
                self.log.event(LogEvent::Renewed { remaining });
                self.note_renewal(&timeline, deadline);
                self.outage = None;
            }
            State::Standby | State::Releasing { .. } | State::Leaving { .. } | State::Done(_) => {}
        }
    }

    fn note_renewal(&self, timeline: &Timeline, deadline: Deadline) {
        let sent = timeline.sent(deadline);
        let latency = BootInstant::now().saturating_since(sent);
        self.health.renewed(latency);
    }

    fn on_renewal_failed(&mut self, endpoint: String, outage: Outage, error: String) {
        let State::Running(run) = &self.state else {
            if matches!(self.state, State::Elected(_) | State::Holding { .. }) {
                self.health.renewal_failed();
            }
            return;
        };
        if !run.lost {
            self.health.renewal_failed();
        }
        self.outage = Some((outage, error.clone()));
        // Once it is over, failing renewals are no news; and while raft terms differ, say, there may be
        // many in a second.
        let repeated = self
            .last_failure
            .as_ref()
            .is_some_and(|(last, at)| *last == error && at.elapsed() < Duration::from_millis(500));
        if run.lost || repeated {
            return;
        }
        self.last_failure = Some((error.clone(), Instant::now()));
        let stop = run.deadline.stop_at(run.term.timeline.grace());
        let remaining = stop.saturating_since(BootInstant::now());
        self.log.event(LogEvent::RenewalFailed {
            endpoint,
            error,
            remaining,
        });
    }

    /// A planned stop, and then a loss: renewals go on while the command shuts down.
    fn on_resign_asked(&mut self) {
        match &mut self.state {
            State::Running(run) => {
                if run.cause.is_none() && !run.loss_told {
                    run.note(Cause::Lost(LossReason::Resigned));
                    self.plan_stop(StopReason::Resigned, self.options.stop_signal);
                }
            }
            State::Elected(_) => {
                self.say_lost(LossReason::Resigned);
                self.release(self.after_loss());
            }
            // The command is over already: as when told to stop.
            State::Holding { status, .. } => {
                let status = *status;
                self.say_lost(LossReason::Resigned);
                self.cut_hold_short(status);
            }
            State::Standby | State::Releasing { .. } | State::Leaving { .. } | State::Done(_) => {}
        }
    }

    fn on_loss(&mut self, loss: Loss) {
        match &mut self.state {
            State::Running(run) => {
                run.loss_told = true;
                let reason = match loss {
                    Loss::KeyLost => Reason::KeyLost,
                    Loss::LeaseLost => Reason::LeaseLost,
                };
                self.watch.tell(ToGuardian::Fence(reason));
            }
            State::Elected(_) => {
                self.say_lost(loss.into());
                self.release(self.after_loss());
            }
            State::Holding { status, .. } => {
                let status = *status;
                self.cut_hold_short(status);
            }
            State::Standby | State::Releasing { .. } | State::Leaving { .. } | State::Done(_) => {}
        }
    }

    fn on_unreachable(&mut self, outage: Outage, answered_before: bool, error: &str) {
        if !matches!(self.state, State::Standby) {
            return;
        }
        self.outage = Some((outage, error.to_owned()));
        if !answered_before || outage != Outage::Silent {
            self.campaign.trouble = self.outage.clone();
        }
        if self.options.wait == Patience::Try {
            self.log
                .event(LogEvent::error(format!("{outage}: {error}")));
            self.leave(ExitStatus::Failed);
            return;
        }
        self.stands_by();
        if let Some(event) = self.trouble.failed(outage, error, BootInstant::now()) {
            self.log.event(event);
        }
    }

    pub(super) fn on_released(&mut self) {
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
            State::Running(_)
            | State::Standby
            | State::Elected(_)
            | State::Holding { .. }
            | State::Done(_) => {}
        }
    }

    fn on_failed(&mut self, error: &ElectionError) {
        self.election_ended = true;
        self.log.event(LogEvent::error(error.to_string()));
        match self.state {
            State::Standby | State::Elected(_) => self.state = State::Done(ExitStatus::Failed),
            State::Releasing {
                then: Afterwards::Exit(status),
                ..
            }
            | State::Holding { status, .. }
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
        if matches!(self.state, State::Done(_)) {
            self.systemd.stopping(None);
        }
    }
}
