//! The script for bash.

use std::collections::BTreeMap;

use super::subcommand::{Opt, Subcommand, Value};
use super::{fill, shells};

const TEMPLATE: &str = include_str!("completions.bash");

pub(super) fn script(subcommands: &[Subcommand]) -> String {
    let names: Vec<_> = subcommands.iter().map(|s| s.name).collect();
    let options: Vec<_> = subcommands.iter().map(options).collect();
    // An option that several subcommands have is the same in all of them, or has a value that is not completed.
    let values: BTreeMap<_, _> = subcommands
        .iter()
        .flat_map(|subcommand| &subcommand.options)
        .filter_map(|option| Some((option.names().join(" | "), value(option)?)))
        .collect();
    let values: Vec<_> = values
        .iter()
        .map(|(names, action)| format!("        {names}) {action}; return ;;"))
        .collect();
    fill(
        TEMPLATE,
        &[
            ("@NAMES@", names.join(" | ")),
            ("@WORDS@", names.join(" ")),
            ("@OPTIONS@", options.join("\n")),
            ("@VALUES@", values.join("\n")),
            ("@SHELLS@", shells()),
        ],
    )
}

fn options(subcommand: &Subcommand) -> String {
    format!(
        "        {})\n            options='{}'\n            valued=' {} '\n            ;;",
        subcommand.name,
        subcommand.names(|_| true),
        subcommand.names(Opt::takes_the_next_word)
    )
}

fn value(option: &Opt) -> Option<String> {
    match &option.value {
        Value::Words(words) => Some(format!(
            r#"COMPREPLY=($(compgen -P "$before" -W '{}' -- "$value"))"#,
            words.join(" ")
        )),
        // readline's own way, which knows of quotes and ~.
        Value::File => Some("compopt -o bashdefault -o default".to_owned()),
        Value::None | Value::Optional | Value::Other => None,
    }
}
