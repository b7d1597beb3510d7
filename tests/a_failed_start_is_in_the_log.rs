//! A start that fails says so where the rest of the log is, and in its form: these are the lines on which a unit dies.

mod support;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

use support::{Candidate, Scratch, Value};

/// One that needs no etcd, as it does not come so far.
fn candidate() -> Candidate {
    Candidate::bare().args(["--key", "k", "--endpoints", "127.0.0.1:1"])
}

fn story(events: &[Value]) -> Vec<(String, String)> {
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let story = events.iter().map(|e| (text(e, "event"), text(e, "level")));
    story.collect()
}

#[test]
fn in_json_it_is_an_error_and_the_end() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("an address").to_string();
    let nobody = candidate().command(&["leaderrun-no-such-command"]);
    let deaf = candidate().args(["--listen", &taken]).command(&["true"]);
    for (run, status, says) in [
        (nobody, 127, "command 'leaderrun-no-such-command' not found"),
        (deaf, 125, "cannot listen at 127.0.0.1:"),
    ] {
        let run = run.json_log().output();
        assert_eq!(run.code(), status, "{}", run.stderr);
        assert_eq!(run.stderr, "", "{says}");
        let expected = [("error", "error"), ("exiting", "info")];
        let expected = expected.map(|(event, level)| (event.to_owned(), level.to_owned()));
        let mut events = run.events;
        events.retain(|event| event["level"] != "warn");
        assert_eq!(story(&events), expected, "{events:?}");
        let message = events[0]["message"].as_str().expect("text");
        assert!(message.starts_with(says), "{message}");
        assert_eq!(events[1]["status"], status);
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_complained_of_in_its_form() {
    let options = ["--log-format=json", "--log-file=/nonexistent/log"];
    let run = candidate().args(options).command(&["true"]).output();
    assert_eq!(run.code(), 125);
    let events = run.stderr.lines().map(serde_json::from_str);
    let events: Vec<Value> = events.collect::<Result<_, _>>().expect("JSON");
    let message = events[0]["message"].as_str().expect("text");
    assert!(message.contains("'/nonexistent/log'"), "{message}");
    assert_eq!(events[1]["event"], "exiting");
}

#[test]
fn the_journal_is_told_that_it_is_an_error() {
    let dir = Scratch::new("journal");
    let ask = |words: &[&str]| Candidate::bare().args(words.iter().copied());
    for (name, run, status) in [
        (
            "not found",
            candidate().command(&["leaderrun-no-such"]),
            127,
        ),
        ("usage", candidate().args(["--ttl", "1s", "true"]), 2),
        ("parser", candidate().args(["--no-such-option"]), 2),
        (
            "question",
            ask(&["status", "--key=k", "--endpoints=127.0.0.1:1"]),
            125,
        ),
    ] {
        let path = dir.path(name);
        let file = File::create(&path).expect("a new file");
        let meta = file.metadata().expect("it is there");
        let stream = format!("{}:{}", meta.dev(), meta.ino());
        let run = run.env("JOURNAL_STREAM", stream).stderr(file).spawn();
        assert_eq!(run.wait().code(), Some(status), "{name}");
        let text = fs::read_to_string(path).expect("text");
        let mut lines = text.lines();
        let first = lines.next().expect("a line");
        assert!(first.starts_with("<3>leaderrun: "), "{name}: {text}");
        // The end of a run is no error by itself.
        let starts = |line: &str| line.starts_with("<3>") || line.starts_with("<6>leaderrun: exit");
        assert!(lines.all(starts), "{name}: {text}");
    }
}
