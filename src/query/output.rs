//! Standard output: lines that are read at once, or by nobody.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

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
