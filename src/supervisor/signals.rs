//! Signals to leaderrun, in the order of their arrival, as the runtime can wait for them.

use std::io;

use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::job::Job;
use crate::sys::{Dispositions, SignalFd, SignalInfo, SignalNumber};

/// A stream of signals.
pub struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// All signals but SIGCHLD, which belongs to the watch over the guardian. They must be blocked.
    pub fn new() -> io::Result<Self> {
        Ok(Self(SignalFd::for_all_others()?.into_async()?))
    }

    /// The next signal. Dropping the future loses none.
    pub async fn next(&mut self) -> SignalInfo {
        loop {
            match self
                .0
                .async_io(Interest::READABLE, |fd| match fd.read()? {
                    Some(info) => Ok(info),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                })
                .await
            {
                Ok(info) => return info,
                // A signalfd that cannot be read would be a bug; to spin on it would be another.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// The next signal that ends a wait. Others mean nothing before there is a candidate, except that those of job
    /// control stop us.
    pub async fn next_to_end(&mut self, dispositions: &Dispositions, job: &Job) -> SignalNumber {
        loop {
            let signal = self.next().await.signal;
            if dispositions.ignores(signal) {
                continue;
            }
            if ends_a_wait(signal, job) {
                return signal;
            }
            if is_stop(signal) {
                job.stop(signal);
            }
        }
    }
}

/// Signals that ask a program to end.
pub fn asks_to_end(signal: SignalNumber) -> bool {
    matches!(signal.0, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT)
}

/// Those that end us while no command runs.
pub fn ends_a_wait(signal: SignalNumber, job: &Job) -> bool {
    asks_to_end(signal) || (signal.0 == libc::SIGHUP && job.has_terminal())
}

/// Signals of job control that stop a process.
pub fn is_stop(signal: SignalNumber) -> bool {
    matches!(signal.0, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}
