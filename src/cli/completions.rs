//! What a shell can complete: the options, their values where they are words, files, and the command's name.

use clap::builder::PossibleValuesParser;
use clap::{Args, Command, CommandFactory, Parser, ValueHint};
use clap_complete::Shell;

use super::flags::Flags;
use super::queries;

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

/// The options whose values are words.
const WORDS: [(&str, &[&str]); 5] = [
    ("layout", &["queue", "single"]),
    ("on_loss", &["exit", "campaign"]),
    ("cgroup", &["auto", "require", "off"]),
    ("sd_ready", &["standby", "leading"]),
    ("log_format", &["text", "json"]),
];

/// The options whose values are files.
const FILES: [&str; 5] = ["cacert", "cert", "cert_key", "password_file", "log_file"];

/// The script that makes `shell` complete a command line of ours.
pub(super) fn script(shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut whole(), "leaderrun", &mut out);
    let script = String::from_utf8_lossy(&out).into_owned();
    match shell {
        // It gives up where an option's value is still to come, which is when there can be no subcommand yet.
        Shell::Fish => script.replacen("\n    or return\n", "\n    or return 0\n", 1),
        _ => script,
    }
}

/// The command line as a whole: clap itself sees only one subcommand's at a time.
fn whole() -> Command {
    let run = with_hints(Flags::command()).mut_arg("command", |command| {
        command.value_hint(ValueHint::CommandWithArguments)
    });
    let named = queries::commands().map(|(name, command)| with_hints(command.name(name)));
    let own = CompletionsFlags::augment_args(Command::new(NAME))
        .about("Print the completions for a shell");
    // `run` comes first, and is as good as nothing.
    let explicit = run.clone().name("run");
    run.disable_help_subcommand(true)
        .subcommand(explicit)
        .subcommands(named)
        .subcommand(own)
}

fn with_hints(mut command: Command) -> Command {
    let has = |command: &Command, id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    for (id, words) in WORDS {
        if has(&command, id) {
            command = command.mut_arg(id, |arg| arg.value_parser(PossibleValuesParser::new(words)));
        }
    }
    for id in FILES {
        if has(&command, id) {
            command = command.mut_arg(id, |arg| arg.value_hint(ValueHint::FilePath));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_has_words_or_a_file_is_known_here() {
        let flags = Flags::command();
        for arg in flags.get_arguments() {
            let id = arg.get_id().as_str();
            let name = arg.get_value_names().map_or("", |names| names[0].as_str());
            let words: Vec<&str> = name.split('|').collect();
            if words.len() > 1 {
                assert!(WORDS.contains(&(id, words.as_slice())), "{id}: {words:?}");
            }
            assert_eq!(name == "FILE", FILES.contains(&id), "{id}");
        }
    }
}
