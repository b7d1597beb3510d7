//! Text from outside (identities of other candidates, errors, file names) made harmless.
//!
//! Whoever may write to etcd chooses the identities that we log. Nothing that they choose may end
//! a line, drive the terminal of the person who reads it, or show letters in another order.
//!
//! People are shown escapes. Programs get the text itself: the escapes of JSON are undone by its parser, and
//! a variable of the environment needs none.

use std::borrow::Cow;
use std::fmt::Write;

/// The longest piece of foreign text that is passed on, in characters.
const MAX_CHARS: usize = 1024;

/// A name (an identity, a key, a file) for people: control characters, line separators and changes of direction as
/// escapes, and the backslash as two, so that no name looks like another. Cut off after 1024 characters.
pub fn escape(name: &str) -> String {
    escaped(name, |c| c == '\\' || is_dangerous(c))
}

/// A sentence for people, in which names may be escaped already: the same, but backslashes stay.
pub fn escape_sentence(text: &str) -> String {
    escaped(text, is_dangerous)
}

/// What was serialized as JSON for programs, safe to be shown on a terminal as it is: what JSON leaves as it is
/// although it is dangerous there gets JSON's own escapes.
pub fn escape_json(json: &str) -> String {
    // Only strings can contain any of it.
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_dangerous(c) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Foreign text for programs: itself, cut off after 1024 characters.
pub fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len().min(MAX_CHARS));
    for c in cut(text).chars() {
        if is_escaped(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Controls, the line and paragraph separator, and what Unicode calls `Bidi_Control`.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}'
                | '\u{2029}'
                | '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_a_line_or_drive_a_terminal_is_escaped() {
        assert_eq!(escape("a\nleaderrun: elected"), "a\\nleaderrun: elected");
        assert_eq!(
            escape("\u{1b}[2J\u{9b}31m\r\u{7f}\0"),
            "\\u{1b}[2J\\u{9b}31m\\r\\u{7f}\\u{0}"
        );
        assert_eq!(escape("a\u{202e}b\u{2028}c"), "a\\u{202e}b\\u{2028}c");
        assert_eq!(escape("höst:1 — 主"), "höst:1 — 主");
    }

    #[test]
    fn a_name_that_looks_like_an_escape_is_another() {
        assert_eq!(escape("a\\u{202e}"), "a\\\\u{202e}");
        assert_ne!(escape("a\\u{202e}"), escape("a\u{202e}"));
        let sentence = format!("{} leads\n", escape("DOMAIN\\web1"));
        assert_eq!(escape_sentence(&sentence), "DOMAIN\\\\web1 leads\\n");
    }

    #[test]
    fn a_parser_of_json_finds_what_was_written() {
        let text = "a\u{202e}b\u{2028}\u{9b}31m\u{7f}\n\\\"höst";
        let json = serde_json::to_string(text).unwrap();
        let shown = escape_json(&json);
        assert_eq!(shown, r#""a\u202eb\u2028\u009b31m\u007f\n\\\"höst""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(cut(&"é".repeat(1024)), "é".repeat(1024));
        assert_eq!(escape(&"é".repeat(2000)).chars().count(), MAX_CHARS + 1);
    }
}
