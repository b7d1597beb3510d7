//! The sweep that is left to the supervisor when the guardian is dead.

use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::getpid;
use tokio::sync::mpsc::UnboundedSender;

use super::{News, Shared};
use crate::clock::BootInstant;
use crate::guardian::message::Stuck;
use crate::guardian::sweep::describe;
use crate::sys::{self, KILL, SignalFd, StopOrExit};

impl Shared {
    /// Kills and reaps every child that is not spared, until there is none.
    pub(super) fn sweep(&self, children: &SignalFd, tell: &UnboundedSender<News>) {
        let began = BootInstant::now();
        let mut complain_at = began + Duration::from_secs(1);
        let mut pause = Duration::from_millis(5);
        loop {
            let ours = self.unspared();
            if ours.is_empty() {
                return;
            }
            let mut not_permitted = false;
            let mut reaped = false;
            if let Some(leaf) = &self.leaf {
                let _ = leaf.kill();
            }
            // All below them, too: a tree that forks faster than its orphans arrive would escape.
            let below = ours
                .iter()
                .flat_map(|p| sys::descendants_of(p.pid).unwrap_or_default());
            for process in ours.iter().cloned().chain(below) {
                not_permitted |= sys::kill_verified(&process, KILL) == Err(Errno::EPERM);
            }
            for process in &ours {
                reaped |= sys::poll_child(process.pid) == Some(StopOrExit::Exited);
            }
            let now = BootInstant::now();
            if now >= complain_at {
                complain_at = now + Duration::from_secs(10);
                let alive: Vec<_> = ours.into_iter().filter(|p| p.state != 'Z').collect();
                let _ = tell.send(News::Stuck(Stuck {
                    count: alive.len(),
                    not_permitted,
                    examples: describe(&alive),
                }));
            }
            if reaped {
                pause = Duration::from_millis(5);
            } else {
                self.wait(children, false, Some(now + pause));
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }

    fn unspared(&self) -> Vec<sys::Process> {
        let mut ours = sys::children_of(getpid()).unwrap_or_default();
        let duty = self.duty();
        ours.retain(|p| !duty.spared.contains(&p.pid));
        ours
    }
}
