//! Who runs first (setpriority(2), sched(7)), as far as we may decide that: root, or `RLIMIT_NICE`.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::getsid;

use super::tree::{Process, unchanged};

/// The niceness of what comes before all ordinary processes.
const FIRST: i32 = -20;

/// Has this session come before others, until dropped: where the kernel shares the processors out by session (sched(7),
/// "The autogroup feature"), niceness counts within one only. Does nothing where that is not so, or not allowed.
#[derive(Debug)]
pub struct SessionFirst {
    /// The niceness of the session before, if it is ours to restore.
    before: Option<i32>,
}

impl SessionFirst {
    /// Begins now.
    pub fn begin() -> Self {
        let mut first = Self { before: None };
        first.keep();
        first
    }

    /// Goes on, although another of us in the session may have ended its own.
    pub fn keep(&mut self) {
        // Whoever has put it there restores it; two would take each other's for what was before.
        if let Some(niceness) = own_session_niceness()
            && niceness != FIRST
            && set_session_niceness("self", FIRST)
        {
            self.before = Some(niceness);
        }
    }
}

impl Drop for SessionFirst {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            set_session_niceness("self", before);
        }
    }
}

/// `None` where sessions have none.
fn own_session_niceness() -> Option<i32> {
    // `/autogroup-4711 nice 0`
    let text = fs::read_to_string("/proc/self/autogroup").ok()?;
    text.split_whitespace().last()?.parse().ok()
}

/// Of the session of that process. Returns whether it was done.
fn set_session_niceness(process: &str, niceness: i32) -> bool {
    fs::write(format!("/proc/{process}/autogroup"), niceness.to_string()).is_ok()
}

/// Has this process run before others, where that is allowed (root, `RLIMIT_NICE`). Returns the niceness
/// that it had, for [`set_niceness`] in its children, who inherit the new one.
pub fn run_first() -> Option<i32> {
    Errno::clear();
    // SAFETY: getpriority has no memory effects; -1 is a niceness as well as the sign of an error.
    let before = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if before == -1 && Errno::last_raw() != 0 {
        return None;
    }
    set_niceness(FIRST).ok().map(|()| before)
}

/// Sets the niceness of this process (setpriority(2)).
pub fn set_niceness(niceness: i32) -> io::Result<()> {
    // SAFETY: setpriority has no memory effects.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has a process run before others that was sent SIGKILL: to die it has to run, in each of its threads, and one that
/// was to run last (`nice`, `chrt --idle`) may come too late where there is much to do. Does nothing to a process that
/// is another one by now, or where that is not allowed.
pub fn hurry(process: &Process) {
    if process.is_dead() || !unchanged(process) {
        return;
    }
    let session = getsid(Some(process.pid));
    // That of ours lives on, and is [`SessionFirst`]'s affair.
    if session.is_ok() && session != getsid(None) {
        set_session_niceness(&process.pid.to_string(), FIRST);
    }
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid));
    for task in tasks.into_iter().flatten().flatten() {
        let Some(task) = task.file_name().to_str().and_then(|id| id.parse().ok()) else {
            continue;
        };
        if !run_task_first(task) {
            return;
        }
    }
}

/// Returns whether it is worth while to go on with others.
fn run_task_first(task: libc::pid_t) -> bool {
    let Ok(id) = libc::id_t::try_from(task) else {
        return true;
    };
    // Of those that run when nothing else wants to, niceness counts among themselves only. The system calls
    // themselves, since musl has no more than the names.
    // SAFETY: these have no memory effects but to read the one parameter, a number.
    let result = unsafe {
        if libc::syscall(libc::SYS_sched_getscheduler, task) == libc::c_long::from(libc::SCHED_IDLE)
        {
            let no_priority: libc::c_int = 0;
            libc::syscall(
                libc::SYS_sched_setscheduler,
                task,
                libc::SCHED_OTHER,
                &raw const no_priority,
            );
        }
        libc::setpriority(libc::PRIO_PROCESS, id, FIRST)
    };
    result == 0 || Errno::last() == Errno::ESRCH
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork, setsid};

    /// Runs `check` in a session of its own, where `Some(false)` is a failure.
    fn in_a_session(check: fn() -> Option<bool>) {
        // SAFETY: the child does no more than to read and write files, and ends.
        match unsafe { fork() }.expect("a process") {
            ForkResult::Child => {
                let fine = setsid().is_ok() && check() != Some(false);
                // SAFETY: it only ends.
                unsafe { libc::_exit(i32::from(!fine)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
    }

    #[test]
    fn what_two_of_us_do_at_once_is_undone() {
        in_a_session(|| {
            let before = own_session_niceness()?;
            let (one, other) = (SessionFirst::begin(), SessionFirst::begin());
            drop(one);
            drop(other);
            let restored = own_session_niceness()? == before;
            let one = SessionFirst::begin();
            let raised = own_session_niceness()?;
            let mut other = SessionFirst::begin();
            drop(one);
            other.keep();
            let kept = own_session_niceness()?;
            drop(other);
            Some(restored && kept == raised && own_session_niceness()? == before)
        });
    }
}
