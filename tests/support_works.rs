//! The harness itself: its checks can fail, its etcd runs, and it leaves nothing behind.

mod support;

use std::process::Command;
use std::time::Duration;

use support::{
    Beat, Etcd, LIMIT, Life, Running, Scratch, Signal, Stamp, assert_no_overlap, children_of,
    eventually, is_alive, now, overlaps, require_etcd,
};

fn stamp(at: f64, token: u64) -> Stamp {
    Stamp {
        at,
        token,
        pid: 1,
        kind: "beat".to_owned(),
    }
}

/// Runs a life directly, as a candidate with that token would.
fn live(life: &Life, token: u64) -> Running {
    let argv = life.argv();
    let mut command = Command::new(&argv[0]);
    command
        .args(&argv[1..])
        .env("LEADERRUN_TOKEN", token.to_string());
    Running::spawn("life", command)
}

#[test]
fn terms_one_after_the_other_do_not_overlap() {
    let stamps = [stamp(1.0, 7), stamp(1.1, 7), stamp(1.1, 9), stamp(1.2, 9)];
    assert_eq!(overlaps(&stamps), []);
}

#[test]
fn one_late_stamp_is_an_overlap() {
    let stamps = [stamp(1.0, 7), stamp(1.1, 9), stamp(1.1, 7), stamp(1.2, 9)];
    assert_eq!(overlaps(&stamps), [(stamp(1.1, 7), stamp(1.1, 9))]);
}

#[test]
#[should_panic(expected = "commands overlapped")]
fn two_commands_at_once_are_caught() {
    let beat = Beat::new();
    let _first = live(&beat.life(), 1);
    beat.wait_tokens(1);
    let _second = live(&beat.life(), 2);
    beat.wait_tokens(2);
    // The first lives on, so its next stamp comes after the second's.
    let late = beat.stamps().len() + 20;
    eventually(LIMIT, || beat.stamps().len() > late);
    assert_no_overlap(&beat);
}

#[test]
fn a_command_killed_before_the_next_starts_passes() {
    let beat = Beat::new();
    let before = now();
    drop(live(&beat.life(), 1));
    let first = live(&beat.life(), 2);
    beat.wait_stamp(2, "beat");
    first.signal(Signal::SIGKILL);
    first.wait_gone();
    let killed = now();
    let _second = live(&beat.life(), 3);
    beat.wait_stamp(3, "beat");
    let tokens = assert_no_overlap(&beat);
    assert!(tokens.ends_with(&[2, 3]), "{tokens:?}");
    // The stamps and now() are of one clock; a stamp is rounded down to 10 ms.
    assert!(beat.first_stamp(2).at > before - 0.011);
    assert!(beat.last_stamp(2).at <= killed);
    assert!(beat.first_stamp(3).at > killed - 0.011);
}

#[test]
fn lives_end_as_asked() {
    let beat = Beat::new();
    let soon = Duration::from_millis(30);
    let exits = live(&beat.life().exits(3, soon), 1);
    assert_eq!(exits.wait().code(), Some(3));
    beat.wait_stamp(1, "end");

    let crashes = live(&beat.life().dies_by("SEGV", soon), 2);
    let status = crashes.wait();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(11)
    );

    let polite = live(&beat.life().exits_on_term(5), 3);
    beat.wait_stamp(3, "beat");
    polite.signal(Signal::SIGTERM);
    assert_eq!(polite.wait().code(), Some(5));
    beat.wait_stamp(3, "term");

    for (token, life) in [
        (4, beat.life().ignores_term()),
        (5, beat.life().notes_term()),
    ] {
        let stubborn = live(&life, token);
        beat.wait_stamp(token, "beat");
        stubborn.signal(Signal::SIGTERM);
        let many = beat.stamps().len() + 20;
        eventually(LIMIT, || beat.stamps().len() > many);
        assert!(stubborn.try_wait().is_none());
    }
    beat.wait_stamp(5, "term");
    assert!(
        beat.stamps()
            .iter()
            .all(|s| s.token != 4 || s.kind != "term")
    );
}

#[test]
fn a_daemon_is_of_the_tree_and_does_not_outlive_the_handle() {
    let beat = Beat::new();
    let family = live(&beat.life().with_daemon(), 1);
    let daemon = support::Pid::from_raw(beat.wait_stamp(1, "daemon").pid);
    assert!(!children_of(family.pid()).contains(&daemon));
    family.signal(Signal::SIGKILL);
    family.wait();
    assert!(is_alive(daemon) && family.tree().contains(&daemon));
    drop(family);
    assert!(!is_alive(daemon));
}

