//! Frozen at the worst instants: a guardian that stands still after the stop signal is killed before SIGKILL
//! is overdue, and a family that was frozen over the stop signal gets it when it is thawed.

mod support;

use std::thread;
use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, Freezer, LIMIT, Proxy, Running, Stalled, assert_no_overlap, eventually,
    now, require_etcd,
};

const GRACE: Duration = Duration::from_secs(3);
const MARGIN: Duration = Duration::from_secs(1);
/// How late a busy machine may run us.
const SLACK: f64 = 0.4;

struct Scene {
    leader: Running,
    token: u64,
    standby: Running,
    beat: Beat,
    proxy: Proxy,
    _etcd: Etcd,
}

/// A leader that hears nothing of etcd any more, and another candidate that does.
fn scene(prepare: impl FnOnce(&Beat, Candidate) -> Candidate) -> Scene {
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let proxy = Proxy::new(&etcd);
    let leader = Candidate::new(&etcd)
        .id("leader")
        .endpoints(proxy.endpoint())
        .ttl("8s")
        .args(["--grace", "3s", "--margin", "1s", "-v"]);
    let leader = prepare(&beat, leader).spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "beat");
    let standby = Candidate::new(&etcd)
        .id("standby")
        .ttl("8s")
        .life(beat.life())
        .spawn();
    standby.wait_event("waiting");
    leader.wait_another_event("renewed");
    proxy.pause();
    Scene {
        leader,
        token,
        standby,
        beat,
        proxy,
        _etcd: etcd,
    }
}

impl Scene {
    /// The other candidate has started, and nothing of the leader's has lived since. Returns the last
    /// sign of life.
    #[track_caller]
    fn last_of_the_first(&self) -> f64 {
        let next = self.standby.wait_elected();
        eventually(LIMIT, || {
            let stamps = self.beat.stamps();
            stamps.iter().filter(|s| s.token == next).count() > 20
        });
        assert_no_overlap(&self.beat);
        self.beat.last_stamp(self.token).at
    }
}

/// The time is what these tests are about.
fn wait_until(instant: f64) {
    thread::sleep(Duration::try_from_secs_f64(instant - now()).unwrap_or_default());
}

/// The guardian is harmed when it has sent the stop signal, which the command ignores.
fn a_guardian_that_stands_still_after_the_stop_signal(harm: impl FnOnce(&Running)) {
    let scene = scene(|beat, leader| leader.life(beat.life().ignores_term().with_daemon()));
    scene.beat.wait_stamp(scene.token, "daemon");
    let leader = &scene.leader;
    assert_eq!(leader.wait_event("stopping")["reason"], "renewal-timeout");
    harm(leader);
    let due = leader.instants(GRACE, MARGIN);
    let last = scene.last_of_the_first();
    println!(
        "last sign of life {:+.3}s from SIGKILL's instant",
        last - due.kill
    );
    // The guardian is given a part of the margin, before it is taken for dead.
    assert!(last < due.another, "{last} {due:?}");
    scene.proxy.resume();
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
}

#[test]
fn a_traced_guardian_after_the_stop_signal() {
    if require_etcd() {
        a_guardian_that_stands_still_after_the_stop_signal(|leader| {
            // Who traces it is the first to hear of its death, and does not keep that to himself.
            Stalled::main_thread(leader.guardian_pid()).wait_killed();
        });
    }
}

#[test]
fn a_frozen_guardian_after_the_stop_signal() {
    if !require_etcd() {
        return;
    }
    if let Some(freezer) = Freezer::mortal() {
        a_guardian_that_stands_still_after_the_stop_signal(|leader| {
            freezer.freeze(leader.guardian_pid());
        });
    }
}

/// Whoever wakes first must not take the others for dead.
#[test]
fn a_family_that_was_frozen_over_the_stop_signal_gets_it_and_the_rest_of_its_grace() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::mortal() else {
        return;
    };
    let entering = freezer.entering();
    let entering: Vec<&str> = entering.iter().map(String::as_str).collect();
    let scene = scene(|beat, leader| leader.under(&entering).life(beat.life().notes_term()));
    let leader = &scene.leader;
    // An answer may have been on its way when the network went.
    let due = leader.instants(GRACE, MARGIN);
    wait_until(due.stop - 0.7);
    let due = leader.instants(GRACE, MARGIN);
    freezer.freeze(leader.pid());
    // Longer than the stop signal of a guardian that is well may be late.
    wait_until(due.stop + 1.2);
    let thawed = now();
    assert!(
        thawed < due.kill - 0.5,
        "too busy a machine: {thawed} {due:?}"
    );
    freezer.thaw();
    let told = scene.beat.wait_stamp(scene.token, "term").at;
    let last = scene.last_of_the_first();
    println!(
        "thawed at {:+.3}s, told at {:+.3}s, last sign of life at {:+.3}s from the stop instant",
        thawed - due.stop,
        told - due.stop,
        last - due.stop
    );
    assert!(told > thawed - 0.02, "{told} {thawed}");
    assert!(
        last > due.kill - SLACK && last < due.kill + SLACK,
        "{last} {due:?}"
    );
    assert_eq!(leader.wait_event("stopping")["reason"], "renewal-timeout");
    assert_eq!(leader.wait_event("killed")["reason"], "deadline");
    scene.proxy.resume();
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
}
