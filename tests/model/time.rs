//! The arithmetic, all of it the product's own: timeline, fence, and from when on a record is free, asked with the
//! ticks of the model turned into instants.

use std::time::Duration;

use leaderrun::clock::{BootInstant, ClockIdentity};
use leaderrun::election::{LeaseId, Record as Written, Token};
use leaderrun::guardian::fence::{Due, Fence};
use leaderrun::timing::{Deadline, Settings, Timeline};

use super::rules::{Rule, Setting};
use super::state::{Age, Record, Run, Who};
use super::steps::Election;

const TICK: Duration = Duration::from_secs(1);
/// The present instant on A's clock.
const NOW: Duration = Duration::from_secs(1000);
/// The same instant on the clock of B's host, if that is another. Ahead by more than a TTL, so that A's
/// deadlines look past there; the other way round, they would only look far away.
const NOW_ELSEWHERE: Duration = Duration::from_secs(2000);

/// A timeline in ticks.
#[derive(Debug)]
pub struct Ticks {
    pub timeline: Timeline,
    pub ttl: Age,
    pub grace: Age,
}

impl Ticks {
    /// The smallest there is: stop signal, SIGKILL and expiry one tick apart.
    pub fn few() -> Self {
        Self::new(3, 1, 1)
    }

    /// One in which more can happen between them.
    pub fn more() -> Self {
        Self::new(5, 2, 1)
    }

    /// One whose margin has room for a guardian that is late, and for a clock that drifts.
    pub fn wide_margin() -> Self {
        Self::new(5, 1, 2)
    }

    fn new(ttl: Age, grace: Age, margin: Age) -> Self {
        let settings = Settings {
            ttl: TICK * ttl.into(),
            grace: Some(TICK * grace.into()),
            margin: Some(TICK * margin.into()),
            renew_interval: None,
        };
        Self {
            timeline: Timeline::new(&settings).expect("it fits"),
            ttl,
            grace,
        }
    }
}

fn ticks_until(instant: BootInstant, now: BootInstant) -> i8 {
    let whole = |d: Duration| i8::try_from(d.as_secs()).unwrap_or(i8::MAX);
    whole(instant.saturating_since(now)) - whole(now.saturating_since(instant))
}

impl Election {
    fn now(&self, who: Who) -> BootInstant {
        BootInstant::from_duration(match (who, self.setting) {
            (Who::B, Setting::TwoHosts | Setting::Drifting | Setting::Foreign) => NOW_ELSEWHERE,
            (Who::A | Who::B, _) => NOW,
        })
    }

    fn clock(&self, who: Who) -> ClockIdentity {
        let boot = if self.now(who) == self.now(Who::A) {
            "here"
        } else {
            "there"
        };
        ClockIdentity {
            boot_id: boot.into(),
            time_namespace: 1,
        }
    }

    fn ago(&self, who: Who, ticks: Age) -> BootInstant {
        self.now(who) - TICK * u32::from(ticks)
    }

    fn deadline(&self, who: Who, run: Run) -> Deadline {
        let ahead = TICK * u32::from(run.deadline.unsigned_abs());
        Deadline(if run.deadline < 0 {
            self.now(who) - ahead
        } else {
            self.now(who) + ahead
        })
    }

    /// The deadline that a renewal has earned, in ticks from now.
    pub fn earned(&self, who: Who, sent: Age) -> i8 {
        let sent = if self.keeps(Rule::SentInstant) {
            sent
        } else {
            0
        };
        let timeline = &self.ticks.timeline;
        let deadline = timeline.deadline(self.ago(who, sent));
        let deadline = if self.keeps(Rule::Margin) {
            deadline.0
        } else {
            deadline.another_may_start(timeline.margin())
        };
        ticks_until(deadline, self.now(who))
    }

    /// Whether the guardian starts a command with this deadline.
    pub fn may_start(&self, who: Who, run: Run) -> bool {
        let grace = self.ticks.timeline.grace();
        Fence::new(self.deadline(who, run), grace, self.now(who)).is_some()
            || !self.keeps(Rule::StartRefused)
    }

    /// The fence of a run, from its history.
    fn fence(&self, who: Who, run: Run) -> Fence {
        let long_ago = self.now(who) - TICK * 100;
        let grace = self.ticks.timeline.grace();
        let fence = Fence::new(self.deadline(who, run), grace, long_ago);
        let mut fence = fence.expect("the stop instant was to come then");
        if run.stopping {
            fence.stop(long_ago, None);
        }
        if let Some(left) = run.left {
            fence.main_ended_leaving_descendants(self.ago(who, left));
        }
        if let Some(fenced) = run.fenced {
            fence.begin(self.ago(who, fenced));
        }
        fence
    }

    /// What the guardian has to do now.
    pub fn due(&self, who: Who, run: Run) -> Due {
        if self.keeps(Rule::Fence) {
            return self.fence(who, run).due(self.now(who));
        }
        let no_deadline = Run {
            deadline: i8::MAX,
            ..run
        };
        self.fence(who, no_deadline).due(self.now(who))
    }

    /// Extends a run's deadline, if its fence allows that.
    pub fn extend(&self, who: Who, run: &mut Run, earned: i8) {
        if !self.keeps(Rule::NoRescue) {
            run.fenced = None;
        }
        let mut fence = self.fence(who, *run);
        let to = Run {
            deadline: earned,
            ..*run
        };
        fence.extend(self.deadline(who, to));
        run.deadline = ticks_until(fence.deadline().0, self.now(who));
    }

    /// Whether a record, first seen so long ago, has been waited out.
    pub fn is_free(&self, reader: Who, record: Record, first: Age) -> bool {
        let timeline = &self.ticks.timeline;
        let trusted = if self.keeps(Rule::OwnBoot) {
            record.owner
        } else {
            reader
        };
        let written = Written {
            token: Token(1),
            lease: LeaseId(1),
            ttl: timeline.ttl(),
            since: 0,
            clock: self.clock(trusted),
            deadline: timeline.deadline(self.ago(record.owner, record.sent)),
            margin: timeline.margin(),
            over: false,
        };
        written.free_at(self.ago(reader, first), &self.clock(reader)) <= self.now(reader)
    }
}
