//! What the command leaves behind is stopped, given the grace period and killed, and leadership is
//! released only then.

mod support;

use support::{
    Beat, Candidate, Etcd, KEY, Life, Pid, Running, Signal, assert_no_overlap, death_of,
    instant_of, is_alive, require_etcd,
};

/// A leader whose main process is gone and whose daemon is not; the daemon, and the token.
fn bereaved(etcd: &Etcd, beat: &Beat, life: Life) -> (Running, Pid, u64) {
    let leader = Candidate::new(etcd)
        .ttl("5s")
        .grace("800ms")
        .life(life.with_daemon())
        .spawn();
    let token = leader.wait_elected();
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    // It is passed on to the main process alone, which it kills.
    leader.signal(Signal::SIGUSR1);
    leader.wait_event("command-exited");
    (leader, daemon, token)
}

#[test]
fn a_daemon_that_does_not_stop_is_killed_after_the_grace_period_and_then_the_next_may_lead() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, daemon, first) = bereaved(&etcd, &beat, beat.life().notes_term());
    let standby = Candidate::new(&etcd).life(beat.life()).spawn();

    let asked = beat.wait_stamp(first, "term");
    assert_eq!(
        Pid::from_raw(asked.pid),
        daemon,
        "the stop signal reaches it"
    );
    let warning = leader.wait_event("warning")["message"].to_string();
    assert!(
        warning.contains("has ended and left ")
            && warning.contains("SIGTERM, and SIGKILL after 800ms"),
        "{warning}"
    );
    assert_eq!(leader.wait_event("killed")["reason"], "leftovers");
    leader.wait_event("tree-empty");
    assert!(!is_alive(daemon));
    // The main process's status, although the daemon was killed.
    assert_eq!(death_of(leader.wait()), Signal::SIGUSR1 as i32);
    // The log's instants are those at which a busy supervisor hears of it.
    let of = |event| instant_of(&leader.wait_event(event));
    let lived = of("killed") - of("command-exited");
    assert!(
        lived > 0.5,
        "the grace period of 0.8 s was cut to {lived} s"
    );

    let second = standby.wait_elected();
    beat.wait_stamp(second, "beat");
    assert_eq!(assert_no_overlap(&beat), [first, second]);
    let times = |run: &Running, event| run.wait_event(event)["ts"].as_str().map(str::to_owned);
    assert!(times(&leader, "tree-empty") <= times(&standby, "started"));
    standby.signal(Signal::SIGTERM);
    standby.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_daemon_that_stops_when_asked_is_not_waited_for_any_longer() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, daemon, token) = bereaved(&etcd, &beat, beat.life().exits_on_term(0));
    leader.wait_event("tree-empty");
    assert!(!is_alive(daemon));
    beat.wait_stamp(token, "term");
    leader.wait_gone();
    assert!(leader.events_named("killed").is_empty());
    etcd.assert_nothing_left();
}

#[test]
fn leadership_is_renewed_as_long_as_a_planned_stop_takes() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    // A planned stop has no limit of its own, so the tree lives beyond the TTL.
    let leader = Candidate::new(&etcd)
        .ttl("3s")
        .grace("0s")
        .life(beat.life().notes_term().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let record = || etcd.entry(&format!("{KEY}.term")).expect("a record");
    leader.signal(Signal::SIGTERM);
    leader.wait_event("stopping");
    let before = record().mod_revision;
    support::eventually(support::LIMIT, || record().mod_revision > before + 6);
    let key = etcd.entries_under(&format!("{KEY}/"));
    assert_eq!(key[0].create_revision, token);
    assert!(leader.events_named("tree-empty").is_empty());
    // With no grace period at all, what the main process leaves is killed at once.
    leader.signal(Signal::SIGUSR1);
    assert_eq!(leader.wait_event("killed")["reason"], "leftovers");
    leader.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_tree_that_goes_on_forking_is_killed_to_the_last() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // Each generation outlives its parent, in a session of its own.
    let command = "
        trap '' TERM
        export GENERATION='sleep 0.02; setsid sh -c \"$GENERATION\" &'
        i=0; while [ $i -lt 4 ]; do sh -c \"$GENERATION\" & i=$((i+1)); done
        echo ready; while :; do sleep 0.01; done";
    let run = Candidate::new(&etcd)
        .args(["--stop-timeout", "100ms"])
        .sh(command)
        .spawn();
    support::eventually(support::LIMIT, || run.stdout().contains("ready"));
    run.signal(Signal::SIGTERM);
    assert_eq!(death_of(run.wait()), 9);
    assert!(run.tree().is_empty(), "{:?}", run.tree());
    run.wait_gone();
    etcd.assert_nothing_left();
}
