//! Standard output: lines that are read at once, or by nobody.

use std::io::{self, ErrorKind, Write};

use super::Trouble;

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
