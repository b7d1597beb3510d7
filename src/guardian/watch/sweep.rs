//! The sweep that is left to the supervisor when the guardian is dead.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};
use tokio::sync::mpsc::UnboundedSender;

use super::{News, Shared};
use crate::clock::BootInstant;
use crate::guardian::message::Stuck;
use crate::sys::{self, KILL, Process, SignalFd, StopOrExit};

impl Shared {
    /// Kills and reaps every child that is not spared, until there is none, or nobody waits for that any more.
    pub(super) fn sweep(&self, children: &SignalFd, tell: &UnboundedSender<News>) {
        let mut complain_at = BootInstant::now() + Duration::from_secs(1);
        let mut pause = Duration::from_millis(5);
        while self.duty().dismissed.is_none() {
            if let Some(leaf) = &self.leaf {
                let _ = leaf.kill();
            }
            // An error shows nothing, and nothing seen is no proof.
            let ours = self.unspared(sys::children_of).unwrap_or_default();
            if ours.is_empty() && self.is_proven_empty() {
                return;
            }
            let not_permitted = kill_all(&ours);
            let mut reaped = false;
            for process in &ours {
                reaped |= sys::poll_child(process.pid) == Some(StopOrExit::Exited);
            }
            let now = BootInstant::now();
            if now >= complain_at {
                complain_at = now + Duration::from_secs(10);
                let alive: Vec<_> = ours.into_iter().filter(|p| !p.is_dead()).collect();
                let _ = tell.send(News::Stuck(Stuck::new(&alive, not_permitted)));
            }
            if reaped {
                pause = Duration::from_millis(5);
            } else {
                self.wait(children, false, Some(now + pause));
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }

    fn unspared(
        &self,
        children_of: fn(Pid) -> io::Result<Vec<Process>>,
    ) -> io::Result<Vec<Process>> {
        let mut ours = children_of(getpid())?;
        let duty = self.duty();
        ours.retain(|p| !duty.spared.contains(&p.pid) && !self.runs_hooks(p));
        Ok(ours)
    }

    /// By its identity and not its id alone, which would be free for an orphan of the command's if it died.
    fn runs_hooks(&self, process: &Process) -> bool {
        self.hooks.as_ref().is_some_and(|hooks| hooks.is(process))
    }

    /// Whether the kernel confirms that none of the command's processes is left: /proc may hide some.
    fn is_proven_empty(&self) -> bool {
        // With children that are none of the command's, waitid(2) cannot tell, and /proc has to do.
        if self.duty().spared.is_empty() && self.hooks.is_none() {
            !sys::has_children()
        } else {
            self.unspared(sys::all_children_of)
                .is_ok_and(|ours| ours.is_empty())
        }
    }
}

/// SIGKILL to these and all below them, since what forks faster than its orphans arrive would escape
/// otherwise. Returns whether some may not be signalled.
fn kill_all(processes: &[Process]) -> bool {
    let below = processes
        .iter()
        .flat_map(|p| sys::descendants_of(p.pid).unwrap_or_default());
    let mut not_permitted = false;
    for process in processes.iter().cloned().chain(below) {
        not_permitted |= sys::kill_verified(&process, KILL) == Err(Errno::EPERM);
        sys::hurry(&process);
    }
    not_permitted
}
