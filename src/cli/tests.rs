//! Good and bad input, each from the command line and from the environment.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt;

use clap::CommandFactory;

use super::*;

/// Parses with an environment and a checker of endpoints that dislikes `bad`.
fn parse_with(args: &[&str], env: &[(&str, &str)]) -> Result<Parsed, UsageError> {
    let env: BTreeMap<_, _> = env.iter().copied().collect();
    let args = std::iter::once("leaderrun").chain(args.iter().copied());
    parse(
        args.map(OsString::from),
        |name| env.get(name).map(OsString::from),
        |list| {
            if list.is_empty() || list.contains("bad") {
                Err(format!("{list:?} is no endpoint"))
            } else {
                Ok(())
            }
        },
    )
}

fn run(args: &[&str], env: &[(&str, &str)]) -> RunOptions {
    match parse_with(args, env) {
        Ok(Parsed::Run(options)) => *options,
        other => panic!("{args:?} {env:?}: {other:?}"),
    }
}

/// The message for an option's value, from the flag and from the variable.
fn complaints(option: &str, value: &str) -> [String; 2] {
    let flag = format!("--{option}={value}");
    let variable = environment::variable(option);
    let key: &[&str] = if option == "key" {
        &[]
    } else {
        &["--key", "k"]
    };
    let from_flag = parse_with(
        &[key, &[&flag, "true"]].concat(),
        &[(&variable, "overruled")],
    );
    let from_env = parse_with(&[key, &["true"]].concat(), &[(&variable, value)]);
    [(from_flag, format!("--{option}")), (from_env, variable)].map(|(result, source)| {
        let message = result
            .expect_err(&format!("{source}={value:?} is accepted"))
            .to_string();
        message
            .strip_prefix(&format!("{source}: "))
            .unwrap_or_else(|| panic!("{source} is not named first: {message}"))
            .to_owned()
    })
}

#[track_caller]
fn refused(option: &str, value: &str, because: &str) {
    for message in complaints(option, value) {
        assert!(message.contains(because), "{option}={value:?}: {message}");
        assert!(
            !message.lines().next().unwrap().contains(char::is_control),
            "{message:?}"
        );
    }
}

fn usage(args: &[&str]) -> String {
    parse_with(args, &[])
        .expect_err(&format!("{args:?} is accepted"))
        .to_string()
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let options = run(&["--key", "/election/x", "ls", "-l"], &[]);
    assert_eq!(options.key, "/election/x");
    assert!(
        options.id.ends_with(&format!(":{}", std::process::id())),
        "{}",
        options.id
    );
    assert_eq!(options.settings, Settings::default());
    assert_eq!(
        options.timeline,
        Timeline::new(&Settings::default()).unwrap()
    );
    assert_eq!(options.wait, Patience::Forever);
    assert_eq!(options.conflict_exit_code, 124);
    assert_eq!(options.on_loss, OnLoss::Exit);
    assert_eq!(options.stop_signal, Signal::SIGTERM);
    assert_eq!(options.stop_timeout, None);
    assert_eq!(options.endpoints, "127.0.0.1:2379");
    assert_eq!(options.log, LogOptions::default());
    assert_eq!(options.command, ["ls", "-l"]);
}

#[test]
fn the_command_begins_at_the_first_word_or_after_two_dashes() {
    let command = |args: &[&str]| run(&[&["-k", "k"], args].concat(), &[]).command;
    assert_eq!(
        command(&["ls", "--key", "x", "--help"]),
        ["ls", "--key", "x", "--help"]
    );
    assert_eq!(command(&["--", "ls", "-l"]), ["ls", "-l"]);
    assert_eq!(command(&["--", "--", "x"]), ["--", "x"]);
    assert_eq!(command(&["sh", "--", "x"]), ["sh", "--", "x"]);
    assert_eq!(command(&["--", "-odd"]), ["-odd"]);
    assert_eq!(run(&["run", "-k", "k", "ls"], &[]).command, ["ls"]);
    assert_eq!(
        run(&["--", "ls"], &[("LEADERRUN_KEY", "k")]).command,
        ["ls"]
    );
}

