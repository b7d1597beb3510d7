//! Starting the command: fork, a clean slate, exec.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::OFlag;
use nix::unistd::{Pid, getpid, pipe2, setpgid};

use crate::guardian::cgroup::Leaf;
use crate::guardian::message::{Placement, Start, Step, decode, encode};
use crate::rules::Rule;
use crate::sys::{self, Dispositions, Fork, Terminal};

/// What to run; known before anything is forked.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug)]
pub struct Spec {
    /// The program and its arguments, byte for byte as they were given.
    pub argv: Vec<OsString>,
    /// The signals that it is to ignore, as leaderrun itself was told.
    pub dispositions: Dispositions,
    /// The cgroup that it enters, if one could be made.
    pub leaf: Option<Leaf>,
    /// Whether it is not to run outside of that.
    pub leaf_required: bool,
    /// Whether setuid programs below it are to gain nothing.
    pub no_new_privileges: bool,
    /// The niceness that it is to have, if not the guardian's; the guardian's own affair.
    pub niceness: Option<i32>,
    /// Whether it gets systemd's socket for notifications.
    pub pass_notify_socket: bool,
    /// Whether systemd meant its sockets (`sd_listen_fds(3)`) for us, and so for the command.
    pub hand_on_sockets: bool,
}

/// A command that was forked, and whose exec may still be under way.
#[derive(Debug)]
pub struct Forked {
    /// Its process id, which is its process group's as well.
    pub pid: Pid,
    /// Closed by the exec; if that fails, it yields what failed first.
    pub exec_result: File,
}

/// How much sooner than otherwise the kernel's memory killer takes the command: it should not take the
/// guardian instead.
const OOM_PREFERENCE: i32 = 100;
/// Prefix of our own variables, none of which is inherited.
const OURS: &[u8] = b"LEADERRUN_";

