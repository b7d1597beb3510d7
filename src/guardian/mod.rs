//! The guardian: parent, and only killer, of the command.
//!
//! The supervisor does all that may block or fail; the guardian holds the one fence. It is forked
//! before any thread exists, keeps a timer on `CLOCK_BOOTTIME`, and stops and kills the command when
//! no extension comes in time: whether the network was cut, the supervisor froze or died, or etcd
//! went away is the same to it. It knows processes and no etcd.
//!
//! Start with [`run`](self::Guardian::live) for its life, [`fence`] for what it decides, [`sweep`]
//! for how it kills. [`watch`] is the supervisor's side, which in turn watches the guardian.

pub mod cgroup;
pub mod command;
mod farewell;
pub mod fence;
mod link;
pub mod message;
mod run;
mod sweep;
pub mod watch;

use std::io;

use nix::unistd::{Pid, setpgid};

pub use command::Spec;
pub use farewell::{Farewell, Successor};
pub use run::Guardian;
pub use watch::Watch;

use crate::rules::Rule;
use crate::sys::{self, SeqPacket, SignalNumber};

/// Which of the two processes this is, after the fork.
#[derive(Debug)]
pub enum Side {
    /// The process that the user started.
    Supervisor {
        /// The guardian's process id.
        guardian: Pid,
        /// Our end of the socket to it.
        socket: SeqPacket,
    },
    /// The guardian, whose work has ended.
    Guardian(io::Result<Farewell>),
}

/// Forks the guardian. In the new process, returns once its work has ended.
///
/// `title` is what `ps` shows for it. There must be no thread but this one, and all signals must be blocked. Both processes become
/// subreapers: orphans of the command fall to the guardian, and to the supervisor if it is killed.
///
/// `successor` serves the guardian alone.
pub fn fork(
    spec: Spec,
    stop_signal: SignalNumber,
    title: &str,
    successor: &mut dyn Successor,
) -> io::Result<Side> {
    sys::adopt_orphans()?;
    let (ours, theirs) = SeqPacket::pair()?;
    // Only the guardian has the writing end. If it dies while the supervisor is stopped (by Ctrl-Z, say), what
    // descends from the command falls to a process that kills nothing until somebody continues it.
    let (end, life) = io::pipe()?;
    match sys::fork()? {
        sys::Fork::Parent(guardian) => {
            drop(life);
            sys::continue_at_end_of(end)?;
            if !Rule::OwnGroup.is_off() {
                // Both sides do this, so that neither can be early; one of the two may fail.
                let _ = setpgid(guardian, guardian);
            }
            Ok(Side::Supervisor {
                guardian,
                socket: ours,
            })
        }
        sys::Fork::Child => {
            drop((ours, end));
            let farewell = live(theirs, spec, stop_signal, title, successor);
            drop(life);
            Ok(Side::Guardian(farewell))
        }
    }
}

fn live(
    socket: SeqPacket,
    mut spec: Spec,
    stop_signal: SignalNumber,
    title: &str,
    successor: &mut dyn Successor,
) -> io::Result<Farewell> {
    if !Rule::OwnGroup.is_off() {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    }
    sys::block_faults_too();
    sys::adopt_orphans()?;
    sys::set_name(c"lr-guardian");
    sys::set_title(title);
    sys::lock_memory();
    // On a busy machine, the margin is all that a guardian may be late by.
    spec.niceness = sys::run_first();
    // The command's streams come with the order to start it, and go with the command: no process of
    // ours keeps a pipe open that a reader waits on.
    sys::point_standard_streams_at_null(&sys::standard_streams())?;
    Guardian::new(socket, spec, stop_signal, successor)?.live()
}
