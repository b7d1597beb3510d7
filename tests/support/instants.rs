//! The instants of the timeline, as the log of a leader gives them away.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::now;
use super::running::Running;

/// What the last confirmed renewal has earned, on the scale of [`now`].
#[derive(Clone, Copy, Debug)]
pub struct Instants {
    /// The stop signal.
    pub stop: f64,
    /// SIGKILL.
    pub kill: f64,
    /// The earliest start of another command.
    pub another: f64,
}

impl Running {
    /// The instants that the last `renewed` event has earned (`-v`), with these settings.
    #[track_caller]
    pub fn instants(&self, grace: Duration, margin: Duration) -> Instants {
        let renewed = self.events_named("renewed").pop();
        let renewed = renewed.expect("a renewed event, which needs -v");
        let stop = instant_of(&renewed) + renewed["remaining"].as_f64().expect("seconds");
        let kill = stop + grace.as_secs_f64();
        Instants {
            stop,
            kill,
            another: kill + margin.as_secs_f64(),
        }
    }
}

/// When an event was logged, on the scale of [`now`]. Good to some milliseconds, as long as nobody
/// sets the wall clock.
pub fn instant_of(event: &Value) -> f64 {
    let ts = event["ts"].as_str().expect("a time");
    let logged = humantime::parse_rfc3339(ts).expect("RFC 3339");
    let since_epoch = |t: SystemTime| t.duration_since(UNIX_EPOCH).expect("after 1970");
    // Read until nothing came between the two clocks.
    let (wall, boot) = loop {
        let (before, wall, after) = (now(), SystemTime::now(), now());
        if after - before < 0.001 {
            break (wall, before);
        }
    };
    boot - (since_epoch(wall).as_secs_f64() - since_epoch(logged).as_secs_f64())
}
