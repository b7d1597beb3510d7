//! A leaderrun to be started: what a user would type, and with what around it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use super::beat::Life;
use super::etcd::Etcd;
use super::network::Node;
use super::running::Running;
use super::scratch::Scratch;

/// The key of candidates that are given none.
pub const KEY: &str = "/election/test";

/// Builds one `leaderrun` run. Its log goes to a file as JSON, for [`Running::wait_event`].
#[derive(Debug, Default)]
#[must_use]
pub struct Candidate {
    name: String,
    logged: bool,
    key: Option<OsString>,
    endpoints: Option<OsString>,
    arguments: Vec<OsString>,
    command: Vec<OsString>,
    wrapper: Vec<OsString>,
    program: Option<PathBuf>,
    environment: Vec<(OsString, Option<OsString>)>,
    broken_rules: Vec<String>,
    uid: Option<u32>,
    /// Whether the wrapper keeps the privileges of the test.
    privileged_wrapper: bool,
    own_group: bool,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, where captured.
    pub stdout: String,
    /// Its standard error, where captured.
    pub stderr: String,
    /// Its log.
    pub events: Vec<Value>,
}

impl Finished {
    /// The exit status; fails the test if it died by a signal.
    #[track_caller]
    pub fn code(&self) -> i32 {
        match self.status.code() {
            Some(code) => code,
            None => panic!("{:?}: {}", self.status, self.stderr),
        }
    }
}

impl Candidate {
    /// A candidate for [`KEY`] in that etcd; without a command it runs `sleep 600`.
    pub fn new(etcd: &Etcd) -> Self {
        Self {
            name: "candidate".to_owned(),
            logged: true,
            key: Some(KEY.into()),
            endpoints: Some(etcd.endpoints().into()),
            command: vec!["sleep".into(), "600".into()],
            ..Self::default()
        }
    }

    /// A run with no argument but those that the test gives: no key, endpoints, log or command.
    pub fn bare() -> Self {
        Self {
            name: "bare".to_owned(),
            ..Self::default()
        }
    }

    /// The name in the output of a failed test, and `--id`.
    pub fn id(self, id: &str) -> Self {
        let name = id.to_owned();
        Self { name, ..self }.arg("--id").arg(id)
    }

    /// `--key`.
    pub fn key(self, key: impl Into<OsString>) -> Self {
        let key = Some(key.into());
        Self { key, ..self }
    }

    /// `--endpoints`, instead of the etcd's own.
    pub fn endpoints(self, endpoints: impl Into<OsString>) -> Self {
        let endpoints = Some(endpoints.into());
        Self { endpoints, ..self }
    }

    /// `--ttl`.
    pub fn ttl(self, ttl: &str) -> Self {
        self.arg("--ttl").arg(ttl)
    }

    /// `--grace`.
    pub fn grace(self, grace: &str) -> Self {
        self.arg("--grace").arg(grace)
    }

    /// `--margin`.
    pub fn margin(self, margin: &str) -> Self {
        self.arg("--margin").arg(margin)
    }

    /// One more argument of leaderrun, before the command.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments of leaderrun, before the command.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The command, after `--`.
    pub fn command<A: AsRef<OsStr> + ?Sized>(mut self, command: &[&A]) -> Self {
        self.command = command.iter().map(|a| a.as_ref().to_owned()).collect();
        self
    }

    /// The same, of a list that was made elsewhere.
    pub fn argv(self, command: Vec<OsString>) -> Self {
        Self { command, ..self }
    }

    /// A shell script as the command.
    pub fn sh(self, script: &str) -> Self {
        self.command(&["sh", "-c", script])
    }

    /// A command that stamps its life.
    pub fn life(mut self, life: Life) -> Self {
        self.command = life.into_iter().collect();
        self
    }

    /// What leaderrun itself is run by, `["setpriv", …]` or `["timeout", "-s", "KILL", "5"]`.
    pub fn under<A: AsRef<OsStr> + ?Sized>(mut self, wrapper: &[&A]) -> Self {
        self.wrapper = wrapper.iter().map(|a| a.as_ref().to_owned()).collect();
        self
    }

    /// Runs leaderrun on a node of a network.
    pub fn on(self, node: &Node) -> Self {
        let wrapper = node.entering();
        self.under(&wrapper.iter().collect::<Vec<_>>())
    }

    /// Where the wrapper finds leaderrun, if that is not where the build has put it.
    pub fn program(self, program: impl Into<PathBuf>) -> Self {
        let program = Some(program.into());
        Self { program, ..self }
    }

