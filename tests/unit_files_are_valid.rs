//! The shipped systemd units are what systemd takes, and what they ask of leaderrun exists.
//!
//! That they do what their comments say is shown in `systemd_runs_the_units`.

mod support;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use leaderrun::cli::{Parsed, Patience, RunOptions, parse};
use leaderrun::timing::DEFAULT_TTL;
use support::{Scratch, shipped_units};

/// The units' instances for a test, with a program where they expect one.
fn install(dir: &Scratch, change: impl Fn(&str) -> String) -> Vec<String> {
    shipped_units()
        .iter()
        .map(|unit| {
            let name = unit.file_name().and_then(|n| n.to_str()).expect("a name");
            let text = fs::read_to_string(unit).expect("a shipped unit");
            let text = text.replace(
                "ExecStart=leaderrun",
                concat!("ExecStart=", env!("CARGO_BIN_EXE_leaderrun")),
            );
            fs::write(dir.path(name), change(&text)).expect("own directory");
            name.replace('@', "@job")
        })
        .collect()
}

/// What systemd-analyze has to say of them; `None` where it is not there.
fn complaints(change: impl Fn(&str) -> String) -> Option<String> {
    if !support::require_program("systemd-analyze") {
        return None;
    }
    let dir = Scratch::new("units");
    let units = install(&dir, change);
    // Unknown settings are warnings to it, and no failure: what counts is that it is silent.
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units.iter().map(|unit| dir.path(unit)))
        .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.dir().display()))
        .env("SYSTEMD_LOG_LEVEL", "warning")
        .output()
        .expect("systemd-analyze");
    // The host's own units may be of any kind.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("leaderrun"))
        .collect();
    Some(if output.status.success() {
        ours.join("\n")
    } else {
        said
    })
}

#[test]
fn systemd_takes_them_without_a_word() {
    if let Some(said) = complaints(str::to_owned) {
        assert_eq!(said, "");
    }
}

#[test]
fn a_mistake_in_them_would_be_found() {
    let wrong = |text: &str| text.replace("AccuracySec=", "AccuracySecs=");
    if let Some(said) = complaints(wrong) {
        assert!(said.contains("AccuracySecs"), "{said}");
    }
    let wrong = |text: &str| text.replace("KillMode=mixed", "KillMode=some");
    if let Some(said) = complaints(wrong) {
        assert!(said.contains("kill mode"), "{said}");
    }
}

/// One unit file: its settings, and the example in its head.
struct Unit {
    settings: Vec<(String, String)>,
    example: HashMap<String, String>,
}

impl Unit {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("scripts/systemd")
            .join(name);
        let text = fs::read_to_string(path).expect("a shipped unit");
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            let named = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            named.then(|| (name.to_owned(), value.to_owned()))
        };
        Self {
            settings: text.lines().filter_map(pair).collect(),
            example: text
                .lines()
                .filter_map(|line| pair(line.strip_prefix("#   ")?))
                .collect(),
        }
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let named = self.settings.iter().filter(|(n, _)| n == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    fn one<'a>(&'a self, name: &str) -> &'a str {
        match self.all(name)[..] {
            [one] => one,
            ref found => panic!("{name}= is there {} times", found.len()),
        }
    }

    #[track_caller]
    fn seconds(&self, name: &str) -> Duration {
        let value = self.one(name);
        let number = value.strip_suffix('s').unwrap_or(value);
        Duration::from_secs(number.parse().expect("seconds"))
    }

    /// What leaderrun makes of the command line and the environment that systemd would give it.
    #[track_caller]
    fn options(&self) -> RunOptions {
        let mut environment: HashMap<String, String> = self
            .all("Environment")
            .iter()
            .filter_map(|e| e.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        environment.extend(self.example.clone());
        let words = self
            .one("ExecStart")
            .split(' ')
            .flat_map(|word| match word {
                "$COMMAND" => environment["COMMAND"].split(' ').collect(),
                word => vec![word],
            });
        let lookup = |name: &str| environment.get(name).map(OsString::from);
        let asked: Vec<_> = environment
            .keys()
            .filter(|name| name.starts_with("LEADERRUN_"))
            .collect();
        let help = parse(
            ["leaderrun".into(), "--help".into()],
            |_| None,
            |_, _| Ok(()),
        );
        let Ok(Parsed::Print(help)) = help else {
            panic!("no help: {help:?}");
        };
        for name in asked {
            // A variable of no option would do nothing, in silence.
            let option = name["LEADERRUN_".len()..].to_lowercase();
            let option = format!("--{}", option.replace('_', "-"));
            assert!(help.contains(&option), "{name}: no option {option}");
        }
        match parse(words.map(OsString::from), lookup, |_, _| Ok(())) {
            Ok(Parsed::Run(options)) => *options,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_service_gives_the_command_less_time_than_systemd_gives_leaderrun() {
    for name in ["leaderrun@.service", "leaderrun-cron@.service"] {
        let unit = Unit::read(name);
        let options = unit.options();
        // 8 s to tell etcd, and a little for SIGKILL.
        let needed = options.stop_timeout.expect("a limit") + Duration::from_secs(10);
        assert!(needed < unit.seconds("TimeoutStopSec"), "{name}");
        assert!(
            options.command[0]
                .to_str()
                .is_some_and(|c| c.starts_with('/'))
        );
        // With ProtectControlGroups= there would be no leaf to kill.
        assert_eq!(unit.one("Delegate"), "yes");
        assert_eq!(unit.all("ProtectControlGroups").len(), 0);
        assert_eq!(unit.one("KillMode"), "mixed");
    }
    let unit = Unit::read("leaderrun@.service");
    assert!(unit.seconds("WatchdogSec") > DEFAULT_TTL);
    assert_eq!(unit.one("RestartPreventExitStatus"), "2");
    assert_eq!(unit.one("StartLimitIntervalSec"), "0");
}

#[test]
fn the_timer_starts_all_hosts_within_the_hold() {
    let (service, timer) = (
        Unit::read("leaderrun-cron@.service"),
        Unit::read("leaderrun-cron@.timer"),
    );
    let options = service.options();
    assert_eq!(options.wait, Patience::Try);
    assert_eq!(
        service.one("SuccessExitStatus"),
        options.conflict_exit_code.to_string()
    );
    let spread = timer.seconds("AccuracySec") + timer.seconds("RandomizedDelaySec");
    assert!(options.min_hold > spread * 2);
    assert!(options.min_hold < Duration::from_secs(3600), "hourly");
    assert_eq!(timer.one("Persistent"), "false");
}