#[test]
fn arguments_that_are_not_utf_8_pass_unharmed() {
    let odd = OsString::from_vec(b"\xff\xfe".to_vec());
    let args = ["leaderrun", "-k", "k", "--", "echo"].map(OsString::from);
    let parsed = parse(args.into_iter().chain([odd.clone()]), |_| None, |_| Ok(()));
    let Ok(Parsed::Run(options)) = parsed else {
        panic!("{parsed:?}")
    };
    assert_eq!(options.command[1], odd);
    let args = ["leaderrun".into(), "-k".into(), odd, "true".into()];
    let message = parse(args, |_| None, |_| Ok(())).unwrap_err().to_string();
    assert!(
        message.starts_with("--key: the value is not valid UTF-8"),
        "{message}"
    );
}

#[test]
fn a_subcommand_is_one_only_as_the_first_word() {
    for word in ["status", "observe", "resign", "verify", "completions"] {
        assert!(
            usage(&[word, "--key", "k"]).contains("not available"),
            "{word}"
        );
    }
    for word in [
        "run",
        "status",
        "observe",
        "resign",
        "verify",
        "completions",
        "help",
    ] {
        assert!(usage(&["-k", "k", word]).contains(&format!("leaderrun [OPTIONS] -- {word}")));
        assert!(usage(&["-k", "k", word, "--", "x"]).contains("has to come first"));
        assert_eq!(run(&["-k", "k", "--", word, "x"], &[]).command, [word, "x"]);
    }
    assert!(usage(&["help"]).contains("leaderrun --help"));
    assert_eq!(
        run(&["-k", "k", "/bin/status"], &[]).command,
        ["/bin/status"]
    );
}

#[test]
fn a_missing_word_is_asked_for() {
    assert!(usage(&[]).contains("leaderrun --key KEY -- COMMAND"));
    assert!(usage(&["true"]).contains("an election is needed"));
    assert!(usage(&["--key", "k"]).contains("a command is needed"));
    assert!(usage(&["--key", "k", "--"]).contains("a command is needed"));
    assert!(usage(&["--key", "k", ""]).contains("the command is empty"));
    assert!(usage(&["--key"]).contains("--key <KEY>"));
}

#[test]
fn bad_keys_are_refused() {
    refused("key", "", "the key is empty");
    refused("key", "/election/x/", "use '/election/x'");
    refused("key", "//", "names no election");
    refused("key", "a\nb", "control character");
    refused("key", "a\0", "control character");
    let twice = usage(&["--key", "a", "-k", "b", "true"]);
    assert!(
        twice.contains("more than once") && twice.contains("the TLS key is --cert-key"),
        "{twice}"
    );
}

#[test]
fn bad_identities_are_refused() {
    refused("id", "", "the identity is empty");
    refused("id", "a\u{1b}[2J", "control character");
    refused("id", &"x".repeat(1025), "1025 bytes long");
    assert_eq!(
        run(&["-k", "k", "--id", &"x".repeat(1024), "true"], &[])
            .id
            .len(),
        1024
    );
}

#[test]
fn bad_durations_are_refused() {
    refused("ttl", "15", "use 15s");
    refused("ttl", "2.5", "use 2.5s");
    refused("ttl", "", "the duration is empty");
    refused("ttl", "-5s", "is negative");
    refused("ttl", "soon", "is no duration");
    refused("ttl", "15 parsecs", "is no duration");
    refused("ttl", "0", "too short: use 2s or more");
    refused("ttl", "0s", "too short: use 2s or more");
    refused("ttl", "1s", "too short: use 2s or more");
    refused("ttl", "2.5s", "not a whole number of seconds: use 2s or 3s");
    refused(
        "ttl",
        "2500ms",
        "not a whole number of seconds: use 2s or 3s",
    );
    refused("ttl", "9000000001s", "above etcd's maximum");
    refused("grace", "30s", "use --ttl ");
    refused("grace", "-1s", "is negative");
    refused("margin", "1ms", "use 200ms or more");
    refused("margin", "1h", "use --ttl ");
    refused("renew-interval", "10ms", "use 100ms or more");
    refused("renew-interval", "14s", "use --ttl ");
    refused("wait", "5", "use 5s");
    refused("wait", "-5s", "is negative");
    refused("wait", "500years", "is too long");
    refused("stop-timeout", "never", "is no duration");
    assert!(usage(&["-k", "k", "--ttl", "-5s", "true"]).starts_with("--ttl: '-5s' is negative"));
}

