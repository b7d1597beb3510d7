//! The timeline of one term, as pure arithmetic.
//!
//! ```text
//!   s ──────────── renewals, every I ───────────►│◄──── G ────►│◄── M ──►│
//!                                         stop signal      SIGKILL    s+T: another may start
//!                                         at s+T-M-G       at s+T-M
//! ```
//!
//! `T` is the TTL that the server granted, `s` the instant at which the last confirmed renewal was
//! sent, `G` the grace period, `M` the safety margin for clock drift and scheduling, `I` the
//! interval between renewals. A [`Timeline`] that does not leave room for two renewals before the
//! stop signal cannot be built.

use std::time::Duration;

use thiserror::Error;

use crate::clock::BootInstant;

/// The smallest TTL that is accepted; etcd itself raises anything below about 2 s.
pub const MIN_TTL: Duration = Duration::from_secs(2);
/// The largest TTL that etcd accepts (`MaxLeaseTTL` in etcd's `server/lease/lessor.go`).
pub const MAX_TTL: Duration = Duration::from_secs(9_000_000_000);
/// The TTL where none is given.
pub const DEFAULT_TTL: Duration = Duration::from_secs(15);
/// Below this, an etcd outage that is ridden out is worth a warning: a raft election takes 1 to 2 s.
pub const SHORT_OUTAGE: Duration = Duration::from_secs(3);
/// The shortest interval between renewals; below it, they would only load etcd.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The longest that one attempt at a renewal waits before the next endpoint is tried.
pub const MAX_ATTEMPT: Duration = Duration::from_secs(1);

const MIN_MARGIN: Duration = Duration::from_millis(200);
const MAX_DEFAULT_MARGIN: Duration = Duration::from_secs(2);

/// What the user asked for; what is `None` follows from the TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The lease's TTL, whole seconds.
    pub ttl: Duration,
    /// From the stop signal to SIGKILL, when the lease runs out.
    pub grace: Option<Duration>,
    /// From SIGKILL to the instant at which another may start.
    pub margin: Option<Duration>,
    /// Between two renewals.
    pub renew_interval: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: DEFAULT_TTL,
            grace: None,
            margin: None,
            renew_interval: None,
        }
    }
}

/// Why there is no timeline for some settings. Every message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimelineError {
    /// The TTL has a fraction of a second, which etcd does not know.
    #[error("a TTL of {} is not a whole number of seconds: use {}", exact(*.0), whole_seconds_near(*.0))]
    FractionalTtl(Duration),
    /// Below [`MIN_TTL`].
    #[error("a TTL of {} is too short: use {} or more", show(*.0), show(MIN_TTL))]
    TtlTooShort(Duration),
    /// Above [`MAX_TTL`].
    #[error("a TTL of {} is above etcd's maximum of 9000000000s", show(*.0))]
    TtlTooLong(Duration),
    /// The margin would not cover scheduling.
    #[error("a margin of {} is too short to cover scheduling delays: use {} or more", exact(*.0), show(MIN_MARGIN))]
    MarginTooShort(Duration),
    /// Renewals would be a load and nothing else.
    #[error("a renew interval of {} is too short: use {} or more", exact(*.0), show(MIN_INTERVAL))]
    IntervalTooShort(Duration),
    /// The parts do not fit the TTL, whatever TTL etcd allows.
    #[error(
        "{arithmetic}: no TTL that etcd accepts is long enough, so shorten the grace period, the margin or the renew interval"
    )]
    NeverFits {
        /// The sum that does not work out.
        arithmetic: String,
    },
    /// The parts do not fit the TTL.
    #[error("{arithmetic}: use --ttl {} or more", show(*.smallest))]
    DoesNotFit {
        /// The sum that does not work out.
        arithmetic: String,
        /// The smallest TTL with which the same settings are accepted.
        smallest: Duration,
    },
}

/// The instant of the SIGKILL, `s + T - M`: the only thing that the guardian's timer obeys.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Deadline(pub BootInstant);

