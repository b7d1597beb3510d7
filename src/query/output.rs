//! Standard output: lines that are read at once, or by nobody any more.

use std::io::{self, ErrorKind, Write};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use tokio::sync::oneshot;

use super::Trouble;
use crate::report::escape_json;

/// Prints a line at once, whoever reads it.
pub(super) fn say(line: &str) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Prints an answer that the exit status gives as well: it is true also if nobody reads this.
pub(super) fn answer(text: &str) -> Result<(), Trouble> {
    match say(text) {
        Err(Trouble::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}

/// Waits until nobody can read standard output any more, which a write would notice only when there is
/// something to write. Never ends if standard output is no pipe.
pub(super) async fn reader_left() {
    let (tell, told) = oneshot::channel();
    // Sleeps in the kernel to the end. It is not worth the program if it cannot be had.
    let watching = thread::Builder::new().spawn(move || {
        let stdout = io::stdout();
        // An error is reported without being asked for, and nothing else is.
        let mut polled = [PollFd::new(
            std::os::fd::AsFd::as_fd(&stdout),
            PollFlags::empty(),
        )];
        while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        if polled[0]
            .revents()
            .is_some_and(|seen| seen.intersects(gone))
        {
            let _ = tell.send(());
        }
    });
    if watching.is_err() || told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The value in JSON, in which identities and keys that others chose can neither drive a terminal nor show letters in
/// another order, and are the same to a program.
pub(super) fn json(value: &impl Serialize) -> String {
    escape_json(&serde_json::to_string(value).expect("strings and numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_loses_nothing_and_drives_no_terminal() {
        let wild = "a\u{9b}\u{7f}b\u{1b}\n\u{202e}\u{2028}\"\\ü主\u{61c}";
        let text = json(&wild);
        assert_eq!(
            text,
            "\"a\\u009b\\u007fb\\u001b\\n\\u202e\\u2028\\\"\\\\ü主\\u061c\""
        );
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), wild);
    }
}
