//! leaderrun as PID 1 of a container: it reaps, it passes signals on, and it never runs unsafely.
//!
//! What users of other tools have complained about, and which test of ours would see it:
//!
//! | complaint known from another tool | where | our test |
//! | --- | --- | --- |
//! | a shell as PID 1 ignores `docker stop`, and the container is killed after 10 s | krallin/tini#8 | `a_stop_takes_the_commands_own_time`, `no_shell_and_no_root_stand_before_leaderrun_in_the_images` |
//! | a command that takes a while over SIGTERM is not waited for | krallin/tini#78 | `a_stop_takes_the_commands_own_time` |
//! | PID 1 does not reap what others leave, and the process table fills | krallin/tini#8, Yelp/dumb-init#9 | `orphans_of_whoever_are_reaped` |
//! | nobody reaps where the tool is not PID 1 | krallin/tini#7, krallin/tini#141 | `a_daemon_that_stops_when_asked_is_not_waited_for_any_longer` |
//! | PID 1 ends when its child has, and the kernel kills the rest in the middle of their work | krallin/tini#180, Yelp/dumb-init#212 | `a_daemon_that_does_not_stop_is_killed_after_the_grace_period_and_then_the_next_may_lead` |
//! | daemons below the command are not told to stop | krallin/tini#229 | `each_of_forty_sessions_is_told_once_in_a_planned_stop` |
//! | orphans that PID 1 has adopted live for ever | krallin/tini#236 | `a_daemon_that_does_not_stop_is_killed_after_the_grace_period_and_then_the_next_may_lead` |
//! | a hang, as the command and an orphan died at the same instant: SIGCHLD came once | openSUSE/catatonit#4 | `a_command_that_dies_together_with_its_orphans_is_not_missed` |
//! | a hang after the exit status 127 | openSUSE/catatonit#5 | `an_exit_status_is_passed_on` |
//! | status 0 for a command that a signal killed; 143 taken for a bug | Yelp/dumb-init#59, Yelp/dumb-init#260 | `a_death_by_signal_is_128_and_its_number` |
//! | the sockets that systemd passes are for the tool's process id, not for the command's | openSUSE/catatonit#13 | `sockets_that_were_opened_for_leaderrun_are_the_commands` |
//! | the command lives on when the tool is killed | krallin/tini#114, Supervisor/supervisor#199 | `a_kill_of_pid_1_takes_all_with_it`, and without a container `killed` |
//! | `EBADF`, or the log in the command's file, with closed standard streams | containers/crun#1703 | `closed_standard_streams_are_no_trouble` |
//!
//! Signals and terminals have tables of their own, in `signals_are_passed_on` and
//! `a_terminal_sees_no_difference`.

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
    // leaderrun, guardian and command are what is left once the last orphans have run and were reaped, and
    // they are the same as before.
    eventually(LIMIT, || {
        zombies(init) == 0 && in_namespace_of(init).len() == 3
    });
    let left = in_namespace_of(init);
    assert!(left.iter().any(|(_, inner)| *inner == command.to_string()));
    assert!(container.events_named("stopping").is_empty());
    assert!(container.events_named("command-exited").is_empty());
}

/// The kernel keeps one SIGCHLD of many.
#[test]
fn a_command_that_dies_together_with_its_orphans_is_not_missed() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    // All of them are in the command's process group, so they die at one instant.
    let script = "for i in 1 2 3 4 5 6 7 8; do (sleep 600 &); done; kill -KILL 0";
    for _ in 0..10 {
        let container = root.run(Candidate::new(&etcd).sh(script), "0");
        assert_eq!(container.wait().code(), Some(137));
        assert_eq!(container.wait_event("command-exited")["signal"], "SIGKILL");
        container.wait_event("tree-empty");
        container.wait_event("released");
    }
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
    let error = container.wait_event("error")["message"].to_string();
    assert!(error.contains(reason), "{error}");
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
    let ran = Candidate::new(&etcd).sh("echo ran");
    assert_refused(&root.run(ran, "0,no-dev"), "/dev/null");
}
