//! A run on an election that an ancestor of it holds is refused: it would wait for itself for ever.

mod support;

use support::{Candidate, Etcd, KEY, require_etcd};

const PROGRAM: &str = env!("CARGO_BIN_EXE_leaderrun");

#[test]
fn a_run_on_the_election_of_an_ancestor_is_refused_at_once() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // The endpoints come from the environment of the outer run, and so may the key.
    for inner in [&["--key", KEY][..], &[]] {
        let mut command = vec![PROGRAM];
        command.extend_from_slice(inner);
        command.extend(["--", "true"]);
        let run = Candidate::new(&etcd).command(&command).spawn();
        assert_eq!(run.wait().code(), Some(125), "{}", run.stderr());
        let stderr = run.stderr();
        assert!(stderr.contains("held by an ancestor"), "{stderr}");
        assert!(!stderr.contains("waiting"), "{stderr}");
        run.wait_gone();
        etcd.assert_nothing_left();
    }
}

#[test]
fn a_run_on_another_election_works_below_a_run() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let script = "echo $LEADERRUN_KEY; exit 3";
    let command = [PROGRAM, "--key", "/other", "--", "sh", "-c", script];
    let run = Candidate::new(&etcd).command(&command).spawn();
    assert_eq!(run.wait().code(), Some(3), "{}", run.stderr());
    assert_eq!(run.stdout(), "/other\n");
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_run_below_a_run_below_a_run_is_refused_as_well() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let innermost = [PROGRAM, "--key", KEY, "--", "true"];
    let mut command = vec![PROGRAM, "--key", "/other", "--"];
    command.extend(innermost);
    let run = Candidate::new(&etcd).command(&command).spawn();
    assert_eq!(run.wait().code(), Some(125), "{}", run.stderr());
    assert!(
        run.stderr().contains("held by an ancestor"),
        "{}",
        run.stderr()
    );
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn an_ancestors_term_that_is_over_holds_up_nobody() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // As a daemon would have it that was restarted by hand from an old environment.
    let run = Candidate::new(&etcd)
        .env("LEADERRUN_KEY", KEY)
        .env("LEADERRUN_LEADER_KEY", format!("{KEY}/1f"))
        .env("LEADERRUN_TOKEN", "1")
        .command(&["true"]);
    assert_eq!(run.output().code(), 0);
    etcd.assert_nothing_left();
}
