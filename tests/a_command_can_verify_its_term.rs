//! `verify`: whether the term that a command was started in is still the leader's, from its environment alone.

mod support;

use support::{Candidate, Etcd, KEY, LIMIT, eventually, require_etcd};

fn candidate(etcd: &Etcd, id: &str) -> Candidate {
    Candidate::new(etcd).id(id)
}

#[test]
fn verify_knows_from_the_environment_whether_the_term_still_runs() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let program = env!("CARGO_BIN_EXE_leaderrun");
    // It outlives the loss for a while, as a command in its grace period does.
    let script = format!(
        "trap '{program} verify; echo lost $?' TERM; {program} verify; echo $?; while :; do sleep 0.1; done"
    );
    let leader = candidate(&etcd, "web1").sh(&script).spawn();
    leader.wait_event("started");
    eventually(LIMIT, || leader.stdout() == "0\n");
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    eventually(LIMIT, || leader.stdout() == "0\nlost 1\n");

    let away = candidate(&etcd, "web1")
        .sh(&format!("sleep 0.2; {program} verify --help >/dev/null || exit 9; LEADERRUN_ENDPOINTS=127.0.0.1:1 {program} verify; echo $?"))
        .spawn();
    eventually(LIMIT, || away.stdout() == "125\n");
    // A script takes whatever is wrong for no.
    let outside = Candidate::bare().arg("verify").output();
    assert_eq!(outside.code(), 125);
    assert!(
        outside.stderr.contains("inside of a command"),
        "{}",
        outside.stderr
    );
}

#[test]
fn verify_says_what_its_environment_lacks() {
    let verify = || {
        Candidate::bare()
            .arg("verify")
            .env("LEADERRUN_KEY", KEY)
            .env("LEADERRUN_LEADER_KEY", format!("{KEY}/1f"))
    };
    let somewhere = |candidate: Candidate| candidate.env("LEADERRUN_ENDPOINTS", "127.0.0.1:1");
    let unset = |name: &str| format!("{name} is not set: verify works inside of a command");
    for (asked, says) in [
        (
            verify().env("LEADERRUN_TOKEN", "5"),
            unset("LEADERRUN_ENDPOINTS"),
        ),
        (
            somewhere(verify().env("LEADERRUN_TOKEN", "5")).env_remove("LEADERRUN_KEY"),
            unset("LEADERRUN_KEY"),
        ),
        (
            somewhere(verify().env("LEADERRUN_TOKEN", "-1")),
            "LEADERRUN_TOKEN: '-1' is no token".to_owned(),
        ),
        (
            somewhere(verify().env("LEADERRUN_TOKEN", "0")),
            "LEADERRUN_TOKEN: '0' is no token".to_owned(),
        ),
    ] {
        let asked = asked.output();
        assert_eq!(asked.code(), 125, "{says}");
        assert!(asked.stderr.contains(&says), "{says}: {}", asked.stderr);
    }
}
