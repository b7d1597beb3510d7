//! Lines that a log file cannot take are missed aloud, on standard error: that there are any, and how many they were.

mod support;

use std::io::{PipeReader, Write, pipe};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, fcntl};
use support::{Candidate, Etcd, require_etcd};

/// One whose log goes to a disk that is full.
fn candidate(etcd: &Etcd) -> Candidate {
    Candidate::new(etcd)
        .text_log()
        .args(["--log-file", "/dev/full"])
        .command(&["sh", "-c", "exit 3"])
}

#[test]
fn on_standard_error_at_once_and_at_the_end() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = candidate(&etcd).output();
    assert_eq!(run.code(), 3, "{}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let first = "leaderrun: log file '/dev/full': lines are lost: No space left on device";
    assert!(lines[0].starts_with(first), "{lines:?}");
    let count = lines[1]
        .strip_prefix("leaderrun: log file '/dev/full': ")
        .and_then(|rest| rest.strip_suffix(" log lines were lost"))
        .and_then(|count| count.parse::<u32>().ok());
    // From campaigning to exiting, and perhaps a warning of the etcd that is here.
    assert!(count.is_some_and(|count| count >= 7), "{lines:?}");
}

/// A pipe that has no room.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a smaller pipe");
    let size = usize::try_from(size).expect("a size");
    writer.write_all(&vec![b'x'; size]).expect("it fits");
    (reader, writer.into())
}

#[test]
fn nobody_waits_for_a_reader_of_that() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let (_unread, full) = full_pipe();
    let run = candidate(&etcd).stderr(full).output();
    assert_eq!(run.code(), 3);
}
