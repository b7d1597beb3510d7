//! The supervisor's side of the guardian, and the watch over it.
//!
//! A thread of its own hears the guardian and looks after it, so that neither depends on the
//! runtime: a guardian that is stopped, frozen or killed is noticed although the runtime may be stuck. One
//! that does not do its work is killed; the kernel then kills the command (`PR_SET_PDEATHSIG`), and what else
//! was below it falls to this process, which sweeps it.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{Pid, getpid};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock::BootInstant;
use crate::guardian::cgroup::Leaf;
use crate::guardian::message::{FromGuardian, Start, Stuck, ToGuardian, decode, encode};
use crate::rules::Rule;
use crate::sys::{self, KILL, Process, SeqPacket, SignalFd, StopOrExit};
use crate::timing::{Deadline, Timeline};
use duty::{Duty, PATIENCE};

mod duty;
mod sweep;

/// What comes from the guardian's side.
#[derive(Debug)]
pub enum News {
    /// The guardian has spoken.
    Said(FromGuardian),
    /// The guardian is dead, and nobody asked it to end. The tree is being swept from here.
    Lost {
        /// Whether this side killed it, because it was stopped or did not answer.
        killed_by_us: bool,
    },
    /// After [`News::Lost`]: processes survive.
    Stuck(Stuck),
    /// After [`News::Lost`]: nothing of the tree is left.
    TreeEmpty,
}

/// What is to be watched, and over.
#[derive(Debug)]
pub struct Ward {
    /// The guardian.
    pub guardian: Pid,
    /// Our end of the socket to it.
    pub socket: SeqPacket,
    /// The children that this process had before, none of the command's.
    pub spared: HashSet<Pid>,
    /// The command's cgroup, if it has one.
    pub leaf: Option<Leaf>,
    /// The process that runs hooks, if there is one; none of the command's either.
    pub hooks: Option<Process>,
}

/// The supervisor's handle on the guardian.
#[derive(Debug)]
pub struct Watch {
    /// What comes from its side.
    pub news: UnboundedReceiver<News>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    guardian: Pid,
    socket: SeqPacket,
    wake: EventFd,
    duty: Mutex<Duty>,
    outbox: Mutex<VecDeque<ToGuardian>>,
    /// The command's cgroup, if it has one.
    leaf: Option<Leaf>,
    /// The process that runs hooks. What those leave falls to it, not to us, as long as it lives.
    hooks: Option<Process>,
}

impl Watch {
    /// Begins to watch.
    pub fn begin(ward: Ward) -> io::Result<Self> {
        let Ward {
            guardian,
            socket,
            spared,
            leaf,
            hooks,
        } = ward;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let common = Arc::new(Shared {
            guardian,
            socket,
            wake: EventFd::from_flags(flags)?,
            duty: Mutex::new(Duty::sparing(spared)),
            outbox: Mutex::default(),
            leaf,
            hooks,
        });
        let children = SignalFd::for_sigchld()?;
        let (tell, news) = unbounded_channel();
        let watcher = Arc::clone(&common);
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || watcher.watch(&children, &tell))?;
        Ok(Self {
            news,
            shared: common,
            thread,
        })
    }

    /// A function that tells the guardian of a lease, from wherever leases are made.
    pub fn lease_teller(&self) -> impl FnMut(crate::election::LeaseId) + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move |lease| shared.tell(ToGuardian::Lease(Some(lease)))
    }

    /// Orders the command to be started, with our own standard streams.
    pub fn start(&self, start: Start, timeline: Timeline) {
        self.shared.duty().begin(timeline, start.deadline);
        self.shared.tell(ToGuardian::Start(start));
        self.shared.wake();
    }

    /// Passes on a confirmed renewal.
    pub fn extend(&self, deadline: Deadline) {
        self.shared.duty().extend(deadline);
        self.shared.tell(ToGuardian::Extend(deadline));
        self.shared.wake();
        // That may take its time.
        self.shared.keep_spared_children_known();
    }

    /// Says anything else.
    pub fn tell(&self, message: ToGuardian) {
        self.shared.tell(message);
    }

    /// Sends the guardian away; all is released. Waits for its end: an instant, or a second and
    /// SIGKILL if it is frozen.
    pub fn dismiss(self) {
        self.shared.duty().dismissed = Some(BootInstant::now());
        self.shared.tell(ToGuardian::Exit);
        self.shared.wake();
        let _ = self.thread.join();
    }
}

