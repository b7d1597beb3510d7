//! The line that a waiting candidate shows to a person at a terminal: one, kept up to date in its place.

use std::fmt::Write;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys;

/// How often it is written anew.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Back to the line's beginning, and away with it.
const ERASE: &str = "\r\x1b[K";

/// See the module's head.
#[derive(Debug)]
pub(super) struct Live {
    text: String,
    since: Instant,
    /// Whether it stands on the screen, with the cursor behind it.
    stands: bool,
}

impl Live {
    /// What is waited for. The time goes on from `before`, the wait for something else.
    pub fn new(text: String, before: Option<&Self>) -> Self {
        Self {
            text,
            since: before.map_or_else(Instant::now, |before| before.since),
            stands: before.is_some_and(|before| before.stands),
        }
    }

    /// The next step of the line: nothing as long as others have the terminal.
    pub fn step(&mut self, terminal: &File) -> Option<String> {
        let fd = terminal.as_fd();
        if !sys::is_in_foreground_of(fd) {
            self.stands = false;
            return None;
        }
        let columns = sys::columns(fd).map_or(80, usize::from);
        self.stands = true;
        let passed = Duration::from_secs(self.since.elapsed().as_secs());
        Some(format!("{ERASE}{}", line(&self.text, passed, columns)))
    }

    /// What has to be written before anything else.
    pub fn clear(&self, terminal: &File) -> &'static str {
        if self.stands && sys::is_in_foreground_of(terminal.as_fd()) {
            ERASE
        } else {
            ""
        }
    }
}

/// It never reaches the last column, or the terminal would begin a second line that nobody erases.
fn line(text: &str, passed: Duration, columns: usize) -> String {
    let mut time = String::new();
    if !passed.is_zero() {
        let _ = write!(time, " (for {})", humantime::format_duration(passed));
    }
    let room = columns.saturating_sub(1);
    if width(text) + time.len() <= room {
        return format!("{text}{time}");
    }
    let mut cut = String::new();
    let mut left = room.saturating_sub(time.len() + "...".len());
    for c in text.chars() {
        let Some(rest) = left.checked_sub(width_of(c)) else {
            break;
        };
        left = rest;
        cut.push(c);
    }
    let whole = format!("{cut}...{time}");
    whole.chars().take(room).collect()
}

fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// At the most.
const fn width_of(c: char) -> usize {
    if c.is_ascii() { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_time_is_shown_and_the_rest_is_cut() {
        let text = "leaderrun: waiting behind one candidate, 'web1'";
        let after = |secs, columns| line(text, Duration::from_secs(secs), columns);
        assert_eq!(after(0, 80), text);
        assert_eq!(after(62, 80), format!("{text} (for 1m 2s)"));
        assert_eq!(after(62, 40), "leaderrun: waiting behin... (for 1m 2s)");
        assert_eq!(after(62, 8), "... (fo");
    }

    proptest! {
        #[test]
        fn it_never_reaches_the_last_column(text in "\\PC{0,200}", secs in 0_u64..1_000_000, columns in 1_usize..200) {
            let line = line(&text, Duration::from_secs(secs), columns);
            prop_assert!(width(&line) < columns.max(1) || line.is_empty(), "{line:?}");
        }
    }
}
