//! `--help`, `--version` and `--explain` answer on standard output, and ask etcd nothing.

mod support;

use support::{Candidate, Finished};

#[track_caller]
fn answer(arguments: &[&str]) -> String {
    let run = Candidate::bare().text_log().args(arguments.iter().copied());
    let Finished {
        status,
        stdout,
        stderr,
        ..
    } = run.output();
    assert_eq!(status.code(), Some(0), "{arguments:?}: {stderr}");
    assert_eq!(stderr, "", "{arguments:?}");
    assert!(stdout.ends_with('\n'), "{stdout:?}");
    stdout
}

#[test]
fn help() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["--key", "k", "--help"],
    ] {
        let page = answer(arguments);
        for word in ["--key", "--ttl", "--on-loss", "LEADERRUN_", "124", "127"] {
            assert!(page.contains(word), "no {word} in {page}");
        }
    }
    assert!(answer(&["-h"]).contains("--key"));
}

#[test]
fn version() {
    let expected = format!("leaderrun {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(answer(&["--version"]), expected);
    assert_eq!(answer(&["-V"]), expected);
}

#[test]
fn explain() {
    let page = answer(&["--explain"]);
    for instant in ["8.5s", "13.5s", "15s"] {
        assert!(page.contains(instant), "no {instant} in {page}");
    }
    let page = answer(&["--explain", "--ttl=30s", "--grace=10s", "--margin=1s"]);
    for instant in ["19s", "29s", "30s", "4.75s"] {
        assert!(page.contains(instant), "no {instant} in {page}");
    }
    assert!(page.contains("outage of up to 13.25s"), "{page}");
    // Too short to ride out the election of a new raft leader.
    let short = answer(&["--explain", "--ttl=5s"]);
    assert!(
        short.contains("\nleaderrun: warning: this timeline rides out")
            && short.contains("use a longer --ttl"),
        "{short}"
    );
    assert!(!page.contains("use a longer --ttl"), "{page}");
}

#[test]
fn explain_refuses_what_a_run_would_refuse() {
    let run = Candidate::bare()
        .text_log()
        .args(["--explain", "--ttl=5s", "--grace=30s"])
        .output();
    assert_eq!(run.code(), 2);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("use --ttl"), "{}", run.stderr);
    // The TTL that it names is accepted.
    let (_, hint) = run.stderr.split_once("use --ttl ").expect("a hint");
    let ttl = hint.split(' ').next().expect("a duration");
    answer(&["--explain", "--grace=30s", "--ttl", ttl]);
}
