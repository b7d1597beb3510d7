//! What a shell can complete: subcommands, options, their values where they are words or files, and the command
//! with its arguments.
//!
//! A script for each shell lies beside this file, with gaps that are filled from the parser. Generic generators take
//! the command for one more argument, know no subcommand that is one only as the first word, and go on to offer
//! options of ours behind the command.

use clap::{Args, Command, CommandFactory, Parser, ValueEnum};

use super::flags::Flags;
use super::queries;
use subcommand::Subcommand;

mod bash;
mod fish;
mod subcommand;
mod zsh;

/// The subcommand's name.
pub(super) const NAME: &str = "completions";

/// Print the completions for a shell.
#[derive(Debug, Parser)]
#[command(
    name = "leaderrun completions",
    bin_name = "leaderrun completions",
    after_help = "bash: leaderrun completions bash >/etc/bash_completion.d/leaderrun\n\
                  zsh:  leaderrun completions zsh >/usr/local/share/zsh/site-functions/_leaderrun\n\
                  fish: leaderrun completions fish >/etc/fish/completions/leaderrun.fish"
)]
pub(super) struct CompletionsFlags {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The shells that there is a script for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The script that makes `shell` complete a command line of ours.
pub(super) fn script(shell: Shell) -> String {
    let subcommands = subcommands();
    match shell {
        Shell::Bash => bash::script(&subcommands),
        Shell::Zsh => zsh::script(&subcommands),
        Shell::Fish => fish::script(&subcommands),
    }
}

/// All of them; `run` comes first, and is as good as nothing.
fn subcommands() -> Vec<Subcommand> {
    let own = CompletionsFlags::augment_args(Command::new(NAME))
        .about("Print the completions for a shell");
    std::iter::once(("run", Flags::command()))
        .chain(queries::commands())
        .chain([(NAME, own)])
        .map(|(name, command)| Subcommand::new(name, command))
        .collect()
}

/// The words that name a shell.
fn shells() -> String {
    let names = Shell::value_variants()
        .iter()
        .filter_map(ValueEnum::to_possible_value)
        .map(|value| value.get_name().to_owned());
    names.collect::<Vec<_>>().join(" ")
}

/// `template` with its gaps, `@NAME@`, filled.
fn fill(template: &str, gaps: &[(&str, String)]) -> String {
    gaps.iter()
        .fold(template.to_owned(), |script, (gap, text)| {
            script.replace(gap, text)
        })
}
