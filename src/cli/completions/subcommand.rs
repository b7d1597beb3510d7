//! The options of a subcommand, as the parser has them, and what their values are.

use clap::{Arg, Command};

/// Signals that a command may be asked to end by.
const SIGNALS: [&str; 7] = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"];

/// What can be completed after a subcommand, `run` among them.
pub(super) struct Subcommand {
    pub name: &'static str,
    pub about: String,
    pub options: Vec<Opt>,
}

/// An option.
pub(super) struct Opt {
    pub short: Option<char>,
    pub long: String,
    pub about: String,
    /// What stands for its value in the help; empty if it takes none.
    pub metavar: String,
    pub value: Value,
}

/// What an option takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    None,
    /// A value or none, none that could be completed.
    Optional,
    /// One of these.
    Words(Vec<String>),
    File,
    /// A value that nobody can guess.
    Other,
}

impl Subcommand {
    pub fn new(name: &'static str, mut command: Command) -> Self {
        // Adds --help and --version.
        command.build();
        let about = command.get_about().map(ToString::to_string);
        Self {
            name,
            about: about.unwrap_or_default(),
            options: command.get_arguments().filter_map(Opt::new).collect(),
        }
    }

    /// `-k --key ...`, of those that `wanted` is true for.
    pub fn names(&self, wanted: impl Fn(&Opt) -> bool) -> String {
        let names = self.options.iter().filter(|option| wanted(option));
        names.flat_map(Opt::names).collect::<Vec<_>>().join(" ")
    }
}

impl Opt {
    fn new(arg: &Arg) -> Option<Self> {
        let long = arg.get_long()?.to_owned();
        let names = arg.get_value_names().unwrap_or_default();
        let takes = arg.get_num_args().unwrap_or_default();
        let metavar = match names.first() {
            Some(name) if takes.takes_values() => name.to_string(),
            _ => String::new(),
        };
        let words = |words: &[&str]| Value::Words(words.iter().map(ToString::to_string).collect());
        let value = match metavar.as_str() {
            "" => Value::None,
            _ if takes.min_values() == 0 => Value::Optional,
            "FILE" => Value::File,
            "SIGNAL" => words(&SIGNALS),
            name if name.contains('|') => words(&name.split('|').collect::<Vec<_>>()),
            _ => Value::Other,
        };
        Some(Self {
            short: arg.get_short(),
            long,
            about: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            metavar,
            value,
        })
    }

    /// As they are typed, the short one first.
    pub fn names(&self) -> Vec<String> {
        let short = self.short.map(|short| format!("-{short}"));
        short
            .into_iter()
            .chain([format!("--{}", self.long)])
            .collect()
    }

    /// Whether the next word is its value, whatever that word is.
    pub fn takes_the_next_word(&self) -> bool {
        !matches!(self.value, Value::None | Value::Optional)
    }
}

#[cfg(test)]
mod tests {
    use super::super::subcommands;
    use super::*;

    #[test]
    fn values_are_what_the_help_says() {
        let all = subcommands();
        let value = |subcommand: &str, long: &str| {
            let subcommand = all.iter().find(|s| s.name == subcommand).unwrap();
            let option = subcommand.options.iter().find(|option| option.long == long);
            &option.unwrap_or_else(|| panic!("{long}")).value
        };
        let words = |words: &str| Value::Words(words.split(' ').map(str::to_owned).collect());
        assert_eq!(*value("run", "layout"), words("queue single"));
        assert_eq!(*value("run", "cgroup"), words("auto require off"));
        assert_eq!(*value("run", "stop-signal"), words(&SIGNALS.join(" ")));
        assert_eq!(*value("run", "log-file"), Value::File);
        assert_eq!(*value("status", "cacert"), Value::File);
        assert_eq!(*value("run", "wait"), Value::Other);
        assert_eq!(*value("resign", "wait"), Value::Optional);
        assert_eq!(*value("status", "json"), Value::None);
        assert_eq!(*value("run", "version"), Value::None);
    }
}
