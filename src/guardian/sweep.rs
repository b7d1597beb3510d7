//! Signals to the whole process tree, and the sweep that kills it.
//!
//! The tree is everything below the guardian: as a subreaper it inherits every orphan, also those
//! that called setsid(2) or forked twice. A stop signal goes to each process once. The sweep sends
//! SIGKILL, reaps, and repeats until waitid(2) answers ECHILD.

use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, getpid};

use crate::clock::BootInstant;
use crate::guardian::cgroup::Leaf;
use crate::guardian::message::Stuck;
use crate::rules::Rule;
use crate::sys::{self, KILL, Process, SessionFirst, SignalNumber};

/// Sends `signal` to every process below this one, and lets stopped ones go on to take it.
///
/// `leader` is the main process of the command while it has not been reaped: its group gets the
/// signal in one step, so that a process forked in between is not missed.
pub fn signal_tree(leader: Option<Pid>, signal: SignalNumber) {
    let others = others(leader);
    send(leader, &others, signal);
    send(leader, &others, SignalNumber(libc::SIGCONT));
}

fn send(leader: Option<Pid>, others: &[Process], signal: SignalNumber) -> Vec<Errno> {
    // The leader's death may be what the others wait for, so they come first.
    let mut results: Vec<_> = others
        .iter()
        .map(|process| sys::kill_verified(process, signal))
        .collect();
    if let Some(leader) = leader {
        results.push(match sys::kill_group(leader, signal) {
            // It has moved to another group of its session, and is the only one we know there.
            Err(Errno::ESRCH) => sys::kill(leader, signal),
            result => result,
        });
    }
    results
        .into_iter()
        .filter_map(Result::err)
        .filter(|e| *e != Errno::ESRCH)
        .collect()
}

/// What lives below this process; of `leader` alone, where the rule of the sweep is switched off.
pub fn descendants(leader: Option<Pid>) -> Vec<Process> {
    let mut below = sys::descendants_of(getpid()).unwrap_or_default();
    if Rule::Sweep.is_off() {
        below.retain(|p| Some(p.pid) == leader);
    }
    below
}

/// The descendants that a signal to the leader's group does not reach.
fn others(leader: Option<Pid>) -> Vec<Process> {
    let mut below = descendants(leader);
    below.retain(|p| leader.is_none_or(|l| p.group != l && p.pid != l));
    below
}

/// What is to die does so within this time, as a rule; rounds are that frequent at first.
const SOON: Duration = Duration::from_millis(30);
/// For so long it comes before all others.
const HURRY: Duration = Duration::from_millis(300);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What SIGKILL has not ended after this long is worth a message.
const PATIENCE: Duration = Duration::from_secs(1);
const REMINDER: Duration = Duration::from_secs(10);

/// The killing of a tree, one round at a time.
#[derive(Debug)]
pub struct Sweep {
    began: BootInstant,
    next: BootInstant,
    pause: Duration,
    complain_at: BootInstant,
    /// Until it takes longer than it should: then it is not for want of a processor, and others have to run too.
    first: Option<SessionFirst>,
}

impl Sweep {
    /// A sweep that begins now.
    pub fn new(now: BootInstant) -> Self {
        Self {
            began: now,
            next: now,
            pause: FIRST_PAUSE,
            complain_at: now + PATIENCE,
            first: Some(SessionFirst::begin()),
        }
    }

    /// Whether what is left has withstood SIGKILL for longer than it takes to die.
    pub fn is_withstood(&self, now: BootInstant) -> bool {
        now >= self.began + SOON
    }

    /// When the next round is due.
    pub const fn next(&self) -> BootInstant {
        self.next
    }

    /// A child was reaped: its own children are ours now, so there is news to look at.
    pub fn progress(&mut self, now: BootInstant) {
        self.pause = FIRST_PAUSE;
        self.next = self.next.min(now + FIRST_PAUSE / 5);
    }

    /// One round, if it is due. Returns what has survived for too long.
    ///
    /// Rounds that change nothing come ever more slowly: a process in uninterruptible sleep, or of
    /// another user, is not killed by trying harder.
    pub fn round(
        &mut self,
        leader: Option<Pid>,
        leaf: Option<&Leaf>,
        now: BootInstant,
    ) -> Option<Stuck> {
        if now < self.next {
            return None;
        }
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        // All of them one by one as well as the group: kill(2) hides that some of a group were not
        // permitted, and a second SIGKILL changes nothing.
        if let Some(leaf) = leaf
            && !Rule::Sweep.is_off()
        {
            // What it misses, because it left the leaf, the rest does not.
            let _ = leaf.kill();
        }
        // At once, since to find the rest may take its time.
        if let Some(leader) = leader {
            let _ = sys::kill_group(leader, KILL);
        }
        let all = descendants(leader);
        let failures = send(leader, &all, KILL);
        match &mut self.first {
            Some(first) if now < self.began + HURRY => first.keep(),
            _ => self.first = None,
        }
        all.iter().for_each(sys::hurry);
        if now < self.complain_at {
            return None;
        }
        self.complain_at = now + REMINDER;
        // The list may be empty: /proc may hide what waitid(2) knows to be there.
        let alive = sys::descendants_of(getpid()).unwrap_or_default();
        Some(Stuck::new(&alive, failures.contains(&Errno::EPERM)))
    }
}
