//! leaderrun's log: what happened, for people and for machines, and never on standard output.

mod support;

use std::fs;

use support::{Candidate, Etcd, KEY, Scratch, Signal, Value, eventually, require_etcd};

/// The fields of an event beyond those that every event has, with the JSON type of each.
fn fields(event: &Value) -> Vec<(String, &'static str)> {
    let object = event.as_object().expect("an object");
    let mut fields: Vec<_> = object
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "ts" | "level" | "event"))
        .map(|(name, value)| {
            let kind = match value {
                Value::String(_) => "text",
                Value::Number(_) => "number",
                _ => "other",
            };
            (name.clone(), kind)
        })
        .collect();
    fields.sort();
    fields
}

#[track_caller]
fn assert_fields(event: &Value, expected: &[(&str, &str)]) {
    let found = fields(event);
    let found: Vec<(&str, &str)> = found.iter().map(|(n, k)| (n.as_str(), *k)).collect();
    assert_eq!(found, expected, "{event}");
}

fn names(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|e| e["event"].as_str().expect("a name"))
        .collect()
}

#[test]
fn json_has_one_object_a_line_with_the_fields_of_the_manual() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).id("one").ttl("5s").spawn();
    let started = leader.wait_event("started");
    assert_fields(&started, &[("pid", "number")]);
    assert_eq!(started["pid"], leader.command_pid().as_raw());
    let standby = Candidate::new(&etcd).id("two").sh("exit 3").spawn();
    let waiting = standby.wait_event("waiting");
    assert_fields(
        &waiting,
        &[("ahead", "number"), ("leader", "text"), ("reason", "text")],
    );
    assert_eq!(
        (&waiting["reason"], &waiting["ahead"]),
        (&"queue".into(), &1.into())
    );
    let candidate = &etcd.entries_under(&format!("{KEY}/"))[0];
    leader.signal(Signal::SIGTERM);
    leader.wait_gone();
    standby.wait_gone();

    let mut events = leader.events();
    // On a busy machine etcd may be late once.
    events.retain(|event| event["level"] != "warn");
    let story = [
        "campaigning",
        "elected",
        "started",
        "stopping",
        "command-exited",
        "tree-empty",
        "released",
        "exiting",
    ];
    assert_eq!(names(&events), story);
    let [
        campaigning,
        elected,
        _,
        stopping,
        exited,
        empty,
        released,
        exiting,
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_fields(
        campaigning,
        &[
            ("id", "text"),
            ("key", "text"),
            ("lease", "text"),
            ("ttl", "number"),
        ],
    );
    assert_eq!(campaigning["ttl"], 5.0);
    assert_fields(
        elected,
        &[("lease", "text"), ("token", "number"), ("waited", "number")],
    );
    assert_eq!(elected["token"], candidate.create_revision);
    assert_eq!(elected["lease"], candidate.lease.as_str());
    assert_fields(stopping, &[("reason", "text"), ("signal", "text")]);
    assert_fields(exited, &[("signal", "text")]);
    assert_fields(empty, &[("headroom", "number")]);
    assert!(
        empty["headroom"]
            .as_f64()
            .is_some_and(|s| s > 0.0 && s < 5.0)
    );
    assert_fields(released, &[]);
    assert_fields(exiting, &[("status", "number")]);
    assert_fields(&standby.wait_event("command-exited"), &[("code", "number")]);
    for event in &events {
        assert_eq!(event["level"], "info");
        let ts = event["ts"].as_str().expect("a time");
        assert!(
            ts.len() == 24 && ts.ends_with('Z') && ts.contains('T'),
            "{ts}"
        );
    }
    assert!(leader.stdout().is_empty() && leader.stderr().is_empty());
}

#[test]
fn a_lost_leadership_is_an_error_with_its_reason() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // Quiet: what is left is what a person has to know.
    let run = Candidate::new(&etcd)
        .arg("-q")
        .grace("300ms")
        .sh("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        .spawn();
    eventually(support::LIMIT, || run.stdout().contains("ready"));
    etcd.del(&etcd.keys(&format!("{KEY}/"))[0]);
    assert_eq!(run.wait().code(), Some(75));
    run.wait_gone();
    let events = run.events();
    assert_eq!(names(&events), ["stopping", "lost"], "{events:?}");
    for event in &events {
        assert_eq!(event["level"], "error");
        assert_eq!(event["reason"], "key-lost");
    }
}

#[test]
fn failed_renewals_and_a_kill_are_logged() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .ttl("6s")
        .grace("1s")
        .margin("2s")
        .sh("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        .spawn();
    eventually(support::LIMIT, || run.stdout().contains("ready"));
    etcd.kill();
    let failed = run.wait_event("renewal-failed");
    assert_fields(
        &failed,
        &[
            ("endpoint", "text"),
            ("error", "text"),
            ("remaining", "number"),
        ],
    );
    assert_eq!(failed["level"], "warn");
    assert!(
        failed["endpoint"]
            .as_str()
            .is_some_and(|e| e.contains(&etcd.endpoint()))
    );
    assert_eq!(run.wait_event("stopping")["reason"], "renewal-timeout");
    let killed = run.wait_event("killed");
    assert_fields(&killed, &[("reason", "text")]);
    assert_eq!(killed["reason"], "deadline");
    let lost = run.wait_event("lost");
    assert_fields(&lost, &[("reason", "text")]);
    assert_eq!(lost["reason"], "renewal-timeout");
    etcd.restart();
    assert_eq!(run.wait().code(), Some(75));
}

