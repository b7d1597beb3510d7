//! leaderrun as PID 1 of a container: it reaps, it passes signals on, and it never runs unsafely.
//!
//! | complaint known from another tool | our test |
//! | --- | --- |
//! | a shell as PID 1 ignores `docker stop`, and the container is killed after 10 s | `a_stop_takes_the_commands_own_time` |
//! | a program as PID 1 does not reap what others leave, and the process table fills (tini's reason to be) | `orphans_of_whoever_are_reaped` |
//! | 128+N is lost, or PID 1 tries to die by the signal and cannot (dumb-init, tini -e) | `a_death_by_signal_is_128_and_its_number` |
//! | the command lives on when its supervisor is killed | `a_kill_of_pid_1_takes_all_with_it` |
//! | `EBADF`, or the log in the command's file, with closed standard streams | `closed_standard_streams_are_no_trouble` |

mod support;

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, LIMIT, Pid, Root, Running, Signal, assert_no_overlap, eventually,
    in_namespace_of, is_alive, now, pid_1, require_etcd,
};

/// As many orphans as a busy container leaves in a day.
const ORPHANS: usize = 10_000;

fn signal(pid: Pid, signal: Signal) {
    nix::sys::signal::kill(pid, signal).expect("alive");
}

fn field(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_default().trim().to_owned()
}

fn zombies(init: Pid) -> usize {
    let all = in_namespace_of(init);
    all.iter()
        .filter(|(pid, _)| field(*pid, "State:").starts_with('Z'))
        .count()
}

/// A process of the container that is no child of anything in it, as of `docker exec`, and leaves orphans.
fn exec_that_leaves_orphans(init: Pid, count: usize) -> Child {
    let script = format!("i=0; while [ $i -lt {count} ]; do (true & ); i=$((i+1)); done");
    Command::new("nsenter")
        .args(["-t", &init.to_string(), "--pid", "sh", "-c", &script])
        .spawn()
        .expect("nsenter of util-linux")
}

#[test]
fn orphans_of_whoever_are_reaped() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    // A third of them from below the command, where the guardian is to reap them.
    let own = ORPHANS / 3;
    let script = format!(
        "i=0; while [ $i -lt {own} ]; do (true & ); i=$((i+1)); done; echo done; exec sleep 600"
    );
    let container = root.run(Candidate::new(&etcd).sh(&script), "0");
    let command = container.command_pid();
    let init = pid_1(&container);
    let mut execs: Vec<_> = (0..2)
        .map(|_| exec_that_leaves_orphans(init, own))
        .collect();
    for exec in &mut execs {
        assert!(exec.wait().expect("own child").success());
    }
    eventually(LIMIT, || container.stdout() == "done\n");
    eventually(LIMIT, || zombies(init) == 0);
    // leaderrun, guardian and command are what is left, and they are the same as before.
    let left = in_namespace_of(init);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().any(|(_, inner)| *inner == command.to_string()));
    assert!(container.events_named("stopping").is_empty());
    assert!(container.events_named("command-exited").is_empty());
}

#[test]
fn a_stop_takes_the_commands_own_time() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    let script = "trap 'sleep 1; exit 7' TERM; echo up; while :; do sleep 0.1; done";
    let container = root.run(Candidate::new(&etcd).sh(script), "0");
    eventually(LIMIT, || container.stdout() == "up\n");
    let began = now();
    signal(pid_1(&container), Signal::SIGTERM);
    assert_eq!(container.wait().code(), Some(7));
    let took = now() - began;
    assert!(
        (1.0..9.0).contains(&took),
        "{took}: `docker stop` kills after 10 s"
    );
    assert!(container.events_named("killed").is_empty());
    assert_eq!(etcd.keys("/election/test"), Vec::<String>::new());
}

