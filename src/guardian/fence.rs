//! When the command has to be stopped and killed: the decisions, without clocks or processes.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::guardian::message::KillReason;
use crate::rules::Rule;
use crate::timing::Deadline;

/// Where a run of the command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It runs, and no one has asked it to stop.
    Leading,
    /// It was asked to stop, or has ended and left descendants; leadership goes on meanwhile.
    Stopping,
    /// Leadership is over. There is no way back.
    Fencing,
}

/// What the clock demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// The stop signal, because no extension came.
    Stop,
    /// SIGKILL.
    Kill,
}

/// The timer's side of one run of the command.
#[derive(Clone, Debug)]
pub struct Fence {
    deadline: Deadline,
    grace: Duration,
    stage: Stage,
    kill_at: Option<BootInstant>,
    left_behind: bool,
}

impl Fence {
    /// For a command that is to start now.
    ///
    /// Returns `None` if its stop instant has passed already.
    pub fn new(deadline: Deadline, grace: Duration, now: BootInstant) -> Option<Self> {
        (now < deadline.stop_at(grace) || Rule::Fence.is_off()).then_some(Self {
            deadline,
            grace,
            stage: Stage::Leading,
            kill_at: None,
            left_behind: false,
        })
    }

    /// Where the run stands.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// From a stop signal to SIGKILL.
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// The deadline that is obeyed.
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// A renewal was confirmed. A deadline never moves back, and once fencing has begun it never moves.
    pub fn extend(&mut self, to: Deadline) {
        if self.stage == Stage::Fencing {
            if !Rule::NoRescue.is_off() {
                return;
            }
            (self.stage, self.kill_at) = (Stage::Leading, None);
        }
        self.deadline = self.deadline.max(to);
    }

    /// A planned stop: SIGKILL after `kill_after`, if that is limited.
    pub fn stop(&mut self, now: BootInstant, kill_after: Option<Duration>) {
        match self.stage {
            Stage::Leading => self.stage = Stage::Stopping,
            // The first cause stands, and nothing delays the SIGKILL.
            Stage::Stopping | Stage::Fencing => {}
        }
        if let Some(limit) = kill_after {
            self.kill_no_later_than(now + limit);
        }
    }

    /// Leadership is over. Returns whether that is news.
    pub fn begin(&mut self, now: BootInstant) -> bool {
        self.kill_no_later_than((now + self.grace).min(self.deadline.0));
        std::mem::replace(&mut self.stage, Stage::Fencing) != Stage::Fencing
    }

    /// The main process has ended and left descendants: they get the grace period.
    /// Returns whether they are still to be sent the stop signal. Asking again changes nothing.
    pub fn main_ended_leaving_descendants(&mut self, now: BootInstant) -> bool {
        if self.stage != Stage::Fencing && !self.left_behind {
            self.left_behind = true;
            self.kill_no_later_than(now + self.grace);
        }
        if self.stage == Stage::Leading {
            self.stage = Stage::Stopping;
            return true;
        }
        false
    }

