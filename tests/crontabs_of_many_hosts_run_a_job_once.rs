//! The line of the README, in the crontabs of hosts whose clocks differ: one run for each tick, and nothing to mail.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use support::{Etcd, Running, Scratch, require_etcd};

const README: &str = include_str!("../README.md");
const MANUAL: &str = include_str!("../man/leaderrun.1");

/// The command line of the crontab, but for the two minutes that nobody waits here for.
fn line() -> String {
    let start = README.find("`leaderrun -q -n").expect("the line") + 1;
    let line = README[start..].split('`').next().expect("its end");
    let manual = MANUAL.replace('\\', "").replace("/usr/local/bin/", "");
    assert!(manual.contains(line), "the manual has another");
    assert!(line.contains("--min-hold 2m"));
    line.replace("2m", "4s")
}

#[test]
fn one_run_for_each_tick_and_nothing_to_mail() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let dir = Scratch::new("cron");
    let job = dir.path("backup");
    let runs = dir.path("runs");
    fs::write(&job, format!("#!/bin/sh\necho run >>{}\n", runs.display())).expect("own directory");
    fs::set_permissions(&job, fs::Permissions::from_mode(0o755)).expect("own file");
    let bin = Path::new(env!("CARGO_BIN_EXE_leaderrun")).parent();
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        bin.expect("a directory").display(),
        dir.dir().display()
    );
    let host = || {
        // As cron does it: sh, a small environment, and what is printed is mailed.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &line()])
            .env_clear()
            .env("PATH", &path)
            .env("LEADERRUN_CGROUP", "off")
            .env("LEADERRUN_ENDPOINTS", etcd.endpoints());
        Running::spawn("host", command)
    };
    for tick in 1..=2 {
        let hosts: Vec<_> = (0..4)
            .map(|n| {
                // The clocks' difference.
                thread::sleep(Duration::from_millis(400 * u64::from(n > 0)));
                host()
            })
            .collect();
        for host in &hosts {
            assert_eq!(host.wait().code(), Some(0));
            let mail = host.stdout() + &host.stderr();
            assert_eq!(mail, "", "tick {tick}");
        }
        let done = fs::read_to_string(&runs).expect("somebody did it");
        assert_eq!(done.lines().count(), tick);
    }
    etcd.assert_nothing_left();
}
