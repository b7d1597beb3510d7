//! What is shown of a candidate and a term: one form for people, one documented form for programs.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::election::{Layout, Seat, Standing, Token};
use crate::report::escape;
use crate::timing;

/// A candidate in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SeatJson {
    id: String,
    token: Token,
    key: String,
    /// Absent from a key that is to be removed by hand.
    lease: Option<String>,
    /// Seconds that its lease has left; absent where that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<i64>,
    /// When its term began, in Unix seconds, where a record tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
}

impl SeatJson {
    pub fn new(seat: &Seat, ttl: Option<i64>, since: Option<u64>) -> Self {
        Self {
            id: seat.id.clone(),
            token: seat.token,
            key: seat.key.clone(),
            lease: seat.has_lease().then(|| seat.lease.to_string()),
            ttl,
            since,
        }
    }

    /// Whether it is the same candidacy.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.token, &self.key) == (other.token, &other.key)
    }

    /// Whether a record says since when it leads.
    pub const fn is_recorded(&self) -> bool {
        self.since.is_some()
    }
}

impl fmt::Display for SeatJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = identity(&self.id, &self.key);
        write!(f, "{name} leads with token {}", self.token)
    }
}

pub(super) fn name(seat: &Seat) -> String {
    identity(&seat.id, &seat.key)
}

/// The identity, or what there is instead: `etcdctl lock` has none.
fn identity(id: &str, key: &str) -> String {
    if id.is_empty() {
        format!("(no identity, key {})", escape(key))
    } else {
        escape(id)
    }
}

/// The state of the record in JSON; a take-over has so much time `left`.
pub(super) const fn record(standing: &Standing, left: Duration) -> &'static str {
    match standing {
        Standing::Leads(_) => "agrees",
        Standing::Vacant | Standing::Unrecorded => "absent",
        Standing::TakeOver(_) if left.is_zero() => "over",
        Standing::TakeOver(_) => "take-over",
        Standing::Unreadable => "unreadable",
    }
}

/// Why nobody leads, where there is more to it than that nobody stands.
pub(super) fn reason(standing: &Standing, left: Duration) -> Option<String> {
    match standing {
        Standing::TakeOver(record) if left.is_zero() => Some(format!(
            "an earlier term (token {}) has run out, and nobody has taken over yet",
            record.token
        )),
        Standing::TakeOver(record) => Some(format!(
            "the command of an earlier term (token {}) may still be running, for at most {} unless it renews",
            record.token,
            timing::show(left)
        )),
        Standing::Unreadable => Some("the record of an earlier term cannot be read".to_owned()),
        Standing::Leads(_) | Standing::Vacant | Standing::Unrecorded => None,
    }
}

/// The last second of the year 9999, in Unix seconds: no later date can be told.
const LAST_DATE: u64 = 253_402_300_799;

/// `since 2026-11-25 07:00:00 UTC (3m 2s)`, or as it is where somebody wrote no date into the record.
pub(super) fn since(unix: u64) -> String {
    if unix > LAST_DATE {
        return format!("since {unix} s (no date)");
    }
    let then = UNIX_EPOCH + Duration::from_secs(unix);
    let passed = SystemTime::now().duration_since(then).unwrap_or_default();
    let passed = humantime::format_duration(Duration::from_secs(passed.as_secs()));
    format!("since {} ({passed})", date(then))
}

/// A date that a person reads and `date -d` understands.
pub(super) fn date(at: SystemTime) -> String {
    let date = humantime::format_rfc3339_seconds(at).to_string();
    date.replace('T', " ").replace('Z', " UTC")
}

pub(super) const fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::Queue => "queue",
        Layout::Single => "single",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_in_a_record_is_too_large_to_be_told() {
        assert!(since(0).starts_with("since 1970-01-01 00:00:00 UTC ("));
        assert_eq!(since(LAST_DATE), "since 9999-12-31 23:59:59 UTC (0s)");
        for unix in [LAST_DATE + 1, u64::MAX] {
            assert_eq!(since(unix), format!("since {unix} s (no date)"));
        }
    }
}