#[test]
fn what_does_not_fit_together_names_all_that_was_given() {
    let both = parse_with(
        &["-k", "k", "--ttl", "10s", "true"],
        &[("LEADERRUN_GRACE", "9s")],
    );
    let message = both.unwrap_err().to_string();
    assert!(
        message.starts_with("--ttl, LEADERRUN_GRACE: a TTL of 10s less"),
        "{message}"
    );
}

#[test]
fn good_durations_are_understood() {
    let args = "-k k --ttl=1m --grace 0 --margin 1.5s --renew-interval 500ms --wait=1h --stop-timeout 0s true";
    let options = run(&args.split(' ').collect::<Vec<_>>(), &[]);
    assert_eq!(options.timeline.ttl(), Duration::from_secs(60));
    assert_eq!(options.timeline.grace(), Duration::ZERO);
    assert_eq!(options.timeline.margin(), Duration::from_millis(1500));
    assert_eq!(options.timeline.interval(), Duration::from_millis(500));
    assert_eq!(options.wait, Patience::For(Duration::from_secs(3600)));
    assert_eq!(options.stop_timeout, Some(Duration::ZERO));
    assert_eq!(
        run(&["-k", "k", "--ttl", "1m 30s", "true"], &[])
            .timeline
            .ttl(),
        Duration::from_secs(90)
    );
}

#[test]
fn the_other_bad_values_are_refused() {
    refused("endpoints", "", "is no endpoint");
    refused("endpoints", "a,bad", "is no endpoint");
    refused("conflict-exit-code", "256", "from 0 to 255");
    refused("conflict-exit-code", "-1", "from 0 to 255");
    refused("conflict-exit-code", "", "from 0 to 255");
    refused("on-loss", "restart", "use exit or campaign");
    refused("log-format", "xml", "use text or json");
    refused("log-file", "", "the name is empty");
    refused("stop-signal", "KILL", "--grace 0s");
    refused("stop-signal", "9", "--grace 0s");
    refused("stop-signal", "sigstop", "does not end it");
    refused("stop-signal", "CONT", "does not end it");
    refused("stop-signal", "0", "is no signal");
    refused("stop-signal", "SIGSIGTERM", "is no signal");
    refused("stop-signal", "-TERM", "is no signal");
    assert!(
        usage(&["-k", "k", "--keey", "x", "true"]).contains("'--key'"),
        "clap suggests"
    );
    assert!(usage(&["-k", "k", "-qv", "true"]).contains("cannot be used with"));
    assert!(usage(&["-k", "k", "--ttl", "9s", "--ttl", "9s", "true"]).contains("multiple times"));
}

#[test]
fn signals_are_named_in_any_fashion() {
    for (text, signal) in [
        ("TERM", Signal::SIGTERM),
        ("SIGTERM", Signal::SIGTERM),
        ("15", Signal::SIGTERM),
        ("sigint", Signal::SIGINT),
        ("winch", Signal::SIGWINCH),
    ] {
        assert_eq!(
            run(&["-k", "k", "--stop-signal", text, "true"], &[]).stop_signal,
            signal
        );
    }
}

#[test]
fn try_and_wait_exclude_each_other_and_flags_beat_variables() {
    let wait = |args: &[&str], env: &[(&str, &str)]| {
        run(&[&["-k", "k"], args, &["true"]].concat(), env).wait
    };
    let five = Patience::For(Duration::from_secs(5));
    assert_eq!(wait(&["-n"], &[]), Patience::Try);
    assert_eq!(wait(&["--wait", "0s"], &[]), Patience::Try);
    assert_eq!(wait(&["-w5s"], &[]), five);
    assert_eq!(wait(&["-w", "5s"], &[("LEADERRUN_TRY", "1")]), five);
    assert_eq!(wait(&["--try"], &[("LEADERRUN_WAIT", "5s")]), Patience::Try);
    assert_eq!(
        wait(&[], &[("LEADERRUN_WAIT", "5s"), ("LEADERRUN_TRY", "0")]),
        five
    );
    assert!(
        usage(&["-k", "k", "-n", "-w", "5s", "true"])
            .starts_with("--try: cannot be used with --wait")
    );
    let both = parse_with(
        &["-k", "k", "true"],
        &[("LEADERRUN_WAIT", "5s"), ("LEADERRUN_TRY", "1")],
    );
    assert!(
        both.unwrap_err()
            .to_string()
            .starts_with("LEADERRUN_TRY: cannot be used with LEADERRUN_WAIT")
    );
}

