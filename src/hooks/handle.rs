//! The supervisor's side of the runner: orders, and what came of them.

use std::future::pending;
use std::io;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

use super::message::{Outcome, Ran, ToRunner};
use super::queue::{Next, Order, Queue};
use super::{HookEvent, LIMIT, Runner};
use crate::clock::BootInstant;
use crate::election::Token;
use crate::exit_status::signal_name;
use crate::guardian::message::{decode, encode};
use crate::report::{Log, LogEvent};
use crate::sys::{self, End, KILL, Process, SeqPacket};
use crate::timing::show;

/// The runner kills in time by itself, and gives up on what survives after a second. One that has not answered
/// so long after the instant is stopped or frozen.
const OVERDUE: Duration = Duration::from_secs(2);

/// The hooks of a run; of one without a hook, nothing.
pub struct Hooks {
    link: Option<Link>,
    queue: Queue,
    log: Log,
}

struct Link {
    socket: AsyncFd<SeqPacket>,
    process: Process,
}

impl Hooks {
    /// Must be called within a runtime.
    pub fn new(runner: Option<Runner>, log: Log) -> io::Result<Self> {
        let link = runner.map(|Runner { process, socket }| {
            let socket = socket.into_async()?;
            io::Result::Ok(Link { socket, process })
        });
        Ok(Self {
            link: link.transpose()?,
            queue: Queue::default(),
            log,
        })
    }

    /// Whether there is a hook, and somebody who runs it.
    pub const fn are_run(&self) -> bool {
        self.link.is_some()
    }

    /// Runs the hook for one more event, after those that wait.
    pub fn push(&mut self, order: Order) {
        if self.link.is_none() {
            return;
        }
        if let Some(dropped) = self.queue.push(order) {
            self.warn(dropped, "was not run: too many wait behind one that hangs");
        }
        self.run_next();
    }

    /// The term `token` has to be dead at `at`, and its hooks with it.
    pub fn fence(&mut self, token: Token, at: BootInstant) {
        if let (Some(at), Some(link)) = (self.queue.fence(token, at), &self.link) {
            // Without room it keeps the instant that it knows: a later one is lost, and a sooner one is reached
            // by what is done about a runner that does not answer.
            let _ = link.send(&ToRunner::DeadBy(at));
        }
    }

    /// Waits for what comes of a hook, and runs the next one. Dropping the future loses nothing.
    pub async fn turn(&mut self) {
        let Some(link) = &self.link else {
            return pending().await;
        };
        let overdue = self.queue.running().map(|r| r.dead_by() + OVERDUE);
        let heard = tokio::select! {
            heard = link.receive() => heard,
            // This clock stands still in suspend, so it is asked for a second at the most.
            () = sleep(left(overdue).min(Duration::from_secs(1))), if overdue.is_some() => {
                if !left(overdue).is_zero() {
                    return;
                }
                // Both of us may just have gone on after a stop, and its word be there.
                let heard = link.hear();
                if heard.is_none() {
                    link.kill();
                }
                heard
            }
        };
        match heard {
            Some(ran) => {
                self.note(ran);
                self.run_next();
            }
            None => self.lost(),
        }
    }

    /// Waits until nothing is left to run.
    pub async fn drain(&mut self) {
        while self.are_run() && !self.queue.is_idle() {
            self.turn().await;
        }
    }

    /// Ends what runs, and the runner. Takes an instant, or two seconds and SIGKILL if that is frozen.
    pub async fn dismiss(self) {
        let Some(link) = &self.link else { return };
        if let Some(running) = self.queue.running() {
            self.warn(
                running.event,
                "was killed, and those that waited were not run: leaderrun ends",
            );
        }
        let _ = link.send(&ToRunner::Exit);
        let gone = async { while link.receive().await.is_some() {} };
        if timeout(OVERDUE, gone).await.is_err() {
            link.kill();
        }
    }

    fn run_next(&mut self) {
        let Some(link) = &self.link else { return };
        loop {
            match self.queue.next(BootInstant::now()) {
                Next::Nothing => return,
                Next::Late(event) => {
                    self.warn(event, "was not run: its term has to be dead by now");
                }
                Next::Run(order) => {
                    let sent = link.send(&ToRunner::Run {
                        variables: order.variables,
                        dead_by: order.fence.map(|(_, at)| at),
                    });
                    let Err(error) = sent else { return };
                    self.queue.ended();
                    self.warn(order.event, &format!("could not be started: {error}"));
                }
            }
        }
    }

    fn note(&mut self, ran: Ran) {
        let Some(hook) = self.queue.ended() else {
            return;
        };
        match ran.outcome {
            Outcome::Ended(End::Code(0)) => {}
            Outcome::Ended(End::Code(code)) => {
                self.warn(hook.event, &format!("exited with status {code}"));
            }
            Outcome::Ended(End::Signal(signal)) => {
                let name = signal_name(signal.0);
                self.warn(hook.event, &format!("was killed by {name}"));
            }
            Outcome::NotStarted(errno) => {
                let why = Errno::from_raw(errno).desc();
                self.warn(
                    hook.event,
                    &format!("could not be started by /bin/sh: {why}"),
                );
            }
            Outcome::TimedOut => {
                self.warn(
                    hook.event,
                    &format!("was killed: it took longer than {}", show(LIMIT)),
                );
            }
            Outcome::Fenced => {
                self.warn(hook.event, "was killed: its term has to be dead by now");
            }
        }
        if ran.survivors {
            self.warn(
                hook.event,
                "has left processes that survive SIGKILL: they run as another user, or are in the kernel",
            );
        }
    }

    fn lost(&mut self) {
        self.link = None;
        self.log.event(LogEvent::warning(
            "the process that runs the hooks was killed or stopped: no more of them are run",
        ));
    }

    fn warn(&self, event: HookEvent, what: &str) {
        let name = event.name();
        let message = format!("the hook for {name} {what}");
        self.log.event(LogEvent::warning(message));
    }
}

fn left(until: Option<BootInstant>) -> Duration {
    until.map_or(Duration::MAX, |at| at.saturating_since(BootInstant::now()))
}

impl Link {
    /// Never waits.
    fn send(&self, message: &ToRunner) -> io::Result<()> {
        self.socket.get_ref().send(&encode(message), &[])
    }

    /// Kills a runner that does not do its work, after what it should have killed.
    fn kill(&self) {
        let below = sys::descendants_of(self.process.pid).unwrap_or_default();
        for process in below.iter().chain([&self.process]) {
            let _ = sys::kill_verified(process, KILL);
        }
    }

    /// Its word, if there is one.
    fn hear(&self) -> Option<Ran> {
        decode(&self.socket.get_ref().receive().ok()??.bytes)
    }

    /// The next word of the runner; `None` once it is gone. Dropping the future loses nothing.
    async fn receive(&self) -> Option<Ran> {
        let received = self
            .socket
            .async_io(Interest::READABLE, SeqPacket::receive)
            .await;
        decode(&received.ok()??.bytes)
    }
}
