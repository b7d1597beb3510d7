//! The take-over rule: how long a record that is there has to be respected.
//!
//! Its holder's deadline was counted from an instant *before* the record's present version was
//! written, and that version was written before we first saw it. So once the recorded TTL has
//! passed on our own clock since then, the holder's deadline and margin have passed on its clock
//! too, as far as both tick at the same rate. On the very same clock the recorded deadline itself
//! can be compared.
//!
//! A record that is gone in any other way than by the end of its term (`etcdctl del --prefix KEY`
//! removes every trace at once) was removed over a term that may still be running, so whoever saw it
//! waits as long as if it had been renewed just before.

use super::record::Record;
use super::{LeaseId, Token};
use crate::clock::{BootInstant, ClockIdentity};

/// Remembers since when the record's present version has been seen, from one candidacy to the next.
#[derive(Debug)]
pub(super) struct Observer {
    clock: ClockIdentity,
    seen: Option<Seen>,
    vanished: Option<Vanished>,
}

/// A record that was removed, but not by the end of its term as far as we can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vanished {
    /// Whose it was.
    pub holder: Token,
    lease: LeaseId,
    /// From when on it no longer protects its holder.
    pub until: BootInstant,
}

/// A version of the record.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub mod_revision: i64,
    /// Compared as well: a store restored from a snapshot may use a revision twice.
    pub value: Vec<u8>,
    first: BootInstant,
    /// The candidacy of ours in which it was seen last.
    pub candidacy: Token,
    /// Whether it was missing since, and etcd did not tell how it went.
    unexplained: bool,
}

impl Observer {
    /// Judges records by `clock`.
    pub const fn new(clock: ClockIdentity) -> Self {
        Self {
            clock,
            seen: None,
            vanished: None,
        }
    }

    /// Takes note of a look at the record, whose answer had `arrived` by then; yields when this
    /// version of it was first seen.
    pub fn saw(
        &mut self,
        mod_revision: i64,
        value: &[u8],
        arrived: BootInstant,
        candidacy: Token,
    ) -> BootInstant {
        let first = match &self.seen {
            Some(s) if s.mod_revision == mod_revision && s.value == value => s.first,
            _ => arrived,
        };
        self.seen = Some(Seen {
            mod_revision,
            value: value.to_vec(),
            first,
            candidacy,
            unexplained: false,
        });
        // Its holder has written it anew, and will end its term in order.
        if let Some(gone) = self.vanished
            && Record::parse(value).is_some_and(|r| r.is_of(gone.holder, gone.lease))
        {
            self.vanished = None;
        }
        first
    }

    /// The record as it was seen last, if none was found missing since.
    pub const fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Takes note that nobody could be asked how the record went. Whether that is not the first time.
    pub fn looked_back_in_vain(&mut self) -> bool {
        let seen = self.seen.as_mut();
        seen.is_some_and(|seen| std::mem::replace(&mut seen.unexplained, true))
    }

    /// Takes note of a look that found no record, because its term had ended, unless one has `vanished` that somebody
    /// deleted.
    pub fn saw_none(&mut self, arrived: BootInstant, vanished: Option<Record>) {
        self.seen = None;
        if let Some(record) = vanished {
            self.vanished = Some(Vanished {
                holder: record.token,
                lease: record.lease,
                until: arrived + record.ttl,
            });
        }
    }

    /// The vanished record that still has to be respected.
    pub fn vanished(&self) -> Option<Vanished> {
        self.vanished.filter(|gone| BootInstant::now() < gone.until)
    }

    /// Forgets all records: a term of our own has begun.
    pub fn forget(&mut self) {
        self.seen = None;
        self.vanished = None;
    }

    /// From when on a record that was first seen at `first` no longer protects its holder.
    pub fn free_at(&self, record: &Record, first: BootInstant) -> BootInstant {
        let free = record.free_at(first, &self.clock);
        self.vanished.map_or(free, |gone| free.max(gone.until))
    }
}

impl Record {
    /// From when on this version, first seen at `first` by whoever reads `clock`, no longer protects
    /// its holder.
    pub fn free_at(&self, first: BootInstant, clock: &ClockIdentity) -> BootInstant {
        if self.over {
            return first;
        }
        let waited_out = first + self.ttl;
        if self.clock.shares_clock_with(clock) {
            waited_out.min(self.deadline.another_may_start(self.margin))
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
            over: false,
        }
    }

    #[test]
    fn the_wait_begins_anew_with_every_version() {
        let mut observer = Observer::new(clock("here"));
        assert_eq!(observer.saw(5, b"a", at(100), Token(9)), at(100));
        assert_eq!(observer.saw(5, b"a", at(900), Token(9)), at(100));
        assert_eq!(observer.saw(6, b"a", at(1000), Token(9)), at(1000));
        assert_eq!(observer.saw(6, b"b", at(1100), Token(9)), at(1100));
        assert_eq!(observer.saw(5, b"a", at(1200), Token(9)), at(1200));
    }

    /// Sees the record of term 1 with a TTL of 10 s, then none.
    fn observer_of_none(ended: bool) -> Observer {
        let mut observer = Observer::new(clock("here"));
        let record = record("there", 10, at(0));
        observer.saw(5, record.to_json().as_bytes(), at(100), Token(9));
        observer.saw_none(at(200), (!ended).then_some(record));
        observer
    }

    #[test]
    fn a_record_that_vanished_is_waited_out_unless_its_term_had_ended() {
        let until = |ended| observer_of_none(ended).vanished.map(|gone| gone.until);
        assert_eq!(until(true), None);
        assert_eq!(until(false), Some(at(10_200)));
    }

    #[test]
    fn nobody_waits_for_a_term_that_is_over() {
        let mut over = record("there", 10, at(0));
        over.over = true;
        assert_eq!(over.free_at(at(100), &clock("here")), at(100));
        // Also where it was deleted before its holder wrote it anew.
        let mut observer = observer_of_none(false);
        let first = observer.saw(7, over.to_json().as_bytes(), at(300), Token(9));
        assert_eq!(observer.free_at(&over, first), at(300));
    }

    #[test]
    fn a_vanished_record_also_delays_what_comes_after_it() {
        let mut observer = observer_of_none(false);
        let mut other = record("there", 2, at(0));
        other.token = Token(20);
        let json = other.to_json();
        let first = observer.saw(7, json.as_bytes(), at(300), Token(12));
        assert_eq!(observer.free_at(&other, first), at(10_200));
        // Until its holder writes it anew, or we lead ourselves.
        let again = record("there", 10, at(250)).to_json();
        observer.saw(8, again.as_bytes(), at(400), Token(12));
        assert_eq!(observer.vanished, None);
        let mut observer = observer_of_none(false);
        observer.forget();
        assert_eq!(observer.vanished, None);
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
