//! fork, exec and what a process says about itself to the kernel.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, getpid, getppid};

use super::SignalNumber;
use super::signals::{block_all_signals, default_and_unblock, default_sigchld};

/// Where a fork has come out.
#[derive(Clone, Copy, Debug)]
pub enum Fork {
    /// In the process that forked, with the child's id.
    Parent(Pid),
    /// In the new process.
    Child,
}

/// Forks this process, which must have one thread.
///
/// With a second thread, the child would inherit locks that nobody in it can release. SIGCHLD is
/// set to its default first, for both: an inherited `SIG_IGN` would lose the statuses of children.
///
/// # Panics
/// If the process has more than one thread: a bug that would otherwise show as a rare deadlock.
pub fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    assert_eq!(threads, 1, "fork with {threads} threads");
    default_sigchld();
    // SAFETY: there is one thread, so the child's memory is consistent and it may do anything.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Makes this process the parent of every descendant whose own parent dies (prctl(2),
/// `PR_SET_CHILD_SUBREAPER`).
pub fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Has the kernel kill this process when its parent dies, and makes sure that `parent` still is
/// its parent. Cleared when a setuid program is executed.
///
/// # Errors
/// `ESRCH` if the parent has died already.
pub fn die_with_parent(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent {
        Ok(())
    } else {
        Err(Errno::ESRCH.into())
    }
}

/// Has the kernel send SIGCONT to this process once nobody holds the other end of `pipe` any more (fcntl(2), `F_SETSIG`):
/// a process that is stopped goes on then. The pipe is held for the rest of the life of this process.
pub fn continue_at_end_of(pipe: PipeReader) -> io::Result<()> {
    // asm-generic/fcntl.h; libc does not have it.
    const F_SETSIG: libc::c_int = 10;
    let fd = pipe.as_raw_fd();
    let set = |what: libc::c_int, value: libc::c_int| {
        // SAFETY: these commands take an integer, and the descriptor is open.
        Errno::result(unsafe { libc::fcntl(fd, what, value) })
    };
    set(libc::F_SETOWN, getpid().as_raw())?;
    set(F_SETSIG, libc::SIGCONT)?;
    set(libc::F_SETFL, libc::O_ASYNC)?;
    // Not to be closed.
    let _ = pipe.into_raw_fd();
    Ok(())
}

/// Names this thread, as `ps` and `pkill` see it; at most 15 bytes.
pub fn set_name(name: &CStr) {
    let _ = prctl::set_name(name);
}