impl Shared {
    fn duty(&self) -> MutexGuard<'_, Duty> {
        lock(&self.duty)
    }

    fn wake(&self) {
        // Full is as good as written: the other side wakes.
        let _ = self.wake.write(1);
    }

    /// Says `message`, now or as soon as there is room; never waits, never changes the order.
    fn tell(&self, message: ToGuardian) {
        let mut outbox = lock(&self.outbox);
        outbox.push_back(message);
        if !self.flush(&mut outbox) {
            drop(outbox);
            self.wake();
        }
    }

    /// Sends what waits, as far as there is room. Returns whether nothing waits any more.
    fn flush(&self, outbox: &mut VecDeque<ToGuardian>) -> bool {
        while let Some(message) = outbox.front() {
            let streams = sys::standard_streams();
            let descriptors: &[RawFd] = match message {
                ToGuardian::Start(_) => &streams,
                _ => &[],
            };
            match self.socket.send(&encode(message), descriptors) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                // The settings are limited so that this cannot be; the guardian must not wait for it.
                Err(e) if e.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                    panic!("message too long")
                }
                // Sent; or the guardian is gone, which is what the watch is for.
                Ok(()) | Err(_) => outbox.pop_front(),
            };
        }
        true
    }

    /// Orphans of our earlier children fall to us as well. While the guardian lives, no orphan of
    /// the command does: so whoever is our child now is none of the command's.
    fn keep_spared_children_known(&self) {
        if self.duty().spared.is_empty() {
            return;
        }
        // Not under the lock: the watch is not to wait for a scan.
        let Ok(children) = sys::all_children_of(getpid()) else {
            return;
        };
        let theirs = children
            .into_iter()
            .map(|p| p.pid)
            .filter(|&p| p != self.guardian)
            .collect();
        // The guardian lived on after the list was made, so the list holds none of the command's.
        if sys::is_running(self.guardian) {
            self.duty().spared = theirs;
        }
    }

    fn watch(&self, children: &SignalFd, tell: &UnboundedSender<News>) {
        let mut killed_by_us = false;
        let mut speaks = true;
        // Once it looks overdue, it gets this much more of the time in which we both run: after a freeze
        // of the whole machine, or of our cgroup, either may be the first to wake.
        let mut second_look: Option<BootInstant> = None;
        // A killed guardian hangs up a little before its death is reported. One that lives on is killed when its time
        // is over, or after this.
        let mut hung_up_until: Option<BootInstant> = None;
        loop {
            let give_up_at = self
                .duty()
                .give_up_at()
                .map(|at| second_look.map_or(at, |s| s.max(at)));
            let look_at = give_up_at.into_iter().chain(hung_up_until).min();
            self.wait(children, speaks, look_at.filter(|_| !killed_by_us));
            speaks = speaks && self.listen(tell);
            let state = sys::poll_child(self.guardian);
            if state == Some(StopOrExit::Exited) {
                break;
            }
            sys::reap_all_but(self.guardian);
            let now = BootInstant::now();
            // Not in the match itself, which would hold the lock to its end.
            let (give_up_at, more) = {
                let duty = self.duty();
                (duty.give_up_at(), duty.second_look())
            };
            let overdue = match (give_up_at, second_look) {
                (Some(at), _) if now < at => {
                    second_look = None;
                    false
                }
                (Some(_), None) => {
                    second_look = Some(now + more);
                    false
                }
                (Some(_), Some(until)) => until <= now,
                (None, _) => false,
            };
            if !speaks {
                hung_up_until.get_or_insert(now + PATIENCE);
            }
            let lives_on = hung_up_until.is_some_and(|until| until <= now);
            let unfit = state == Some(StopOrExit::Stopped) || overdue || lives_on;
            let expected = self.duty().dismissed.is_some() && !overdue;
            if unfit && !killed_by_us && !expected && !Rule::GuardianWatch.is_off() {
                killed_by_us = true;
                let _ = sys::kill(self.guardian, KILL);
            }
        }
        // What it said before its end counts, its last words above all.
        while self.listen(tell) && self.has_more() {}
        if self.duty().dismissed.is_some() {
            return;
        }
        let _ = tell.send(News::Lost { killed_by_us });
        // Without a run there is nothing of the command's, and our children are strangers.
        if self.duty().is_running() {
            self.sweep(children, tell);
        }
        let _ = tell.send(News::TreeEmpty);
    }

    fn wait(&self, children: &SignalFd, speaks: bool, until: Option<BootInstant>) {
        let timeout = until.map_or(PollTimeout::NONE, timeout_until);
        let mut wanted = PollFlags::POLLIN;
        if !lock(&self.outbox).is_empty() {
            wanted |= PollFlags::POLLOUT;
        }
        let mut fds = vec![
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        if speaks {
            fds.push(PollFd::new(self.socket.as_fd(), wanted));
        }
        let _ = poll(&mut fds, timeout);
        children.drain();
        let _ = self.wake.read();
        self.flush(&mut lock(&self.outbox));
    }

    fn has_more(&self) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
            && fds[0]
                .revents()
                .is_some_and(|r| r.contains(PollFlags::POLLIN))
    }

    /// Takes in what the guardian has said. Returns whether it can still speak.
    fn listen(&self, tell: &UnboundedSender<News>) -> bool {
        loop {
            match self.socket.receive() {
                Ok(Some(received)) => {
                    let Some(message) = decode::<FromGuardian>(&received.bytes) else {
                        return false;
                    };
                    self.duty().note(&message);
                    let _ = tell.send(News::Said(message));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.raw_os_error() == Some(Errno::EINTR as i32) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }
}

/// A panic aborts the process, so no lock is ever seen poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// poll(2) counts on a clock that stands still in suspend; waking early is harmless, so it is asked
/// for a second at the most, and rounded up, so that it is not asked in vain.
fn timeout_until(at: BootInstant) -> PollTimeout {
    let left = at
        .saturating_since(BootInstant::now())
        .min(Duration::from_secs(1));
    let millis = u16::try_from(left.as_millis())
        .unwrap_or(u16::MAX)
        .saturating_add(1);
    PollTimeout::from(millis)
}