impl Deadline {
    /// When the stop signal is due, given the grace period.
    pub fn stop_at(self, grace: Duration) -> BootInstant {
        self.0 - grace
    }

    /// When another candidate may start, given the margin.
    pub fn another_may_start(self, margin: Duration) -> BootInstant {
        self.0 + margin
    }
}

/// An accepted timeline: stop signal before SIGKILL before expiry, and two renewals before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    ttl: Duration,
    grace: Duration,
    margin: Duration,
    interval: Duration,
}

impl Timeline {
    /// The timeline of `settings`, with what they leave open derived from the TTL:
    /// grace T/3; margin T/10, at least 200 ms and at most 2 s; interval a quarter of the rest.
    pub fn new(settings: &Settings) -> Result<Self, TimelineError> {
        let ttl = settings.ttl;
        if ttl.subsec_nanos() != 0 {
            return Err(TimelineError::FractionalTtl(ttl));
        }
        if ttl < MIN_TTL {
            return Err(TimelineError::TtlTooShort(ttl));
        }
        if ttl > MAX_TTL {
            return Err(TimelineError::TtlTooLong(ttl));
        }
        if let Some(m) = settings.margin
            && m < MIN_MARGIN
        {
            return Err(TimelineError::MarginTooShort(m));
        }
        if let Some(i) = settings.renew_interval
            && i < MIN_INTERVAL
        {
            return Err(TimelineError::IntervalTooShort(i));
        }
        Self::fit(settings, ttl).ok_or_else(|| Self::misfit(settings))
    }

    fn fit(settings: &Settings, ttl: Duration) -> Option<Self> {
        let (grace, margin) = parts(settings, ttl);
        let window = ttl.checked_sub(margin)?.checked_sub(grace)?;
        let interval = settings
            .renew_interval
            .unwrap_or_else(|| (window / 4).max(MIN_INTERVAL));
        // The second renewal has to be sent before the stop signal, not at it.
        (interval.checked_mul(2)? < window).then_some(Self {
            ttl,
            grace,
            margin,
            interval,
        })
    }