#[test]
fn renewals_are_logged_if_asked_for() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd).ttl("2s").arg("-v").spawn();
    let renewed = run.wait_nth_event("renewed", 2);
    assert_eq!(renewed["level"], "debug");
    assert_fields(&renewed, &[("remaining", "number")]);
    run.signal(Signal::SIGTERM);
    run.wait_gone();
    let quiet = Candidate::new(&etcd)
        .arg("--quiet")
        .command(&["true"])
        .spawn();
    quiet.wait_gone();
    assert!(quiet.events().is_empty(), "{:?}", quiet.events());
}

#[test]
fn text_lines_say_whose_they_are_and_go_to_standard_error() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .text_log()
        .arg("-v")
        .sh("exit 3")
        .spawn();
    assert_eq!(run.wait().code(), Some(3));
    let stderr = run.stderr();
    assert!(
        stderr.lines().all(|line| line.starts_with("leaderrun: ")),
        "{stderr}"
    );
    for part in [
        "campaigning for /election/test as ",
        "elected leader of /election/test with token ",
        "command started as process ",
        "command exited with status 3",
        "exiting with status 3",
    ] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    assert_eq!(run.stdout(), "");
}

#[test]
fn a_log_file_is_appended_to() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("log"));
    let file = dir.path("log");
    fs::write(&file, "before\n").expect("own directory");
    for _ in 0..2 {
        let run = Candidate::new(&etcd)
            .text_log()
            .env("LEADERRUN_LOG_FILE", &file)
            .sh("echo out; echo err >&2")
            .spawn();
        assert_eq!(run.wait().code(), Some(0));
        assert_eq!(
            (run.stdout(), run.stderr()),
            ("out\n".into(), "err\n".into())
        );
    }
    let text = fs::read_to_string(&file).expect("own file");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "before");
    assert!(
        lines[1..]
            .iter()
            .all(|line| line.starts_with("leaderrun: ")),
        "{text}"
    );
    let exits = lines.iter().filter(|line| line.contains("exiting")).count();
    assert_eq!(exits, 2, "{text}");
}

#[test]
fn an_orphaned_guardian_tells_the_log_file_the_rest_of_the_story() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd).spawn();
    run.wait_event("started");
    run.signal(Signal::SIGKILL);
    run.wait_event("released");
    run.wait_gone();
    let events = run.events();
    let story = ["stopping", "command-exited", "tree-empty", "released"];
    assert!(names(&events).ends_with(&story), "{events:?}");
    assert_eq!(run.wait_event("stopping")["reason"], "supervisor-lost");
    etcd.assert_nothing_left();
}

#[test]
fn an_identity_cannot_forge_a_line_of_anothers_log() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.etcdctl(&["lease", "grant", "600"]);
    let lease = etcd.leases().pop().expect("granted");
    let evil = "x\nleaderrun: elected leader\u{1b}[2J";
    etcd.etcdctl(&[
        "put",
        &format!("{KEY}/{lease}"),
        evil,
        &format!("--lease={lease}"),
    ]);
    let run = Candidate::new(&etcd).text_log().spawn();
    eventually(support::LIMIT, || run.stderr().contains("waiting behind"));
    let stderr = run.stderr();
    assert!(
        !stderr.contains("\nleaderrun: elected") && !stderr.contains('\u{1b}'),
        "{stderr}"
    );
}

/// Escaped for people, so that it can be undone; for programs it is what it is, and harmless on a terminal too.
#[test]
fn an_identity_is_the_same_to_all_programs() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let name = r"web\1".to_owned() + "\u{202e}b\u{2028}";
    let leader = Candidate::new(&etcd).id(&name).spawn();
    leader.wait_event("started");
    let waits = Candidate::new(&etcd).listening().spawn();
    assert_eq!(waits.wait_event("waiting")["leader"], name);
    assert_eq!(waits.wait_role("standby")["waiting"]["leader"], name);
    let (log, status) = (waits.dir().path("log"), waits.ask("/status").body);
    let log = fs::read_to_string(log).expect("own file");
    for text in [log, status] {
        let escaped = r#""web\\1\u202eb\u2028""#;
        assert!(text.contains(escaped), "{text}");
        assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text}");
    }
    let reads = Candidate::new(&etcd).text_log().arg("--try").output();
    let shown = r"'web\\1\u{202e}b\u{2028}'";
    assert!(reads.stderr.contains(shown), "{}", reads.stderr);
}

#[test]
fn a_standby_that_stood_still_does_not_blame_etcd() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).spawn();
    leader.wait_event("started");
    let run = Candidate::new(&etcd).ttl("2s").spawn();
    run.wait_event("waiting");
    run.signal(Signal::SIGSTOP);
    eventually(support::LIMIT, || etcd.leases().len() == 1);
    run.signal(Signal::SIGCONT);
    let warning = run.wait_event("warning")["message"].to_string();
    assert!(warning.contains("stood still"), "{warning}");
    run.wait_nth_event("waiting", 2);
}
