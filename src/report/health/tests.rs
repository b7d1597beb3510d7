//! What is told at an instant: the text of metrics, the status, the answers by role.

use hyper::{Method, StatusCode};

use super::*;
use crate::election::{LeaseId, Token, Wait};
use crate::timing::Settings;

const TTL: Duration = Duration::from_secs(15);

fn timeline() -> Timeline {
    Timeline::new(&Settings::default()).unwrap()
}

/// A term whose last renewal was sent at that instant.
pub(super) fn claim(sent: BootInstant) -> Claim {
    let timeline = timeline();
    Claim {
        token: Token(42),
        lease: LeaseId(0x2a),
        since: 1_700_000_000,
        timeline,
        deadline: timeline.deadline(sent),
        lost: false,
    }
}

fn at(seconds: u64) -> BootInstant {
    BootInstant::from_duration(Duration::from_secs(seconds))
}

fn leading() -> Standing {
    Standing {
        stage: Stage::Leading(claim(at(100))),
        command: Some(4711),
        ..Standing::default()
    }
}

fn health() -> Health {
    Health::new("/e \"\\", "host:1", timeline())
}

fn view_of(health: &Health, now: BootInstant) -> View {
    View {
        now,
        ..health.view()
    }
}

/// The answers to `/livez`, `/readyz` and `/leaderz`.
fn probes(view: &View) -> [u16; 3] {
    ["/livez", "/readyz", "/leaderz"].map(|path| answer(view, &Method::GET, path).status.as_u16())
}

#[test]
fn each_stage_has_its_answers() {
    let claim = || claim(at(100));
    let stages = [
        (Stage::Connecting, [200, 503, 503]),
        (Stage::Standby, [200, 200, 503]),
        // Joining again after a loss: it has started long ago.
        (Stage::Connecting, [200, 200, 503]),
        (Stage::Leading(claim()), [200, 200, 200]),
        (Stage::Stopping(claim()), [200, 503, 503]),
        (Stage::Holding(claim()), [200, 200, 503]),
        (Stage::Leaving, [200, 503, 503]),
    ];
    let health = health();
    for (stage, answers) in stages {
        let shown = format!("{stage:?}");
        health.note(Standing {
            stage,
            ..Standing::default()
        });
        assert_eq!(probes(&view_of(&health, at(101))), answers, "{shown}");
    }
}

#[test]
fn a_supervisor_that_saw_nothing_more_does_not_lead_past_the_stop_signal() {
    let health = health();
    health.note(leading());
    let stop = claim(at(100)).stop_at();
    let before = view_of(&health, stop - Duration::from_nanos(1));
    assert_eq!(probes(&before), [200, 200, 200]);
    assert_eq!(probes(&view_of(&health, stop)), [200, 503, 503]);
}

#[test]
fn a_stuck_supervisor_is_not_alive() {
    let health = health();
    let mut view = health.view();
    assert!(view.lives());
    view.silence = STUCK;
    assert_eq!(probes(&view)[0], 503);
}

#[test]
fn only_reading_is_allowed_and_only_what_there_is() {
    let view = health().view();
    let status = |method: &Method, path: &str| answer(&view, method, path).status;
    assert_eq!(status(&Method::HEAD, "/livez"), StatusCode::OK);
    assert_eq!(
        status(&Method::POST, "/livez"),
        StatusCode::METHOD_NOT_ALLOWED
    );
    for path in ["/", "/livez/", "/LIVEZ", "//livez", "*", ""] {
        assert_eq!(status(&Method::GET, path), StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn the_status_tells_what_is_known() {
    let health = health();
    let status = |now| -> serde_json::Value {
        let text = answer(&view_of(&health, now), &Method::GET, "/status").body;
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(
        status(at(100)),
        serde_json::json!({
            "key": "/e \"\\", "id": "host:1", "role": "connecting", "leader": false, "ready": false,
            "token": null, "lease": null, "since": null, "stop_in": null, "deadline_in": null,
            "command": null, "waiting": null, "outage": null,
        })
    );
    health.note(Standing {
        stage: Stage::Standby,
        waiting: Some(Wait::Queue {
            leader: "other\n".into(),
            ahead: 1,
        }),
        outage: Some("etcd does not answer: refused".into()),
        ..Standing::default()
    });
    let standby = status(at(100));
    assert_eq!(
        standby["waiting"],
        serde_json::json!({"reason": "queue", "leader": "other\n", "ahead": 1})
    );
    assert_eq!(standby["outage"], "etcd does not answer: refused");
    health.note(leading());
    let leader = status(at(101));
    assert_eq!(
        leader,
        serde_json::json!({
            "key": "/e \"\\", "id": "host:1", "role": "leading", "leader": true, "ready": true,
            "token": 42, "lease": "2a", "since": 1_700_000_000, "stop_in": 7.5, "deadline_in": 12.5,
            "command": 4711, "waiting": null, "outage": null,
        })
    );
    let late = status(at(100) + TTL);
    assert_eq!(late["leader"], false);
    assert_eq!(late["role"], "stopping");
    assert_eq!(late["deadline_in"], 0.0);
}

#[test]
fn the_metrics_are_in_the_text_format() {
    let health = health();
    health.note(Standing {
        stage: Stage::Standby,
        ..Standing::default()
    });
    health.note(leading());
    health.renewed(Duration::from_millis(4));
    health.renewed(Duration::from_secs(2));
    health.renewal_failed();
    health.lost(LossReason::KeyLost);
    health.fenced(0.75);
    let answer = answer(&view_of(&health, at(101)), &Method::GET, "/metrics");
    assert_eq!(
        answer.content_type,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let expected = include_str!("metrics.txt").replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(answer.body, expected);
}

#[test]
fn what_there_is_not_has_no_sample() {
    let text = answer(&health().view(), &Method::GET, "/metrics").body;
    for absent in ["leaderrun_token", "_remaining_seconds", "headroom"] {
        assert!(!text.contains(absent), "{absent}");
    }
    assert!(text.contains("leader_election_master_status{name=\"/e \\\"\\\\\"} 0\n"));
}
