//! The script for fish.

use super::subcommand::{Opt, Subcommand, Value};
use super::{NAME, fill, shells};

const TEMPLATE: &str = include_str!("completions.fish");

pub(super) fn script(subcommands: &[Subcommand]) -> String {
    let run = &subcommands[0];
    let valued = || {
        run.options
            .iter()
            .filter(|option| option.takes_the_next_word())
    };
    let names: Vec<_> = subcommands.iter().map(|s| s.name).collect();
    let long: Vec<_> = valued()
        .map(|option| format!("--{}", option.long))
        .collect();
    let short: String = valued().filter_map(|option| option.short).collect();
    let first = subcommands.iter().map(|subcommand| {
        format!(
            "complete -c leaderrun -n '__leaderrun_is first' -a {} -d '{}'",
            subcommand.name,
            quoted(&subcommand.about)
        )
    });
    let shells = format!(
        "complete -c leaderrun -n '__leaderrun_is {NAME}; and not __fish_seen_subcommand_from {0}' -a '{0}'",
        shells()
    );
    let options = subcommands.iter().flat_map(|subcommand| {
        let stands = match subcommand.name {
            "run" => "first run",
            name => name,
        };
        subcommand
            .options
            .iter()
            .map(move |option| line(stands, option))
    });
    let lines: Vec<_> = first.chain([shells]).chain(options).collect();
    fill(
        TEMPLATE,
        &[
            ("@NAMES@", names.join(" ")),
            ("@LONG@", long.join(" ")),
            ("@SHORT@", short),
            ("@OPTIONS@", lines.join("\n")),
        ],
    )
}

fn line(stands: &str, option: &Opt) -> String {
    let short = option.short.map(|short| format!(" -s {short}"));
    let value = match &option.value {
        Value::None | Value::Optional => String::new(),
        Value::Words(words) => format!(" -x -a '{}'", words.join(" ")),
        Value::File => " -r -F".to_owned(),
        Value::Other => " -x".to_owned(),
    };
    format!(
        "complete -c leaderrun -n '__leaderrun_is {stands}'{} -l {}{value} -d '{}'",
        short.unwrap_or_default(),
        option.long,
        quoted(&option.about)
    )
}

/// The inside of single quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', r"\\").replace('\'', r"\'")
}
