//! What a look at the process table shows: names by which one of the two is hit and not the other, whom the
//! kernel kills first when memory runs out, and what setuid programs may.

mod support;

use std::fs;
use std::process::Command;

use nix::unistd::Uid;
use support::{Candidate, Etcd, Pid, eventually, is_alive, require_etcd};

fn proc(pid: Pid, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it lives")
}

/// The value of a line of /proc/PID/status.
fn status(pid: Pid, name: &str) -> String {
    let text = proc(pid, "status");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.expect("a line")
        .trim_start_matches(':')
        .trim()
        .to_owned()
}

#[test]
fn it_has_a_name_of_its_own_and_shows_whose_guardian_it_is() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).sh("exec sleep 600").spawn();
    leader.wait_event("started");
    let guardian = leader.guardian_pid();
    assert_eq!(proc(leader.pid(), "comm"), "leaderrun\n");
    assert_eq!(proc(guardian, "comm"), "lr-guardian\n");
    let title = proc(guardian, "cmdline");
    let says = format!(
        "leaderrun: guardian of {}, election {}",
        leader.pid(),
        support::KEY
    );
    assert!(title.starts_with(&says), "{title}");

    // As an administrator would, but for the processes of other tests.
    let parent = std::process::id().to_string();
    let hit = Command::new("pkill")
        .args(["-KILL", "-x", "leaderrun", "-P", &parent])
        .status()
        .expect("pkill");
    assert!(hit.success());
    leader.wait();
    // It has outlived the blow, and ends the command in order.
    leader.wait_gone();
    eventually(support::LIMIT, || !is_alive(guardian));
    etcd.assert_nothing_left();
}

#[test]
fn memory_is_taken_from_the_command_first_and_not_from_the_guardian() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).sh("exec sleep 600").spawn();
    leader.wait_event("started");
    let score = |pid| {
        proc(pid, "oom_score_adj")
            .trim()
            .parse::<i32>()
            .expect("a number")
    };
    let (supervisor, guardian, command) = (
        score(leader.pid()),
        score(leader.guardian_pid()),
        score(leader.command_pid()),
    );
    println!("oom_score_adj: supervisor {supervisor}, guardian {guardian}, command {command}");
    assert_eq!(supervisor, score(Pid::this()), "it is the starter's");
    assert!(command > guardian && guardian <= supervisor);
    if Uid::effective().is_root() {
        let locked = status(leader.guardian_pid(), "VmLck");
        assert!(!locked.starts_with("0 "), "{locked}");
    }
}

#[test]
fn setuid_programs_gain_nothing_if_they_are_not_to() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let no_new_privileges = |options: &[&str]| {
        let run = Candidate::new(&etcd)
            .args(options.iter().copied())
            .sh("grep NoNewPrivs /proc/self/status");
        let out = run.output();
        assert_eq!(out.code(), 0);
        out.stdout
    };
    assert_eq!(no_new_privileges(&["--no-new-privs"]), "NoNewPrivs:\t1\n");
    assert_eq!(no_new_privileges(&[]), "NoNewPrivs:\t0\n");
}

/// What is killed comes before others, and so does its session where sessions share the processors (sched(7)): no
/// longer than it takes to die, since a person's shell may be of the same session.
#[test]
fn the_session_comes_first_only_while_it_is_killed() {
    if !require_etcd() {
        return;
    }
    if fs::read_to_string("/proc/self/autogroup").is_err() {
        support::skip("this kernel does not share its processors out by session");
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .under(&["sh", "-c", "\"$@\"; cat /proc/self/autogroup", "sh"])
        .args(["--grace", "100ms"])
        .sh("trap '' TERM; sleep 600 & exit 3")
        .output();
    assert!(run.events.iter().any(|e| e["event"] == "killed"));
    assert!(run.stdout.ends_with(" nice 0\n"), "{}", run.stdout);
}
