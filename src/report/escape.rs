//! Text from outside (identities of other candidates, errors, file names) made harmless.
//!
//! Whoever may write to etcd chooses the identities that we log. Nothing that they choose may end
//! a line, drive the terminal of the person who reads it, or show letters in another order.

/// The longest piece of foreign text that is logged, in characters.
const MAX_CHARS: usize = 1024;

/// `text` with control characters, line separators and changes of direction as escapes, cut off
/// after 1024 characters.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().min(MAX_CHARS));
    for (i, c) in text.chars().enumerate() {
        if i == MAX_CHARS {
            escaped.push('…');
            break;
        }
        match c {
            c if c.is_control() => escaped.extend(c.escape_default()),
            // Line and paragraph separator, and what Unicode calls Bidi_Control.
            '\u{2028}'
            | '\u{2029}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
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
    fn a_long_text_is_cut() {
        assert_eq!(escape(&"é".repeat(2000)).chars().count(), MAX_CHARS + 1);
    }
}
