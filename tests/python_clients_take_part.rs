//! `--layout single` side by side with a client that others wrote, in a language of its own: Python's etcd3, its
//! lease, transaction and watch calls.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Life, Pid, Running, Signal, assert_no_overlap, eventually,
    is_alive, now, require_etcd, require_that,
};

/// A python that has etcd3, if there is one.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("ETCD3_PYTHON").map_or_else(
        || {
            // Beside the tests' own program: target/debug/leaderrun.
            let target = Path::new(env!("CARGO_BIN_EXE_leaderrun"))
                .ancestors()
                .nth(2);
            target
                .expect("a target directory")
                .join("etcd3-python/bin/python")
        },
        PathBuf::from,
    );
    let there = Command::new(&python).args(["-c", "import etcd3"]).output();
    let there = there.is_ok_and(|output| output.status.success());
    require_that(there, "python with etcd3").then_some(python)
}

/// One of the recipe, whose command lives such a life.
fn recipe(python: &Path, etcd: &Etcd, ttl: u32, life: &Life) -> Running {
    let endpoint = etcd.endpoint();
    let (_, port) = endpoint.rsplit_once(':').expect("a port");
    let mut command = Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/recipe.py"))
        .args([port, KEY, "python", &ttl.to_string()])
        .args(life.argv())
        // Its library would take loopback to be behind a proxy.
        .env("no_proxy", "127.0.0.1");
    Running::spawn("python", command)
}

/// Once it says so; returns the revision of its key.
#[track_caller]
fn wait_leads(recipe: &Running) -> u64 {
    eventually(LIMIT, || {
        recipe
            .stdout()
            .lines()
            .find_map(|line| line.strip_prefix("leads ")?.parse().ok())
    })
}

#[track_caller]
fn wait_waits(recipe: &Running) {
    eventually(LIMIT, || recipe.stdout().contains("waits"));
}

fn candidate(etcd: &Etcd, id: &str, ttl: &str) -> Candidate {
    Candidate::new(etcd)
        .id(id)
        .ttl(ttl)
        .args(["--layout", "single"])
}

#[test]
fn leaderrun_follows_python_and_python_leaderrun() {
    if !require_etcd() {
        return;
    }
    let Some(python) = python() else { return };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let first = recipe(&python, &etcd, 30, &beat.life());
    let revision = wait_leads(&first);
    beat.wait_stamp(revision, "beat");

    let life = beat.life().ignores_term().with_daemon();
    let ours = candidate(&etcd, "ours", "15s")
        .args(["--stop-timeout", "1s"])
        .life(life)
        .spawn();
    assert_eq!(ours.wait_event("waiting")["leader"], "python");
    first.signal(Signal::SIGTERM);
    assert!(first.wait().success());
    let token = ours.wait_elected();
    assert!(token > revision);
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);

    let second = recipe(&python, &etcd, 30, &beat.life());
    wait_waits(&second);
    ours.signal(Signal::SIGTERM);
    let last = wait_leads(&second);
    assert!(!is_alive(daemon));
    beat.wait_stamp(last, "beat");
    ours.wait_gone();
    assert_eq!(etcd.get(KEY).as_deref(), Some("python"));
    second.signal(Signal::SIGTERM);
    assert!(second.wait().success());
    assert_eq!(assert_no_overlap(&beat), [revision, token, last]);
    etcd.assert_nothing_left();
}

#[test]
fn a_leader_that_is_cut_off_is_followed_when_its_tree_is_dead() {
    if !require_etcd() {
        return;
    }
    let Some(python) = python() else { return };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let ours = candidate(&etcd, "ours", "4s")
        .life(beat.life().ignores_term())
        .spawn();
    let token = ours.wait_elected();
    let follower = recipe(&python, &etcd, 30, &beat.life());
    wait_waits(&follower);
    // Its lease runs out.
    ours.signal(Signal::SIGSTOP);
    let revision = wait_leads(&follower);
    beat.wait_stamp(revision, "beat");
    assert_eq!(assert_no_overlap(&beat), [token, revision]);
}

#[test]
fn a_python_that_is_killed_is_followed_when_its_lease_ends() {
    if !require_etcd() {
        return;
    }
    let Some(python) = python() else { return };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let killed = recipe(&python, &etcd, 3, &beat.life());
    let revision = wait_leads(&killed);
    let ours = candidate(&etcd, "ours", "15s").life(beat.life()).spawn();
    ours.wait_event("waiting");
    killed.signal(Signal::SIGKILL);
    let at = now();
    assert!(ours.wait_elected() > revision);
    // etcd looks after leases every half second, and keeps them a little longer than they ask for.
    let after = Duration::from_secs_f64(now() - at);
    assert!(after < Duration::from_secs(10), "{after:?}");
}
