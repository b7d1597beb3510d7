//! Processes frozen by a cgroup: what neither SIGSTOP nor a debugger can show.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::unistd::Pid;

use super::{LIMIT, eventually, unique_id, within};

/// A cgroup that freezes what is put into it; thawed, emptied and removed when dropped.
#[derive(Debug)]
pub struct Freezer {
    dir: PathBuf,
    version: Version,
}

/// Where cgroups v2 are.
const V2: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Freezer {
    /// A freezer of cgroup v1: what it has frozen does not die of SIGKILL until it is thawed.
    ///
    /// Returns `None`, and says loudly that the test was skipped, where there is none or we are not
    /// allowed to use it.
    pub fn immortal() -> Option<Self> {
        Self::below(Version::One, &["/sys/fs/cgroup/freezer"])
    }

    /// A freezer of cgroup v2: what it has frozen can be killed.
    ///
    /// Returns `None`, and says loudly that the test was skipped, where there is none or we are not
    /// allowed to use it.
    pub fn mortal() -> Option<Self> {
        Self::below(Version::Two, &V2)
    }

    /// Any cgroup v2, where one can be made; silently `None` where not.
    pub fn cgroup() -> Option<Self> {
        Self::make(Version::Two, &V2)
    }

    fn below(version: Version, roots: &[&str]) -> Option<Self> {
        let made = Self::make(version, roots);
        if made.is_none() {
            // Containers have neither, as a rule, and not every kernel has the first.
            super::skip(&format!(
                "no cgroup that freezes can be made below {} (as root it can, where the kernel has it)",
                roots.join(" or ")
            ));
        }
        made
    }

    fn make(version: Version, roots: &[&str]) -> Option<Self> {
        let sign = match version {
            Version::One => "tasks",
            Version::Two => "cgroup.controllers",
        };
        let made = roots
            .iter()
            .map(Path::new)
            .find(|root| root.join(sign).exists())
            .map(|root| root.join(format!("leaderrun-test-{}", unique_id())))
            .filter(|dir| fs::create_dir(dir).is_ok());
        made.map(|dir| Self { dir, version })
    }

    /// What runs a program inside, and all that it starts; for [`super::Candidate::under`].
    pub fn entering(&self) -> Vec<String> {
        let script = "echo 0 >\"$0\" && exec \"$@\"";
        let procs = self.dir.join("cgroup.procs").display().to_string();
        vec!["sh".into(), "-c".into(), script.into(), procs]
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Freezes a process and all that is below it in the hierarchy, and returns once they stand still.
    #[track_caller]
    pub fn freeze(&self, pid: Pid) {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string()).expect("own cgroup");
        match self.version {
            // Now and then a process that has just forked keeps it from being completed.
            Version::One => eventually(LIMIT, || {
                fs::write(self.dir.join("freezer.state"), "FROZEN").expect("own cgroup");
                let wanted = || self.reads("freezer.state", "FROZEN");
                let frozen = within(Duration::from_secs(1), wanted).is_some();
                if !frozen {
                    self.thaw();
                }
                frozen
            }),
            Version::Two => {
                fs::write(self.dir.join("cgroup.freeze"), "1").expect("own cgroup");
                eventually(LIMIT, || self.reads("cgroup.events", "frozen 1"));
            }
        }
    }

    /// Lets all of them go on.
    pub fn thaw(&self) {
        let _ = match self.version {
            Version::One => fs::write(self.dir.join("freezer.state"), "THAWED"),
            Version::Two => fs::write(self.dir.join("cgroup.freeze"), "0"),
        };
    }

    fn reads(&self, file: &str, line: &str) -> bool {
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        text.lines().any(|l| l == line)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        let root = self.dir.parent().expect("a directory below the root");
        // Whoever is still in there belongs to a handle that kills it later.
        let gone = within(LIMIT, || {
            let procs = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
            for pid in procs.lines() {
                let _ = fs::write(root.join("cgroup.procs"), pid);
            }
            // What a killed leaderrun has made in here.
            for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(entry.path());
            }
            fs::remove_dir(&self.dir).is_ok()
        });
        if gone.is_none() {
            eprintln!("cannot remove {}", self.dir.display());
        }
    }
}
