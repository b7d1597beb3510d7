//! The controlling terminal: who is in its foreground, and its modes (tcsetpgrp(3), termios(3)).

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgid, getpgrp, getpid, getppid, getsid, tcgetpgrp, tcsetpgrp};

use super::tree::all_processes;

/// The terminal that controls this process's session.
///
/// Setting its foreground from the background raises SIGTTOU, which is to be blocked.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Opens it; `None` without one. Never waits for a modem line.
    pub fn open() -> Option<Self> {
        let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open("/dev/tty")
            .ok()
            .map(Self)
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(self.0.as_fd()).ok()
    }

    /// Whether our own group is in the foreground.
    pub fn is_ours(&self) -> bool {
        self.foreground() == Some(getpgrp())
    }

    /// Puts `group` into the foreground. Fails without consequence if the terminal is gone.
    pub fn give_to(&self, group: Pid) {
        let _ = tcsetpgrp(self.0.as_fd(), group);
    }

    /// Its modes: echo, line editing and so on.
    pub fn modes(&self) -> Option<Termios> {
        tcgetattr(self.0.as_fd()).ok()
    }

    /// Restores modes once what was written has been shown.
    pub fn restore(&self, modes: &Termios) {
        let _ = tcsetattr(self.0.as_fd(), SetArg::TCSADRAIN, modes);
    }
}

/// How many columns the terminal has that `fd` is open on; `None` if it is none, or does not know.
pub fn columns(fd: BorrowedFd<'_>) -> Option<u16> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is open, and the kernel writes one winsize to the address.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(size.ws_col)
}

/// Whether our process group is in the foreground of the terminal that `fd` is open on.
pub fn is_in_foreground_of(fd: BorrowedFd<'_>) -> bool {
    tcgetpgrp(fd) == Ok(getpgrp())
}

/// Whether this process is its session's leader.
pub fn leads_session() -> bool {
    getsid(None) == Ok(getpid())
}

/// Whether our process group has no one in the session to continue it once it is stopped
/// (setpgid(2), "orphaned process group").
pub fn group_is_orphaned() -> bool {
    let parent = getppid();
    let same_session = getsid(Some(parent)).is_ok_and(|s| getsid(None) == Ok(s));
    let other_group = getpgid(Some(parent)).is_ok_and(|g| g != getpgrp());
    !(same_session && other_group)
}

/// Whether this process is one of several in a job, as in `leaderrun … | tee`: others are in our group,
/// or a standard stream is a pipe whose other end may be about to join it.
pub fn is_part_of_a_pipeline() -> bool {
    let piped = ["/proc/self/fd/0", "/proc/self/fd/1"]
        .iter()
        .any(|path| std::fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo()));
    let group = getpgrp();
    piped
        || all_processes()
            .unwrap_or_default()
            .iter()
            .any(|p| p.group == group && p.pid != getpid() && !p.is_dead())
}
