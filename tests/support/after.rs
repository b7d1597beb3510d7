//! What is left once a run is over.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill as nix_kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::etcd::Etcd;

impl Etcd {
    /// Fails if etcd holds a single key or lease.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let (keys, leases) = (self.keys(""), self.leases());
        assert!(
            keys.is_empty() && leases.is_empty(),
            "left behind: keys {keys:?}, leases {leases:?}"
        );
    }

    /// The store's revision: it grows with every write, and only with writes.
    #[track_caller]
    pub fn revision(&self) -> u64 {
        let json = self.etcdctl(&["get", "-w", "json", "none"]);
        let answer: Value = serde_json::from_str(&json).expect("JSON from etcdctl");
        answer["header"]["revision"].as_u64().expect("a revision")
    }
}

/// The signal that a process died by; fails the test if it exited.
#[track_caller]
pub fn death_of(status: ExitStatus) -> i32 {
    match status.signal() {
        Some(signal) => signal,
        None => panic!("it exited: {status:?}"),
    }
}

/// Signals a process that is known to be alive.
#[track_caller]
pub fn kill(pid: Pid, signal: Signal) {
    nix_kill(pid, signal).expect("a living process");
}
