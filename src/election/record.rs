//! The term record: `KEY.term`, what a term leaves in etcd that outlives its lease.
//!
//! A lease is no proof that its holder is dead (etcd issue 15247), so a term is written down in a
//! key that is attached to no lease: for how long its holder may go on, by whose clock. The value
//! is compact JSON of less than 200 bytes, since it is written anew with every renewal.

use std::time::Duration;

use etcd_client::KeyValue;
use serde::{Deserialize, Serialize};

use super::{Leader, LeaseId, Token};
use crate::clock::{BootInstant, ClockIdentity};
use crate::timing::{Deadline, MAX_TTL, MIN_TTL};

/// One term, as others need to know it. Unknown fields are ignored, so that a later version may
/// add some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The fencing token.
    pub token: Token,
    /// The lease of the candidacy that won.
    pub lease: LeaseId,
    /// How long after this version was written another has to wait.
    pub ttl: Duration,
    /// When the term began, in Unix seconds; for people, never for arithmetic.
    pub since: u64,
    /// The clock that `deadline` was read from.
    pub clock: ClockIdentity,
    /// The instant of the SIGKILL on that clock.
    pub deadline: Deadline,
    /// From the deadline until another may start, by the holder's settings.
    pub margin: Duration,
    /// Whether the term has ended in order: nothing of its command is alive, and nobody has to wait.
    pub over: bool,
}

/// The value in etcd.
#[derive(Serialize, Deserialize)]
struct Json {
    token: Token,
    /// In hex, as everywhere.
    lease: String,
    /// Milliseconds.
    ttl: u64,
    /// Unix seconds.
    since: u64,
    /// The boot id, without its dashes.
    boot: String,
    /// The time namespace.
    ns: u64,
    /// The deadline, nanoseconds of BOOTTIME.
    d: BootInstant,
    /// The margin, milliseconds.
    m: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    over: bool,
}

impl Record {
    /// The value to store.
    ///
    /// # Panics
    /// Never: numbers and plain strings can always be written as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&Json {
            token: self.token,
            lease: self.lease.to_string(),
            ttl: millis_up(self.ttl),
            since: self.since,
            boot: self.clock.boot_id.replace('-', ""),
            ns: self.clock.time_namespace,
            d: self.deadline.0,
            m: millis_up(self.margin),
            over: self.over,
        })
        .expect("numbers and strings")
    }

    /// Reads a value; `None` if it cannot be understood. Then nobody can know how long its holder
    /// may go on.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(value).ok()?;
        let ttl = Duration::from_millis(json.ttl);
        let lease = LeaseId(i64::from_str_radix(&json.lease, 16).ok()?);
        // What no leaderrun writes is not to be believed: a term of no length at all would have others start at
        // once, and one that is longer than any lease would have them wait for ever, without a word why.
        let possible = (MIN_TTL..=MAX_TTL).contains(&ttl) && json.token.0 > 0 && lease.0 > 0;
        possible.then_some(Self {
            token: json.token,
            lease,
            ttl,
            since: json.since,
            clock: ClockIdentity {
                boot_id: json.boot,
                time_namespace: json.ns,
            },
            deadline: Deadline(json.d),
            margin: Duration::from_millis(json.m),
            over: json.over,
        })
    }

    /// Whether this is the record of the term that `token` and `lease` won.
    pub fn is_of(&self, token: Token, lease: LeaseId) -> bool {
        self.token == token && self.lease == lease
    }

    /// The same, but holding out as long as the `other` would.
    pub(super) fn respected_as_long_as(self, other: Option<&Self>) -> Self {
        let ttl = other.map_or(self.ttl, |other| self.ttl.max(other.ttl));
        Self { ttl, ..self }
    }
}

impl Leader {
    /// Whoever stands with that token and lease, unless the record that was found is of another, whose term has to run
    /// out first. A foreign candidate leads without a record.
    pub(super) fn beside(
        record: Option<&KeyValue>,
        token: Token,
        lease: LeaseId,
        name: String,
    ) -> Option<Self> {
        let since = match record {
            None => None,
            Some(kv) => {
                let record = Record::parse(kv.value())?;
                Some(record.is_of(token, lease).then_some(record.since)?)
            }
        };
        Some(Self { token, name, since })
    }
}

