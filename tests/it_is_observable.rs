//! Over `--listen` anybody is told the truth: alive, ready, leading, and why not.

mod support;

use std::time::Duration;

use support::http::{get, send};
use support::{
    Candidate, Etcd, KEY, LIMIT, Port, Running, Signal, Stalled, eventually, kill, now,
    require_etcd,
};

/// A command that outlives its stop signal until it is killed.
const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.05; done";

fn candidate(etcd: &Etcd, id: &str) -> Candidate {
    Candidate::new(etcd).id(id).listening()
}

#[test]
fn while_connecting_it_lives_and_is_not_ready() {
    let nobody = Port::reserve();
    let lost = Candidate::bare()
        .key(KEY)
        .endpoints(nobody.address())
        .args(["--log-format", "json"])
        .listening_at("127.0.0.1:0")
        .command(&["true"]);
    // Its log goes to standard error.
    let lost = lost.spawn();
    let address = eventually(LIMIT, || {
        let log = lost.stderr();
        let line = log
            .lines()
            .find(|l| l.contains("\"listening\""))?
            .to_owned();
        let event: support::Value = serde_json::from_str(&line).ok()?;
        Some(event["address"].as_str()?.to_owned())
    });
    let status = |path: &str| get(&address, path).expect("an answer").status;
    assert_eq!(
        [status("/livez"), status("/readyz"), status("/leaderz")],
        [200, 503, 503]
    );
    // Nobody was ever asked for a candidate, and etcd does not answer.
    let told = eventually(LIMIT, || {
        let body = get(&address, "/status").expect("an answer").body;
        let told: support::Value = serde_json::from_str(&body).expect("JSON");
        (!told["outage"].is_null()).then_some(told)
    });
    assert_eq!(told["role"], "connecting");
    assert_eq!(told["leader"], false);
    assert!(
        told["outage"].as_str().unwrap().contains("does not answer"),
        "{told}"
    );
}

#[test]
fn a_leader_and_a_standby_are_told_apart_and_a_stop_is_seen() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "leader").sh(STUBBORN).spawn();
    let token = leader.wait_elected();
    leader.wait_event("started");
    let told = leader.wait_role("leading");
    assert_eq!(leader.probes(), [200, 200, 200]);
    assert_eq!(told["leader"], true);
    assert_eq!(told["token"], token);
    assert_eq!(told["key"], KEY);
    assert_eq!(told["id"], "leader");
    assert_eq!(told["lease"], leader.wait_event("elected")["lease"]);
    eventually(LIMIT, || {
        leader.status()["command"] == leader.command_pid().as_raw()
    });
    let left = told["stop_in"].as_f64().expect("seconds");
    assert!(left > 0.0 && left <= 8.5, "{told}");
    assert_eq!(
        leader.metric("leader_election_master_status", KEY),
        Some(1.0)
    );
    let told = leader.metric("leaderrun_token", KEY);
    assert_eq!(told.map(|t| t.to_string()), Some(token.to_string()));
    assert_eq!(leader.metric("leaderrun_command_running", KEY), Some(1.0));

    let standby = candidate(&etcd, "standby").spawn();
    standby.wait_event("waiting");
    let told = standby.wait_role("standby");
    assert_eq!(standby.probes(), [200, 200, 503]);
    assert_eq!(told["leader"], false);
    assert_eq!(told["token"], support::Value::Null);
    assert_eq!(told["waiting"]["leader"], "leader");
    assert_eq!(
        standby.metric("leader_election_master_status", KEY),
        Some(0.0)
    );
    assert_eq!(standby.metric("leaderrun_token", KEY), None);

    // A planned stop: nobody else can lead, but there is nothing to route to.
    leader.signal(Signal::SIGTERM);
    leader.wait_event("stopping");
    let told = leader.wait_role("stopping");
    assert_eq!(leader.probes(), [200, 503, 503]);
    assert_eq!(told["leader"], true);
    assert_eq!(standby.probes(), [200, 200, 503]);
    kill(leader.command_pid(), Signal::SIGKILL);
    leader.wait();
    standby.wait_role("leading");
    assert_eq!(standby.probes(), [200, 200, 200]);
    // An outage of etcd takes nothing from those who have started, until it costs the leadership.
    etcd.stop();
    eventually(LIMIT, || !standby.status()["outage"].is_null());
    assert_eq!(standby.probes()[..2], [200, 200]);
    etcd.cont();
}

#[test]
fn a_fence_is_seen_and_so_is_the_next_campaign() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "leader")
        .args(["--on-loss", "campaign"])
        .sh(STUBBORN)
        .spawn();
    let lease = leader.wait_event("elected")["lease"].clone();
    leader.wait_event("started");
    leader.wait_role("leading");
    etcd.revoke(lease.as_str().expect("hex"));
    leader.wait_event("stopping");
    let told = leader.wait_role("stopping");
    assert_eq!(told["leader"], false, "lost is lost: {told}");
    assert_eq!(leader.probes(), [200, 503, 503]);
    assert_eq!(
        leader.metric("leader_election_master_status", KEY),
        Some(0.0)
    );

    let second = leader.wait_nth_event("elected", 2)["token"].clone();
    let told = leader.wait_role("leading");
    assert_eq!(told["token"], second);
    assert_eq!(leader.probes(), [200, 200, 200]);
    let metric = |name, label| leader.metric(name, label);
    assert_eq!(metric("leaderrun_losses_total", "lease-lost"), Some(1.0));
    assert_eq!(metric("leaderrun_losses_total", "key-lost"), Some(0.0));
    assert_eq!(
        metric("leaderrun_transitions_total", "\"leading\""),
        Some(2.0)
    );
    let logged = leader.wait_event("tree-empty")["headroom"].as_f64();
    let told = metric("leaderrun_last_fence_headroom_seconds", KEY).expect("a fence");
    assert!(
        (told - logged.expect("seconds")).abs() < 0.001,
        "{told} {logged:?}"
    );
    let renewals = metric("leaderrun_renewals_total", "confirmed").expect("a count");
    let measured = metric("leaderrun_renewal_duration_seconds_count", KEY).expect("a count");
    assert!(
        renewals >= 2.0 && measured >= renewals,
        "{renewals} {measured}"
    );
}

