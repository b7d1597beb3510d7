//! `helper & exec leaderrun`: children that leaderrun had before it was leaderrun are none of the
//! command's.

mod support;

use std::fs;

use support::{
    Beat, Candidate, Etcd, LIMIT, Pid, Running, Signal, death_of, eventually, is_alive,
    require_etcd,
};

/// Starts a helper, then becomes leaderrun.
fn with_helper(candidate: Candidate) -> (Running, Pid) {
    // Of its standard streams it keeps none, so that only its life can show.
    let starter = "sleep 900 </dev/null >/dev/null 2>&1 & echo $! >\"$HELPER\"; exec \"$@\"";
    let dir = support::Scratch::new("helper");
    let file = dir.path("pid");
    let run = candidate
        .under(&["sh", "-c", starter, "sh"])
        .env("HELPER", &file)
        .spawn();
    let helper = eventually(LIMIT, || {
        fs::read_to_string(&file)
            .ok()?
            .trim()
            .parse()
            .ok()
            .map(Pid::from_raw)
    });
    assert!(is_alive(helper));
    (run, helper)
}

#[test]
fn a_helper_lives_on_when_the_command_has_ended() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let life = beat.life().ignores_term().with_daemon();
    let (run, helper) = with_helper(Candidate::new(&etcd).grace("0s").life(life));
    let token = run.wait_elected();
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    run.signal(Signal::SIGUSR1);
    assert_eq!(death_of(run.wait()), Signal::SIGUSR1 as i32);
    assert!(!is_alive(daemon) && is_alive(helper));
    etcd.assert_nothing_left();
}

#[test]
fn a_helper_lives_on_when_the_supervisor_has_to_sweep() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let life = beat.life().ignores_term().with_daemon();
    let (run, helper) = with_helper(Candidate::new(&etcd).life(life));
    let token = run.wait_elected();
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    support::kill(run.guardian_pid(), Signal::SIGKILL);
    assert_eq!(run.wait().code(), Some(75));
    assert_eq!(run.wait_event("lost")["reason"], "guardian-lost");
    assert!(!is_alive(daemon) && is_alive(helper));
    etcd.assert_nothing_left();
}
