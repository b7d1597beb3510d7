//! Processes as `/proc` shows them, and children that do not outlive the test.

// The unsafe calls of the harness, and this file is their only place.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, setsid};

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

/// Signals a process by number, for those signals that nix has no name for.
#[track_caller]
pub fn send(pid: Pid, signal: i32) {
    // SAFETY: kill takes two integers.
    let result = unsafe { libc::kill(pid.as_raw(), signal) };
    assert_eq!(result, 0, "signal {signal} to {pid}");
}

/// How often each signal has come, since [`count_deliveries`].
static DELIVERIES: [AtomicU64; 65] = [const { AtomicU64::new(0) }; 65];

extern "C" fn count(signal: i32) {
    if let Some(counter) = usize::try_from(signal).ok().and_then(|s| DELIVERIES.get(s)) {
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts from now on how often each of these signals comes to this process.
pub fn count_deliveries(signals: &[i32]) {
    for &signal in signals {
        // SAFETY: an all-zero sigaction is valid, and the handler only adds to an atomic.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(result, 0, "a handler for signal {signal}");
    }
}

/// How often this signal has come.
pub fn deliveries(signal: i32) -> u64 {
    usize::try_from(signal).map_or(0, |s| DELIVERIES[s].load(Ordering::SeqCst))
}

/// Leaves a process, with a session of its own, whose first thread ends at once while another works:
/// `/proc` shows it as a zombie, as it does after `pthread_exit(3)` in `main`.
pub fn leave_without_first_thread(work: fn()) {
    // SAFETY: the child is to start a thread, which glibc allows also if the parent had several: its fork
    // leaves the allocator usable.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Parent { .. } => {}
        ForkResult::Child => {
            let _ = setsid();
            let _working = thread::spawn(work);
            // SAFETY: exit(2), unlike exit_group(2), ends this thread alone; nothing on its stack is
            // needed by the other.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            unreachable!("it has ended");
        }
    }
}

/// State and parent of a process, from `/proc/PID/stat`; `None` once it is reaped. One whose first thread
/// alone has ended is shown as a zombie, but lives ('R').
fn stat(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything, so count from the last one. The state is
    // field 3 of proc_pid_stat(5).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    let parent = fields.get(1)?.parse().ok()?;
    let threads: u64 = fields.get(17)?.parse().ok()?;
    let state = if threads > 1 && state == 'Z' {
        'R'
    } else {
        state
    };
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

/// Whether a process of that name (as `ps -o comm` shows it) sleeps until something happens.
pub fn rests(pid: Pid, name: &str) -> bool {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
    comm.is_ok_and(|comm| comm.trim_end() == name)
        && stat(pid).is_some_and(|(state, _)| state == 'S')
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
    let shows = |file: &Path| {
        fs::read(file).is_ok_and(|environ| {
            environ
                .split(|&b| b == 0)
                .any(|variable| variable == wanted.as_bytes())
        })
    };
    let dir = PathBuf::from(format!("/proc/{pid}"));
    // A first thread that has ended has no memory any more, but the others have.
    shows(&dir.join("environ"))
        || fs::read_dir(dir.join("task")).is_ok_and(|tasks| {
            let mut others = tasks.flatten().skip(1);
            others.any(|task| shows(&task.path().join("environ")))
        })
}

/// SIGKILL to each, whatever is left of it.
pub fn kill_all(pids: &BTreeSet<Pid>) {
    for &pid in pids {
        let _ = kill(pid, Signal::SIGKILL);
    }
}
