//! The fence needs no privileges: as a user who is nobody it stops, kills and hands over as it does for root.

mod support;

use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, NOBODY, Proxy, Running, Signal, assert_no_overlap,
    eventually, kill, now, require_etcd,
};

const GRACE: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_millis(500);
/// How late a busy machine may run us.
const SLACK: f64 = 0.4;
/// A hand-over that did not wait for the TTL.
const PROMPT: f64 = 3.0;

struct Scene {
    leader: Running,
    standby: Running,
    token: u64,
    proxy: Proxy,
    beat: Beat,
    etcd: Etcd,
}

/// A leader with a daemon that both ignore the stop signal, and a standby, all of them nobody's.
fn scene(ttl: &str) -> Option<Scene> {
    if !require_etcd() {
        return None;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let proxy = Proxy::new(&etcd);
    let candidate = |id: &str| {
        Candidate::new(&etcd)
            .id(id)
            .ttl(ttl)
            .args(["--grace", "1s", "--margin", "500ms", "-v"])
            .user(NOBODY)
    };
    let leader = candidate("leader")
        .endpoints(proxy.endpoint())
        .life(beat.life().ignores_term().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = candidate("standby").life(beat.life()).spawn();
    standby.wait_event("waiting");
    leader.wait_event("renewed");
    Some(Scene {
        leader,
        standby,
        token,
        proxy,
        beat,
        etcd,
    })
}

impl Scene {
    /// When the next one started, once it is plain that nothing of the first lived on.
    #[track_caller]
    fn next_start(&self) -> f64 {
        let next = self.standby.wait_elected();
        eventually(LIMIT, || {
            let stamps = self.beat.stamps();
            stamps.iter().filter(|s| s.token == next).count() > 20
        });
        assert_no_overlap(&self.beat);
        self.beat.first_stamp(next).at
    }

    #[track_caller]
    fn assert_dead_by(&self, due: f64) {
        let last = self.beat.last_stamp(self.token).at;
        println!(
            "last sign of life {:+.3}s from SIGKILL's instant",
            last - due
        );
        assert!(last < due + SLACK, "{last} {due}");
    }
}

#[test]
fn it_ends_as_its_command_does_and_leaves_nothing() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .user(NOBODY)
        .sh("id -u; exit 7")
        .spawn();
    assert_eq!(run.wait().code(), Some(7));
    assert_eq!(run.stdout(), "65534\n");
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn without_etcd_the_command_dies_in_time() {
    let Some(scene) = scene("5s") else { return };
    scene.proxy.pause();
    scene.next_start();
    let due = scene.leader.instants(GRACE, MARGIN);
    scene.assert_dead_by(due.kill);
    scene.proxy.resume();
    assert_eq!(scene.leader.wait().code(), Some(75));
    scene.leader.wait_gone();
}

#[test]
fn when_etcd_is_frozen_the_command_dies_in_time() {
    let Some(scene) = scene("5s") else { return };
    scene.etcd.stop();
    assert_eq!(scene.leader.wait().code(), Some(75));
    let due = scene.leader.instants(GRACE, MARGIN);
    scene.assert_dead_by(due.kill);
    scene.leader.wait_gone();
    scene.etcd.cont();
    scene.next_start();
}

#[test]
fn a_killed_supervisor_leaves_no_command_behind() {
    let Some(scene) = scene("20s") else { return };
    let killed = now();
    scene.leader.signal(Signal::SIGKILL);
    let gap = scene.next_start() - killed;
    println!("next start {gap:.3}s after the kill");
    scene.assert_dead_by(killed + GRACE.as_secs_f64());
    assert!(gap < GRACE.as_secs_f64() + PROMPT, "{gap}");
    scene.leader.wait_gone();
}

#[test]
fn a_frozen_supervisor_leaves_no_command_behind() {
    let Some(scene) = scene("5s") else { return };
    scene.leader.signal(Signal::SIGSTOP);
    scene.next_start();
    let due = scene.leader.instants(GRACE, MARGIN);
    scene.assert_dead_by(due.kill);
    scene.leader.signal(Signal::SIGCONT);
    assert_eq!(scene.leader.wait().code(), Some(75));
    scene.leader.wait_gone();
}

#[test]
fn a_killed_guardian_leaves_no_command_behind() {
    let Some(scene) = scene("20s") else { return };
    let killed = now();
    kill(scene.leader.guardian_pid(), Signal::SIGKILL);
    let gap = scene.next_start() - killed;
    println!("next start {gap:.3}s after the kill");
    assert!(gap < PROMPT, "{gap}");
    assert_eq!(scene.leader.wait().code(), Some(75));
    scene.leader.wait_gone();
}

#[test]
fn a_deleted_key_fences_the_command() {
    let Some(scene) = scene("20s") else { return };
    let candidates = scene.etcd.entries_under(&format!("{KEY}/"));
    let first = candidates.iter().min_by_key(|e| e.create_revision);
    let deleted = now();
    assert!(scene.etcd.del(&first.expect("the leader's").key));
    let gap = scene.next_start() - deleted;
    println!("next start {gap:.3}s after the deletion");
    // The news needs a moment, unlike a death.
    scene.assert_dead_by(deleted + GRACE.as_secs_f64() + 0.2);
    assert!(gap < GRACE.as_secs_f64() + PROMPT, "{gap}");
    assert_eq!(scene.leader.wait().code(), Some(75));
    scene.leader.wait_gone();
}
