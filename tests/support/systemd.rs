//! A real systemd, as PID 1 of namespaces of its own (see `systemd.sh`), and its units.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::process::{children_of, is_alive};
use super::{LIMIT, Pid, Running, Scratch, eventually, unique_id, within};

/// A running systemd; nothing of it survives the handle.
#[derive(Debug)]
pub struct Systemd {
    // Dropped first: the namespace's processes have to be gone before its cgroup can be.
    running: Option<Running>,
    pid: Pid,
    dir: Scratch,
    cgroup: PathBuf,
}

impl Systemd {
    /// One with the shipped units, and `drop_ins` as `(unit, text)`. `None`, said loudly, where it cannot
    /// be had: that takes root, a cgroup v2 that can be written to and systemd's own package.
    #[track_caller]
    pub fn start(instances: &[(&str, &str)], drop_ins: &[(&str, &str)]) -> Option<Self> {
        let there = Path::new("/lib/systemd/systemd").exists();
        if !super::require_that(there, "/lib/systemd/systemd") {
            return None;
        }
        let cgroup = match own_cgroup() {
            Ok(cgroup) => cgroup,
            Err(why) => {
                super::skip(&format!("no systemd of its own: {why}"));
                return None;
            }
        };
        match Self::start_in(cgroup, instances, drop_ins) {
            Ok(systemd) => Some(systemd),
            Err(why) => {
                super::lacks(&why);
                None
            }
        }
    }

    fn start_in(
        cgroup: PathBuf,
        instances: &[(&str, &str)],
        drop_ins: &[(&str, &str)],
    ) -> Result<Self, String> {
        let dir = Scratch::new("systemd");
        let units = dir.path("units");
        fs::create_dir(&units).expect("own directory");
        let script = dir.path("systemd.sh");
        fs::write(&script, include_str!("systemd.sh")).expect("own directory");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("own file");
        for unit in shipped_units() {
            let name = unit.file_name().expect("a file");
            let text = fs::read_to_string(&unit).expect("a shipped unit");
            let text = text
                .replace("ExecStart=leaderrun", "ExecStart=/run/leaderrun")
                .replace("/etc/leaderrun/", &format!("{}/", dir.dir().display()));
            fs::write(units.join(name), text).expect("own directory");
        }
        fs::copy(env!("CARGO_BIN_EXE_leaderrun"), dir.path("leaderrun")).expect("own directory");
        for (instance, environment) in instances {
            fs::write(dir.path(&format!("{instance}.env")), environment).expect("own directory");
        }
        for (unit, text) in drop_ins {
            // A file of its own beside the template, as drop-in directories are not copied.
            let (prefix, _) = unit.split_once('@').expect("an instance");
            let template = fs::read_to_string(units.join(format!("{prefix}@.service")))
                .expect("a template of that name");
            fs::write(
                units.join(unit),
                format!(
                    "{template}\n{text}\nStandardError=append:{}\n",
                    dir.path("services.log").display()
                ),
            )
            .expect("own directory");
        }
        let mut command = Command::new(&script);
        command.arg(dir.dir()).arg(&cgroup);
        let running = Running::spawn("systemd", command);
        let mut systemd = Self {
            pid: running.pid(),
            running: Some(running),
            dir,
            cgroup,
        };
        let unshare = systemd.pid;
        let found = within(LIMIT, || {
            let ended = systemd
                .running
                .as_ref()
                .is_none_or(|r| r.try_wait().is_some());
            let pid = children_of(unshare).first().copied();
            let up = pid.filter(|&pid| {
                systemd.pid = pid;
                let state = systemd.systemctl(&["is-active", "basic.target"]);
                state.stdout.starts_with(b"active")
            });
            if ended { Some(None) } else { up.map(Some) }
        });
        match found.flatten() {
            Some(_) => Ok(systemd),
            None => Err(format!(
                "a systemd of its own does not come up: {}",
                systemd.log()
            )),
        }
    }

    /// Runs systemctl in it.
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["-t", &self.pid.to_string(), "-a", "systemctl", "--no-pager"])
            .args(arguments)
            .output()
            .expect("nsenter of util-linux")
    }

    /// Runs systemctl, which has to succeed.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.systemctl(arguments);
        assert!(
            output.status.success(),
            "systemctl {arguments:?}: {output:?}\n{}",
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// One property of a unit.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.ask(&["show", "--value", "-p", name, unit])
    }

    /// Waits until a property has that value.
    #[track_caller]
    pub fn wait_property(&self, unit: &str, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = within(LIMIT, || {
            last = self.property(unit, name);
            wanted(&last).then(|| last.clone())
        });
        match found {
            Some(value) => value,
            None => panic!("{name} of {unit} is {last:?}\n{}", self.log()),
        }
    }

    /// The main process of a unit, as the test sees it.
    #[track_caller]
    pub fn main_pid(&self, unit: &str) -> Pid {
        let inner = self.property(unit, "MainPID");
        eventually(LIMIT, || {
            super::process::in_namespace_of(self.pid)
                .into_iter()
                .find(|(_, within)| *within == inner)
                .map(|(pid, _)| pid)
        })
    }

    /// The processes in a unit's cgroup, as the test sees them.
    pub fn processes(&self, unit: &str) -> Vec<Pid> {
        let own = self.property(unit, "ControlGroup");
        let mut found = Vec::new();
        if own.is_empty() {
            return found;
        }
        let mut dirs = vec![self.cgroup.join(own.trim_start_matches('/'))];
        while let Some(dir) = dirs.pop() {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            found.extend(
                text.lines()
                    .filter_map(|l| l.parse().ok())
                    .map(Pid::from_raw),
            );
            let below = fs::read_dir(dir).into_iter().flatten().flatten();
            dirs.extend(below.map(|e| e.path()).filter(|p| p.is_dir()));
        }
        found.retain(|&pid| is_alive(pid));
        found
    }

    /// What systemd and its services have logged.
    pub fn log(&self) -> String {
        ["systemd.log", "services.log"]
            .map(|name| fs::read_to_string(self.dir.path(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- systemd:\n{}", self.log());
        }
        // The namespace dies with its PID 1.
        self.running = None;
        let _ = within(LIMIT, || remove(&self.cgroup));
    }
}

/// A new one, for it alone.
fn own_cgroup() -> Result<PathBuf, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("that takes root".to_owned());
    }
    let mount = cgroup2_mount().ok_or("no cgroup v2 is mounted")?;
    let cgroup = mount.join(format!("leaderrun-test-{}", unique_id()));
    match fs::create_dir(&cgroup) {
        Ok(()) => Ok(cgroup),
        Err(e) => Err(format!("cannot make {}: {e}", cgroup.display())),
    }
}

fn remove(cgroup: &Path) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
}

/// The unit files in the source tree.
pub fn shipped_units() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/systemd");
    let mut found: Vec<_> = fs::read_dir(dir)
        .expect("scripts/systemd")
        .map(|entry| entry.expect("readable").path())
        .collect();
    found.sort();
    found
}

fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| at.into())
    })
}
