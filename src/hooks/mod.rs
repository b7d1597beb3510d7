//! The user's hook: a command that is told of each change of this candidate's state.
//!
//! A hook may hang, fork, daemonize, and come at the worst of times; it must neither delay the fence nor
//! outlive it. So the supervisor does not run it. It forks the *runner*, a process of its own beside the guardian
//! and of the same kind: one thread, poll(2), a timer on `CLOCK_BOOTTIME`, a child subreaper that kills what it
//! has started until waitid(2) answers ECHILD. That holds also while the supervisor is frozen, and when it dies
//! the runner sees the end of its socket, kills the hook, and ends.
//!
//! [`Hooks`] is the supervisor's side: the queue of events, and the orders, one at a time. No send here ever
//! waits. [`queue`] decides what is run and until when, [`runner`] runs it.

mod handle;
mod message;
mod queue;
mod run;
mod runner;

use std::io;
use std::time::Duration;

use nix::unistd::{Pid, setpgid};
use serde::{Deserialize, Serialize};

pub use handle::Hooks;
pub use queue::Order;

use crate::sys::{self, Process, SeqPacket};

/// How long one hook may run.
pub const LIMIT: Duration = Duration::from_secs(5);

/// What a hook is told of; the names are an interface, those of client-go stand in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// This candidate stands for election.
    Standby,
    /// Another leads than before, or this one.
    NewLeader,
    /// A term of ours has begun.
    Elected,
    /// The command runs.
    Started,
    /// The command is asked to stop.
    Stopping,
    /// All processes of a command that was started are dead.
    Stopped,
    /// The leadership was lost.
    Lost,
    /// What was held in etcd is given back.
    Released,
}

impl HookEvent {
    /// Its name in `LEADERRUN_HOOK_EVENT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::NewLeader => "new-leader",
            Self::Elected => "elected",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
            Self::Released => "released",
        }
    }

    /// Whether the hook acts within a term, and so must be dead once the command has to be.
    pub const fn is_of_term(self) -> bool {
        match self {
            Self::Elected | Self::Started | Self::Stopping => true,
            Self::Standby | Self::NewLeader | Self::Stopped | Self::Lost | Self::Released => false,
        }
    }
}

/// Which of the two processes this is, after the fork.
#[derive(Debug)]
pub enum Side {
    /// The supervisor.
    Supervisor(Runner),
    /// The runner, with its end of the socket: to be given to [`live`].
    Runner(SeqPacket),
}

/// The process that runs hooks, as the supervisor knows it.
#[derive(Debug)]
pub struct Runner {
    /// Its identity, for as long as its id may be signalled.
    pub process: Process,
    /// Our end of the socket to it.
    pub socket: SeqPacket,
}

/// Forks the runner. There must be no thread but this one, and all signals must be blocked.
pub fn fork() -> io::Result<Side> {
    let (ours, theirs) = SeqPacket::pair()?;
    match sys::fork()? {
        sys::Fork::Parent(pid) => {
            // Both sides do this, so that neither can be early; one of the two may fail.
            let _ = setpgid(pid, pid);
            let process = Process::of(pid).ok_or(io::ErrorKind::NotFound)?;
            Ok(Side::Supervisor(Runner {
                process,
                socket: ours,
            }))
        }
        sys::Fork::Child => {
            drop(ours);
            Ok(Side::Runner(theirs))
        }
    }
}

/// The life of the runner, which runs `command` by the shell for each order. `title` is what `ps` shows for it.
pub fn live(socket: SeqPacket, command: &str, title: &str) -> ! {
    let lived = prepare(&socket, title).and_then(|()| runner::Runner::new(socket, command)?.live());
    // What the supervisor has registered for its exit is none of our business. Of a failure it learns by the end
    // of the socket.
    sys::exit_at_once(i32::from(lived.is_err()))
}

fn prepare(socket: &SeqPacket, title: &str) -> io::Result<()> {
    // As the guardian: what is sent to leaderrun's group is not for it, and nothing but SIGKILL ends it.
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    sys::block_faults_too();
    sys::adopt_orphans()?;
    sys::set_name(c"lr-hooks");
    sys::set_title(title);
    // The command's streams are none of ours: a reader waits for the end of its pipe. Standard error stays, for
    // what hooks have to say.
    let [input, output, _] = sys::standard_streams();
    sys::point_standard_streams_at_null(&[input, output])?;
    sys::close_all_but(socket)
}
