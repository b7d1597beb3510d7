//! Signals to leaderrun, in the order of their arrival, as the runtime can wait for them.

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::{SignalFd, SignalInfo};

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
}
