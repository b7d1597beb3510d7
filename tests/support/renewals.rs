//! What a verbose log (`-v`) tells of renewals.

use std::time::{Duration, SystemTime};

use leaderrun::timing::{Settings, Timeline};
use serde_json::Value;

use super::now;

/// The instant of an event on the scale of [`now`], to the millisecond of the log.
#[track_caller]
pub fn at(event: &Value) -> f64 {
    let stamp = event["ts"]
        .as_str()
        .and_then(|ts| humantime::parse_rfc3339(ts).ok());
    let ago = SystemTime::now().duration_since(stamp.expect("a time"));
    now() - ago.expect("a clock that was not set back").as_secs_f64()
}

/// The timeline of a TTL in seconds with nothing else set.
pub fn timeline(ttl: u64) -> Timeline {
    let ttl = Duration::from_secs(ttl);
    let settings = Settings {
        ttl,
        ..Settings::default()
    };
    Timeline::new(&settings).expect("a TTL that fits")
}

/// When the renewal of a `renewed` event was sent: what remained until the stop signal tells.
#[track_caller]
pub fn sent(renewed: &Value, timeline: &Timeline) -> f64 {
    let remaining = renewed["remaining"].as_f64().expect("seconds");
    at(renewed) + remaining - timeline.window().as_secs_f64()
}
