//! Words and sources; the values themselves are in [`values`], the documentation in [`pages`].

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::election::Token;
use crate::query::{Ask, Wait};
use crate::report::Level;

mod access;
mod pages;
mod values;

/// Parses with an environment and a checker of endpoints that dislikes `bad`.
fn parse_with(args: &[&str], env: &[(&str, &str)]) -> Result<Parsed, UsageError> {
    let env: BTreeMap<_, _> = env.iter().copied().collect();
    let args = std::iter::once("leaderrun").chain(args.iter().copied());
    parse(
        args.map(OsString::from),
        |name| env.get(name).map(OsString::from),
        |list, _| {
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
    assert_eq!(options.stop_signal, SignalNumber(15));
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
    let parsed = parse(
        args.into_iter().chain([odd.clone()]),
        |_| None,
        |_, _| Ok(()),
    );
    let Ok(Parsed::Run(options)) = parsed else {
        panic!("{parsed:?}")
    };
    assert_eq!(options.command[1], odd);
    let args = ["leaderrun".into(), "-k".into(), odd, "true".into()];
    let message = parse(args, |_| None, |_, _| Ok(()))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("--key: the value is not valid UTF-8"),
        "{message}"
    );
}

#[test]
fn a_subcommand_is_one_only_as_the_first_word() {
    assert!(usage(&["completions", "csh"]).contains("bash"));
    for word in ["status", "observe", "resign"] {
        let Ok(Parsed::Query(query)) = parse_with(&[word, "--key", "k"], &[]) else {
            panic!("{word}");
        };
        assert_eq!(
            (query.key.as_str(), query.endpoints.as_str()),
            ("k", "127.0.0.1:2379")
        );
        assert!(usage(&[word]).contains("an election is needed"), "{word}");
        assert!(
            usage(&[word, "--key", "k", "x"]).contains("unexpected argument"),
            "{word}"
        );
    }
    let inside = [
        ("LEADERRUN_KEY", "k"),
        ("LEADERRUN_LEADER_KEY", "k/1f"),
        ("LEADERRUN_TOKEN", "7"),
        ("LEADERRUN_ENDPOINTS", "etcd:2379"),
    ];
    let Ok(Parsed::Query(query)) = parse_with(&["verify"], &inside) else {
        panic!("verify");
    };
    let ask = Ask::Verify {
        leader_key: "k/1f".to_owned(),
        token: Token(7),
    };
    assert_eq!((query.ask, query.endpoints.as_str()), (ask, "etcd:2379"));
    assert!(usage(&["verify"]).contains("LEADERRUN_LEADER_KEY is not set"));
    assert!(usage(&["resign", "-k", "k", "--wait", "5"]).contains("--wait: "));
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
    assert!(usage(&["help", "stattus"]).contains("'stattus' is no subcommand"));
    assert!(usage(&["help", "-k", "k", "--", "help"]).contains("-- help"));
    assert_eq!(
        run(&["-k", "k", "/bin/status"], &[]).command,
        ["/bin/status"]
    );
}

#[test]
fn a_single_key_is_none_that_another_election_writes() {
    for key in ["/e/x.term", "/e/x.resign"] {
        assert!(usage(&["--layout", "single", "-k", key, "x"]).contains("'/e/x' uses itself"));
        assert_eq!(run(&["-k", key, "x"], &[]).key, key);
    }
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
fn a_misspelt_subcommand_is_recognized() {
    for (word, meant) in [
        ("stattus", "status"),
        ("stat", "status"),
        ("STATUS", "status"),
        ("obsrve", "observe"),
        ("resing", "resign"),
        ("verfy", "verify"),
        ("completion", "completions"),
        ("rnu", "run"),
    ] {
        let message = usage(&[word, "-k", "a"]);
        let hint = format!("did you mean leaderrun {meant}?");
        assert!(message.contains(&hint), "{word}: {message}");
        assert!(message.contains("an election is needed"), "{message}");
    }
    let message = usage(&["stat\u{1b}us", "-k", "a"]);
    assert!(!message.contains('\u{1b}'), "{message}");
    for args in [
        &["./status"][..],
        &["ls"],
        &["make"],
        &["-n", "stattus"],
        &["run", "stattus"],
        &["--", "stattus"],
        &[],
    ] {
        let message = usage(args);
        assert!(!message.contains("did you mean"), "{args:?}: {message}");
    }
    // It may be a command after all.
    assert_eq!(
        run(&["stats"], &[("LEADERRUN_KEY", "k")]).command,
        ["stats"]
    );
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
fn a_question_heeds_the_environment_as_a_candidate_does() {
    let ask = |word: &str, env: &[(&str, &str)]| match parse_with(&[word, "-k", "k"], env) {
        Ok(Parsed::Query(query)) => Ok(query.ask),
        Ok(other) => panic!("{word} {env:?}: {other:?}"),
        Err(error) => Err(error.to_string()),
    };
    for (value, json) in [("1", true), ("off", false), ("", false)] {
        let env = [("LEADERRUN_JSON", value)];
        assert_eq!(ask("status", &env), Ok(Ask::Status { json }), "{value}");
        assert_eq!(ask("observe", &env), Ok(Ask::Observe { json }), "{value}");
    }
    for word in ["status", "observe"] {
        let message = ask(word, &[("LEADERRUN_JSON", "maybe")]).unwrap_err();
        assert!(message.starts_with("LEADERRUN_JSON: 'maybe' is neither"));
    }
    let of_a_candidate = [("LEADERRUN_WAIT", "5s")];
    let no = Ask::Resign { wait: Wait::No };
    assert_eq!(ask("resign", &of_a_candidate), Ok(no));
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
