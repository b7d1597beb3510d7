//! What bash, zsh and fish make of `leaderrun completions`.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use support::pty::Pty;
use support::{Candidate, Scratch, require_program};

/// What is typed before the key, and what the key has to add: all that there is to choose from.
///
/// The directory holds a file, `report`, and a command, `zzcount`, can be found.
const CASES: [(&str, &str); 33] = [
    ("st", "status"),
    ("zzc", "zzcount"),
    ("run --layout s", "single"),
    ("status --js", "--json"),
    ("observe --js", "--json"),
    ("resign --wa", "--wait"),
    ("completions ", "bash fish zsh"),
    ("completions f", "fish"),
    ("completions bash ", ""),
    ("verify --", "--help"),
    ("status --cgr", ""),
    ("status st", ""),
    // Values.
    ("--on-loss ", "campaign exit"),
    ("--layout q", "queue"),
    ("--stop-signal US", "USR1 USR2"),
    ("--cacert re", "report"),
    ("status --cacert re", "report"),
    ("--ttl re", ""),
    ("--stop-timeout re", ""),
    ("resign --wait re", ""),
    ("resign --wait 5s --ke", "--key"),
    ("-w re", ""),
    // A value is no subcommand, and a subcommand is one only as the first word.
    ("-k status --cgr", "--cgroup"),
    ("-k foo status --js", ""),
    ("-k foo st --cgr", ""),
    // The command.
    ("-k foo zzc", "zzcount"),
    ("-k foo -- zzc", "zzcount"),
    ("run -nk foo zzc", "zzcount"),
    ("--ttl=9s --key foo -- cat rep", "report"),
    ("-k foo cat rep", "report"),
    ("-k foo -- cat comp", ""),
    ("-k foo -- cat --cgr", ""),
    ("-k foo cat --cgr", ""),
];

/// As [`CASES`], with the value in the option's own word.
const JOINED: [(&str, &str); 5] = [
    ("--layout=", "queue single"),
    ("--layout=q", "queue"),
    ("--cacert=re", "report"),
    ("--ttl=re", ""),
    ("resign --wait=re", ""),
];

/// The place where a shell completes.
struct Place {
    dir: Scratch,
    script: PathBuf,
}

impl Place {
    /// With the completions for `shell` in the file `name`.
    #[track_caller]
    fn new(shell: &str, name: &str) -> Self {
        let dir = Scratch::new("completions");
        let asked = Candidate::bare().args(["completions", shell]).output();
        assert_eq!(asked.code(), 0, "{}", asked.stderr);
        fs::create_dir(dir.path("bin")).expect("a new directory");
        let script = dir.path("bin").join(name);
        fs::write(&script, &asked.stdout).expect("a new file");
        let command = dir.path("bin").join("zzcount");
        fs::write(&command, "#!/bin/sh\n").expect("a new file");
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).expect("own file");
        fs::write(dir.path("report"), "").expect("a new file");
        Self { dir, script }
    }

    fn shell(&self, program: &str, options: &[&str]) -> Command {
        let bin = self.dir.path("bin");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .args(options)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", self.dir.dir())
            .env("LC_ALL", "C.UTF-8")
            .env_remove("ENV")
            .current_dir(self.dir.dir());
        command
    }

    /// A shell that completes to all matches on Tab, and shows the line between `<<` and `>>` on Ctrl-P, and begins
    /// a new one.
    #[track_caller]
    fn on_terminal(&self, program: &str, options: &[&str], preparation: &str) -> Pty {
        let mut pty = Pty::open(&mut self.shell(program, options));
        for line in preparation.lines().map(str::trim) {
            pty.line(&line.replace("SCRIPT", &self.script.display().to_string()));
        }
        pty.line("echo pre''pared");
        pty.expect("prepared");
        pty
    }

    #[track_caller]
    fn bash(&self) -> Pty {
        self.on_terminal(
            "bash",
            &["--norc", "--noprofile", "-i"],
            r#"source SCRIPT
               bind 'TAB: insert-completions'
               bind -x '"\C-p": printf "\n<%s%s>%s\n" "<" "$READLINE_LINE" ">"; READLINE_LINE='"#,
        )
    }
}

