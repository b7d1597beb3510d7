//! What bash, zsh and fish make of `leaderrun completions`.

mod support;

use std::fs;
use std::process::Command;

use support::{Candidate, Scratch, require_program};

/// What `shell` prints when it runs `script`, in which `$1` is the file with the completions.
#[track_caller]
fn told(shell: &str, options: &[&str], script: &str) -> String {
    let dir = Scratch::new("completions");
    let asked = Candidate::bare().args(["completions", shell]).output();
    assert_eq!(asked.code(), 0, "{}", asked.stderr);
    let (file, code) = (dir.path("leaderrun"), dir.path("try"));
    fs::write(&file, &asked.stdout).expect("a new file");
    fs::write(&code, script).expect("a new file");
    let out = Command::new("timeout")
        .args(["30", shell])
        .args(options)
        .args([&code, &file])
        .env("HOME", dir.dir())
        .output()
        .expect("the shell");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    );
    assert!(
        out.status.success() && stderr.is_empty(),
        "{stdout}{stderr}"
    );
    stdout
}

#[test]
fn bash() {
    let script = r#"
        source "$1"
        try() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _leaderrun leaderrun "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"
        }
        try leaderrun st
        try leaderrun --on-loss ""
        try leaderrun --key k --cgro
        try leaderrun run --layout s
        try leaderrun resign --wa
        try leaderrun completions ba
        complete -p leaderrun
    "#;
    let told = told("bash", &["--norc"], script);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[..6],
        [
            "status",
            "exit campaign",
            "--cgroup",
            "single",
            "--wait",
            "bash"
        ]
    );
    assert!(lines[6].contains("-F _leaderrun"), "{told}");
}

#[test]
fn fish() {
    if !require_program("fish") {
        return;
    }
    let script = r#"
        source $argv[1]
        for line in "leaderrun sta" "leaderrun --on-loss " "leaderrun --cgro" "leaderrun resign --wa"
            complete -C $line | string split -f1 \t | string join " "
        end
        true
    "#;
    let told = told("fish", &["--no-config"], script);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines, ["status", "campaign exit", "--cgroup", "--wait"]);
}

#[test]
fn zsh() {
    if !require_program("zsh") {
        return;
    }
    // In a terminal of its own, since zsh completes nowhere else.
    let script = r#"
        zmodload zsh/zpty
        zpty -b z zsh -f -i
        zpty -w z "autoload -U compinit; compinit -u -D; source '$1'; print ready-\$_comps[leaderrun]"
        zpty -r z seen '*ready-_leaderrun*' && print ready
        zpty -w -n z $'leaderrun --on-loss camp\t'
        zpty -r z seen '*--on-loss campaign*' && print completed
        zpty -d z
    "#;
    let told = told("zsh", &["-f"], script);
    assert_eq!(told, "ready\ncompleted\n");
}
