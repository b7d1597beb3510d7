//! One thread of a process that stands still while the others go on: what a stuck runtime looks like.

use std::fs;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{LIMIT, eventually, within};

/// A thread that stands still until this is dropped. Only the test's thread that made it may drop it.
#[derive(Debug)]
pub struct Stalled {
    thread: Pid,
}

impl Stalled {
    /// Stops the main thread of a child of ours.
    #[track_caller]
    pub fn main_thread(process: Pid) -> Self {
        Self::stop(process)
    }

    /// Stops the thread of that name.
    #[track_caller]
    pub fn thread(process: Pid, name: &str) -> Self {
        let found = within(LIMIT, || {
            let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
            threads
                .filter_map(|t| Some(t.ok()?.path()))
                .find(|t| fs::read_to_string(t.join("comm")).is_ok_and(|c| c.trim() == name))?
                .file_name()?
                .to_str()?
                .parse()
                .ok()
        });
        match found {
            Some(thread) => Self::stop(Pid::from_raw(thread)),
            None => panic!("{process} has no thread {name}"),
        }
    }

    /// Waits until somebody has killed it. Until we have taken the news, its parent does not get it.
    #[track_caller]
    pub fn wait_killed(self) {
        let look = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        eventually(LIMIT, || match waitpid(self.thread, Some(look)) {
            Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)) => true,
            Ok(WaitStatus::StillAlive | WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)) => {
                false
            }
            other => panic!("{other:?}"),
        });
    }

    #[track_caller]
    fn stop(thread: Pid) -> Self {
        ptrace::seize(thread, ptrace::Options::empty()).expect("a descendant, not yet traced");
        ptrace::interrupt(thread).expect("traced by us");
        // The news of the stop has to be taken here: to `Child::try_wait` it would be an end.
        let status = waitpid(thread, Some(WaitPidFlag::__WALL)).expect("traced by us");
        assert!(
            matches!(
                status,
                WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)
            ),
            "{status:?}"
        );
        Self { thread }
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // It may be dead.
        let _ = ptrace::detach(self.thread, None);
    }
}
