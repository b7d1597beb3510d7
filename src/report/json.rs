//! The JSON form: one object a line, `ts`, `level`, `event`, then the event's fields.

use std::time::{Duration, SystemTime};

use serde::ser::{SerializeMap, Serializer};
use serde::{Serialize, ser};

use super::escape::{cut, escape_json};
use super::event::{Level, LogEvent};
use super::reason::Ending;
use crate::election::LeaseId;
use crate::exit_status::signal_name;

#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    level: Level,
    #[serde(flatten)]
    event: &'a LogEvent,
}

/// The event as a line without its line feed.
pub(super) fn line(event: &LogEvent, now: SystemTime) -> String {
    let line = Line {
        ts: humantime::format_rfc3339_millis(now).to_string(),
        level: event.level(),
        event,
    };
    // Nothing in an event can fail to be serialized; should that change, a log line is not worth
    // a panic, which would end the term.
    let line = serde_json::to_string(&line)
        .unwrap_or_else(|error| format!(r#"{{"level":"error","message":"{error}"}}"#));
    escape_json(&line)
}

/// Seconds, to the millisecond.
pub(super) fn seconds<S: Serializer>(d: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    seconds_of(&d.as_secs_f64(), serializer)
}

#[expect(clippy::ref_option, reason = "serialize_with passes references")]
pub(super) fn maybe_seconds<S: Serializer>(
    d: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match d {
        Some(d) => seconds(d, serializer),
        None => serializer.serialize_none(),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serialize_with passes references"
)]
pub(super) fn seconds_of<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((seconds * 1000.0).round() / 1000.0)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serialize_with passes references"
)]
pub(super) fn hex<S: Serializer>(lease: &LeaseId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(lease)
}

#[expect(clippy::ref_option, reason = "serialize_with passes references")]
pub(super) fn maybe_hex<S: Serializer>(
    lease: &Option<LeaseId>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match lease {
        Some(lease) => hex(lease, serializer),
        None => serializer.serialize_none(),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serialize_with passes references"
)]
pub(super) fn signal_as_name<S: Serializer>(
    number: &i32,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&signal_name(*number))
}

/// Foreign text, which may be a megabyte.
pub(super) fn outside<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&cut(text))
}

/// The same where there is one.
#[expect(clippy::ref_option, reason = "serde passes a field by reference")]
pub(super) fn outside_if<S: Serializer>(
    text: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    text.as_deref().map(cut).serialize(serializer)
}

/// `"code":3` or `"signal":"SIGSEGV"`.
impl Serialize for Ending {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Code(code) => map.serialize_entry("code", code)?,
            Self::Signal(signal) => map.serialize_entry("signal", &signal_name(*signal))?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::reason::*;
    use super::*;
    use crate::election::{GivenUp, Token};
    use crate::exit_status::ExitStatus;

    fn json(event: &LogEvent) -> String {
        let line = line(
            event,
            SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        );
        let start = r#"{"ts":"2023-11-14T22:13:20.123Z","level":""#;
        line.strip_prefix(start).expect("ts, then level").to_owned()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of all events")]
    fn each_event_has_the_fields_of_the_manual_in_order() {
        let lease = LeaseId(0x694d_7a1f_0b5c_0042);
        let ms = Duration::from_millis;
        let lines = [
            (
                LogEvent::Listening {
                    address: "[::1]:80".into(),
                },
                r#"debug","event":"listening","address":"[::1]:80"}"#,
            ),
            (
                LogEvent::Campaigning {
                    key: "/e".into(),
                    lease,
                    id: "h:1".into(),
                    ttl: ms(15_000),
                },
                r#"info","event":"campaigning","key":"/e","lease":"694d7a1f0b5c0042","id":"h:1","ttl":15.0}"#,
            ),
            (
                LogEvent::Waiting(WaitReason::Queue {
                    leader: "h:2".into(),
                    ahead: 2,
                }),
                r#"info","event":"waiting","reason":"queue","leader":"h:2","ahead":2}"#,
            ),
            (
                LogEvent::Waiting(WaitReason::Record {
                    holder: Some(Token(41)),
                    remaining: Some(ms(1_500)),
                }),
                r#"info","event":"waiting","reason":"record","holder":41,"remaining":1.5}"#,
            ),
            (
                LogEvent::Waiting(WaitReason::Record {
                    holder: None,
                    remaining: None,
                }),
                r#"info","event":"waiting","reason":"record"}"#,
            ),
            (
                LogEvent::Elected {
                    key: "/e".into(),
                    token: Token(42),
                    lease,
                    waited: Duration::from_micros(3_200_400),
                },
                r#"info","event":"elected","token":42,"lease":"694d7a1f0b5c0042","waited":3.2}"#,
            ),
            (
                LogEvent::Started { pid: 7 },
                r#"info","event":"started","pid":7}"#,
            ),
            (
                LogEvent::Renewed {
                    remaining: ms(8_500),
                },
                r#"debug","event":"renewed","remaining":8.5}"#,
            ),
            (
                LogEvent::RenewalFailed {
                    endpoint: "h:2379".into(),
                    error: "refused".into(),
                    remaining: ms(250),
                },
                r#"warn","event":"renewal-failed","endpoint":"h:2379","error":"refused","remaining":0.25}"#,
            ),
            (
                LogEvent::Stopping {
                    reason: StopReason::Signal,
                    signal: 15,
                    error: None,
                },
                r#"info","event":"stopping","reason":"signal","signal":"SIGTERM"}"#,
            ),
            (
                LogEvent::Stopping {
                    reason: StopReason::RenewalTimeout,
                    signal: 2,
                    error: Some("no answer".into()),
                },
                r#"error","event":"stopping","reason":"renewal-timeout","signal":"SIGINT","error":"no answer"}"#,
            ),
            (
                LogEvent::Killed {
                    reason: KillReason::StopTimeout,
                },
                r#"info","event":"killed","reason":"stop-timeout"}"#,
            ),
            (
                LogEvent::CommandExited(Ending::Code(3)),
                r#"info","event":"command-exited","code":3}"#,
            ),
            (
                LogEvent::CommandExited(Ending::Signal(11)),
                r#"info","event":"command-exited","signal":"SIGSEGV"}"#,
            ),
            (
                LogEvent::TreeEmpty { headroom: -0.25 },
                r#"info","event":"tree-empty","headroom":-0.25}"#,
            ),
            (
                LogEvent::Released {
                    given_up: GivenUp::AllButRecord,
                },
                r#"info","event":"released"}"#,
            ),
            (
                LogEvent::Lost {
                    reason: LossReason::GuardianLost,
                },
                r#"error","event":"lost","reason":"guardian-lost"}"#,
            ),
            (
                LogEvent::Lost {
                    reason: LossReason::Resigned,
                },
                r#"info","event":"lost","reason":"resigned"}"#,
            ),
            (
                LogEvent::Exiting {
                    status: ExitStatus::Lost,
                },
                r#"info","event":"exiting","status":75}"#,
            ),
            (
                LogEvent::warning("a \"b\"\n\u{1b}[2J\u{9b}"),
                r#"warn","event":"warning","message":"a \"b\"\n\u001b[2J\u009b"}"#,
            ),
            (
                LogEvent::error("x"),
                r#"error","event":"error","message":"x"}"#,
            ),
        ];
        for (event, expected) in lines {
            assert_eq!(json(&event), expected);
        }
    }
}