#[test]
fn one_etcd_is_started_frozen_killed_and_started_again() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.put("/a/1", "one");
    etcd.put("/a/0", "zero");
    assert_eq!(etcd.get("/a/1").as_deref(), Some("one"));
    assert_eq!(etcd.get("/a/2"), None);
    assert_eq!(etcd.keys("/a/"), ["/a/1", "/a/0"]);
    assert!(etcd.del("/a/0") && !etcd.del("/a/0"));

    assert!(etcd.leases().is_empty());
    let lease = etcd.etcdctl(&["lease", "grant", "60"]);
    let lease = lease.split_whitespace().nth(1).expect("an id").to_owned();
    etcd.etcdctl(&["put", "/b", "leased", &format!("--lease={lease}")]);
    assert_eq!(etcd.leases(), [lease.trim_start_matches('0')]);
    assert_eq!(
        etcd.entry("/b").expect("there").lease,
        lease.trim_start_matches('0')
    );
    etcd.revoke(&lease);
    assert!(etcd.entry("/b").is_none() && etcd.leases().is_empty());

    let frozen = etcd.member(0).pid().expect("running");
    etcd.stop();
    assert!(support::is_stopped(frozen));
    etcd.cont();
    etcd.wait_ready();
    etcd.kill();
    assert!(!is_alive(frozen));
    assert!(etcd.try_etcdctl(&["get", "/a/1"]).is_err());
    etcd.restart();
    assert_eq!(etcd.get("/a/1").as_deref(), Some("one"));

    etcd.stop();
    let frozen = etcd.member(0).pid().expect("frozen");
    drop(etcd);
    assert!(!is_alive(frozen));
}

#[test]
fn a_cluster_elects_another_leader_when_its_leader_freezes() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::cluster(3);
    etcd.put("/a", "one");
    let first = etcd.leader_index();
    etcd.member(first).stop();
    assert_ne!(first, etcd.leader_index());
    assert_eq!(etcd.get("/a").as_deref(), Some("one"));
    etcd.member(first).cont();
    etcd.wait_ready();
    etcd.leader().kill();
    // Without a leader every write fails, so wait for the next one.
    etcd.leader_index();
    etcd.put("/a", "two");
    etcd.restart();
    assert_eq!(etcd.get("/a").as_deref(), Some("two"));
}

#[test]
fn etcdctl_lock_runs_a_life() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let life = beat.life().argv();
    let mut words = vec!["lock", "/lock"];
    words.extend(life.iter().map(|a| a.to_str().expect("UTF-8")));
    let _lock = etcd.spawn_etcdctl(&words);
    let token = beat.wait_tokens(1);
    assert_eq!(etcd.entries_under("/lock/")[0].create_revision, token);
}

/// The tables of complaints in the heads of the tests name tests that are there.
#[test]
fn every_test_that_a_table_of_complaints_names_exists() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = std::fs::read_dir(dir).expect("own directory").flatten();
    let texts: Vec<String> = files
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .collect();
    let rows = texts.iter().flat_map(|text| {
        let from = |line: &&str| !line.starts_with("//! | complaint");
        let table = text.lines().skip_while(from).skip(2);
        table.take_while(|line| line.starts_with("//! |"))
    });
    let mut names = 0;
    for row in rows {
        let row = row.trim_start_matches("//! | ").trim_end_matches(" |");
        let cells: Vec<_> = row.split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        for name in cells[2].split('`').skip(1).step_by(2) {
            let there = format!("\nfn {name}() {{");
            assert!(texts.iter().any(|t| t.contains(&there)), "{name}: no test");
            names += 1;
        }
    }
    assert!(names > 30, "{names}");
}

#[test]
#[ignore = "run by the next one"]
fn lacks_something() {
    support::skip("there is no Sunday");
    support::require_program("leaderrun-is-nowhere");
}

#[test]
fn a_test_that_lacks_what_is_required_fails_and_others_are_named() {
    let dir = Scratch::new("skipped");
    let named = dir.path("named");
    let run = |required: &str| {
        std::fs::write(&named, "").expect("own directory");
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "lacks_something"])
            .env("LEADERRUN_TEST_REQUIRE", required)
            .env("LEADERRUN_TEST_SKIPPED", &named)
            .output()
            .expect("this program")
            .status;
        let named = std::fs::read_to_string(&named).expect("own file");
        (status.success(), named.lines().count(), named)
    };
    let (well, lines, named) = run("1");
    assert!(!well && lines == 1, "{named}");
    assert_eq!(named, "SKIPPED lacks_something: there is no Sunday\n");
    let (well, lines, named) = run("0");
    assert!(well && lines == 2, "{named}");
}
