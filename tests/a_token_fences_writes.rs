//! The README's examples of the fencing token in use: each writes as long as no later term has written, and
//! refuses after that.

mod support;

use std::fs;
use std::path::Path;

use support::postgres::Postgres;
use support::{Candidate, Etcd, Scratch, require_etcd};

/// The README's example for a command that contains `word`.
fn example(word: &str) -> String {
    let blocks = include_str!("../README.md")
        .split("```sh in the command\n")
        .skip(1);
    let mut texts = blocks.map(|rest| rest.split("```").next().unwrap_or_default());
    let text = texts.find(|text| text.contains(word)).expect("an example");
    assert!(text.contains("LEADERRUN_TOKEN"));
    text.to_owned()
}

/// Runs the example as the command of a leader. Yields its token and its exit status.
fn run(etcd: &Etcd, example: &str, dir: &Path, env: &[(&str, String)]) -> (u64, i32) {
    let script = format!("cd '{}'\n{example}", dir.display());
    let mut candidate = Candidate::new(etcd).sh(&script);
    for (name, value) in env {
        candidate = candidate.env(name, value);
    }
    let leader = candidate.spawn();
    let token = leader.wait_elected();
    (token, leader.wait().code().expect("an exit status"))
}

#[test]
fn in_postgresql() {
    if !require_etcd() {
        return;
    }
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let (etcd, dir) = (Etcd::start(), Scratch::new("fence"));
    let sql = |text: &str| postgres.psql(text).expect("an answer");
    sql("CREATE TABLE job (name text PRIMARY KEY, state text, token bigint NOT NULL)");
    sql("INSERT INTO job VALUES ('scheduler', 'new', 0)");
    let example = example("psql");
    let (token, code) = run(&etcd, &example, dir.dir(), &postgres.env());
    assert_eq!(code, 0);
    let row = "SELECT state, token FROM job";
    assert_eq!(sql(row), format!("row 4711|{token}"));

    // A term that is older than another that has written.
    let later = token + 1000;
    sql(&format!("UPDATE job SET state = 'later', token = {later}"));
    let (_, code) = run(&etcd, &example, dir.dir(), &postgres.env());
    assert_eq!(code, 1);
    assert_eq!(sql(row), format!("later|{later}"));
}

#[test]
fn in_a_file() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("fence"));
    let write = |name: &str, text: &str| fs::write(dir.path(name), text).expect("a file");
    let read = |name: &str| fs::read_to_string(dir.path(name)).expect("a file");
    let example = example("flock");
    write("report.new", "first");
    let (token, code) = run(&etcd, &example, dir.dir(), &[]);
    assert_eq!((code, read("report").as_str()), (0, "first"));
    assert_eq!(read("report.token"), format!("{token}\n"));
    write("report.new", "second");
    let (second, code) = run(&etcd, &example, dir.dir(), &[]);
    assert_eq!((code, read("report").as_str()), (0, "second"));
    assert_eq!(read("report.token"), format!("{second}\n"));

    write("report.token", &(second + 1000).to_string());
    write("report.new", "too late");
    let (_, code) = run(&etcd, &example, dir.dir(), &[]);
    assert_eq!((code, read("report").as_str()), (1, "second"));
}
