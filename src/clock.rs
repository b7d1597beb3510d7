//! The one clock that leadership is measured with: `CLOCK_BOOTTIME`.
//!
//! Neither the wall clock (it is set) nor `CLOCK_MONOTONIC` (it stands still while the machine is
//! suspended) can say whether a lease elsewhere has expired. `CLOCK_BOOTTIME` counts suspend, and
//! every process in one time namespace of one boot reads the same value (`time_namespaces(7)`).

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// An instant on `CLOCK_BOOTTIME`, in nanoseconds since boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootInstant(u64);

impl BootInstant {
    /// The present instant.
    ///
    /// # Panics
    /// On a kernel without `CLOCK_BOOTTIME` (before Linux 2.6.39), where nothing here can work.
    pub fn now() -> Self {
        let t = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME, Linux 2.6.39");
        Self::from_duration(Duration::from(t))
    }

    /// The instant that lies `since_boot` after boot; saturates after 584 years.
    pub fn from_duration(since_boot: Duration) -> Self {
        Self(u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The time from boot to this instant.
    pub const fn since_boot(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// How long after `earlier` this instant is; zero if it is not after it.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Seconds from `other` to this instant, negative if this one is earlier.
    pub fn seconds_since(self, other: Self) -> f64 {
        self.since_boot().as_secs_f64() - other.since_boot().as_secs_f64()
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self::from_duration(self.since_boot().saturating_add(d))
    }
}

/// Saturates at boot.
impl Sub<Duration> for BootInstant {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self::from_duration(self.since_boot().saturating_sub(d))
    }
}

impl fmt::Debug for BootInstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot+{:.3}s", self.since_boot().as_secs_f64())
    }
}

/// Which `CLOCK_BOOTTIME` this is: two processes may compare instants only where both agree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockIdentity {
    /// `/proc/sys/kernel/random/boot_id`; empty where it cannot be read, which equals nothing.
    pub boot_id: String,
    /// The inode of `/proc/self/ns/time`; 0 where the kernel has no time namespaces.
    pub time_namespace: u64,
}

impl ClockIdentity {
    /// The identity of this process's clock.
    pub fn read() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|s| s.trim().to_owned())
            .unwrap_or_default();
        let time_namespace = std::fs::read_link("/proc/self/ns/time")
            .ok()
            .and_then(|p| {
                p.to_str()?
                    .strip_prefix("time:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        Self {
            boot_id,
            time_namespace,
        }
    }

    /// Whether instants of `other` can be compared with ours.
    pub fn shares_clock_with(&self, other: &Self) -> bool {
        !self.boot_id.is_empty() && self == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_ordered_and_saturate() {
        let a = BootInstant::from_duration(Duration::from_secs(10));
        let b = a + Duration::from_secs(5);
        assert!(b > a);
        assert_eq!(b.saturating_since(a), Duration::from_secs(5));
        assert_eq!(a.saturating_since(b), Duration::ZERO);
        assert_eq!(
            a - Duration::from_secs(99),
            BootInstant::from_duration(Duration::ZERO)
        );
        assert!((a.seconds_since(b) + 5.0).abs() < 1e-9);
    }

    #[test]
    fn an_unknown_boot_shares_its_clock_with_nobody() {
        let unknown = ClockIdentity {
            boot_id: String::new(),
            time_namespace: 0,
        };
        assert!(!unknown.shares_clock_with(&unknown));
        let here = ClockIdentity::read();
        assert!(here.shares_clock_with(&ClockIdentity::read()));
    }
}
