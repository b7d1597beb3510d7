//! waitid(2) without loss: nix reports a death by a real-time signal as an error, after the reaping.

use std::{io, mem};

use nix::libc;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::SignalNumber;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It exited with this status, 0 to 255.
    Code(i32),
    /// This signal killed it.
    Signal(SignalNumber),
}

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// It was reaped; its process id is free for reuse from now on.
    Reaped(Pid, End),
    /// A signal stopped it.
    Stopped(Pid, SignalNumber),
}

/// ECHILD: this process has no child, dead or alive. For a subreaper, the proof that its tree is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoChildren;

/// What became of one child that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopOrExit {
    /// A signal stopped it.
    Stopped,
    /// It ended, and has been reaped.
    Exited,
}

fn waitid(
    kind: libc::idtype_t,
    id: libc::id_t,
    flags: libc::c_int,
) -> io::Result<Option<(Pid, i32, i32)>> {
    loop {
        // SAFETY: an all-zero siginfo_t is valid, and waitid fills it. With WNOHANG and nothing to
        // report si_pid stays zero. The accessors read what waitid(2) documents for SIGCHLD.
        let (result, pid, code, status) = unsafe {
            let mut info: libc::siginfo_t = mem::zeroed();
            let result = libc::waitid(kind, id, &raw mut info, flags);
            (result, info.si_pid(), info.si_code, info.si_status())
        };
        if result == 0 {
            return Ok((pid != 0).then_some((Pid::from_raw(pid), code, status)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Takes one change of a child, if there is one: a death, which reaps it, or a stop. `__WALL` includes
/// children made by clone(2) that announce their death by no signal.
pub fn next_change() -> Result<Option<Child>, NoChildren> {
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::__WALL;
    match waitid(libc::P_ALL, 0, flags) {
        Ok(None) => Ok(None),
        Ok(Some((pid, code, status))) => Ok(Some(match code {
            libc::CLD_EXITED => Child::Reaped(pid, End::Code(status)),
            libc::CLD_STOPPED | libc::CLD_TRAPPED => Child::Stopped(pid, SignalNumber(status)),
            _ => Child::Reaped(pid, End::Signal(SignalNumber(status))),
        })),
        Err(e) if e.raw_os_error() == Some(libc::ECHILD) => Err(NoChildren),
        Err(e) => unreachable!("waitid with constant arguments: {e}"),
    }
}

/// Whether this process has any child, dead or alive.
pub fn has_children() -> bool {
    let peek = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    waitid(libc::P_ALL, 0, peek).is_ok()
}

/// Whether the child `pid` runs: it has neither ended nor been reaped.
pub fn is_running(pid: Pid) -> bool {
    let peek = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    matches!(
        waitid(libc::P_PID, pid.as_raw().cast_unsigned(), peek),
        Ok(None)
    )
}

/// Whether the child `pid` has stopped or ended since the last call; reaps it in the second case.
/// A child that is not ours any more counts as ended.
pub fn poll_child(pid: Pid) -> Option<StopOrExit> {
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::__WALL;
    match waitid(libc::P_PID, pid.as_raw().cast_unsigned(), flags) {
        Ok(None) => None,
        Ok(Some((_, libc::CLD_STOPPED | libc::CLD_TRAPPED, _))) => Some(StopOrExit::Stopped),
        Ok(Some(_)) | Err(_) => Some(StopOrExit::Exited),
    }
}

/// Reaps every dead child but `spared`: as PID 1, or after `helper & exec leaderrun`, this process has
/// children that it never started and nobody else waits for.
pub fn reap_all_but(spared: Pid) {
    let peek = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    while let Ok(Some((pid, _, _))) = waitid(libc::P_ALL, 0, peek) {
        if pid == spared {
            // It is first in line, and whoever watches it will take it; then the rest can be seen.
            return;
        }
        poll_child(pid);
    }
}
