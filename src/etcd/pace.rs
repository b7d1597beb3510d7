//! Waiting: until an instant of BOOTTIME, and ever longer between rounds of failures.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::time::Duration;

use crate::clock::BootInstant;

/// The runtime's timers stand still while the machine is suspended, so no sleep is longer than
/// this: an instant that passed during suspend is noticed at most so late.
const NAP: Duration = Duration::from_secs(1);

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3);

/// Sleeps until `at` on `CLOCK_BOOTTIME`.
pub async fn sleep_until(at: BootInstant) {
    loop {
        let left = at.saturating_since(BootInstant::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP)).await;
    }
}

/// Exponential backoff with jitter, so that candidates that lost the same etcd do not come back
/// in step.
#[derive(Debug)]
pub struct Backoff {
    step: Duration,
}

impl Backoff {
    /// Begins at a tenth of a second.
    pub const fn new() -> Self {
        Self { step: FIRST }
    }

    /// The next pause: between half a step and a whole one, and never above `cap`.
    pub fn pause(&mut self, cap: Duration) -> Duration {
        let step = self.step.min(cap).max(FIRST);
        self.step = (self.step * 2).min(LONGEST);
        let half = step / 2;
        half + half.mul_f64(f64::from(u16::try_from(random() >> 48).unwrap_or(0)) / 65_536.0)
    }

    /// Begins anew, after something succeeded that would not be repeated at once.
    pub const fn reset(&mut self) {
        self.step = FIRST;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// A random number: from the kernel, or, should that fail, from what seeds hash tables.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    match read {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => RandomState::new().build_hasher().finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_bounded_and_differ() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause(LONGEST)).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(pauses.iter().all(|p| *p <= LONGEST));
        assert!(pauses[11] >= LONGEST / 2);
        assert!(pauses[10] != pauses[11], "jitter");
        assert!(backoff.pause(Duration::from_millis(300)) <= Duration::from_millis(300));
        backoff.reset();
        assert!(backoff.pause(LONGEST) <= FIRST);
    }
}
