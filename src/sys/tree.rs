//! The process tree, read from /proc, and signals to it that cannot hit a stranger.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, getpid};

use super::SignalNumber;

/// One process as /proc/PID/stat shows it (`proc_pid_stat(5)`).
#[derive(Clone, Debug)]
pub struct Process {
    /// Its process id.
    pub pid: Pid,
    /// Its parent.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// The state of its first thread: R, S, D, T, Z and so on.
    pub state: char,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// How many threads live.
    threads: u64,
    /// When it started, in clock ticks since boot: with the id, its identity.
    started: u64,
}

impl Process {
    /// The process that has this id now, if there is one.
    pub fn of(pid: Pid) -> Option<Self> {
        Self::read(pid.as_raw())
    }

    /// Whether `other` is the same process, and not a later one with its id.
    pub fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && self.started == other.started
    }

    pub(super) fn read(pid: i32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any byte, so the last one closes it.
        let open = stat.iter().position(|&b| b == b'(')?;
        let close = stat.iter().rposition(|&b| b == b')')?;
        let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(stat.get(close + 2..)?).ok()?;
        // Fields are numbered from one in the manual page; the name is the second.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let pid_in = |number| field(number)?.parse().ok().map(Pid::from_raw);
        Some(Self {
            pid: Pid::from_raw(pid),
            state: field(3)?.chars().next()?,
            parent: pid_in(4)?,
            group: pid_in(5)?,
            threads: field(20)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
            name,
        })
    }

    /// Whether nothing of it runs any more. A first thread that has ended is shown as a zombie while
    /// others go on (`pthread_exit(3)`).
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

pub(super) fn all_processes() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|n| n.parse().ok()) {
            // A process that has ended since is none of ours any more.
            found.extend(Process::read(pid));
        }
    }
    Ok(found)
}

/// All children of `parent`, dead ones included. Looks at every process of the host, which takes a while where there
/// are many.
///
/// # Errors
/// /proc cannot be read.
pub fn all_children_of(parent: Pid) -> io::Result<Vec<Process>> {
    let mut all = all_processes()?;
    all.retain(|p| p.parent == parent);
    Ok(all)
}

/// The children of `parent` at about this instant, dead ones included; as quick as [`descendants_of`], and like it
/// no proof.
///
/// # Errors
/// /proc cannot be read.
pub fn children_of(parent: Pid) -> io::Result<Vec<Process>> {
    if are_children_listed() {
        let children = listed_children(parent);
        Ok(children.into_iter().filter_map(Process::of).collect())
    } else {
        all_children_of(parent)
    }
}

/// Every descendant of `root` at about this instant, parents before children, dead ones left out.
///
/// Takes a time that does not grow with what else runs on the host, where the kernel keeps lists of children
/// (`CONFIG_PROC_CHILDREN`, `proc_tid_children(5)`). A list may miss one while another of it ends, so who has to be
/// sure asks again, and believes waitid(2) alone.
///
/// # Errors
/// /proc cannot be read.
pub fn descendants_of(root: Pid) -> io::Result<Vec<Process>> {
    if are_children_listed() {
        Ok(listed_below(root))
    } else {
        found_below(root)
    }
}

fn are_children_listed() -> bool {
    fs::exists("/proc/thread-self/children").unwrap_or(false)
}

fn listed_below(root: Pid) -> Vec<Process> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in listed_children(parent) {
            parents.push(child);
            found.extend(Process::of(child).filter(|p| !p.is_dead()));
        }
    }
    found
}

/// Of all threads of a process, each of which has its own.
fn listed_children(parent: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{parent}/task"));
    let mut found = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = listed.split_ascii_whitespace();
        found.extend(pids.filter_map(|pid| pid.parse().ok().map(Pid::from_raw)));
    }
    found
}

fn found_below(root: Pid) -> io::Result<Vec<Process>> {
    let mut by_parent: HashMap<Pid, Vec<Process>> = HashMap::new();
    for process in all_processes()? {
        by_parent.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in by_parent.remove(&parent).unwrap_or_default() {
            parents.push(child.pid);
            if !child.is_dead() {
                found.push(child);
            }
        }
    }
    Ok(found)
}