    fn misfit(settings: &Settings) -> TimelineError {
        let (grace, margin) = parts(settings, settings.ttl);
        let left = settings.ttl.saturating_sub(margin).saturating_sub(grace);
        let shown = if left.is_zero() {
            "nothing".to_owned()
        } else {
            show(left)
        };
        let interval = settings
            .renew_interval
            .unwrap_or_else(|| (left / 4).max(MIN_INTERVAL));
        let arithmetic = format!(
            "a TTL of {} less a margin of {} and a grace period of {} leaves {shown} before the stop signal, \
             not enough for two renewals {} apart",
            show(settings.ttl),
            show(margin),
            show(grace),
            show(interval)
        );
        // Fitting is monotonous in the TTL: every default grows more slowly than the TTL itself.
        let fits = |secs: u64| Self::fit(settings, Duration::from_secs(secs)).is_some();
        let (mut low, mut high) = (settings.ttl.as_secs(), MAX_TTL.as_secs());
        if !fits(high) {
            return TimelineError::NeverFits { arithmetic };
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        TimelineError::DoesNotFit {
            arithmetic,
            smallest: Duration::from_secs(high),
        }
    }

    /// T, the TTL of the lease.
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// G, from the stop signal to SIGKILL.
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// M, from SIGKILL to the instant at which another may start.
    pub const fn margin(&self) -> Duration {
        self.margin
    }

    /// I, between two renewals.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// T - M: from a confirmed renewal to SIGKILL.
    fn until_kill(&self) -> Duration {
        // A timeline that was accepted has room for both; nothing saturates.
        self.ttl.saturating_sub(self.margin)
    }

    /// How long one attempt at a renewal may take before the next endpoint is tried.
    pub fn attempt(&self) -> Duration {
        self.interval.min(MAX_ATTEMPT)
    }

    /// T - M - G: from a confirmed renewal to the stop signal.
    pub fn window(&self) -> Duration {
        self.until_kill().saturating_sub(self.grace)
    }

    /// The longest etcd outage that leadership survives even if it begins at the worst instant:
    /// just before a renewal, with one attempt lost before the first that succeeds.
    pub fn outage(&self) -> Duration {
        self.window()
            .saturating_sub(self.interval)
            .saturating_sub(self.attempt())
    }

    /// The deadline that a renewal sent at `sent` earns once it is confirmed.
    pub fn deadline(&self, sent: BootInstant) -> Deadline {
        Deadline(sent + self.until_kill())
    }

    /// When the renewal that earned this deadline was sent.
    pub fn sent(&self, deadline: Deadline) -> BootInstant {
        deadline.0 - self.until_kill()
    }

    /// The page that `--explain` prints.
    pub fn explain(&self) -> String {
        let (t, g, m, i) = (self.ttl, self.grace, self.margin, self.interval);
        let mut page = format!(
            "Counted from the instant at which the last confirmed renewal was sent:\n\
             \x20 {:>10}  the next renewals, each given {} before the next endpoint is tried\n\
             \x20 {:>10}  stop signal to the command's process tree\n\
             \x20 {:>10}  SIGKILL to what is left of it\n\
             \x20 {:>10}  another candidate may start its command\n\
             TTL {}, grace {}, margin {}, renew interval {}.\n\
             An etcd outage of up to {} does not cost the leadership.\n",
            format!("every {}", show(i)),
            show(self.attempt()),
            show(self.window()),
            show(self.until_kill()),
            show(t),
            show(t),
            show(g),
            show(m),
            show(i),
            show(self.outage()),
        );
        if let Some(warning) = self.warning() {
            page.push_str("leaderrun: warning: ");
            page.push_str(&warning);
            page.push('\n');
        }
        page
    }

    /// What to tell a user whose timeline does not ride out the election of an etcd leader.
    pub fn warning(&self) -> Option<String> {
        (self.outage() < SHORT_OUTAGE).then(|| {
            format!(
                "this timeline rides out an etcd outage of {} only, less than the election of a new etcd \
                 leader may take: use a longer --ttl or a shorter --grace",
                show(self.outage())
            )
        })
    }
}

/// Grace and margin, given or derived.
fn parts(settings: &Settings, ttl: Duration) -> (Duration, Duration) {
    (
        settings.grace.unwrap_or(ttl / 3),
        settings
            .margin
            .unwrap_or_else(|| (ttl / 10).clamp(MIN_MARGIN, MAX_DEFAULT_MARGIN)),
    )
}

/// The TTLs on either side of a fractional one, or the one that there is.
fn whole_seconds_near(ttl: Duration) -> String {
    let (below, above) = (floor(ttl).max(MIN_TTL), ceil(ttl).max(MIN_TTL));
    if below == above {
        show(above)
    } else {
        format!("{} or {}", show(below), show(above))
    }
}

fn floor(d: Duration) -> Duration {
    Duration::from_secs(d.as_secs())
}

fn ceil(d: Duration) -> Duration {
    Duration::from_secs(d.as_secs().saturating_add(u64::from(d.subsec_nanos() > 0)))
}

/// A duration that was given, also where it has less than a millisecond.
fn exact(d: Duration) -> String {
    if d.subsec_nanos().is_multiple_of(1_000_000) {
        show(d)
    } else {
        humantime::format_duration(d).to_string()
    }
}

/// A duration as a person writes it, to the millisecond.
pub fn show(d: Duration) -> String {
    let millis = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    if (1..1000).contains(&millis) {
        return format!("{millis}ms");
    }
    let (secs, rest) = (millis / 1000, millis % 1000);
    if rest == 0 {
        format!("{secs}s")
    } else {
        format!("{secs}.{}s", format!("{rest:03}").trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests;
