//! The script for zsh.

use super::subcommand::{Opt, Subcommand, Value};
use super::{NAME, fill, shells};

const TEMPLATE: &str = include_str!("completions.zsh");

pub(super) fn script(subcommands: &[Subcommand]) -> String {
    let names: Vec<_> = subcommands.iter().map(|s| s.name).collect();
    let described = subcommands.iter().map(|subcommand| {
        let about = quoted(&subcommand.about.replace(':', "\\:"));
        format!("        '{}:{about}'", subcommand.name)
    });
    // `run` comes last, since it is meant wherever no other subcommand is.
    let options = subcommands.iter().skip(1).chain(&subcommands[..1]);
    fill(
        TEMPLATE,
        &[
            ("@NAMES@", names.join("|")),
            ("@SUBCOMMANDS@", described.collect::<Vec<_>>().join("\n")),
            (
                "@OPTIONS@",
                options.map(arguments).collect::<Vec<_>>().join("\n"),
            ),
        ],
    )
}

/// A case of the script.
fn arguments(subcommand: &Subcommand) -> String {
    let (pattern, operands) = match subcommand.name {
        "run" => (
            "*",
            vec![
                "'(-)1:command:_command_names -e'".to_owned(),
                "'*::argument:_normal'".to_owned(),
            ],
        ),
        NAME => (NAME, vec![format!("'1:shell:({})'", shells())]),
        name => (name, Vec::new()),
    };
    let specs: Vec<_> = subcommand
        .options
        .iter()
        .map(spec)
        .chain(operands)
        .collect();
    format!(
        "        {pattern})\n            _arguments -s -S -A '-*' : \\\n                {}\n            ;;",
        specs.join(" \\\n                ")
    )
}

/// An option as `_arguments` wants it.
fn spec(option: &Opt) -> String {
    let (after_short, after_long) = match option.value {
        Value::None => ("", ""),
        Value::Optional | Value::Words(_) | Value::File | Value::Other => ("+", "="),
    };
    let metavar = option.metavar.to_lowercase();
    let value = match &option.value {
        Value::None => String::new(),
        Value::Optional => format!("::{metavar}: "),
        Value::Words(words) => format!(":{}:({})", option.long, words.join(" ")),
        Value::File => format!(":{metavar}:_files"),
        Value::Other => format!(":{metavar}: "),
    };
    let mut about = String::new();
    for c in option.about.chars() {
        if matches!(c, '\\' | '[' | ']' | ':') {
            about.push('\\');
        }
        about.push(c);
    }
    let names = option.names().join(" ");
    let forms = match option.short {
        Some(short) => format!("{{-{short}{after_short},--{}{after_long}}}", option.long),
        None => format!("--{}{after_long}", option.long),
    };
    format!("'({names})'{forms}'[{}]{value}'", quoted(&about))
}

/// The inside of single quotes.
fn quoted(text: &str) -> String {
    text.replace('\'', r"'\''")
}
