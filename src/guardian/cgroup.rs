//! A cgroup v2 leaf for the command: `cgroup.kill` ends all of it in one step, also what runs as another
//! user, and what forks faster than anyone can list it.
//!
//! It can be made by root, in a delegated subtree (systemd's `Delegate=yes`), and in many containers.
//! Where it cannot, the sweep serves. The proof that the tree is empty is waitid(2)'s in either case.
//! See cgroups(7) and the kernel's `Documentation/admin-guide/cgroup-v2.rst`.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::getpid;

use crate::clock::BootInstant;

const PROCESSES: &str = "cgroup.procs";
const KILL: &str = "cgroup.kill";
const NAME: &str = "leaderrun-";

/// How long what is left in a stale leaf is given to die.
const DEATH: Duration = Duration::from_secs(1);
/// How often a leaf is made anew that somebody took for stale.
const ATTEMPTS: usize = 10;

/// A cgroup that holds the command and nothing else.
#[derive(Clone, Debug)]
pub struct Leaf {
    dir: PathBuf,
    /// Its lock (flock(2)), which stands for as long as supervisor or guardian live, and tells others that
    /// the leaf is not stale. Never unlocked but by the end of both.
    _lock: Arc<File>,
}

impl Leaf {
    /// Makes a leaf below the cgroup of this process.
    ///
    /// # Errors
    /// What the file system answers; `Unsupported` without cgroup v2 or, before Linux 5.14, `cgroup.kill`.
    pub fn create() -> io::Result<Self> {
        let own = own_directory()?;
        // Moving a process takes the right to write to where it comes from, too.
        OpenOptions::new().write(true).open(own.join(PROCESSES))?;
        let dir_and_lock = (0..ATTEMPTS).find_map(|_| make_locked(&own).transpose());
        let (dir, lock) = dir_and_lock.unwrap_or_else(|| {
            let what = "others keep removing the cgroup";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
        })?;
        if dir.join(KILL).exists() {
            Ok(Self {
                dir,
                _lock: Arc::new(lock),
            })
        } else {
            remove_below(&dir);
            let what = "the kernel has no cgroup.kill (Linux 5.14)";
            Err(io::Error::new(io::ErrorKind::Unsupported, what))
        }
    }

    /// Moves this process into the leaf.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.dir.join(PROCESSES), "0")
    }

    /// Kills everything in it.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.dir.join(KILL), "1")
    }

    /// Removes the empty leaf, with whatever cgroups the command has made below it.
    pub fn remove(&self) {
        remove_below(&self.dir);
    }
}

/// A new cgroup below `own`, and its lock; `None` if somebody took it for stale before it was locked.
fn make_locked(own: &Path) -> io::Result<Option<(PathBuf, File)>> {
    // The instant tells apart two processes that had the same id in turn.
    let instant = BootInstant::now().since_boot().as_nanos();
    let dir = own.join(format!("{NAME}{}-{instant:x}", getpid()));
    fs::create_dir(&dir)?;
    let lock = match File::open(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.inspect_err(|_| remove_below(&dir))?,
    };
    match lock.try_lock() {
        Ok(()) => Ok(dir.exists().then_some((dir, lock))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => {
            remove_below(&dir);
            Err(e)
        }
    }
}

/// What was found alive in stale leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// In how many of them it is dead now.
    pub killed: usize,
    /// In how many it lives: it is another user's, or in the kernel.
    pub alive: usize,
}

/// Ends what leaderruns have left behind below our cgroup that were killed with their guardians: nobody
/// else does, and it is in no term. Takes a second at the most.
pub fn end_stale() -> Ended {
    let Ok(own) = own_directory() else {
        return Ended::default();
    };
    let entries = fs::read_dir(&own).into_iter().flatten().flatten();
    let mut stale: Vec<Stale> = entries.filter_map(|e| Stale::take(e.path())).collect();
    let found = stale.len();
    let until = BootInstant::now() + DEATH;
    loop {
        stale.retain(|leaf| !leaf.is_removed());
        let mortal = stale.iter().any(|leaf| leaf.was_killed);
        if !mortal || BootInstant::now() >= until {
            break;
        }
        std::thread::sleep(DEATH / 200);
    }
    Ended {
        killed: found - stale.len(),
        alive: stale.iter().filter(|leaf| leaf.is_alive()).count(),
    }
}

