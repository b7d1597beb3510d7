//! The first word, and the command: which words are leaderrun's own.
//!
//! A subcommand is one only as the first argument. A command that bears such a name is refused
//! without `--` before it, so that `leaderrun --key k resign` cannot run a program called
//! `resign` where its author meant something else, today or once there is such a subcommand.

use std::ffi::{OsStr, OsString};

use super::environment::quoted;
use super::{UsageError, completions, queries};

/// Words that are leaderrun's own besides the questions'.
const OTHERS: [&str; 3] = ["run", "help", completions::NAME];

fn is_reserved(word: &OsStr) -> bool {
    let mut names = OTHERS.iter().chain(&queries::NAMES);
    names.any(|name| word == *name)
}

/// The query that is asked for, if the first word is one.
pub(super) fn query(args: &[OsString]) -> Option<&'static str> {
    let first = args.get(1)?;
    queries::NAMES.into_iter().find(|name| first == name)
}

/// Whether the shells' completions are asked for.
pub(super) fn completions(args: &[OsString]) -> bool {
    args.get(1).is_some_and(|first| first == completions::NAME)
}

/// The arguments without a first word `help`: what they ask for is `--help` of what follows it.
pub(super) fn without_help(mut args: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    if args.get(1).is_none_or(|first| first != "help") {
        return Ok(args);
    }
    let known = ["run", "help", completions::NAME]
        .into_iter()
        .chain(queries::NAMES);
    let is_known = |word: &OsString| known.clone().any(|name| word == name);
    match &args[2..] {
        [] => {}
        [word] if is_known(word) => {}
        rest => {
            return Err(UsageError::new(format_args!(
                "{} is no subcommand of leaderrun, which help tells of (to run a command called help: leaderrun \
                 [OPTIONS] -- help)",
                quoted(&rest[0])
            )));
        }
    }
    args.remove(1);
    if args.get(1).is_some_and(|word| word == "help") {
        args.remove(1);
    }
    args.push("--help".into());
    Ok(args)
}

/// The subcommand that the first word was perhaps meant for, with that word: it differs in a letter or two.
fn perhaps_meant(args: &[OsString]) -> Option<(&str, &'static str)> {
    let word = args.get(1)?.to_str()?;
    if word.starts_with('-') || word.contains('/') {
        return None;
    }
    let lower = word.to_lowercase();
    let own = ["run", completions::NAME].into_iter();
    own.chain(queries::NAMES)
        .map(|name| (distance(&lower, name), name))
        .filter(|&(distance, name)| word != name && distance <= name.len() / 3)
        .min()
        .map(|(_, name)| (word, name))
}

/// How many letters have to be put in, left out, replaced, or exchanged with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // `costs[i][j]` is that of the first `i` letters of `a` and the first `j` of `b`.
    let mut costs: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let differ = usize::from(a[i - 1] != b[j - 1]);
            let before = &costs[i - 1];
            let mut cost = (before[j - 1] + differ).min(before[j].min(row[j - 1]) + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(costs[i - 2][j - 2] + 1);
            }
            row.push(cost);
        }
        costs.push(row);
    }
    costs[a.len()][b.len()]
}

/// What to say to `args` that name no election.
pub(super) fn no_election(args: &[OsString]) -> UsageError {
    let hint = perhaps_meant(args).map_or_else(String::new, |(word, name)| {
        format!(
            " ({} is taken for the command; did you mean leaderrun {name}?)",
            quoted(word)
        )
    });
    UsageError::new(format_args!(
        "an election is needed: leaderrun --key KEY -- COMMAND{hint}"
    ))
}

/// The arguments (the program's name first) without the optional first word `run`.
pub(super) fn without_run(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.is_empty() {
        args.push("leaderrun".into());
    }
    if args.get(1).is_some_and(|word| word == "run") {
        args.remove(1);
    }
    args
}

/// Refuses a command that bears the name of a subcommand and has no `--` before it. What clap
/// took for the command is always the tail of the arguments.
pub(super) fn refuse_late_subcommand(
    args: &[OsString],
    command: &[OsString],
) -> Result<(), UsageError> {
    let Some(word) = command.first() else {
        return Ok(());
    };
    let before = args.len().checked_sub(command.len() + 1).map(|i| &args[i]);
    if before.is_some_and(|arg| arg == "--") || !is_reserved(word) {
        return Ok(());
    }
    Err(UsageError::new(format_args!(
        "{word} is a subcommand of leaderrun, which has to come first; to run a command of that name, put -- before it: \
         leaderrun [OPTIONS] -- {word}",
        word = word.to_string_lossy()
    )))
}

/// The command, which has to be there and to have a name.
pub(super) fn command(words: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    match words.first() {
        None => Err(UsageError::new(
            "a command is needed: leaderrun --key KEY -- COMMAND",
        )),
        Some(name) if name.is_empty() => Err(UsageError::new(format_args!(
            "the command is empty: {} cannot be run",
            quoted(name)
        ))),
        Some(_) => Ok(words),
    }
}
