//! What is seen of a term whose record is left behind.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::election::Record;

/// Remembers since when the record is as it is.
#[derive(Default)]
pub(super) struct Remains(Option<(Record, BootInstant)>);

impl Remains {
    /// How long this record keeps others waiting, unchanged, since it was first seen.
    pub fn time_left(&mut self, record: &Record) -> Duration {
        let now = BootInstant::now();
        let first = match &self.0 {
            Some((seen, first)) if seen == record => *first,
            _ => {
                self.0 = Some((record.clone(), now));
                now
            }
        };
        record.runs_out(first).saturating_since(now)
    }

    /// Whether it has run out.
    pub fn have_run_out(&mut self, record: &Record) -> bool {
        self.time_left(record).is_zero()
    }
}