/// The identity of our clock, in the form that records carry.
pub fn this_clock() -> ClockIdentity {
    let mut clock = ClockIdentity::read();
    clock.boot_id = clock.boot_id.replace('-', "");
    clock
}

/// Rounded up: a fraction of a millisecond too much is waited, never too little.
fn millis_up(d: Duration) -> u64 {
    u64::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_record()(
            token in 1_i64.., lease in 1_i64.., ttl in 2_u64..=MAX_TTL.as_secs(), since in 0_u64..9_999_999_999,
            ns in 0_u64..=u64::from(u32::MAX), end in any::<u64>(), margin in 200_u64..MAX_TTL.as_secs() * 1000,
            over in any::<bool>(),
        ) -> Record {
            Record {
                token: Token(token),
                lease: LeaseId(lease),
                ttl: Duration::from_secs(ttl),
                since,
                clock: ClockIdentity { boot_id: "c8f70ee6f1d34a0f9d1a0e0a0b0c0d0e".into(), time_namespace: ns },
                deadline: Deadline(BootInstant::from_duration(Duration::from_nanos(end))),
                margin: Duration::from_millis(margin),
                over,
            }
        }
    }

    proptest! {
        #[test]
        fn a_record_is_short_and_survives_the_journey(record in any_record()) {
            let json = record.to_json();
            // The end of a term is written only once.
            prop_assert!(record.over || json.len() < 200, "{} bytes: {json}", json.len());
            prop_assert_eq!(Record::parse(json.as_bytes()), Some(record));
        }

        #[test]
        fn a_mutilated_record_is_never_misread(record in any_record(), cut in 1_usize..100) {
            let json = record.to_json();
            prop_assert_eq!(Record::parse(&json.as_bytes()[..json.len() - cut]), None);
        }
    }

    #[test]
    fn the_longest_record_is_below_200_bytes() {
        let longest = Record {
            token: Token(i64::MAX),
            lease: LeaseId(i64::MAX),
            ttl: MAX_TTL,
            since: 9_999_999_999,
            clock: ClockIdentity {
                time_namespace: u64::from(u32::MAX),
                ..this_clock()
            },
            deadline: Deadline(BootInstant::from_duration(Duration::MAX)),
            margin: MAX_TTL,
            over: false,
        };
        assert!(longest.to_json().len() < 200, "{}", longest.to_json());
    }

    #[test]
    fn later_versions_may_add_fields_but_leave_none_out() {
        let value = r#"{"token":7,"lease":"1f","ttl":15000,"since":1,"boot":"","ns":0,"d":5,"m":1500,"new":[1]}"#;
        let record = Record::parse(value.as_bytes()).unwrap();
        assert!(record.is_of(Token(7), LeaseId(31)));
        assert!(!record.is_of(Token(8), LeaseId(31)));
        for field in ["token", "lease", "ttl", "boot", "ns", "d", "m"] {
            let without = value.replacen(&format!("\"{field}\""), "\"other\"", 1);
            assert_eq!(Record::parse(without.as_bytes()), None, "{field}");
        }
        assert!(!record.over);
        let over = value.replace("\"new\":[1]", "\"over\":true");
        assert!(Record::parse(over.as_bytes()).unwrap().over);
    }

    #[test]
    fn what_no_leaderrun_writes_is_not_believed() {
        let value =
            r#"{"token":7,"lease":"1f","ttl":15000,"since":1,"boot":"","ns":0,"d":5,"m":1500}"#;
        let with = |from: &str, to: &str| Record::parse(value.replace(from, to).as_bytes());
        assert!(with("none", "").is_some());
        for ttl in ["0", "1999", "9000000000001", "18446744073709551615"] {
            assert_eq!(with("15000", ttl), None, "{ttl}");
        }
        assert_eq!(with("\"token\":7", "\"token\":-7"), None);
        for lease in ["0", "-7", "8000000000000000"] {
            assert_eq!(with("1f", lease), None, "{lease}");
        }
        assert_eq!(Record::parse(b"\xff"), None);
        assert_eq!(Record::parse(b""), None);
    }
}
