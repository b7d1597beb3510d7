//! Where a run stands: what the supervisor saw last, and what the clock makes of it.

use crate::clock::BootInstant;
use crate::election::{LeaseId, Token, Wait};
use crate::timing::{Deadline, Timeline};

/// Where the run stood when the supervisor looked last.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// In what stage it was.
    pub stage: Stage,
    /// What the command was, from its start until all of its processes are dead: its process id.
    pub command: Option<i32>,
    /// What is waited for.
    pub waiting: Option<Wait>,
    /// What is wrong with etcd.
    pub outage: Option<String>,
}

/// The stages of a run, each with what gives a claim to leadership in it.
#[derive(Clone, Debug, Default)]
pub enum Stage {
    /// Not a candidate yet.
    #[default]
    Connecting,
    /// A candidate.
    Standby,
    /// The command runs, or is about to.
    Leading(Claim),
    /// The command was asked to stop, or has ended and left descendants.
    Stopping(Claim),
    /// The command is over, and leadership is kept (`--min-hold`).
    Holding(Claim),
    /// What was ours in etcd is being given up.
    Leaving,
}

/// A term, as far as a claim to leadership rests on it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The fencing token.
    pub token: Token,
    /// The lease.
    pub lease: LeaseId,
    /// When the term began, in Unix seconds.
    pub since: u64,
    /// With the TTL that was granted.
    pub timeline: Timeline,
    /// The SIGKILL instant. While a command runs, the one that the guardian's timer obeys.
    pub deadline: Deadline,
    /// Whether leadership is over.
    pub lost: bool,
}

/// What a run is to those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not a candidate yet.
    Connecting,
    /// A candidate.
    Standby,
    /// The leader.
    Leading,
    /// The command is being stopped, whether leadership is renewed meanwhile or lost.
    Stopping,
    /// The leader, but the command is over.
    Holding,
    /// About to end, or to campaign again.
    Leaving,
}

impl Role {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Connecting,
        Self::Standby,
        Self::Leading,
        Self::Stopping,
        Self::Holding,
        Self::Leaving,
    ];

    /// Its name, in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Standby => "standby",
            Self::Leading => "leading",
            Self::Stopping => "stopping",
            Self::Holding => "holding",
            Self::Leaving => "leaving",
        }
    }
}

impl Stage {
    /// The role, as long as the clock does not contradict.
    pub(super) const fn role(&self) -> Role {
        match self {
            Self::Connecting => Role::Connecting,
            Self::Standby => Role::Standby,
            Self::Leading(_) => Role::Leading,
            Self::Stopping(_) => Role::Stopping,
            Self::Holding(_) => Role::Holding,
            Self::Leaving => Role::Leaving,
        }
    }
}

impl Claim {
    /// When the stop signal comes if no renewal does. From then on the command is being fenced.
    pub fn stop_at(&self) -> BootInstant {
        self.deadline.stop_at(self.timeline.grace())
    }

    fn holds_at(&self, now: BootInstant) -> bool {
        !self.lost && now < self.stop_at()
    }
}

impl Standing {
    /// The term that leadership is, or was, claimed by.
    pub fn claim(&self) -> Option<&Claim> {
        match &self.stage {
            Stage::Leading(claim) | Stage::Stopping(claim) | Stage::Holding(claim) => Some(claim),
            Stage::Connecting | Stage::Standby | Stage::Leaving => None,
        }
    }

    /// Whether leadership is claimed at that instant, with or without a command that is to go on.
    pub fn is_leader_at(&self, now: BootInstant) -> bool {
        self.claim().is_some_and(|claim| claim.holds_at(now))
    }

    /// The role at that instant. The guardian acts by the clock, and so does this, whether or not the
    /// supervisor has noticed yet.
    pub fn role_at(&self, now: BootInstant) -> Role {
        match &self.stage {
            Stage::Leading(claim) if !claim.holds_at(now) => Role::Stopping,
            Stage::Holding(claim) if !claim.holds_at(now) => Role::Leaving,
            stage => stage.role(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::claim;
    use super::*;
    use std::time::Duration;

    fn standing(stage: Stage) -> Standing {
        Standing {
            stage,
            ..Standing::default()
        }
    }

    #[test]
    fn nobody_leads_from_the_stop_signal_on_whatever_was_seen_last() {
        let sent = BootInstant::from_duration(Duration::from_secs(100));
        let claim = claim(sent);
        let just_before = claim.stop_at() - Duration::from_nanos(1);
        for (stage, before, after) in [
            (Stage::Leading(claim.clone()), Role::Leading, Role::Stopping),
            (Stage::Holding(claim.clone()), Role::Holding, Role::Leaving),
            (
                Stage::Stopping(claim.clone()),
                Role::Stopping,
                Role::Stopping,
            ),
        ] {
            let standing = standing(stage);
            assert!(standing.is_leader_at(just_before));
            assert_eq!(standing.role_at(just_before), before);
            for late in [Duration::ZERO, Duration::from_secs(3600)] {
                let now = claim.stop_at() + late;
                assert!(!standing.is_leader_at(now), "{standing:?}");
                assert_eq!(standing.role_at(now), after);
            }
        }
    }

    #[test]
    fn a_loss_counts_at_once_and_a_planned_stop_costs_no_leadership() {
        let now = BootInstant::now();
        let stopping = |lost| {
            let claim = claim(now);
            standing(Stage::Stopping(Claim { lost, ..claim }))
        };
        assert!(stopping(false).is_leader_at(now));
        assert!(!stopping(true).is_leader_at(now));
        assert_eq!(stopping(false).role_at(now), Role::Stopping);
    }
}
