//! The take-over rule: how long a record that is there has to be respected.
//!
//! Its holder's deadline was counted from an instant *before* the record's present version was
//! written, and that version was written before we first saw it. So once the recorded TTL has
//! passed on our own clock since then, the holder's deadline and margin have passed on its clock
//! too, as far as both tick at the same rate. On the very same clock the recorded deadline itself
//! can be compared.

use super::record::Record;
use crate::clock::{BootInstant, ClockIdentity};

/// Remembers since when the record's present version has been seen.
#[derive(Debug)]
pub(super) struct Observer {
    clock: ClockIdentity,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    mod_revision: i64,
    /// Compared as well: a store restored from a snapshot may use a revision twice.
    value: Vec<u8>,
    first: BootInstant,
}

impl Observer {
    /// Judges records by `clock`.
    pub const fn new(clock: ClockIdentity) -> Self {
        Self { clock, seen: None }
    }

    /// Takes note of a look at the record, whose answer had `arrived` by then; yields when this
    /// version of it was first seen.
    pub fn saw(&mut self, mod_revision: i64, value: &[u8], arrived: BootInstant) -> BootInstant {
        match &self.seen {
            Some(s) if s.mod_revision == mod_revision && s.value == value => s.first,
            _ => {
                self.seen = Some(Seen {
                    mod_revision,
                    value: value.to_vec(),
                    first: arrived,
                });
                arrived
            }
        }
    }

    /// From when on a record that was first seen at `first` no longer protects its holder.
    pub fn free_at(&self, record: &Record, first: BootInstant) -> BootInstant {
        let waited_out = first + record.ttl;
        if record.clock.shares_clock_with(&self.clock) {
            waited_out.min(record.deadline.another_may_start(record.margin))
        } else {
            waited_out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{LeaseId, Token};
    use crate::timing::{Settings, Timeline};
    use proptest::prelude::*;
    use std::time::Duration;

    fn clock(boot: &str) -> ClockIdentity {
        ClockIdentity {
            boot_id: boot.into(),
            time_namespace: 1,
        }
    }

    fn at(ms: u64) -> BootInstant {
        BootInstant::from_duration(Duration::from_millis(ms))
    }

    fn record(boot: &str, ttl: u64, sent: BootInstant) -> Record {
        let settings = Settings {
            ttl: Duration::from_secs(ttl),
            ..Settings::default()
        };
        let timeline = Timeline::new(&settings).unwrap();
        Record {
            token: Token(1),
            lease: LeaseId(1),
            ttl: timeline.ttl(),
            since: 0,
            clock: clock(boot),
            deadline: timeline.deadline(sent),
            margin: timeline.margin(),
        }
    }

    #[test]
    fn the_wait_begins_anew_with_every_version() {
        let mut observer = Observer::new(clock("here"));
        assert_eq!(observer.saw(5, b"a", at(100)), at(100));
        assert_eq!(observer.saw(5, b"a", at(900)), at(100));
        assert_eq!(observer.saw(6, b"a", at(1000)), at(1000));
        assert_eq!(observer.saw(6, b"b", at(1100)), at(1100));
        assert_eq!(observer.saw(5, b"a", at(1200)), at(1200));
    }

    proptest! {
        /// Whatever the clocks show, and whenever the record is seen, the holder's SIGKILL and its
        /// margin lie before the take-over.
        #[test]
        fn nobody_starts_before_the_holders_deadline_and_margin(
            ttl in 2_u64..100, sent in 0_u64..1_000_000, seen_after in 0_u64..200_000, apart in 0_u64..1_000_000,
            same in any::<bool>(),
        ) {
            let skew = if same { 0 } else { apart };
            let record = record(if same { "here" } else { "there" }, ttl, at(sent));
            let observer = Observer::new(clock("here"));
            // The observer's clock is `skew` ahead of the holder's; what was written was sent before.
            let first = at(sent + seen_after + skew);
            let free = observer.free_at(&record, first) - Duration::from_millis(skew);
            prop_assert!(free >= record.deadline.another_may_start(record.margin));
            prop_assert!(free <= at(sent + seen_after) + record.ttl);
            if same {
                prop_assert_eq!(free, at(sent) + record.ttl, "the same clock waits no longer than it must");
            }
        }
    }
}