    /// A variable of leaderrun's environment, which is otherwise free of `LEADERRUN_*` and `ETCD*`.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), Some(value.into())));
        self
    }

    /// A variable that leaderrun is not to inherit.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), None));
        self
    }

    /// Switches a rule off (see `src/rules.rs`); only a build with `break-rules` does.
    pub fn break_rule(mut self, rule: &str) -> Self {
        self.broken_rules.push(rule.to_owned());
        self
    }

    /// Runs leaderrun as another user; only root can.
    pub fn user(self, uid: u32) -> Self {
        let uid = Some(uid);
        Self { uid, ..self }
    }

    /// The same, while its wrapper runs as root.
    pub fn user_within_wrapper(self, uid: u32) -> Self {
        Self {
            privileged_wrapper: true,
            ..self.user(uid)
        }
    }

    /// Gives leaderrun a process group of its own, for [`Running::signal_group`].
    pub fn own_group(self) -> Self {
        Self {
            own_group: true,
            ..self
        }
    }

    /// Standard input; nothing by default. With a pipe, see [`Running::take_stdin`].
    pub fn stdin(self, stdin: impl Into<Stdio>) -> Self {
        let stdin = Some(stdin.into());
        Self { stdin, ..self }
    }

    /// Standard output, instead of a file for [`Running::stdout`].
    pub fn stdout(self, stdout: impl Into<Stdio>) -> Self {
        let stdout = Some(stdout.into());
        Self { stdout, ..self }
    }

    /// Standard error, instead of a file for [`Running::stderr`].
    pub fn stderr(self, stderr: impl Into<Stdio>) -> Self {
        let stderr = Some(stderr.into());
        Self { stderr, ..self }
    }

    /// Leaves the log as leaderrun has it by default: text, on standard error.
    pub fn text_log(self) -> Self {
        Self {
            logged: false,
            ..self
        }
    }

    /// Has the log in a file, as JSON: [`Finished::events`].
    pub fn json_log(self) -> Self {
        Self {
            logged: true,
            ..self
        }
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(self) -> Running {
        let dir = Scratch::new(&self.name.replace(['/', '\0'], "_"));
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_leaderrun"));
        let mut program = self.program.unwrap_or_else(built);
        if let Some(uid) = self.uid {
            // The user may not enter the directory of the build.
            program = copy_of(&program, &dir);
            dir.give_to(uid);
        }
        let mut words = self.wrapper;
        if let (Some(uid), true) = (self.uid, self.privileged_wrapper) {
            let ids = [format!("--reuid={uid}"), format!("--regid={uid}")];
            words.extend(["setpriv".into(), "--clear-groups".into()]);
            words.extend(ids.map(OsString::from));
        }
        words.push(program.into());
        for (flag, value) in [("--key", self.key), ("--endpoints", self.endpoints)] {
            if let Some(value) = value {
                words.extend([flag.into(), value]);
            }
        }
        let log = self.logged.then(|| dir.path("log"));
        if let Some(log) = &log {
            words.extend(["--log-format".into(), "json".into(), "--log-file".into()]);
            words.push(log.into());
        }
        words.extend(self.arguments);
        if !self.command.is_empty() {
            words.push("--".into());
            words.extend(self.command);
        }

        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        for (name, _) in std::env::vars_os() {
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b"LEADERRUN_") || bytes.starts_with(b"ETCD") {
                command.env_remove(name);
            }
        }
        if !self.broken_rules.is_empty() {
            command.env("LEADERRUN_BREAK", self.broken_rules.join(","));
        }
        for (name, value) in self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let (Some(uid), false) = (self.uid, self.privileged_wrapper) {
            command.uid(uid).gid(uid);
        }
        // Every candidate leads a session, and so a group, of its own; see `spawn_mortal`.
        let _ = self.own_group;
        let streams = [self.stdin, self.stdout, self.stderr];
        Running::spawn_in(dir, &self.name, command, streams, log)
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn output(self) -> Finished {
        let running = self.spawn();
        let status = running.wait();
        Finished {
            status,
            stdout: running.stdout(),
            stderr: running.stderr(),
            events: running.events(),
        }
    }
}

fn copy_of(program: &Path, dir: &Scratch) -> PathBuf {
    let copy = dir.path("leaderrun");
    fs::copy(program, &copy).expect("copy of the program");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("own file");
    copy
}

/// A question about the election, a subcommand's name and its options, to any of the members.
pub fn ask(etcd: &Etcd, words: &[&str]) -> Candidate {
    let (name, options) = words.split_first().expect("a subcommand");
    let endpoints = etcd.endpoints();
    Candidate::bare()
        .arg(*name)
        .args(["--key", KEY, "--endpoints", &endpoints])
        .args(options.iter().copied())
}
