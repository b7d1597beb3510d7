//! A cgroup v2 leaf for the command: `cgroup.kill` ends all of it in one step, also what runs as another
//! user, and what forks faster than anyone can list it.
//!
//! It can be made by root, in a delegated subtree (systemd's `Delegate=yes`), and in many containers.
//! Where it cannot, the sweep serves. The proof that the tree is empty is waitid(2)'s in either case.
//! See cgroups(7) and the kernel's `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::getpid;

use crate::clock::BootInstant;

const PROCESSES: &str = "cgroup.procs";
const KILL: &str = "cgroup.kill";
const NAME: &str = "leaderrun-";

/// A cgroup that holds the command and nothing else.
#[derive(Clone, Debug)]
pub struct Leaf(PathBuf);

impl Leaf {
    /// Makes a leaf below the cgroup of this process.
    ///
    /// # Errors
    /// What the file system answers; `Unsupported` without cgroup v2 or, before Linux 5.14, `cgroup.kill`.
    pub fn create() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let membership = fs::read_to_string("/proc/self/cgroup")?;
        let own = own_cgroup(&mounts, &membership)
            .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "no cgroup v2 is mounted"))?;
        // Moving a process takes the right to write to where it comes from, too.
        OpenOptions::new().write(true).open(own.join(PROCESSES))?;
        // The instant tells apart two processes that had the same id in turn.
        remove_stale(&own);
        let name = format!(
            "{NAME}{}-{:x}",
            getpid(),
            BootInstant::now().since_boot().as_nanos()
        );
        let leaf = Self(own.join(name));
        fs::create_dir(&leaf.0)?;
        if leaf.0.join(KILL).exists() {
            Ok(leaf)
        } else {
            leaf.remove();
            let what = "the kernel has no cgroup.kill (Linux 5.14)";
            Err(io::Error::new(io::ErrorKind::Unsupported, what))
        }
    }

    /// Moves this process into the leaf.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.0.join(PROCESSES), "0")
    }

    /// Kills everything in it.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.0.join(KILL), "1")
    }

    /// Removes the empty leaf, with whatever cgroups the command has made below it.
    pub fn remove(&self) {
        remove_below(&self.0);
    }
}

/// Removes the empty leaves of leaderruns that were killed with their guardians.
fn remove_stale(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|n| n.strip_prefix(NAME)?.split('-').next()?.parse::<i32>().ok());
        // An orphaned guardian works under another id, but then its leaf is not empty, or about to go.
        if let Some(pid) = pid
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            let _ = fs::remove_dir(entry.path());
        }
    }
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