/// Forks the command. Its exec is reported by [`Forked::exec_result`], so that an exec that hangs (a
/// dead network file system) does not hang the guardian.
///
/// # Errors
/// What pipe(2) or fork(2) return, `EAGAIN` for a process limit, say.
pub fn start(spec: &Spec, order: &Start, streams: &[OwnedFd]) -> io::Result<Forked> {
    let streams: [BorrowedFd<'_>; 3] = match streams {
        [input, output, error] => [input.as_fd(), output.as_fd(), error.as_fd()],
        _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    let argv = spec
        .argv
        .iter()
        .cloned()
        .map(c_string)
        .collect::<io::Result<Vec<_>>>()?;
    let environment = environment(std::env::vars_os(), &order.environment, spec)?;
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let guardian = getpid();
    match sys::fork()? {
        Fork::Parent(pid) => {
            // Both sides do this, so that neither can be early (setpgid(2)). It fails here if the
            // child has executed already, and has thus done it.
            let _ = setpgid(pid, group(order.placement, pid));
            Ok(Forked {
                pid,
                exec_result: File::from(reader),
            })
        }
        Fork::Child => {
            let (step, error) =
                become_command(guardian, spec, order.placement, streams, &argv, environment);
            let errno = error.raw_os_error().unwrap_or(nix::libc::EINVAL);
            let _ = File::from(writer).write_all(&encode(&(step, errno)));
            sys::exit_at_once(127);
        }
    }
}

/// The group of a command with this process id.
fn group(placement: Placement, command: Pid) -> Pid {
    match placement {
        Placement::OwnGroup | Placement::Foreground => command,
        Placement::Job(group) => Pid::from_raw(group),
    }
}

/// Only returns if it fails.
fn become_command(
    guardian: Pid,
    spec: &Spec,
    placement: Placement,
    streams: [BorrowedFd<'_>; 3],
    argv: &[CString],
    mut environment: Vec<CString>,
) -> (Step, io::Error) {
    let mut prepare = || -> io::Result<()> {
        if !Rule::ParentDeathSignal.is_off() {
            sys::die_with_parent(guardian)?;
        }
        if let Some(leaf) = &spec.leaf {
            let entered = leaf.enter();
            if spec.leaf_required {
                entered?;
            }
        }
        let own = getpid();
        setpgid(own, group(placement, own))?;
        if placement == Placement::Foreground
            && let Some(terminal) = Terminal::open()
        {
            // Before the exec, so that the command never finds itself in the background.
            terminal.give_to(own);
        }
        sys::volunteer_for_oom(OOM_PREFERENCE);
        if let Some(niceness) = spec.niceness {
            sys::set_niceness(niceness)?;
        }
        if spec.no_new_privileges {
            sys::deny_new_privileges()?;
        }
        if spec.hand_on_sockets {
            environment.push(CString::new(format!("LISTEN_PID={own}"))?);
        }
        sys::set_standard_streams(streams)?;
        sys::restore_child_signals(&spec.dispositions);
        Ok(())
    };
    match prepare() {
        Err(e) => (Step::Prepare, e),
        Ok(()) => match sys::exec(argv, &environment) {
            Err(errno) => (Step::Exec, errno.into()),
            Ok(never) => match never {},
        },
    }
}

/// Every inherited variable but those meant for us, then `added`.
fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    added: &[(String, String)],
    spec: &Spec,
) -> io::Result<Vec<CString>> {
    const ETCD_LOCK: [&[u8]; 2] = [b"ETCD_LOCK_KEY", b"ETCD_LOCK_REV"];
    // systemd speaks to its main process, which is leaderrun: sd_notify(3), sd_watchdog_enabled(3).
    const SYSTEMD: [&[u8]; 3] = [b"NOTIFY_SOCKET", b"WATCHDOG_PID", b"WATCHDOG_USEC"];
    // They name the process that may take the sockets.
    const SOCKETS: [&[u8]; 2] = [b"LISTEN_PID", b"LISTEN_PIDFDID"];
    let ours = |name: &[u8]| {
        name.starts_with(OURS)
            || ETCD_LOCK.contains(&name)
            || (!spec.pass_notify_socket && SYSTEMD.contains(&name))
            || (spec.hand_on_sockets && SOCKETS.contains(&name))
    };
    let join = |name: Vec<u8>, value: Vec<u8>| [name, value].join(&b'=');
    inherited
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .filter(|(name, _)| !ours(name))
        .chain(
            added
                .iter()
                .map(|(n, v)| (n.clone().into_bytes(), v.clone().into_bytes())),
        )
        .map(|(name, value)| CString::new(join(name, value)).map_err(io::Error::from))
        .collect()
}

fn c_string(argument: OsString) -> io::Result<CString> {
    Ok(CString::new(argument.into_vec())?)
}

impl Forked {
    /// What became of the exec, once [`Self::exec_result`] is readable: what failed and its errno, or
    /// nothing if it succeeded (or the process was killed before).
    pub fn failure(mut self) -> Option<(Step, i32)> {
        let mut bytes = Vec::new();
        self.exec_result.read_to_end(&mut bytes).ok()?;
        decode(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_variables_are_replaced_and_all_others_kept() {
        let inherited = [
            ("PATH", "/bin"),
            ("LEADERRUN_TOKEN", "stale"),
            ("LEADERRUN_ANYTHING", "x"),
            ("ETCD_LOCK_REV", "stale"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("LISTEN_PID", "4711"),
            ("MY_LEADERRUN_X", "kept"),
        ];
        let odd = (
            OsString::from_vec(b"ODD".to_vec()),
            OsString::from_vec(vec![0xff, b'=', 0xfe]),
        );
        let inherited = inherited
            .iter()
            .map(|(n, v)| (OsString::from(n), OsString::from(v)))
            .chain([odd]);
        let spec = Spec {
            argv: vec!["true".into()],
            dispositions: Dispositions::inherited(),
            leaf: None,
            leaf_required: false,
            no_new_privileges: false,
            niceness: None,
            hand_on_sockets: true,
            pass_notify_socket: false,
        };
        let added = [("LEADERRUN_TOKEN".into(), "42".into())];
        let got = environment(inherited, &added, &spec).unwrap();
        let want: [&[u8]; 4] = [
            b"PATH=/bin",
            b"MY_LEADERRUN_X=kept",
            b"ODD=\xff=\xfe",
            b"LEADERRUN_TOKEN=42",
        ];
        assert_eq!(got.iter().map(|c| c.to_bytes()).collect::<Vec<_>>(), want);
    }
}
