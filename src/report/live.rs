//! The line that a waiting candidate shows to a person at a terminal: who leads and since when, our place in the
//! queue, and how long we have waited. One line, kept up to date in its place.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::escape;
use super::reason::WaitReason;
use crate::sys;

/// How often it is written anew.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Back to the line's beginning, and away with it.
const ERASE: &str = "\r\x1b[K";

/// See the module's head.
#[derive(Debug)]
pub(super) struct Live {
    reason: WaitReason,
    waits_since: Instant,
    /// Since when the first in the queue has led, in Unix seconds, if that is known.
    leads_since: Option<u64>,
    /// Whether it stands on the screen, with the cursor behind it.
    stands: bool,
}

impl Live {
    /// What is waited for. What was known `before`, in the wait for something else, goes on.
    pub fn new(reason: WaitReason, before: Option<&Self>) -> Self {
        Self {
            reason,
            waits_since: before.map_or_else(Instant::now, |before| before.waits_since),
            leads_since: before.and_then(|before| before.leads_since),
            stands: before.is_some_and(|before| before.stands),
        }
    }

    /// The first in the queue has led since then.
    pub const fn leads_since(&mut self, since: Option<u64>) {
        self.leads_since = since;
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        // The leader's clock may be ahead of ours.
        let led = self
            .leads_since
            .map(|since| Duration::from_secs(now.saturating_sub(since)));
        let waited = Duration::from_secs(self.waits_since.elapsed().as_secs());
        let forms = forms(&self.reason, waited, led);
        Some(format!("{ERASE}{}", fitting(&forms, columns)))
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

/// What the line says, in fewer words from one form to the next. The leader's name and our place are in all of them.
fn forms(reason: &WaitReason, waited: Duration, led: Option<Duration>) -> Vec<String> {
    let waited = (!waited.is_zero()).then(|| humantime::format_duration(waited).to_string());
    let for_so_long = waited.as_ref().map(|waited| format!(" for {waited}"));
    let sentence = reason.to_string();
    let sentence = sentence.strip_prefix("waiting").unwrap_or(&sentence);
    let sentence = format!(
        "leaderrun: waiting{}{sentence}",
        for_so_long.unwrap_or_default()
    );
    let waited = waited.map_or_else(String::new, |waited| format!(" (waited {waited})"));
    match reason {
        WaitReason::Queue { leader, ahead } => {
            let place = format!("{ahead} ahead, '{}'", escape(leader));
            let Some(led) = led.map(humantime::format_duration) else {
                return vec![sentence, format!("leaderrun: {place}{waited}"), place];
            };
            vec![
                format!("{sentence}, leading for {led}"),
                format!("leaderrun: {place} leads for {led}{waited}"),
                format!("{place} leads for {led}"),
                place,
            ]
        }
        WaitReason::Record { holder, .. } => {
            let term = holder.map_or_else(
                || "an earlier term".to_owned(),
                |token| format!("the term with token {token}"),
            );
            let brief = holder.map_or_else(|| "it".to_owned(), |token| format!("token {token}"));
            vec![
                sentence,
                format!("leaderrun: next in line once {term} has run out{waited}"),
                format!("next in line once {term} is over"),
                format!("next once {brief} is over"),
            ]
        }
    }
}

/// The first form that fits, or what fits of the last. It never reaches the last column, or the terminal would begin
/// a second line that nobody erases.
fn fitting(forms: &[String], columns: usize) -> String {
    let room = columns.saturating_sub(1);
    if let Some(form) = forms.iter().find(|form| width(form) <= room) {
        return form.clone();
    }
    let mut cut = String::new();
    let mut left = room.saturating_sub("...".len());
    for c in forms.last().into_iter().flat_map(|form| form.chars()) {
        let Some(rest) = left.checked_sub(width_of(c)) else {
            break;
        };
        left = rest;
        cut.push(c);
    }
    cut.push_str("...");
    cut.chars().take(room).collect()
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
    use crate::election::Token;
    use proptest::prelude::*;

    fn queue(leader: &str, ahead: usize) -> WaitReason {
        WaitReason::Queue {
            leader: leader.to_owned(),
            ahead,
        }
    }

    fn shown(reason: &WaitReason, waited: u64, led: Option<u64>, columns: usize) -> String {
        let led = led.map(Duration::from_secs);
        fitting(&forms(reason, Duration::from_secs(waited), led), columns)
    }

    #[test]
    fn words_go_first_and_the_name_last() {
        let one = queue("web1", 1);
        let at = |columns| shown(&one, 4, Some(182), columns);
        assert_eq!(
            at(80),
            "leaderrun: waiting for 4s behind one candidate, 'web1', leading for 3m 2s"
        );
        assert_eq!(
            at(60),
            "leaderrun: 1 ahead, 'web1' leads for 3m 2s (waited 4s)"
        );
        assert_eq!(at(40), "1 ahead, 'web1' leads for 3m 2s");
        assert_eq!(at(30), "1 ahead, 'web1'");
        assert_eq!(at(15), "1 ahead, 'w...");
        assert_eq!(at(3), "..");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        assert_eq!(
            shown(&queue("web1", 2), 0, None, 80),
            "leaderrun: waiting behind 2 candidates, the first is 'web1'"
        );
        assert_eq!(shown(&queue("web1", 2), 62, None, 30), "2 ahead, 'web1'");
        let record = |holder: Option<i64>| WaitReason::Record {
            holder: holder.map(Token),
            remaining: None,
        };
        let at = |columns| shown(&record(Some(7)), 62, Some(9), columns);
        assert_eq!(
            at(80),
            "leaderrun: next in line once the term with token 7 has run out (waited 1m 2s)"
        );
        assert_eq!(at(60), "next in line once the term with token 7 is over");
        assert_eq!(at(30), "next once token 7 is over");
        assert_eq!(shown(&record(None), 0, None, 20), "next once it is ...");
    }

    proptest! {
        #[test]
        fn it_never_reaches_the_last_column(
            leader in "\\PC{0,200}",
            waited in 0_u64..1_000_000,
            led in proptest::option::of(0..u64::MAX),
            columns in 1_usize..200,
        ) {
            let line = shown(&queue(&leader, 3), waited, led, columns);
            prop_assert!(width(&line) < columns.max(1) || line.is_empty(), "{line:?}");
        }
    }
}
