//! What is counted over a run.

use std::time::Duration;

use super::Role;
use crate::report::LossReason;

/// Upper bounds of the buckets of renewals' latencies, in seconds. An attempt is given a second at most.
pub(super) const BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// The counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Changes of the role, by the one that it changed to, in the order of [`Role::ALL`].
    transitions: [u64; Role::ALL.len()],
    /// Leaderships lost, in the order of [`LossReason::ALL`].
    losses: [u64; LossReason::ALL.len()],
    pub renewals_failed: u64,
    pub latency: Histogram,
    /// Seconds that were left at the last fence.
    pub headroom: Option<f64>,
}

/// A histogram over [`BOUNDS`].
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    buckets: [u64; BOUNDS.len()],
    pub count: u64,
    /// In seconds.
    pub sum: f64,
}

impl Tally {
    pub fn transition(&mut self, to: Role) {
        self.transitions[to as usize] += 1;
    }

    pub fn lost(&mut self, reason: LossReason) {
        self.losses[reason as usize] += 1;
    }

    pub fn renewed(&mut self, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
    }

    pub fn renewal_failed(&mut self) {
        self.renewals_failed += 1;
    }

    pub fn transitions(&self) -> impl Iterator<Item = (Role, u64)> {
        Role::ALL.into_iter().zip(self.transitions)
    }

    pub fn losses(&self) -> impl Iterator<Item = (LossReason, u64)> {
        LossReason::ALL.into_iter().zip(self.losses)
    }
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        if let Some(i) = BOUNDS.iter().position(|&bound| seconds <= bound) {
            self.buckets[i] += 1;
        }
    }

    /// Each bound, and how many were no larger.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        BOUNDS.into_iter().zip(self.buckets).map(move |(bound, n)| {
            sum += n;
            (bound, sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_where_it_is_counted() {
        for (i, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(role as usize, i);
        }
        for (i, reason) in LossReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }

    #[test]
    fn a_bucket_holds_its_bound_and_all_below() {
        let mut histogram = Histogram::default();
        for seconds in [0.0, 0.001, 0.3, 1.0, 7.5] {
            histogram.observe(seconds);
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, n)| n).collect();
        assert_eq!(counts, [2, 2, 2, 2, 2, 2, 2, 2, 3, 4]);
        assert_eq!(histogram.count, 5);
        assert!((histogram.sum - 8.801).abs() < 1e-9);
    }
}
