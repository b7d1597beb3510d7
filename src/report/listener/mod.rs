//! `--listen`: plain HTTP/1.1 for probes and scrapes, to any number of clients of any intent.
//!
//! Requests are served by a thread of their own with a runtime of its own, so whatever clients do, the
//! supervisor's renewals share nothing with them but the processor; the guardian does not even know of it.
//! One request a connection, a bounded number of connections, bounded sizes and times: see [`serve`].

mod address;
mod bind;
mod serve;

use std::io;
use std::thread;

use tokio::sync::oneshot;

use super::health::Health;
use crate::runtime;

pub use address::Address;
pub use bind::{BindError, Bound};

/// Who serves; ends when dropped, and removes the file of a Unix socket.
#[derive(Debug)]
pub struct Listener {
    _end: oneshot::Sender<()>,
    _file: Option<bind::SocketFile>,
}

impl Listener {
    /// Serves what `health` tells, in a thread. All signals must be blocked, since the thread is to take none.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(bound: Bound, health: Health) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let Bound { socket, file, .. } = bound;
        // Built here, so that what can fail does so before anybody campaigns.
        let runtime = runtime::single_threaded()?;
        thread::Builder::new()
            .name("listen".into())
            .spawn(move || runtime.block_on(serve::serve(socket, health, ended)))?;
        Ok(Self {
            _end: end,
            _file: file,
        })
    }
}