    fn kill_no_later_than(&mut self, at: BootInstant) {
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// What `now` demands.
    pub fn due(&self, now: BootInstant) -> Due {
        if self.kill_at.is_some_and(|at| at <= now) {
            return Due::Kill;
        }
        if Rule::Fence.is_off() {
            return Due::Nothing;
        }
        if self.deadline.0 <= now {
            Due::Kill
        } else if self.stage != Stage::Fencing && self.deadline.stop_at(self.grace) <= now {
            Due::Stop
        } else {
            Due::Nothing
        }
    }

    /// Why [`Self::due`] demands SIGKILL now.
    pub fn kill_reason(&self, now: BootInstant) -> KillReason {
        match self.stage {
            _ if self.deadline.0 <= now => KillReason::Deadline,
            Stage::Fencing => KillReason::Grace,
            Stage::Leading | Stage::Stopping if self.left_behind => KillReason::Leftovers,
            Stage::Leading | Stage::Stopping => KillReason::StopTimeout,
        }
    }

    /// When to look again: before that, [`Self::due`] does not change by itself.
    pub fn wake_at(&self) -> BootInstant {
        let next = match self.stage {
            // Nothing becomes due then, and whoever looks again at once starves the command.
            _ if Rule::Fence.is_off() => BootInstant::now() + Duration::from_secs(3600),
            Stage::Leading | Stage::Stopping => self.deadline.stop_at(self.grace),
            Stage::Fencing => self.deadline.0,
        };
        self.kill_at.map_or(next, |at| at.min(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> BootInstant {
        BootInstant::from_duration(Duration::from_millis(ms))
    }

    fn leading() -> Fence {
        Fence::new(Deadline(at(1000)), Duration::from_millis(300), at(0)).unwrap()
    }

    #[test]
    fn a_start_after_its_stop_instant_is_refused() {
        let grace = Duration::from_millis(300);
        assert!(Fence::new(Deadline(at(1000)), grace, at(699)).is_some());
        assert!(Fence::new(Deadline(at(1000)), grace, at(700)).is_none());
    }

    #[test]
    fn without_extension_the_stop_signal_comes_before_the_kill() {
        let mut fence = leading();
        assert_eq!(fence.due(at(699)), Due::Nothing);
        assert_eq!(fence.due(at(700)), Due::Stop);
        assert!(fence.begin(at(700)));
        assert_eq!(fence.due(at(999)), Due::Nothing);
        assert_eq!(fence.due(at(1000)), Due::Kill);
    }

    #[test]
    fn no_extension_rescues_a_fenced_command() {
        let mut fence = leading();
        fence.begin(at(100));
        fence.extend(Deadline(at(5000)));
        assert_eq!(fence.due(at(400)), Due::Kill);
        assert_eq!(fence.deadline(), Deadline(at(1000)));
    }

    #[test]
    fn a_deadline_never_moves_back() {
        let mut fence = leading();
        fence.extend(Deadline(at(2000)));
        fence.extend(Deadline(at(1500)));
        assert_eq!(fence.deadline(), Deadline(at(2000)));
    }

    #[test]
    fn a_planned_stop_without_limit_lives_on_renewals() {
        let mut fence = leading();
        fence.stop(at(10), None);
        fence.extend(Deadline(at(9000)));
        assert_eq!(fence.due(at(8000)), Due::Nothing);
        assert_eq!(fence.due(at(8700)), Due::Stop);
    }

    #[test]
    fn descendants_left_behind_get_the_grace_and_no_more() {
        let mut fence = leading();
        assert!(fence.main_ended_leaving_descendants(at(10)));
        assert!(
            !fence.main_ended_leaving_descendants(at(10)),
            "the stop signal is sent once"
        );
        assert_eq!(fence.due(at(309)), Due::Nothing);
        assert_eq!(fence.due(at(310)), Due::Kill);
    }

    proptest! {
        /// Whatever happens in whatever order, nothing outlives the deadline of the time at which
        /// fencing began, and nothing before fencing outlives the latest extension.
        #[test]
        fn the_kill_is_never_later_than_the_deadline(
            steps in proptest::collection::vec((0_u8..4, 0_u64..400, 0_u64..3000), 0..20),
        ) {
            let mut fence = leading();
            let (mut now, mut frozen) = (0, None);
            for (what, pause, value) in steps {
                now += pause;
                match what {
                    0 => fence.extend(Deadline(at(value))),
                    1 => fence.stop(at(now), (value > 1500).then(|| Duration::from_millis(value))),
                    2 => {
                        fence.begin(at(now));
                        frozen.get_or_insert(fence.deadline());
                    }
                    _ => { fence.main_ended_leaving_descendants(at(now)); }
                }
                if let Some(deadline) = frozen {
                    prop_assert_eq!(fence.deadline(), deadline);
                }
                prop_assert_eq!(fence.due(fence.deadline().0), Due::Kill);
                prop_assert!(fence.wake_at() <= fence.deadline().0);
                prop_assert!(fence.due(fence.wake_at()) != Due::Nothing);
            }
        }
    }
}