/// Makes sure that `/proc` shows this process under the id that it has: what the tree is read from must
/// be mounted, and be of our own PID namespace.
///
/// # Errors
/// What is wrong, and how to mount another.
pub fn check_proc() -> io::Result<()> {
    let shown = fs::read_link("/proc/self").map_err(|e| {
        let message = format!(
            "/proc is needed to find the command's processes, and is not there ({e}): \
             mount -t proc proc /proc"
        );
        io::Error::new(e.kind(), message)
    })?;
    if shown.to_str() == Some(&getpid().to_string()) {
        return Ok(());
    }
    Err(io::Error::other(
        "/proc shows the processes of another PID namespace, and is needed to find the command's: \
         mount -t proc proc /proc (unshare has --mount-proc for it)",
    ))
}

/// Whether a signal keeps this process stopped at present.
pub fn is_stopped(pid: Pid) -> bool {
    Process::read(pid.as_raw()).is_some_and(|p| p.state == 'T')
}

/// Whether any process is in this group.
pub fn group_exists(group: Pid) -> bool {
    raw_kill(-group.as_raw(), SignalNumber(0)) != Err(Errno::ESRCH)
}

fn raw_kill(target: i32, signal: SignalNumber) -> Result<(), Errno> {
    // SAFETY: kill has no memory effects on this process.
    Errno::result(unsafe { libc::kill(target, signal.0) }).map(drop)
}

/// Signals a child of ours that has not been reaped, so that its id cannot have been reused.
pub fn kill(child: Pid, signal: SignalNumber) -> Result<(), Errno> {
    raw_kill(child.as_raw(), signal)
}

/// Signals the group of a child of ours that has not been reaped and leads it.
///
/// # Errors
/// `EPERM` only if not a single member could be signalled (kill(2)).
pub fn kill_group(leader: Pid, signal: SignalNumber) -> Result<(), Errno> {
    raw_kill(-leader.as_raw(), signal)
}

/// Signals `process` unless its id has been reused since it was read: a pidfd is taken first, and
/// the signal goes through it only if the process under that id is still the one that started then.
pub fn kill_verified(process: &Process, signal: SignalNumber) -> Result<(), Errno> {
    // SAFETY: pidfd_open (Linux 5.3) takes two integers and returns a new descriptor of ours.
    let fd = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, process.pid.as_raw(), 0);
        match Errno::result(i32::try_from(fd).unwrap_or(-1)) {
            Ok(fd) => OwnedFd::from_raw_fd(fd),
            Err(Errno::ESRCH) => return Err(Errno::ESRCH),
            // An older kernel, or a sandbox older than the call, which may answer anything. The check then
            // narrows the race instead of closing it.
            Err(_) => return kill_unless_changed(process, signal),
        }
    };
    if !unchanged(process) {
        return Err(Errno::ESRCH);
    }
    // SAFETY: the descriptor is a pidfd, the siginfo pointer may be null (pidfd_send_signal(2)).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal.0,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match Errno::result(sent) {
        Err(Errno::ENOSYS) => kill_unless_changed(process, signal),
        result => result.map(drop),
    }
}

pub(super) fn unchanged(process: &Process) -> bool {
    Process::read(process.pid.as_raw()).is_some_and(|now| now.started == process.started)
}

fn kill_unless_changed(process: &Process, signal: SignalNumber) -> Result<(), Errno> {
    if unchanged(process) {
        raw_kill(process.pid.as_raw(), signal)
    } else {
        Err(Errno::ESRCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child of another thread, with a child and a dead child of its own.
    #[test]
    fn both_ways_to_find_descendants_find_the_same() {
        let tree = || {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "sleep 60 & (exec true) & read x"]);
            shell.stdin(std::process::Stdio::piped()).spawn().unwrap()
        };
        let mut child = std::thread::spawn(tree).join().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let ids = |found: Vec<Process>| {
            let mut ids: Vec<_> = found.iter().map(|p| p.pid.as_raw()).collect();
            ids.sort_unstable();
            ids
        };
        let both = loop {
            let both = [ids(found_below(pid).unwrap()), ids(listed_below(pid))];
            if both.iter().all(|found| found.len() == 1) {
                break both;
            }
        };
        assert_eq!(both[0], both[1]);
        assert!(listed_below(getpid()).iter().any(|p| p.pid == pid));
        raw_kill(both[0][0], super::super::KILL).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_child_is_found_with_its_name_and_group() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let found = descendants_of(getpid()).unwrap();
        let process = found.iter().find(|p| p.pid == pid).expect("the child");
        assert_eq!(process.parent, getpid());
        assert_eq!(kill_verified(process, super::super::KILL), Ok(()));
        child.wait().unwrap();
        assert_eq!(
            kill_verified(process, super::super::KILL),
            Err(Errno::ESRCH)
        );
    }
}
