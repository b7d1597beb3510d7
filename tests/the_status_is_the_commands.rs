//! leaderrun ends as its command ended, and leaves nothing in etcd nor any process.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{Candidate, Etcd, Scratch, Signal, death_of, require_etcd};

fn script(path: &Path, mode: u32) {
    fs::write(path, "#!/bin/sh\nexit 9\n").expect("own directory");
    chmod(path, mode);
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
}

#[test]
fn an_exit_status_is_passed_on() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    for code in [0, 3, 75, 124, 127, 255] {
        let run = Candidate::new(&etcd).sh(&format!("exit {code}")).spawn();
        assert_eq!(run.wait().code(), Some(code));
        assert_eq!(run.wait_event("command-exited")["code"], code);
        assert_eq!(run.wait_event("exiting")["status"], code);
        run.wait_gone();
        etcd.assert_nothing_left();
    }
}

#[test]
fn a_death_by_signal_is_passed_on_without_a_core_of_our_own() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("cores"));
    // With cores allowed, a death by SIGSEGV leaves one unless something prevents it; and the
    // command's own is to lie where it harms nobody.
    let allow = format!(
        "cd {} && {{ ulimit -c unlimited || :; }} && exec \"$@\"",
        dir.dir().display()
    );
    for (signal, name) in [
        (11, "SIGSEGV"),
        (6, "SIGABRT"),
        (9, "SIGKILL"),
        (15, "SIGTERM"),
        (13, "SIGPIPE"),
        (40, "SIGRTMIN+6"),
    ] {
        let run = Candidate::new(&etcd)
            .under(&["sh", "-c", &allow, "sh"])
            .sh(&format!("kill -{signal} $$"))
            .spawn();
        let status = run.wait();
        assert_eq!(death_of(status), signal);
        assert!(
            !std::os::unix::process::ExitStatusExt::core_dumped(&status),
            "{status:?}"
        );
        assert_eq!(run.wait_event("command-exited")["signal"], name);
        assert_eq!(run.wait_event("exiting")["status"], 128 + signal);
        run.wait_gone();
        etcd.assert_nothing_left();
    }
}

#[test]
fn what_cannot_be_run_is_said_before_campaigning() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("commands"));
    let plain = dir.path("plain");
    script(&plain, 0o644);
    let absent = dir.path("absent");
    let revision = etcd.revision();
    for (command, code) in [
        (plain.as_os_str(), 126),
        (dir.dir().as_os_str(), 126),
        (absent.as_os_str(), 127),
        ("leaderrun-no-such-command".as_ref(), 127),
    ] {
        let finished = Candidate::new(&etcd)
            .text_log()
            .command(&[command])
            .output();
        assert_eq!(finished.code(), code, "{}", finished.stderr);
        assert!(
            finished.stderr.starts_with("leaderrun: error: ")
                && finished.stderr.contains(&*command.to_string_lossy()),
            "{}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "");
    }
    assert_eq!(etcd.revision(), revision, "etcd was written to");
    etcd.assert_nothing_left();
}

#[test]
fn what_can_no_longer_be_run_when_elected_is_said_then() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("commands"));
    let tool = dir.path("tool");
    for code in [126, 127] {
        script(&tool, 0o755);
        let leader = Candidate::new(&etcd).ttl("5s").spawn();
        leader.wait_event("started");
        let standby = Candidate::new(&etcd).ttl("5s").command(&[&tool]).spawn();
        standby.wait_event("waiting");
        match code {
            126 => chmod(&tool, 0o644),
            _ => fs::remove_file(&tool).expect("own file"),
        }
        leader.signal(Signal::SIGTERM);
        assert_eq!(standby.wait().code(), Some(code));
        let error = standby.wait_event("error");
        assert!(error["message"].as_str().expect("text").contains("tool"));
        assert!(standby.events_named("started").is_empty());
        assert!(standby.events_named("command-exited").is_empty());
        standby.wait_event("tree-empty");
        standby.wait_gone();
        leader.wait_gone();
        etcd.assert_nothing_left();
    }
}

#[test]
fn a_script_without_an_interpreter_line_is_run_as_the_shell_would() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("commands"));
    let tool = dir.path("tool");
    fs::write(&tool, "exit 9\n").expect("own directory");
    chmod(&tool, 0o755);
    assert_eq!(
        Candidate::new(&etcd).command(&[&tool]).output().code(),
        9,
        "execvp(3)"
    );
    etcd.assert_nothing_left();
}

#[test]
fn a_script_whose_interpreter_is_missing_says_so() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("commands"));
    let tool = dir.path("tool");
    fs::write(&tool, "#!/no/such/interpreter\n").expect("own directory");
    chmod(&tool, 0o755);
    let finished = Candidate::new(&etcd).command(&[&tool]).output();
    assert_eq!(finished.code(), 127);
    let error = finished.events.iter().find(|e| e["event"] == "error");
    let message = error.expect("an error")["message"].to_string();
    assert!(
        message.contains("it exists, but its interpreter '/no/such/interpreter' does not"),
        "{message}"
    );
    etcd.assert_nothing_left();
}