#[test]
fn switches_in_the_environment_are_yes_or_no() {
    let level = |args: &[&str], env: &[(&str, &str)]| {
        run(&[&["-k", "k"], args, &["true"]].concat(), env)
            .log
            .level
    };
    for (word, expected) in [
        ("1", Level::Debug),
        ("Yes", Level::Debug),
        ("", Level::Info),
        ("off", Level::Info),
    ] {
        assert_eq!(
            level(&[], &[("LEADERRUN_VERBOSE", word)]),
            expected,
            "{word:?}"
        );
    }
    assert_eq!(level(&["-q"], &[("LEADERRUN_VERBOSE", "1")]), Level::Error);
    assert_eq!(level(&["-v"], &[("LEADERRUN_QUIET", "1")]), Level::Debug);
    let message = parse_with(&["-k", "k", "true"], &[("LEADERRUN_TRY", "maybe")]).unwrap_err();
    assert!(
        message
            .to_string()
            .starts_with("LEADERRUN_TRY: 'maybe' is neither yes nor no")
    );
}

#[test]
fn etcdctls_endpoints_serve_where_ours_are_absent() {
    let theirs = ("ETCDCTL_ENDPOINTS", "theirs:1");
    let endpoints = |args: &[&str], env: &[(&str, &str)]| {
        run(&[&["-k", "k"], args, &["true"]].concat(), env).endpoints
    };
    assert_eq!(endpoints(&[], &[theirs]), "theirs:1");
    assert_eq!(
        endpoints(&[], &[theirs, ("LEADERRUN_ENDPOINTS", "ours:1")]),
        "ours:1"
    );
    assert_eq!(endpoints(&["--endpoints", "flag:1"], &[theirs]), "flag:1");
    assert_eq!(
        endpoints(&[], &[("ETCDCTL_ENDPOINTS", "")]),
        "127.0.0.1:2379"
    );
    let message = parse_with(&["-k", "k", "true"], &[("ETCDCTL_ENDPOINTS", "bad")]).unwrap_err();
    assert!(
        message.to_string().starts_with("ETCDCTL_ENDPOINTS: "),
        "{message}"
    );
}

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
    assert!(print(&["--explain"]).contains("TTL 15s"));
    assert!(print(&["--explain", "--ttl", "30s", "-k", "k", "true"]).contains("TTL 30s"));
    assert!(usage(&["--explain", "--grace", "30s"]).contains("use --ttl"));
}

/// The long and short names of what clap knows, without the command itself.
fn options_of_clap() -> BTreeSet<(String, Option<char>)> {
    let mut command = Flags::command();
    command.build();
    command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_short())))
        .collect()
}

#[test]
fn every_option_has_its_variable() {
    let asked = RefCell::new(BTreeSet::new());
    let args = ["leaderrun", "--", "true"].map(OsString::from);
    let lookup = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        (name == "LEADERRUN_KEY").then(|| "k".into())
    };
    parse(args, lookup, |_| Ok(())).unwrap();
    let mut expected: BTreeSet<_> = options_of_clap()
        .into_iter()
        .filter(|(long, _)| long != "help" && long != "version")
        .map(|(long, _)| environment::variable(&long))
        .collect();
    expected.insert("ETCDCTL_ENDPOINTS".to_owned());
    assert_eq!(asked.into_inner(), expected);
}

#[test]
fn parser_help_and_man_page_name_the_same_options() {
    let page = include_str!("../../man/leaderrun.1").replace("\\-", "-");
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
    let known = options_of_clap();
    assert_eq!(documented, known);
    let help = Flags::command().render_long_help().to_string();
    for (long, short) in known {
        let named = short.map_or(format!("--{long}"), |s| format!("-{s}, --{long}"));
        assert!(help.contains(&named), "{named}");
    }
}
