//! Processes as `/proc` shows them, and children that do not outlive the test.

// `pre_exec` is the one unsafe call of the harness, and this file its only place.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid, setsid};

/// The variable that marks every process of one tree, also those that daemonized.
///
/// Its name must not begin with `LEADERRUN_`: leaderrun takes such variables out of its command's
/// environment.
pub const MARK: &str = "TEST_TREE_OF_LEADERRUN";

/// Starts `command` so that it dies with this thread: an aborted test run leaves nothing.
pub fn spawn_mortal(command: &mut Command) -> io::Result<Child> {
    let parent = getpid();
    // SAFETY: between fork and exec only prctl, setsid and getppid are called, which are async-signal-safe;
    // nothing is allocated (`io::Error::from` of a kind or an errno does not).
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // Without the terminal that the tests may have been started from: with one, leaderrun behaves
            // as one of its jobs. A process that leads a group already has been given its place.
            let _ = setsid();
            // The parent may have died before the request.
            if getppid() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
    command.spawn()
}

/// Starts `command` with `terminal` as its controlling terminal and standard streams, in a session of its own.
pub fn spawn_on_terminal(command: &mut Command, terminal: OwnedFd) -> io::Result<Child> {
    command
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal);
    // SAFETY: between fork and exec only prctl, setsid and ioctl are called, which are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            set_pdeathsig(Signal::SIGKILL)?;
            setsid()?;
            if nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn()
}

/// Sets the window size of the terminal behind `master`.
pub fn resize(master: &impl AsRawFd, rows: u16, columns: u16) {
    let size = nix::libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is a terminal's, and the argument a winsize that lives through the call.
    let result =
        unsafe { nix::libc::ioctl(master.as_raw_fd(), nix::libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(result, 0, "TIOCSWINSZ");
}

/// State and parent of a process, from `/proc/PID/stat`; `None` once it is reaped.
fn stat(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything, so count from the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some((state, Pid::from_raw(parent)))
}

/// All processes of the PID namespace of `pid`, each with the id that it has there.
pub fn in_namespace_of(pid: Pid) -> Vec<(Pid, String)> {
    let namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(pid);
    pids()
        .filter(|&pid| wanted.is_some() && namespace(pid) == wanted)
        .filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let ids = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
            Some((pid, ids.split_whitespace().last()?.to_owned()))
        })
        .collect()
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// Whether a process is stopped by a signal.
pub fn is_stopped(pid: Pid) -> bool {
    stat(pid).is_some_and(|(state, _)| state == 'T')
}

/// The living children of a process.
///
/// From the parents of all processes, because `/proc/PID/task/TID/children` is missing on kernels
/// without `CONFIG_PROC_CHILDREN`.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    living()
        .filter(|&(_, parent)| parent == pid)
        .map(|(child, _)| child)
        .collect()
}

/// The living processes with their parents.
fn living() -> impl Iterator<Item = (Pid, Pid)> {
    pids().filter_map(|pid| {
        let (state, parent) = stat(pid)?;
        (!matches!(state, 'Z' | 'X')).then_some((pid, parent))
    })
}

fn pids() -> impl Iterator<Item = Pid> {
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
}

/// All living descendants of `root`, and those that carry `mark` wherever they were reparented to.
/// `root` itself is not among them.
pub fn tree_of(root: Pid, mark: &str) -> BTreeSet<Pid> {
    let all: Vec<(Pid, Pid)> = living().collect();
    let mut tree: BTreeSet<Pid> = all
        .iter()
        .map(|&(pid, _)| pid)
        .filter(|&pid| pid != root && is_marked(pid, mark))
        .collect();
    // Parents are not sorted before children, so go on until nothing is added.
    loop {
        let before = tree.len();
        for &(pid, parent) in &all {
            if pid != root && (parent == root || tree.contains(&parent)) {
                tree.insert(pid);
            }
        }
        if tree.len() == before {
            return tree;
        }
    }
}

fn is_marked(pid: Pid, mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ
            .split(|&b| b == 0)
            .any(|variable| variable == wanted.as_bytes())
    })
}

/// SIGKILL to each, whatever is left of it.
pub fn kill_all(pids: &BTreeSet<Pid>) {
    for &pid in pids {
        let _ = kill(pid, Signal::SIGKILL);
    }
}
