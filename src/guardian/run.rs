//! The guardian's life: poll(2), one timer, the command.
//!
//! One thread and no library that may block: what stops and kills the command must depend on
//! nothing but the kernel. Every turn of the loop takes in what has been said, then asks the
//! [`Fence`] what the clock demands.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::Pid;

use crate::clock::BootInstant;
use crate::election::{LeaseId, Tenancy};
use crate::guardian::command::{self, Forked, Spec};
use crate::guardian::farewell::{Farewell, Successor};
use crate::guardian::fence::{Due, Fence, Stage};
use crate::guardian::link::{Incoming, Link};
use crate::guardian::message::{FromGuardian, Placement, Reason, Start, Step, ToGuardian};
use crate::guardian::sweep::{Sweep, descendants, signal_tree};
use crate::rules::Rule;
use crate::sys::{self, Child, End, NoChildren, SeqPacket, SignalFd, SignalNumber};

/// The guardian.
#[derive(Debug)]
pub struct Guardian<'a> {
    spec: Spec,
    stop_signal: SignalNumber,
    link: Link,
    timer: TimerFd,
    children: SignalFd,
    lease: Option<LeaseId>,
    /// The lease of the last term that a command ran in.
    led: Option<LeaseId>,
    orphaned: bool,
    dismissed: bool,
    run: Option<Run>,
    successor: &'a mut dyn Successor,
    /// Whether the successor has been called.
    succeeded: bool,
}

/// One run of the command, from fork to ECHILD.
#[derive(Debug)]
struct Run {
    fence: Fence,
    margin: Duration,
    tenancy: Tenancy,
    /// The main process, until it is reaped.
    main: Option<Pid>,
    /// Whether that leads a process group of its own.
    leads_group: bool,
    /// Until the outcome of the exec is known.
    exec: Option<Forked>,
    sweep: Option<Sweep>,
}

/// How many messages are taken in before the clock is looked at again.
const MESSAGES_A_TURN: usize = 64;

