//! What is printed, and that parser, help, man page and environment agree on the options.

use std::cell::RefCell;
use std::collections::BTreeSet;

use clap::CommandFactory;

use super::*;

#[test]
fn help_version_and_explain_are_printed() {
    let print = |args: &[&str]| match parse_with(args, &[]) {
        Ok(Parsed::Print(text)) => text,
        other => panic!("{args:?}: {other:?}"),
    };
    let (short, long) = (print(&["-h"]), print(&["run", "--help"]));
    assert!(long.len() > short.len());
    assert_eq!(
        print(&["-V"]),
        format!("leaderrun {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(print(&["help"]), long);
    assert_eq!(print(&["help", "run"]), long);
    assert_eq!(print(&["help", "help"]), long);
    for word in ["status", "observe", "resign", "verify", "completions"] {
        assert_eq!(print(&["help", word]), print(&[word, "--help"]), "{word}");
    }
    assert!(print(&["--explain"]).contains("TTL 15s"));
    assert!(print(&["--explain", "--ttl", "30s", "-k", "k", "true"]).contains("TTL 30s"));
    assert!(usage(&["--explain", "--grace", "30s"]).contains("use --ttl"));
}

/// The long and short names of what clap knows, without the command itself.
fn options_of_clap(mut command: clap::Command) -> BTreeSet<(String, Option<char>)> {
    command.build();
    command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_short())))
        .collect()
}

/// The variables of a subcommand's options, and those besides that say where etcd is.
fn variables_of(command: clap::Command) -> BTreeSet<String> {
    let besides = [
        "LEADERRUN_PASSWORD",
        "ETCDCTL_ENDPOINTS",
        "ETCDCTL_CACERT",
        "ETCDCTL_CERT",
        "ETCDCTL_KEY",
        "ETCDCTL_USER",
        "ETCDCTL_PASSWORD",
    ];
    let options = options_of_clap(command);
    let options = options.iter().map(|(long, _)| long.as_str());
    options
        .filter(|long| !["help", "version"].contains(long))
        .map(environment::variable)
        .chain(besides.map(str::to_owned))
        .collect()
}

/// The variables that are looked at for a command line, where none but the key's is set.
fn asked_for(args: &[&str]) -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    let args = ["leaderrun"].iter().chain(args).map(OsString::from);
    let lookup = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        (name == "LEADERRUN_KEY").then(|| "k".into())
    };
    parse(args, lookup, |_, _| Ok(())).unwrap();
    asked.into_inner()
}

#[test]
fn every_option_has_its_variable() {
    assert_eq!(asked_for(&["--", "true"]), variables_of(Flags::command()));
    for (name, command) in queries::commands() {
        let mut expected = variables_of(command);
        match name {
            // It has no options; what it looks at is what leaderrun gives to its command.
            "verify" => continue,
            // A unit's variable for its candidate is no business of the unit's own `leaderrun resign`.
            "resign" => assert!(expected.remove("LEADERRUN_WAIT")),
            _ => {}
        }
        assert_eq!(asked_for(&[name]), expected, "{name}");
    }
}

#[test]
fn parser_help_and_man_page_name_the_same_options() {
    let page = include_str!("../../../man/leaderrun.1").replace("\\-", "-");
    let section = page
        .split(".SH ")
        .find(|s| s.starts_with("OPTIONS"))
        .unwrap();
    // The line after .TP is the tag: `.BR -k ", " --key " " \fIKEY\fR`.
    let tags = section
        .split(".TP\n")
        .skip(1)
        .map(|s| s.lines().next().unwrap());
    let documented: BTreeSet<_> = tags
        .map(|tag| {
            let words: Vec<_> = tag.split([' ', '"', ',']).collect();
            let long = words.iter().find_map(|w| w.strip_prefix("--")).unwrap();
            let short = words.iter().find(|w| w.len() == 2 && w.starts_with('-'));
            (long.to_owned(), short.and_then(|s| s.chars().nth(1)))
        })
        .collect();
    let known = options_of_clap(Flags::command());
    assert_eq!(documented, known);
    let help = Flags::command().render_long_help().to_string();
    for (long, short) in known {
        let named = short.map_or(format!("--{long}"), |s| format!("-{s}, --{long}"));
        assert!(help.contains(&named), "{named}");
    }
}