/// Whether this is a name that [`make_locked`] gives, and not just one that looks like it: whatever else is
/// called leaderrun-something is its maker's.
fn is_ours(name: &str) -> bool {
    let parts = name
        .strip_prefix(NAME)
        .and_then(|rest| rest.split_once('-'));
    let digits = |part: &str, radix| !part.is_empty() && part.chars().all(|c| c.is_digit(radix));
    parts.is_some_and(|(pid, instant)| digits(pid, 10) && instant.len() > 7 && digits(instant, 16))
}

/// A leaf that is nobody's any more, with something in it.
struct Stale {
    dir: PathBuf,
    /// Whether we may kill it.
    was_killed: bool,
    /// Kept until it is removed, so that whoever has just made it and comes late learns of it.
    _lock: File,
}

impl Stale {
    /// Kills what is in `dir`, if that is stale; `None` if it is not, or was empty.
    fn take(dir: PathBuf) -> Option<Self> {
        dir.file_name()
            .and_then(OsStr::to_str)
            .filter(|name| is_ours(name))?;
        let lock = File::open(&dir).ok()?;
        lock.try_lock().ok()?;
        let mut stale = Self {
            dir,
            was_killed: false,
            _lock: lock,
        };
        if stale.is_removed() || !stale.is_alive() {
            return None;
        }
        stale.was_killed = fs::write(stale.dir.join(KILL), "1").is_ok();
        Some(stale)
    }

    /// Tries to remove it.
    fn is_removed(&self) -> bool {
        remove_below(&self.dir);
        !self.dir.exists()
    }

    /// Whether a process is in it or below.
    fn is_alive(&self) -> bool {
        let events = fs::read_to_string(self.dir.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }
}

/// The cgroup of this process.
fn own_directory() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let membership = fs::read_to_string("/proc/self/cgroup")?;
    own_cgroup(&mounts, &membership)
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "no cgroup v2 is mounted"))
}

fn remove_below(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_below(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// The directory of the cgroup that `membership` (/proc/self/cgroup) names, in the first cgroup v2
/// hierarchy of `mounts` (/proc/self/mountinfo) that shows it.
fn own_cgroup(mounts: &str, membership: &str) -> Option<PathBuf> {
    let path = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        if rest.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        // Spaces and the like are written as octal escapes, which no cgroup file system needs.
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(mount_point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        24 1 0:22 / /proc rw - proc proc rw\n\
        30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        31 24 0:27 /docker/abc /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";

    #[test]
    fn only_names_that_were_given_here_are_ours() {
        assert!(is_ours("leaderrun-4711-1a2b3c4d5e"));
        for other in [
            "leaderrun-",
            "leaderrun-4711",
            "leaderrun-4711-",
            "leaderrun-4711-12",
            "leaderrun-4711-1a2b3c4d5e.service",
            "leaderrun-test-4711-0-1a2b3c4d5e",
            "leaderrun-cron@backup.service",
            "xleaderrun-4711-1a2b3c4d5e",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn the_own_cgroup_is_found_below_the_root_of_the_mount() {
        let own = |membership| own_cgroup(MOUNTS, membership);
        assert_eq!(
            own("1:cpu:/x\n0::/docker/abc/y\n"),
            Some("/sys/fs/cgroup/y".into())
        );
        assert_eq!(own("0::/docker/abc\n"), Some("/sys/fs/cgroup/".into()));
        assert_eq!(
            own("0::/elsewhere\n"),
            None,
            "not to be seen through this mount"
        );
        assert_eq!(own("1:cpu:/x\n"), None);
        assert_eq!(
            own_cgroup("24 1 0:22 / /proc rw - proc proc rw\n", "0::/\n"),
            None
        );
    }
}
