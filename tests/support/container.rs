//! A container without an engine: fresh namespaces and a bare root (see `container.sh`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;

use super::process::children_of;
use super::{Candidate, LIMIT, Pid, Running, Scratch, eventually};

/// A root directory with leaderrun, a shell, a few tools and their libraries, and nothing else.
#[derive(Debug)]
pub struct Root {
    dir: Scratch,
    script: PathBuf,
}

impl Root {
    /// `None`, said loudly, where there can be no containers: that takes root.
    pub fn new() -> Option<Self> {
        let possible = Command::new("unshare")
            .args(["--fork", "--pid", "--mount", "true"])
            .status();
        if !possible.is_ok_and(|status| status.success()) {
            if Uid::effective().is_root() {
                super::lacks("unshare makes no namespaces here");
            } else {
                super::skip("only root can make a container");
            }
            return None;
        }
        let dir = Scratch::new("root");
        for name in ["proc", "dev", "tmp"] {
            fs::create_dir(dir.path(name)).expect("own directory");
        }
        let script = dir.path("container.sh");
        fs::write(&script, include_str!("container.sh")).expect("own directory");
        let root = Self { dir, script };
        root.copy(Path::new(env!("CARGO_BIN_EXE_leaderrun")), "/bin/leaderrun");
        for program in ["sh", "sleep", "setsid", "true"] {
            let found = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(program));
            let found = found
                .iter()
                .find(|path| path.exists())
                .expect("a base tool");
            root.copy(found, &format!("/bin/{program}"));
        }
        Some(root)
    }

    /// Copies a file into the root, and the libraries that it needs to where it looks for them.
    pub fn copy(&self, from: &Path, to: &str) {
        self.copy_file(from, to);
        let output = Command::new("ldd").arg(from).output().expect("ldd");
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let libraries: BTreeSet<&str> = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .collect();
        for library in libraries {
            self.copy_file(Path::new(library), library);
        }
    }

    fn copy_file(&self, from: &Path, to: &str) {
        let to = self.dir.path(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a file")).expect("own directory");
        if !to.exists() {
            fs::copy(from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("own file");
        }
    }

    /// What runs a candidate as PID 1 in it. `flags` are those of the script.
    pub fn run(&self, candidate: Candidate, flags: &str) -> Running {
        self.run_program("/bin/leaderrun", candidate, flags)
    }

    /// The same through another program of the root, which gets leaderrun's arguments.
    pub fn run_program(&self, program: &str, candidate: Candidate, flags: &str) -> Running {
        let root = self.dir.dir().display().to_string();
        let script = self.script.display().to_string();
        candidate
            .program(program)
            .env("PATH", "/bin:/usr/bin:/sbin:/usr/sbin")
            .under(&["sh", &script, &root, flags])
            .spawn()
    }
}

/// PID 1 of a container, as the test sees it.
#[track_caller]
pub fn pid_1(container: &Running) -> Pid {
    eventually(LIMIT, || {
        children_of(container.pid()).into_iter().find(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "leaderrun")
        })
    })
}
