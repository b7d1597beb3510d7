//! Where a run stands.

use tokio::time::Instant;

use crate::clock::BootInstant;
use crate::election::{LeaseId, Term};
use crate::exit_status::ExitStatus;
use crate::report::LossReason;
use crate::supervisor::UNPROVEN;
use crate::sys::End;
use crate::timing::Deadline;

/// The states of one run of leaderrun.
#[derive(Debug)]
pub enum State {
    /// Connecting, in the queue, or waiting out a record.
    Standby,
    /// Elected, and the guardian has refused to start the command so late: the next renewal decides.
    Elected(Term),
    /// The guardian was ordered to start the command, and the tree is not proven empty since.
    Running(Run),
    /// The command is over, and leadership is kept for a while all the same (`--min-hold`).
    Holding {
        /// The term, with the latest deadline that was earned.
        term: Term,
        /// The command's.
        status: ExitStatus,
        /// When the term is given up.
        until: Instant,
    },
    /// The tree is empty and the term is being given up.
    Releasing {
        /// What follows.
        then: Afterwards,
        /// When that is not waited for any longer.
        until: Instant,
    },
    /// The place in the queue is being given up.
    Leaving {
        /// The status that leaderrun exits with.
        status: ExitStatus,
        /// When that is not waited for any longer.
        until: Instant,
    },
    /// Nothing is left to do.
    Done(ExitStatus),
}

/// What follows a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// leaderrun exits.
    Exit(ExitStatus),
    /// It stands for election again.
    Campaign,
}

/// One run of the command, from the order to start it to the empty tree.
#[derive(Debug)]
pub struct Run {
    /// The term that it runs in.
    pub term: Term,
    /// The latest deadline that was earned.
    pub deadline: Deadline,
    /// The one that the guardian's timer obeys, as far as that is known.
    pub acknowledged: Deadline,
    /// The process id of the command, once it has started.
    pub command: Option<i32>,
    /// Until when the record keeps others waiting, where it alone is held.
    pub held: Option<BootInstant>,
    /// What came first: it gives the exit status.
    pub cause: Option<Cause>,
    /// How the main process of the command ended, once it has.
    pub end: Option<End>,
    /// Whether leadership is over.
    pub lost: bool,
    /// Whether the guardian was told that it is over. What it makes of that is heard later.
    pub loss_told: bool,
    /// Whether the guardian is dead.
    pub guardian_lost: bool,
    /// When the command was ordered to start.
    pub began: Instant,
    /// The lease, as long as the guardian is not to give it back if we are killed (`--min-hold`).
    pub withheld: Option<LeaseId>,
    /// Since when the tree looks as if it could not be proven dead.
    pub suspected: Option<Instant>,
}

/// The first reason for a run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The command ended by itself, or in a planned stop: its status is ours.
    Command,
    /// The command could not be started.
    NotStarted(ExitStatus),
    /// Leadership was lost.
    Lost(LossReason),
}

impl Run {
    /// A run that is about to start.
    pub fn new(term: Term, deadline: Deadline) -> Self {
        Self {
            term,
            deadline,
            acknowledged: deadline,
            command: None,
            held: None,
            cause: None,
            end: None,
            lost: false,
            loss_told: false,
            guardian_lost: false,
            began: Instant::now(),
            withheld: None,
            suspected: None,
        }
    }

    /// Notes why the run ends, if nothing came before.
    pub fn note(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
    }

    /// Notes that the guardian has begun to fence. That it did so `first` settles what the order of news
    /// cannot: a planned stop may have been noted here while the guardian's word was on its way.
    pub fn note_fence(&mut self, reason: LossReason, first: bool) {
        if first && self.cause == Some(Cause::Command) {
            self.cause = None;
        }
        self.note(Cause::Lost(reason));
        self.lost = true;
    }

    /// When another leaderrun may start its command, if neither the term nor its record alone is renewed
    /// before.
    pub fn another_may_start(&self) -> BootInstant {
        let earned = self.deadline.another_may_start(self.term.timeline.margin());
        self.held.map_or(earned, |held| held.max(earned))
    }

    /// When the tree, if it is not empty by then, is given up as not proven dead.
    pub fn unproven_at(&self) -> BootInstant {
        self.another_may_start() + UNPROVEN
    }

    /// The status to exit with, now that the tree is empty.
    pub fn status(&self) -> ExitStatus {
        match (self.cause, self.end) {
            (Some(Cause::NotStarted(status)), _) => status,
            (Some(Cause::Command) | None, Some(End::Code(code))) => {
                ExitStatus::Command(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
            }
            (Some(Cause::Command) | None, Some(End::Signal(signal))) => {
                ExitStatus::Signalled(signal.0)
            }
            // With the second, the guardian's last words were lost with it.
            (Some(Cause::Lost(_)), _) | (Some(Cause::Command) | None, None) => ExitStatus::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::election::Token;
    use crate::timing::{Settings, Timeline};

    fn run(sent: BootInstant) -> Run {
        let timeline = Timeline::new(&Settings::default()).unwrap();
        let deadline = timeline.deadline(sent);
        let term = Term {
            token: Token(1),
            lease: LeaseId(1),
            leader_key: "/e/1".into(),
            timeline,
            deadline,
            since: 0,
            waited: Duration::ZERO,
        };
        Run::new(term, deadline)
    }

    #[test]
    fn a_fence_that_came_first_is_the_cause_also_if_it_is_heard_of_late() {
        let fenced = |cause, first| {
            let mut run = run(BootInstant::now());
            run.cause = cause;
            run.note_fence(LossReason::RenewalTimeout, first);
            assert!(run.lost);
            run.cause
        };
        let lost = Some(Cause::Lost(LossReason::RenewalTimeout));
        let not_started = Some(Cause::NotStarted(ExitStatus::NotFound));
        assert_eq!(fenced(None, true), lost);
        assert_eq!(fenced(Some(Cause::Command), true), lost);
        assert_eq!(fenced(Some(Cause::Command), false), Some(Cause::Command));
        assert_eq!(fenced(not_started, true), not_started);
    }

    #[test]
    fn a_record_that_is_still_held_keeps_others_from_starting() {
        let sent = BootInstant::from_duration(Duration::from_secs(100));
        let mut run = run(sent);
        let earned = sent + run.term.timeline.ttl();
        assert_eq!(run.another_may_start(), earned);
        run.held = Some(earned + Duration::from_secs(40));
        assert_eq!(run.another_may_start(), earned + Duration::from_secs(40));
        assert_eq!(run.unproven_at(), run.another_may_start() + UNPROVEN);
        run.held = Some(sent);
        assert_eq!(run.another_may_start(), earned, "a hold takes nothing away");
    }
}