#[test]
fn a_standby_that_has_lost_its_place_stands_in_no_queue() {
    if !require_etcd() {
        return;
    }
    for layout in ["queue", "single"] {
        let etcd = Etcd::start();
        let layout = ["--layout", layout];
        let leader = candidate(&etcd, "leader").args(layout).spawn();
        leader.wait_event("started");
        let waits = candidate(&etcd, "waits").ttl("2s").args(layout).spawn();
        waits.wait_event("waiting");
        let told = waits.wait_role("standby");
        assert_eq!(told["waiting"]["leader"], "leader");
        etcd.kill();
        // Its lease runs out.
        let told = waits.wait_role("connecting");
        assert!(told["waiting"].is_null(), "{told}");
        assert_eq!(waits.probes(), [200, 200, 503]);
        etcd.restart();
        waits.wait_nth_event("campaigning", 2);
    }
}

#[test]
fn a_hold_is_leadership_with_nothing_to_route_to() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "leader")
        .args(["--min-hold", "10m"])
        .ttl("3s")
        .command(&["true"])
        .spawn();
    leader.wait_event("tree-empty");
    let told = leader.wait_role("holding");
    assert_eq!(leader.probes(), [200, 200, 503]);
    assert_eq!(told["leader"], true);
    assert_eq!(told["command"], support::Value::Null);
    // And stays one, by renewals that no command is there to hear of.
    let end = now() + 4.0;
    while now() < end {
        let told = leader.status();
        assert_eq!(told["leader"], true, "{told}");
        std::thread::sleep(Duration::from_millis(50));
    }
    leader.signal(Signal::SIGTERM);
    leader.wait();
}

/// Asks a leader whose renewals have ended, until it no longer says that it is one, and for as long again.
#[track_caller]
fn assert_steps_down_by_the_clock(leader: &Running, grace: Duration, margin: Duration) {
    let stop = leader.instants(grace, margin).stop;
    let (mut led, mut did_not) = (0, 0);
    while now() < stop + 1.0 {
        let asked = now();
        let leads = leader.ask("/leaderz").status == 200;
        let says = leader.status()["leader"] == true;
        let says = says || leader.metric("leader_election_master_status", KEY) == Some(1.0);
        if leads || says {
            // Good to some milliseconds, as the log is.
            assert!(asked < stop + 0.02, "{:+.3}s: {leads} {says}", asked - stop);
            led += 1;
        } else {
            did_not += 1;
        }
    }
    println!("{led} times it led, {did_not} times it did not");
    assert!(led > 0 && did_not > 0);
}

#[test]
fn with_etcd_frozen_nobody_says_leader_from_the_stop_signal_on() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "leader")
        .ttl("5s")
        .grace("2s")
        .margin("500ms")
        .sh(STUBBORN)
        .spawn();
    leader.wait_event("renewed");
    etcd.stop();
    let (grace, margin) = (Duration::from_secs(2), Duration::from_millis(500));
    assert_steps_down_by_the_clock(&leader, grace, margin);
    assert_eq!(leader.probes()[0], 200, "etcd does not count");
    etcd.cont();
    assert_eq!(leader.wait().code(), Some(75));
}

#[test]
fn a_supervisor_that_is_stuck_leads_no_longer_and_lives_no_longer() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "leader")
        .ttl("5s")
        .grace("2s")
        .margin("500ms")
        .sh(STUBBORN)
        .spawn();
    leader.wait_event("renewed");
    leader.address();
    let stalled = Stalled::main_thread(leader.pid());
    assert_eq!(leader.probes()[0], 200, "not yet");
    let (grace, margin) = (Duration::from_secs(2), Duration::from_millis(500));
    assert_steps_down_by_the_clock(&leader, grace, margin);
    eventually(LIMIT, || leader.probes()[0] == 503);
    drop(stalled);
    assert_eq!(leader.wait().code(), Some(75));
}

#[test]
fn what_is_asked_in_another_way_gets_its_answer_too() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "leader").spawn();
    let address = leader.address();
    let ask = |request: &str| send(&address, request).expect("an answer");
    let head = ask("HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((head.status, &*head.body), (200, ""));
    let post = ask("POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(post.status, 405);
    assert!(
        post.head.to_lowercase().contains("allow: get, head"),
        "{post:?}"
    );
    assert_eq!(ask("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
    assert_eq!(ask("GET /livez?verbose HTTP/1.0\r\n\r\n").status, 200);
    assert_eq!(ask("nonsense\r\n\r\n").status, 400);
    // One request a connection.
    let two = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    let two = ask(&two);
    assert_eq!((two.status, &*two.body), (200, "ok\n"));
    assert!(
        two.head.to_lowercase().contains("connection: close"),
        "{two:?}"
    );
    let metrics = leader.ask("/metrics").head.to_lowercase();
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4"),
        "{metrics}"
    );
    let status = leader.ask("/status").head.to_lowercase();
    assert!(
        status.contains("content-type: application/json"),
        "{status}"
    );
}
