//! A terminal with an interactive shell in it, typed to and read as a person would.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::unistd::Pid;

use super::process::{MARK, kill_all, resize, spawn_on_terminal, tree_of};
use super::{Etcd, LIMIT, unique_id};

/// What the shell's prompt looks like after a status.
fn prompt(status: i32) -> String {
    format!("<{status}>READY ")
}

/// Ctrl-C and friends, as the keyboard sends them.
pub const CTRL_C: &str = "\x03";
/// End of file.
pub const CTRL_D: &str = "\x04";
/// Suspend.
pub const CTRL_Z: &str = "\x1a";
/// Quit.
pub const CTRL_BACKSLASH: &str = "\x1c";

/// A terminal. Dropped, everything that was started on it is killed.
#[derive(Debug)]
pub struct Pty {
    master: Option<File>,
    shell: Child,
    mark: String,
    seen: String,
    /// Up to where of `seen` the test has looked.
    at: usize,
}

impl Pty {
    /// An interactive bash whose `$L` runs leaderrun against `etcd` on the tests' key, with a TTL of 5 s.
    pub fn shell(etcd: &Etcd) -> Self {
        let leaderrun = format!(
            "{} --key {} --endpoints {}",
            Path::new(env!("CARGO_BIN_EXE_leaderrun")).display(),
            super::KEY,
            etcd.endpoints()
        );
        let mut command = Command::new("bash");
        command
            .args(["--norc", "--noprofile", "-i"])
            .env("PS1", "<$?>READY ")
            .env("L", leaderrun)
            .env("LEADERRUN_TTL", "5s");
        let mut pty = Self::open(&mut command);
        pty.expect(&prompt(0));
        pty
    }

    /// Any interactive `shell`, on a terminal that can do nothing.
    pub fn open(shell: &mut Command) -> Self {
        let pair = openpty(None, None).expect("a pty");
        // Or the shell would keep its own terminal from hanging up.
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor");
        }
        let mark = unique_id();
        shell.env("TERM", "dumb").env(MARK, &mark);
        let pty = Self {
            master: Some(File::from(pair.master)),
            shell: spawn_on_terminal(shell, pair.slave).expect("a shell"),
            mark,
            seen: String::new(),
            at: 0,
        };
        resize(pty.master(), 24, 200);
        pty
    }

    fn master(&self) -> &File {
        self.master.as_ref().expect("not hung up")
    }

    /// Types `text`.
    pub fn keys(&mut self, text: &str) {
        self.master()
            .write_all(text.as_bytes())
            .expect("a terminal");
    }

    /// Types a line.
    pub fn line(&mut self, text: &str) {
        self.keys(&format!("{text}\n"));
    }

    /// Waits until `text` is shown, after what was waited for before. Returns what came in between.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(found) = self.seen[self.at..].find(text) {
                let between = self.seen[self.at..self.at + found].to_owned();
                self.at += found + text.len();
                return between;
            }
            let left = until.saturating_duration_since(Instant::now());
            let more = self.read(left);
            assert!(more, "{text:?} is not shown; on the screen:\n{}", self.seen);
        }
    }

    /// Reads what is shown within `limit`. Returns whether anything was.
    fn read(&mut self, limit: Duration) -> bool {
        let millis = u16::try_from(limit.as_millis()).unwrap_or(u16::MAX);
        let mut master = self.master();
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(millis)) != Ok(1) {
            return false;
        }
        let mut buffer = [0; 4096];
        // An error says that the last process on the terminal is gone.
        let n = master.read(&mut buffer).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        n > 0
    }

    /// Waits for the shell's prompt and the status that it shows. Returns what came before it.
    #[track_caller]
    pub fn prompt(&mut self, status: i32) -> String {
        self.expect(&prompt(status))
    }

    /// All that was shown so far.
    pub fn screen(&self) -> &str {
        &self.seen
    }

    /// Makes the window another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(self.master(), rows, columns);
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        self.master = None;
    }

    /// The processes that were started on this terminal and live.
    pub fn processes(&self) -> std::collections::BTreeSet<Pid> {
        let shell = Pid::from_raw(i32::try_from(self.shell.id()).expect("a pid"));
        tree_of(shell, &self.mark)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        kill_all(&self.processes());
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