/// Types `line` and the key, and returns what the key has added.
#[track_caller]
fn added(pty: &mut Pty, line: &str) -> String {
    let line = format!("leaderrun {line}");
    pty.keys(&format!("{line}\t\x10"));
    pty.expect("<<");
    let completed = pty.expect(">>");
    // What was typed of the word counts as added, which reads better; the prefix of an option that has its value
    // in the same word does not.
    let typed = line.rfind([' ', '=']).map_or(0, |at| at + 1);
    let added = completed
        .get(typed..)
        .unwrap_or_else(|| panic!("{completed}"));
    let added = added.trim_end_matches([' ', '=']);
    let added = if added == &line[typed..] { "" } else { added };
    in_order(added.split(' '))
}

/// The words in the order of the alphabet, each without the option that it is the value of.
fn in_order<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<_> = words
        .map(|word| word.split_once('=').map_or(word, |(_, value)| value))
        .collect();
    words.sort_unstable();
    words.join(" ")
}

#[track_caller]
fn assert_completed(shell: &str, cases: &[(&str, &str)], mut complete: impl FnMut(&str) -> String) {
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|&(line, wanted)| {
            let completed = complete(line);
            (completed != wanted).then(|| format!("{line}: {completed:?} instead of {wanted:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{shell}:\n{}", wrong.join("\n"));
}

#[test]
fn bash() {
    let place = Place::new("bash", "leaderrun");
    let mut pty = place.bash();
    for cases in [&CASES[..], &JOINED] {
        assert_completed("bash", cases, |line| added(&mut pty, line));
    }
}

#[test]
fn bash_hands_the_command_to_the_completions_that_are_installed() {
    let place = Place::new("bash", "leaderrun");
    let mut pty = place.bash();
    pty.line(r#"_command_offset() { COMPREPLY=("offset-$1"); }"#);
    // Where readline has the command's first word, which splits at = too.
    let cases = [
        ("-k foo -- cat rep", "offset-4"),
        ("--layout=single zzc", "offset-4"),
        ("run -k a:b cat ", "offset-6"),
    ];
    assert_completed("bash", &cases, |line| added(&mut pty, line));
}

#[test]
fn zsh() {
    if !require_program("zsh") {
        return;
    }
    let place = Place::new("zsh", "_leaderrun");
    let mut pty = place.on_terminal(
        "zsh",
        &["-f", "-i"],
        r#"fpath=($PWD/bin $fpath); autoload -U compinit; compinit -u -D
           zstyle ':completion:*' completer _all_matches _complete
           zstyle ':completion:*' insert true
           show() { print -r -- "<""<$BUFFER>"">"; BUFFER=; }; zle -N show; bindkey '^P' show"#,
    );
    for cases in [&CASES[..], &JOINED] {
        assert_completed("zsh", cases, |line| added(&mut pty, line));
    }
}

#[test]
fn fish() {
    if !require_program("fish") {
        return;
    }
    let place = Place::new("fish", "leaderrun.fish");
    let complete = |line: &str| {
        let out = place
            .shell("fish", &["--no-config", "-c"])
            .arg("source $argv[1]; complete -C $argv[2]")
            .arg(&place.script)
            .arg(format!("leaderrun {line}"))
            .output()
            .expect("fish");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(stderr.is_empty(), "{line}: {stderr}");
        let told = String::from_utf8_lossy(&out.stdout);
        in_order(told.lines().filter_map(|line| line.split('\t').next()))
    };
    for cases in [&CASES[..], &JOINED] {
        assert_completed("fish", cases, complete);
    }
}
