//! How a line of text is shown: as it is, with the journal's priority before it, or in colour.

use std::env;
use std::fs::File;
use std::io::IsTerminal;
use std::os::linux::fs::MetadataExt;

use super::event::Level;

/// See the module's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    /// A file, a pipe.
    #[default]
    Plain,
    /// systemd's journal, which takes the priority off (sd-daemon(3)).
    Journal,
    /// A terminal that a person looks at.
    Terminal {
        /// Whether it may be coloured.
        colour: bool,
    },
}

impl Style {
    /// What suits standard error.
    pub fn of_standard_error(file: &File) -> Self {
        if is_journal(file) {
            return Self::Journal;
        }
        let is = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty());
        if !file.is_terminal() || is("TERM").is_none_or(|term| term == "dumb") {
            return Self::Plain;
        }
        // See no-color.org.
        let colour = is("NO_COLOR").is_none();
        Self::Terminal { colour }
    }

    /// The line as it is to be shown. Only what a person has to look at is coloured.
    pub fn dress(self, level: Level, line: String) -> String {
        match (self, level) {
            (Self::Journal, _) => format!("<{}>{line}", priority(level)),
            (Self::Terminal { colour: true }, Level::Error) => format!("\x1b[31m{line}\x1b[0m"),
            (Self::Terminal { colour: true }, Level::Warn) => format!("\x1b[33m{line}\x1b[0m"),
            (Self::Plain | Self::Terminal { .. }, _) => line,
        }
    }
}

/// As syslog(3) has them.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

/// Whether systemd's `JOURNAL_STREAM` names this very file: a service may have redirected it, and a
/// child of one inherits the variable.
fn is_journal(file: &File) -> bool {
    let Some(named) = env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let is = |meta: std::fs::Metadata| *named == *format!("{}:{}", meta.st_dev(), meta.st_ino());
    file.metadata().is_ok_and(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_is_coloured() {
        let dress = |style: Style, level| style.dress(level, "x".to_owned());
        let colour = Style::Terminal { colour: true };
        assert_eq!(dress(colour, Level::Error), "\x1b[31mx\x1b[0m");
        assert_eq!(dress(colour, Level::Warn), "\x1b[33mx\x1b[0m");
        assert_eq!(dress(colour, Level::Info), "x");
        let none = Style::Terminal { colour: false };
        assert_eq!(dress(none, Level::Error), "x");
        assert_eq!(dress(Style::Plain, Level::Error), "x");
        let journal = [Level::Error, Level::Warn, Level::Info, Level::Debug];
        let priorities = journal.map(|level| dress(Style::Journal, level));
        assert_eq!(priorities, ["<3>x", "<4>x", "<6>x", "<7>x"]);
    }
}
