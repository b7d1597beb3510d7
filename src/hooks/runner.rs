//! The runner's life: poll(2), one timer, one hook at a time.
//!
//! As in the guardian, every turn of the loop takes in what has been said, reaps, and then asks the clock.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::message::{Outcome, Ran, ToRunner};
use super::run::Run;
use crate::clock::BootInstant;
use crate::guardian::message::{decode, encode};
use crate::sys::{self, Child, NoChildren, SeqPacket, SignalFd};

/// See the module's head.
#[derive(Debug)]
pub(super) struct Runner {
    socket: SeqPacket,
    command: CString,
    timer: TimerFd,
    children: SignalFd,
    run: Option<Run>,
    /// Whether the supervisor is gone or needs us no more.
    ending: bool,
}

impl Runner {
    /// One that hears the supervisor through `socket`. The calling process must be a subreaper and block all signals.
    pub fn new(socket: SeqPacket, command: &str) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self {
            socket,
            command: CString::new(command)?,
            timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?,
            children: SignalFd::for_sigchld()?,
            run: None,
            ending: false,
        })
    }

    /// Works until the supervisor is done or gone, and nothing that it started is left.
    pub fn live(mut self) -> io::Result<()> {
        loop {
            self.take_in_messages();
            self.reap();
            if let Some(ran) = self.run.as_mut().and_then(|r| r.obey_the_clock(now())) {
                self.over(ran);
            }
            if self.ending && self.run.is_none() {
                return Ok(());
            }
            self.sleep()?;
        }
    }

    fn take_in_messages(&mut self) {
        while !self.ending {
            match self.socket.receive() {
                Ok(Some(received)) => match decode(&received.bytes) {
                    Some(message) => self.obey(message),
                    // Both ends are one program, so this cannot be.
                    None => self.end(),
                },
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.raw_os_error() == Some(Errno::EINTR as i32) => {}
                Ok(None) | Err(_) => self.end(),
            }
        }
    }

    fn obey(&mut self, message: ToRunner) {
        match message {
            ToRunner::Run { variables, dead_by } => self.start(&variables, dead_by),
            ToRunner::DeadBy(at) => {
                if let Some(run) = &mut self.run {
                    run.fence(at);
                }
            }
            ToRunner::Exit => self.end(),
        }
    }

    fn start(&mut self, variables: &[(String, String)], dead_by: Option<BootInstant>) {
        let now = now();
        // A second order while one runs would be a bug of the supervisor; to kill the first is safe.
        if let Some(run) = &mut self.run {
            run.kill(Outcome::Fenced, now);
            return;
        }
        // The order may have waited for us.
        if dead_by.is_some_and(|at| at <= now) {
            self.say(Outcome::Fenced);
            return;
        }
        match Run::start(&self.command, variables, dead_by, now) {
            Ok(run) => self.run = Some(run),
            Err(e) => self.say(Outcome::NotStarted(
                e.raw_os_error().unwrap_or(nix::libc::EINVAL),
            )),
        }
    }

    fn end(&mut self) {
        self.ending = true;
        if let Some(run) = &mut self.run {
            run.kill(Outcome::Fenced, now());
        }
    }

    fn reap(&mut self) {
        loop {
            match sys::next_change() {
                Ok(None) => return,
                Ok(Some(Child::Stopped(..))) => {}
                Ok(Some(Child::Reaped(pid, end))) => {
                    if let Some(run) = &mut self.run {
                        run.reaped(pid, end, now());
                    }
                }
                Err(NoChildren) => {
                    if let Some(ran) = self.run.as_ref().and_then(Run::is_over) {
                        self.over(ran);
                    }
                    return;
                }
            }
        }
    }

    fn over(&mut self, ran: Ran) {
        self.run = None;
        self.tell(&ran);
    }

    /// The answer to an order of which nothing came.
    fn say(&self, outcome: Outcome) {
        self.tell(&Ran {
            outcome,
            survivors: false,
        });
    }

    /// There is one answer to each order, so there is room for it; a supervisor that is gone needs none.
    fn tell(&self, ran: &Ran) {
        let _ = self.socket.send(&encode(ran), &[]);
    }

    fn sleep(&self) -> io::Result<()> {
        match self.run.as_ref().map(Run::wake_at) {
            None => self.timer.unset()?,
            Some(at) => self.timer.set(
                Expiration::OneShot(TimeSpec::from(at.since_boot())),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?,
        }
        let mut fds = vec![
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        if !self.ending {
            fds.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        self.children.drain();
        Ok(())
    }
}

fn now() -> BootInstant {
    BootInstant::now()
}
