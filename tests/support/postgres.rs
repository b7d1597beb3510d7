//! A postgres of the tests' own, which answers on a Unix socket only.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Uid;

use super::{LIMIT, NOBODY, Pid, Scratch, eventually, lacks};

/// Dropped, it is ended.
#[derive(Debug)]
pub struct Postgres {
    server: Child,
    dir: Scratch,
}

impl Postgres {
    /// Starts one. Returns `None`, and says loudly that the test was skipped, where none is installed.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            lacks("there is no PostgreSQL: run scripts/setup --tests");
            return None;
        };
        let dir = Scratch::new("postgres");
        // It refuses to run as root.
        if Uid::effective().is_root() {
            dir.give_to(NOBODY);
        }
        let data = dir.path("data");
        let made = as_ordinary_user(&bin.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=tester", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let server = as_ordinary_user(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.dir())
            .args(["-F", "-c", "listen_addresses="])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres");
        let postgres = Self { server, dir };
        eventually(LIMIT, || postgres.psql("SELECT 1").is_ok());
        Some(postgres)
    }

    /// The variables by which psql finds it.
    pub fn env(&self) -> [(&'static str, String); 3] {
        let host = self.dir.dir().display().to_string();
        let database = "postgres".to_owned();
        [
            ("PGHOST", host),
            ("PGUSER", "tester".to_owned()),
            ("PGDATABASE", database),
        ]
    }

    /// What it answers to `sql`, or its complaint.
    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let out = Command::new("psql")
            .args(["--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .envs(self.env())
            .output()
            .expect("psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if out.status.success() {
            Ok(text(&out.stdout))
        } else {
            Err(text(&out.stderr))
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, with its children.
        let pid = Pid::from_raw(self.server.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, Signal::SIGQUIT);
        let _ = self.server.wait();
    }
}

/// Where the newest one that is installed has its programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    bins.filter(|bin| bin.join("initdb").exists()).max()
}

fn as_ordinary_user(program: &Path) -> Command {
    if !Uid::effective().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            format!("--reuid={NOBODY}"),
            format!("--regid={NOBODY}"),
            "--clear-groups".to_owned(),
        ])
        .arg(program);
    command
}
