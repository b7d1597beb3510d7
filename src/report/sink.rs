//! The descriptor that log lines end up in, and what can go wrong with it.
//!
//! Standard error may be a pipe that nobody reads, a pipe whose reader is gone, a descriptor that
//! somebody made non-blocking, or a full disk. None of that is an error for leaderrun: a line is
//! written, or it is lost and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    /// How long one line may wait for a descriptor that is full; `None` for as long as it takes.
    patience: Option<Duration>,
    /// The last line was cut off in its middle.
    torn: bool,
}

impl Sink {
    pub fn new(file: File, patience: Option<Duration>) -> Self {
        Self {
            file,
            patience,
            torn: false,
        }
    }

    /// Standard error, as a descriptor of its own: the lock of `std::io::stderr` would be held
    /// while a write blocks, and the message of a panic elsewhere would wait for it for ever.
    pub fn standard_error() -> io::Result<File> {
        io::stderr().as_fd().try_clone_to_owned().map(File::from)
    }

    /// Opens a log file for appending. It may be a FIFO: without `O_NONBLOCK`, opening one that
    /// nobody reads would block for ever instead of failing.
    pub fn open(path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(path)
    }

    /// What is written to.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Writes a line, which brings its line feed along; with an error it is lost. Lines of several
    /// processes do not mix: one write, on a file opened for appending.
    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        let mended;
        let line = if self.torn {
            mended = format!("\n{line}");
            &mended
        } else {
            line
        };
        let mut rest = line.as_bytes();
        let give_up = self.patience.map(|p| Instant::now() + p);
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(n) if n > 0 => rest = &rest[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && self.wait_for_room(give_up) => {}
                failed => {
                    self.torn = rest.len() < line.len();
                    return failed.and(Err(ErrorKind::WriteZero.into()));
                }
            }
        }
        self.torn = false;
        Ok(())
    }

    fn wait_for_room(&self, give_up: Option<Instant>) -> bool {
        let timeout = match give_up.map(|at| at.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => return false,
            // Rounded up, so that the last millisecond is not spent in a busy loop.
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        !matches!(poll(&mut fds, timeout), Err(e) if e != nix::errno::Errno::EINTR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use nix::fcntl::{FcntlArg, fcntl};

    #[test]
    fn a_full_descriptor_costs_no_more_than_the_patience_and_tears_no_later_line() {
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut sink = Sink::new(
            OwnedFd::from(writer).into(),
            Some(Duration::from_millis(20)),
        );
        let long = format!("{}\n", "x".repeat(300_000));
        assert!(sink.write_line(&long).is_err(), "more than a pipe holds");
        let mut read = vec![0; 400_000];
        while reader.read(&mut read).is_ok() {}
        sink.write_line("next\n").unwrap();
        let n = reader.read(&mut read).unwrap();
        assert_eq!(&read[..n], b"\nnext\n");
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut sink = Sink::new(OwnedFd::from(writer).into(), None);
        assert!(sink.write_line("x\n").is_err());
    }
}