impl<'a> Guardian<'a> {
    /// A guardian that hears its supervisor through `socket`. The calling process must be a
    /// subreaper and block all signals.
    pub fn new(
        socket: SeqPacket,
        spec: Spec,
        stop_signal: SignalNumber,
        successor: &'a mut dyn Successor,
    ) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self {
            spec,
            stop_signal,
            link: Link::new(socket),
            timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?,
            children: SignalFd::for_sigchld()?,
            lease: None,
            led: None,
            orphaned: false,
            dismissed: false,
            run: None,
            successor,
            succeeded: false,
        })
    }

    /// Works until the supervisor is done or gone, and the process tree is empty.
    pub fn live(mut self) -> io::Result<Farewell> {
        loop {
            self.take_in_messages();
            self.take_in_exec();
            self.reap();
            self.obey_the_clock();
            self.call_successor();
            if self.run.is_none() && (self.orphaned || self.dismissed) {
                return Ok(if self.dismissed {
                    Farewell::Dismissed
                } else {
                    Farewell::Orphaned {
                        lease: self.lease,
                        led: self.led.is_some() && self.led == self.lease,
                        untold: self.link.untold(),
                    }
                });
            }
            self.sleep()?;
        }
    }

    /// While the tree withstands us, somebody has to hold the term.
    fn call_successor(&mut self) {
        if !self.orphaned {
            return;
        }
        if let Some(run) = &self.run
            && !self.succeeded
            && let Some(sweep) = &run.sweep
            && sweep.is_withstood(BootInstant::now())
        {
            self.succeeded = true;
            self.successor.hold(&run.tenancy);
        }
        if self.succeeded {
            for word in self.link.untold() {
                self.successor.hear(word);
            }
        }
    }

    fn sleep(&mut self) -> io::Result<()> {
        match self.run.as_ref().map(Run::wake_at) {
            None => self.timer.unset()?,
            Some(at) => {
                // An expiration of zero would disarm the timer; boot is long past.
                let at = TimeSpec::from(at.since_boot());
                self.timer.set(
                    Expiration::OneShot(at),
                    TimerSetTimeFlags::TFD_TIMER_ABSTIME,
                )?;
            }
        }
        let mut wanted = PollFlags::POLLIN;
        if self.link.is_congested() {
            wanted |= PollFlags::POLLOUT;
        }
        let mut fds = vec![
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        if !self.orphaned {
            fds.push(PollFd::new(self.link.as_fd(), wanted));
        }
        if let Some(exec) = self.run.as_ref().and_then(|r| r.exec.as_ref()) {
            fds.push(PollFd::new(exec.exec_result.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        self.link.flush();
        self.children.drain();
        Ok(())
    }

    fn take_in_messages(&mut self) {
        if self.orphaned {
            return;
        }
        for _ in 0..MESSAGES_A_TURN {
            match self.link.receive() {
                Incoming::Message(message, descriptors) => self.obey(message, &descriptors),
                Incoming::Nothing => return,
                Incoming::End => {
                    self.orphaned = true;
                    self.link.cut();
                    self.fence(Reason::SupervisorLost);
                    return;
                }
            }
        }
    }

    fn obey(&mut self, message: ToGuardian, descriptors: &[OwnedFd]) {
        match message {
            ToGuardian::Lease(lease) => self.lease = lease,
            ToGuardian::Start(start) => self.start(&start, descriptors),
            ToGuardian::Extend(deadline) => {
                if let Some(run) = &mut self.run {
                    run.fence.extend(deadline);
                    self.link
                        .say(FromGuardian::Acknowledged(run.fence.deadline()));
                }
            }
            ToGuardian::Signal(signal) => {
                match self.run.as_ref().map(|r| r.main) {
                    Some(Some(main)) => drop(sys::kill(main, signal)),
                    Some(None) => signal_tree(None, signal),
                    // It has ended; the message crossed the news.
                    None => {}
                }
            }
            ToGuardian::Stop { signal, kill_after } => {
                if let Some(run) = &mut self.run {
                    run.fence.stop(BootInstant::now(), kill_after);
                    signal_tree(run.leader(), signal);
                }
            }
            ToGuardian::Fence(reason) => self.fence(reason),
            ToGuardian::Exit => self.dismissed = true,
        }
    }

    fn start(&mut self, start: &Start, streams: &[OwnedFd]) {
        let fence = Fence::new(start.deadline, start.grace, BootInstant::now());
        // A second start while one runs would be a bug of the supervisor; refusing it is safe.
        let (None, Some(fence)) = (&self.run, fence) else {
            self.link.say(FromGuardian::Refused);
            return;
        };
        match command::start(&self.spec, start, streams) {
            Ok(forked) => {
                self.link.say(FromGuardian::Acknowledged(fence.deadline()));
                self.led = Some(start.tenancy.lease);
                self.run = Some(Run {
                    fence,
                    margin: start.margin,
                    tenancy: start.tenancy.clone(),
                    main: Some(forked.pid),
                    leads_group: !matches!(start.placement, Placement::Job(_)),
                    exec: Some(forked),
                    sweep: None,
                });
            }
            Err(e) => self.link.say(FromGuardian::NotStarted {
                errno: e.raw_os_error().unwrap_or(nix::libc::EINVAL),
                step: Step::Fork,
            }),
        }
    }

    fn take_in_exec(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some(forked) = run.exec.take() else {
            return;
        };
        let mut fds = [PollFd::new(forked.exec_result.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            run.exec = Some(forked);
            return;
        }
        self.link.say(exec_result(forked));
    }

    fn reap(&mut self) {
        let now = BootInstant::now();
        loop {
            match sys::next_change() {
                Ok(None) => break,
                Ok(Some(Child::Stopped(pid, signal))) => {
                    if self.run.as_ref().is_some_and(|run| run.main == Some(pid)) {
                        self.link.say(FromGuardian::Stopped(signal));
                    }
                }
                Ok(Some(Child::Reaped(pid, end))) => self.reaped(pid, end, now),
                Err(NoChildren) => {
                    self.tree_is_empty(now);
                    return;
                }
            }
        }
        let Some(run) = &mut self.run else { return };
        if run.main.is_some() {
            return;
        }
        if Rule::Sweep.is_off() {
            self.tree_is_empty(now);
        } else if run.fence.main_ended_leaving_descendants(now) {
            // Counted before they get it, since some may be quick.
            let count = descendants(None).len();
            signal_tree(None, self.stop_signal);
            self.link.say(FromGuardian::LeftBehind {
                count,
                signal: self.stop_signal,
                kill_after: run.fence.grace(),
            });
        }
    }

    fn reaped(&mut self, pid: Pid, end: End, now: BootInstant) {
        // Without a run, it is an adopted stranger, which must not stay a zombie.
        let Some(run) = &mut self.run else { return };
        if let Some(sweep) = &mut run.sweep {
            sweep.progress(now);
        }
        if run.main == Some(pid) {
            run.main = None;
            // The exec may have failed since the last look at its result.
            if let Some(forked) = run.exec.take() {
                self.link.say(exec_result(forked));
            }
            self.link.say(FromGuardian::Exited(end));
        }
    }

    fn tree_is_empty(&mut self, at: BootInstant) {
        if let Some(run) = self.run.take() {
            let another_may_start = run.fence.deadline().another_may_start(run.margin);
            self.link.say(FromGuardian::TreeEmpty {
                at,
                another_may_start,
            });
        }
    }

    fn fence(&mut self, reason: Reason) {
        let Some(run) = &mut self.run else { return };
        let first = run.fence.stage() == Stage::Leading;
        if run.fence.begin(BootInstant::now()) {
            signal_tree(run.leader(), self.stop_signal);
            self.link.say(FromGuardian::Fencing {
                reason,
                signal: self.stop_signal,
                first,
            });
        }
    }

    fn obey_the_clock(&mut self) {
        let Some(run) = &mut self.run else { return };
        let now = BootInstant::now();
        match run.fence.due(now) {
            Due::Nothing => {}
            Due::Stop => self.fence(Reason::RenewalTimeout),
            Due::Kill => {
                // The stop instant was slept through: the whole machine was suspended, say.
                if run.fence.deadline().0 <= now && run.fence.stage() != Stage::Fencing {
                    self.fence(Reason::RenewalTimeout);
                }
                let Some(run) = &mut self.run else { return };
                let leader = run.leader();
                let first = run.sweep.is_none();
                let sweep = run.sweep.get_or_insert_with(|| Sweep::new(now));
                // First the deed, then the words.
                let stuck = sweep.round(leader, self.spec.leaf.as_ref(), now);
                if first {
                    self.link
                        .say(FromGuardian::Killed(run.fence.kill_reason(now)));
                }
                if let Some(stuck) = stuck {
                    self.link.say(FromGuardian::Stuck(stuck));
                }
            }
        }
    }
}

/// What to say of an exec whose result is there.
fn exec_result(forked: Forked) -> FromGuardian {
    let pid = forked.pid.as_raw();
    match forked.failure() {
        None => FromGuardian::Started { pid },
        Some((step, errno)) => FromGuardian::NotStarted { errno, step },
    }
}

impl Run {
    /// The process group that can be signalled in one step.
    fn leader(&self) -> Option<Pid> {
        self.main.filter(|_| self.leads_group)
    }

    /// When something has to be done even if nothing is heard.
    fn wake_at(&self) -> BootInstant {
        self.sweep
            .as_ref()
            .map_or_else(|| self.fence.wake_at(), Sweep::next)
    }
}
