//! Prometheus's own promtool finds nothing wrong with the metrics and with the alert rules that are shipped, and
//! the rules ask for nothing that there is not.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Candidate, Etcd, Running, Signal, require_etcd, require_program};

/// `promtool` with these arguments and this input; fails with what it says if it finds anything.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) {
    let child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("promtool");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    assert!(output.status.success(), "{}\n{input}", said.concat());
    // What it only advises (a counter without _total, say) has no status of its own.
    assert!(
        arguments[0..2] != ["check", "metrics"] || said.concat().is_empty(),
        "{}\n{input}",
        said.concat()
    );
}

fn shipped(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("scripts/prometheus").join(name)
}

#[track_caller]
fn assert_valid(run: &Running) -> String {
    let text = run.ask("/metrics").body;
    promtool(&["check", "metrics"], &text);
    text
}

#[test]
fn the_metrics_are_what_promtool_takes_for_good_ones_in_every_state() {
    if !require_etcd() || !require_program("promtool") {
        return;
    }
    let etcd = Etcd::start();
    let candidate = || {
        Candidate::new(&etcd)
            .key("/election/\"quoted\" \\ höst")
            .listening()
            .args(["--on-loss", "campaign"])
    };
    let leader = candidate().spawn();
    assert_valid(&leader);
    let lease = leader.wait_event("elected")["lease"].clone();
    leader.wait_role("leading");
    let leading = assert_valid(&leader);
    let standby = candidate().spawn();
    standby.wait_role("standby");
    assert_valid(&standby);
    standby.signal(Signal::SIGTERM);
    standby.wait();
    etcd.revoke(lease.as_str().expect("hex"));
    leader.wait_nth_event("elected", 2);
    let fenced = assert_valid(&leader);
    assert!(fenced.contains("headroom") && !leading.contains("headroom"));
}

#[test]
fn the_alert_rules_are_valid_and_fire_when_they_should() {
    if !require_program("promtool") {
        return;
    }
    for (what, file) in [("check", "alerts.yaml"), ("test", "tests.yaml")] {
        let path = shipped(file).display().to_string();
        promtool(&[what, "rules", &path], "");
    }
}

/// The words of a text that name a metric.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("leaderrun_") || word.starts_with("leader_election_"))
        .collect()
}

#[test]
fn the_manual_names_every_metric_and_no_other() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(here.join(name)).expect("there");
    let text = read("src/report/health/metrics.txt");
    let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    let metrics: BTreeSet<&str> = types.filter_map(|l| l.split(' ').next()).collect();
    let manual = read("man/leaderrun.1");
    assert_eq!(metrics_in(&manual), metrics);
    let readme = read("README.md");
    assert!(metrics_in(&readme).is_subset(&metrics));
}

#[test]
fn the_alert_rules_ask_for_metrics_that_there_are_and_each_is_tested() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/health/metrics.txt");
    let metrics = fs::read_to_string(source).expect("there");
    let known = metrics_in(&metrics);
    let rules = fs::read_to_string(shipped("alerts.yaml")).expect("there");
    let asked = metrics_in(&rules);
    assert!(asked.len() > 5, "{asked:?}");
    for metric in asked {
        assert!(known.contains(metric), "{metric}");
    }
    let tests = fs::read_to_string(shipped("tests.yaml")).expect("there");
    let alerts = rules
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let fires = format!("- alertname: {alert}\n");
        let silent = format!("{{alertname: {alert}, ");
        assert!(tests.contains(&fires) && tests.contains(&silent), "{alert}");
    }
}