#[test]
fn a_standby_is_stopped_as_fast() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).spawn();
    leader.wait_event("started");
    let container = root.run(Candidate::new(&etcd), "0");
    container.wait_event("waiting");
    signal(pid_1(&container), Signal::SIGTERM);
    assert_eq!(
        container.wait_within(Duration::from_secs(9)).code(),
        Some(143)
    );
    assert_eq!(etcd.keys("/election/test/").len(), 1);
}

#[test]
fn a_death_by_signal_is_128_and_its_number() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    // The command has PID 1's signals passed on, and dies by their default action, as it is not PID 1.
    for (sent, code) in [(Signal::SIGTERM, 143), (Signal::SIGUSR1, 138)] {
        let container = root.run(Candidate::new(&etcd), "0");
        container.wait_event("started");
        signal(pid_1(&container), sent);
        assert_eq!(container.wait().code(), Some(code));
    }
    let container = root.run(Candidate::new(&etcd).sh("kill -SEGV $$"), "0");
    assert_eq!(container.wait().code(), Some(139));
}

#[test]
fn a_kill_of_pid_1_takes_all_with_it() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let life = beat.life().ignores_term().with_daemon();
    let container = root.run(Candidate::new(&etcd).ttl("6s").life(life), "0");
    let token = container.wait_elected();
    beat.wait_stamp(token, "daemon");
    let rival = Candidate::new(&etcd).id("rival").life(beat.life()).spawn();
    rival.wait_event("waiting");
    let all = in_namespace_of(pid_1(&container));
    assert!(all.len() >= 4, "{all:?}");
    signal(pid_1(&container), Signal::SIGKILL);
    eventually(LIMIT, || !all.iter().any(|(pid, _)| is_alive(*pid)));
    // The guardian is dead too, so this costs the TTL.
    beat.wait_tokens(2);
    assert_no_overlap(&beat);
}

#[test]
fn an_unprivileged_user_and_a_read_only_root_are_enough() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    let script = "(: >/new) 2>/dev/null || echo read-only; sleep 600";
    let candidate = Candidate::new(&etcd).text_log().sh(script);
    let container = root.run(candidate, "65532");
    eventually(LIMIT, || container.stdout() == "read-only\n");
    let all = in_namespace_of(pid_1(&container));
    for (pid, _) in &all {
        assert_eq!(field(*pid, "Uid:").split_whitespace().next(), Some("65532"));
    }
    signal(pid_1(&container), Signal::SIGTERM);
    assert_eq!(container.wait().code(), Some(143));
}

#[test]
fn closed_standard_streams_are_no_trouble() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    let script = "read -r line; echo out; echo err >&2; exit 5";
    let container = root.run(Candidate::new(&etcd).sh(script), "0,closed");
    assert_eq!(container.wait().code(), Some(5));
    // Nothing of it went into the log.
    assert!(container.events_named("released").len() == 1);
}

#[track_caller]
fn assert_refused(container: &Running, reason: &str) {
    assert_eq!(container.wait().code(), Some(125), "{}", container.stderr());
    assert!(
        container.stderr().contains(reason),
        "{}",
        container.stderr()
    );
    assert_eq!(container.stdout(), "");
    assert!(container.events_named("started").is_empty());
}

#[test]
fn without_proc_nothing_is_run() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    let ran = Candidate::new(&etcd).sh("echo ran");
    assert_refused(&root.run(ran, "0,no-proc"), "mount -t proc proc /proc");
    // Of another namespace, it shows the wrong processes under familiar numbers.
    let foreign = Candidate::new(&etcd)
        .sh("echo ran")
        .under(&["unshare", "--fork", "--kill-child", "--pid"])
        .spawn();
    assert_refused(&foreign, "another PID namespace");
    assert_eq!(etcd.keys("/election/test"), Vec::<String>::new());
}

#[test]
fn without_dev_null_nothing_is_run() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    let ran = Candidate::new(&etcd).sh("echo ran").text_log();
    assert_refused(&root.run(ran, "0,no-dev"), "/dev/null");
}
