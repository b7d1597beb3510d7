//! What is said where there is no log: wrong usage, and a question without an answer.

use std::io::{self, Write};

use super::event::Level;
use super::sink::Sink;
use super::style::Style;

/// Writes the message to standard error. A reader that is gone is nothing to fail of: there is nobody else to tell.
pub fn complain(level: Level, message: &str) {
    let _ = io::stderr().write_all(complaint(level, message).as_bytes());
}

/// The message as it suits standard error, after `leaderrun: `; with line feeds.
pub fn complaint(level: Level, message: &str) -> String {
    let style = Sink::standard_error().map_or(Style::Plain, |file| Style::of_standard_error(&file));
    dressed(style, level, message)
}

fn dressed(style: Style, level: Level, message: &str) -> String {
    let text = match level {
        Level::Warn => format!("leaderrun: warning: {message}"),
        Level::Error | Level::Info | Level::Debug => format!("leaderrun: {message}"),
    };
    // The journal takes each line for a message of its own. Colours are for what stands out among other lines.
    let lines = text.lines().map(|line| match style {
        Style::Journal => style.dress(level, line.to_owned()),
        Style::Plain | Style::Terminal { .. } => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_priority() {
        let error = |style| dressed(style, Level::Error, "no such option\ntry --help");
        assert_eq!(
            error(Style::Journal),
            "<3>leaderrun: no such option\n<3>try --help\n"
        );
        let plain = "leaderrun: no such option\ntry --help\n";
        assert_eq!(error(Style::Plain), plain);
        assert_eq!(error(Style::Terminal { colour: true }), plain);
        assert_eq!(
            dressed(Style::Journal, Level::Warn, "x"),
            "<4>leaderrun: warning: x\n"
        );
    }
}
