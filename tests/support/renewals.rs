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
    timeline_with(ttl, None)
}

/// The timeline of a TTL and, if it is set, of a grace period, in seconds.
pub fn timeline_with(ttl: u64, grace: Option<u64>) -> Timeline {
    let settings = Settings {
        ttl: Duration::from_secs(ttl),
        grace: grace.map(Duration::from_secs),
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

/// A term that ended before anybody asked for it.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The fencing token of the term.
    pub token: u64,
    /// As the log has it.
    pub reason: String,
    /// When it was logged, on the scale of [`now`].
    pub at: f64,
    /// How old the last confirmed renewal was then, counted from when it was sent, in seconds.
    pub age: f64,
    /// Which event of the log tells it.
    pub position: usize,
}

impl Loss {
    /// Whether the lease is said to be gone: by its own end, or by that of the key attached to it.
    pub fn is_of_the_lease(&self) -> bool {
        ["key-lost", "lease-lost"].contains(&self.reason.as_str())
    }

    /// Whether the lease is said to be gone although it was renewed less than a TTL before: no term that ran out.
    pub fn is_of_a_fresh_lease(&self, timeline: &Timeline) -> bool {
        self.is_of_the_lease() && self.age < timeline.ttl().as_secs_f64()
    }
}

/// The losses that a verbose log tells.
pub fn losses(events: &[Value], timeline: &Timeline) -> Vec<Loss> {
    let (mut confirmed, mut token) = (0.0, 0);
    let mut losses = Vec::new();
    for (position, event) in events.iter().enumerate() {
        match event["event"].as_str().expect("a name") {
            "elected" => {
                confirmed = at(event);
                token = event["token"].as_u64().expect("a token");
            }
            "renewed" => confirmed = sent(event, timeline),
            "stopping" => losses.push(Loss {
                token,
                reason: event["reason"].as_str().expect("a reason").to_owned(),
                at: at(event),
                age: at(event) - confirmed,
                position,
            }),
            _ => {}
        }
    }
    losses
}
