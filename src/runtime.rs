//! The runtime of every task here.

use std::io;

/// One thread for all: there is little to do, and no fence depends on it.
pub fn single_threaded() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