/// Ends this process without running what is registered for its exit: that is the parent's business.
pub fn exit_at_once(status: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

/// Replaces this process by `argv`, looked up in PATH as the shell does.
pub fn exec(argv: &[CString], environment: &[CString]) -> Result<Infallible, Errno> {
    nix::unistd::execvpe(&argv[0], argv, environment)
}

/// The three standard streams of this process.
pub fn standard_streams() -> [RawFd; 3] {
    [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO]
}

/// Makes `streams` the standard streams of this process, for its exec to pass on.
pub fn set_standard_streams(streams: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    for (from, to) in streams.iter().zip(standard_streams()) {
        // SAFETY: dup2 has no memory effects; both are descriptors of this process, and `to` is one
        // of the three that nothing here owns.
        if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Opens `/dev/null`, which a bare container may lack.
pub fn open_null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

/// Lets go of the user's standard streams: those of `which` become /dev/null.
pub fn point_standard_streams_at_null(which: &[RawFd]) -> io::Result<()> {
    let null = open_null()?;
    for &stream in which {
        // SAFETY: as in set_standard_streams.
        if unsafe { libc::dup2(null.as_fd().as_raw_fd(), stream) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes every descriptor but the standard streams and `kept`: what a process has inherited for others, who wait
/// for its end. For a process that was just forked and never returns: whatever owns these descriptors in its copy
/// of the memory must neither be used nor dropped any more.
pub fn close_all_but(kept: &impl AsRawFd) -> io::Result<()> {
    // Listed before any is closed, and with the listing's own among them, which is closed by then.
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd > libc::STDERR_FILENO && fd != kept.as_raw_fd() {
            // SAFETY: close has no memory effects, and by the contract nothing relies on the descriptor.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Writes to standard error if that does not have to wait. For a panic's message: a reader that does not
/// read must not keep the process from its end, or it would go on as the ghost that the abort prevents. And for what
/// is wrong with the log.
pub fn say_last_words(words: &str) {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO) == Ok(1) {
        // A pipe that polls as writable takes PIPE_BUF bytes, 4096, without waiting (pipe(7)).
        let words = &words.as_bytes()[..words.len().min(4096)];
        let _ = nix::unistd::write(stderr.as_fd(), words);
    }
}

/// Denies this process and what it executes all new privileges: setuid programs run as the caller
/// (prctl(2), `PR_SET_NO_NEW_PRIVS`).
pub fn deny_new_privileges() -> io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

/// Makes the kernel's memory killer prefer this process by `more` than before, out of 1000
/// (`proc_pid_oom_score_adj(5)`). Raising needs no privilege; a /proc that cannot be written is no reason to fail.
pub fn volunteer_for_oom(more: i32) {
    const FILE: &str = "/proc/self/oom_score_adj";
    let present = std::fs::read_to_string(FILE)
        .ok()
        .and_then(|s| s.trim().parse::<i32>().ok());
    if let Some(present) = present {
        let _ = std::fs::write(FILE, (present.saturating_add(more)).min(1000).to_string());
    }
}

/// Keeps this process's memory from being paged out, as far as its limit (`RLIMIT_MEMLOCK`) allows.
/// Not inherited by children.
pub fn lock_memory() {
    // Not what is mapped in future (MCL_FUTURE): that would make allocations fail at the limit.
    // SAFETY: it changes no memory, only whether it may be paged out. MCL_ONFAULT locks what is used
    // instead of faulting in all that is mapped.
    unsafe {
        libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT);
    }
}

/// Replaces the command line that `ps` shows for this process by `title`, cut to the length of the
/// original. The arguments must not be read any more after that.
pub fn set_title(title: &str) {
    // Fields 48 and 49 of proc_pid_stat(5), counted from the third, which follows the name.
    let Ok(line) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    let Some((_, rest)) = line.rsplit_once(')') else {
        return;
    };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3).and_then(|f| f.parse::<usize>().ok());
    let (Some(start), Some(end)) = (field(48), field(49)) else {
        return;
    };
    let room = end.saturating_sub(start);
    if start == 0 || room == 0 {
        return;
    }
    let bytes = &title.as_bytes()[..title.len().min(room - 1)];
    // SAFETY: the kernel says that the arguments lie in start..end, on the writable initial stack, and
    // nothing else in this process reads them any more. The last byte stays zero, as ps(1) expects.
    unsafe {
        let arguments = std::slice::from_raw_parts_mut(start as *mut u8, room);
        arguments.fill(0);
        arguments[..bytes.len()].copy_from_slice(bytes);
    }
}

/// Stops this process by `signal`, as a shell's Ctrl-Z would; returns once it is continued.
///
/// The signal is to be one of job control, and blocked. In an orphaned process group nothing happens.
pub fn stop_by_signal(signal: SignalNumber) {
    // SAFETY: signalling ourselves has no memory effects.
    unsafe { libc::kill(libc::getpid(), signal.0) };
    default_and_unblock(signal);
    block_all_signals();
}

/// Ends this process by `signal`, as the command ended, so that whoever waits for it sees the same
/// death; without a core of our own. Returns the exit status to use where that cannot be: as
/// PID 1, which no default action kills, and for signals whose default is not to kill.
pub fn die_by_signal(signal: SignalNumber) -> u8 {
    if getpid() != Pid::from_raw(1) {
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        // Where the soft limit is raised by a pipe handler, this keeps the core away as well.
        let _ = prctl::set_dumpable(false);
        // Before it is sent: a fault's signal is never blocked, and the handler that Rust's runtime has
        // for SIGSEGV and SIGBUS would take it and return.
        default_and_unblock(signal);
        // SAFETY: signalling ourselves has no memory effects.
        unsafe { libc::kill(libc::getpid(), signal.0) };
    }
    u8::try_from(128 + signal.0).unwrap_or(u8::MAX)
}
