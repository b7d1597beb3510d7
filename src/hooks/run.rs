//! One run of the hook, from its fork to ECHILD.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, getpid, pipe2, setsid};

use super::LIMIT;
use super::message::{Outcome, Ran};
use crate::clock::BootInstant;
use crate::sys::{self, Dispositions, End, Fork, KILL};

/// What runs the hook.
const SHELL: &std::ffi::CStr = c"/bin/sh";
/// Rounds of SIGKILL are that far apart: what forks meanwhile is found by the next one.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);
/// What SIGKILL has not ended after this long is left alone: it is another user's, or in the kernel.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is not inherited besides our own variables: they speak of the command, of systemd's main process, and of
/// descriptors that are not passed on.
const NOT_INHERITED: [&[u8]; 9] = [
    b"ETCD_LOCK_KEY",
    b"ETCD_LOCK_REV",
    b"NOTIFY_SOCKET",
    b"WATCHDOG_PID",
    b"WATCHDOG_USEC",
    b"LISTEN_PID",
    b"LISTEN_PIDFDID",
    b"LISTEN_FDS",
    b"LISTEN_FDNAMES",
];

/// See the module's head.
#[derive(Debug)]
pub(super) struct Run {
    /// The shell, until it is reaped.
    main: Option<Pid>,
    /// Closed by the exec; if that fails, it yields the errno.
    exec: File,
    limit: BootInstant,
    dead_by: Option<BootInstant>,
    outcome: Option<Outcome>,
    sweep: Option<Sweep>,
}

#[derive(Debug)]
struct Sweep {
    since: BootInstant,
    next: BootInstant,
}

impl Run {
    /// Forks the hook.
    ///
    /// # Errors
    /// What pipe(2) or fork(2) return, `EAGAIN` for a process limit, say.
    pub fn start(
        command: &CString,
        variables: &[(String, String)],
        dead_by: Option<BootInstant>,
        now: BootInstant,
    ) -> io::Result<Self> {
        let environment = environment(std::env::vars_os(), variables)?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let runner = getpid();
        match sys::fork()? {
            Fork::Parent(pid) => Ok(Self {
                main: Some(pid),
                exec: File::from(reader),
                limit: now + LIMIT,
                dead_by,
                outcome: None,
                sweep: None,
            }),
            Fork::Child => {
                let argv = [SHELL.to_owned(), c"-c".to_owned(), command.clone()];
                let Err(error) = become_hook(runner, &argv, &environment);
                let errno = error.raw_os_error().unwrap_or(nix::libc::EINVAL);
                let _ = File::from(writer).write_all(&errno.to_ne_bytes());
                sys::exit_at_once(127)
            }
        }
    }

    /// The fence has moved.
    pub const fn fence(&mut self, dead_by: BootInstant) {
        self.dead_by = Some(dead_by);
    }

    /// A child was reaped. If it was the shell, what that has left behind is killed.
    pub fn reaped(&mut self, pid: Pid, end: End, now: BootInstant) {
        if self.main != Some(pid) {
            return;
        }
        self.main = None;
        let mut errno = [0; 4];
        // The shell is dead, so this does not wait.
        let ended = match self.exec.read_exact(&mut errno) {
            Ok(()) => Outcome::NotStarted(i32::from_ne_bytes(errno)),
            Err(_) => Outcome::Ended(end),
        };
        self.kill(ended, now);
    }

    /// Begins to kill it, for this reason unless there was one before.
    pub fn kill(&mut self, outcome: Outcome, now: BootInstant) {
        self.outcome.get_or_insert(outcome);
        self.sweep.get_or_insert(Sweep {
            since: now,
            next: now,
        });
    }

    /// Does what the clock demands. Returns how it ended if it is not waited for any longer.
    pub fn obey_the_clock(&mut self, now: BootInstant) -> Option<Ran> {
        if self.sweep.is_none() {
            if self.dead_by.is_some_and(|at| at <= now) {
                self.kill(Outcome::Fenced, now);
            } else if self.limit <= now {
                self.kill(Outcome::TimedOut, now);
            }
        }
        let sweep = self.sweep.as_mut()?;
        if now < sweep.next {
            return None;
        }
        if now >= sweep.since + PATIENCE {
            return Some(self.ran(true));
        }
        sweep.next = now + BETWEEN_ROUNDS;
        kill_all(self.main);
        None
    }

    /// No child is left.
    pub fn is_over(&self) -> Option<Ran> {
        self.main.is_none().then(|| self.ran(false))
    }

    fn ran(&self, survivors: bool) -> Ran {
        Ran {
            outcome: self.outcome.unwrap_or(Outcome::Ended(End::Code(0))),
            survivors,
        }
    }

    /// When something is to be done even if nothing is heard.
    pub fn wake_at(&self) -> BootInstant {
        match &self.sweep {
            Some(sweep) => sweep.next,
            None => self.dead_by.map_or(self.limit, |at| at.min(self.limit)),
        }
    }
}

/// SIGKILL to everything below us, that which left the hook's session too.
fn kill_all(leader: Option<Pid>) {
    if let Some(leader) = leader {
        // In one step, so that what is forked at this instant is not missed.
        let _ = sys::kill_group(leader, KILL);
        let _ = sys::kill(leader, KILL);
    }
    for process in sys::descendants_of(getpid()).unwrap_or_default() {
        let _ = sys::kill_verified(&process, KILL);
    }
}

/// Only returns if it fails.
fn become_hook(
    runner: Pid,
    argv: &[CString],
    environment: &[CString],
) -> Result<Infallible, io::Error> {
    sys::die_with_parent(runner)?;
    setsid()?;
    let (null, error) = (sys::open_null()?, io::stderr());
    sys::set_standard_streams([null.as_fd(), error.as_fd(), error.as_fd()])?;
    sys::restore_child_signals(&Dispositions::default());
    sys::exec(argv, environment).map_err(|errno: Errno| errno.into())
}

/// Every inherited variable but ours and those that speak of others, then `added`.
fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    added: &[(String, String)],
) -> io::Result<Vec<CString>> {
    let kept = |name: &[u8]| !name.starts_with(b"LEADERRUN_") && !NOT_INHERITED.contains(&name);
    let added = added
        .iter()
        .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()));
    inherited
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .filter(|(name, _)| kept(name))
        .chain(added)
        .map(|(name, value)| Ok(CString::new([name, value].join(&b'='))?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_meant_for_others_is_inherited() {
        let inherited = [
            ("PATH", "/bin"),
            ("LEADERRUN_PASSWORD", "secret"),
            ("LEADERRUN_HOOK", "this"),
            ("ETCD_LOCK_REV", "stale"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("LISTEN_FDS", "1"),
        ];
        let inherited = inherited.map(|(n, v)| (OsString::from(n), OsString::from(v)));
        let added = [("LEADERRUN_HOOK_EVENT".into(), "elected".into())];
        let got = environment(inherited.into_iter(), &added).unwrap();
        assert_eq!(
            got,
            [
                c"PATH=/bin".to_owned(),
                c"LEADERRUN_HOOK_EVENT=elected".into()
            ]
        );
    }
}
