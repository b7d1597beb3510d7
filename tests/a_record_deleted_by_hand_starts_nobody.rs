//! Key and term record of a leader are deleted by hand, one after the other or both at once, while its command may
//! live: who had seen the record waits as if it stood. The end of a term is told apart from that, and waits for nobody.

mod support;

use nix::unistd::Pid;
use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Running, Signal, assert_no_overlap, eventually, is_alive,
    now, require_etcd,
};

const TTL: f64 = 6.0;

fn record() -> String {
    format!("{KEY}.term")
}

/// A leader whose command ignores the stop signal, and a standby that has seen its record.
struct Scene {
    etcd: Etcd,
    beat: Beat,
    leader: Running,
    standby: Running,
    token: u64,
    command: Pid,
}

impl Scene {
    fn new(layout: &str) -> Self {
        let (etcd, beat) = (Etcd::start(), Beat::new());
        let candidate = |id: &str, life| {
            let candidate = Candidate::new(&etcd).id(id).ttl("6s");
            candidate.args(["--layout", layout]).life(life).spawn()
        };
        let leader = candidate("leader", beat.life().ignores_term());
        let token = beat.wait_tokens(1);
        let standby = candidate("standby", beat.life());
        standby.wait_event("waiting");
        let command = leader.command_pid();
        Self {
            etcd,
            beat,
            leader,
            standby,
            token,
            command,
        }
    }

    /// The leader's lease and key go, and the standby is next.
    fn revoke(&self) {
        let lease = self.leader.wait_event("elected")["lease"].clone();
        let lease = lease.as_str().expect("in hex");
        self.etcd.etcdctl(&["lease", "revoke", lease]);
        self.wait_for_the_record();
    }

    fn wait_for_the_record(&self) {
        eventually(LIMIT, || {
            let waits = self.standby.events_named("waiting");
            waits.last().is_some_and(|wait| wait["reason"] == "record")
        });
    }

    /// The standby outlasts the command.
    fn plays_well(self) {
        self.beat.wait_tokens(2);
        eventually(LIMIT, || !is_alive(self.command));
        assert_eq!(assert_no_overlap(&self.beat)[0], self.token);
    }
}

#[test]
fn after_the_lease_was_revoked() {
    if !require_etcd() {
        return;
    }
    for layout in ["queue", "single"] {
        let scene = Scene::new(layout);
        scene.revoke();
        assert!(scene.etcd.del(&record()));
        // The leader, which reaches etcd, writes it anew at once.
        let ours = format!("\"token\":{},", scene.token);
        let record = eventually(LIMIT, || scene.etcd.get(&record()));
        assert!(record.contains(&ours), "{record}");
        assert!(scene.leader.try_wait().is_none());
        scene.plays_well();
    }
}

#[test]
fn after_the_key_was_deleted_under_a_frozen_supervisor() {
    if !require_etcd() {
        return;
    }
    let scene = Scene::new("queue");
    scene.leader.signal(Signal::SIGSTOP);
    assert!(scene.etcd.del(&scene.etcd.keys(&format!("{KEY}/"))[0]));
    scene.wait_for_the_record();
    assert!(scene.etcd.del(&record()));
    scene.plays_well();
}

/// What was deleted while nobody looked is found in etcd's history.
#[test]
fn while_the_standby_was_frozen() {
    if !require_etcd() {
        return;
    }
    let scene = Scene::new("queue");
    scene.leader.signal(Signal::SIGSTOP);
    scene.standby.signal(Signal::SIGSTOP);
    assert!(scene.etcd.del(&scene.etcd.keys(&format!("{KEY}/"))[0]));
    scene.etcd.put("other", "before");
    assert!(scene.etcd.del(&record()));
    for n in 0..10 {
        scene.etcd.put("other", &n.to_string());
    }
    scene.standby.signal(Signal::SIGCONT);
    scene.plays_well();
}

/// Nor does one that only saw the record of the term before that one, whose TTL was shorter.
#[test]
fn after_a_term_that_the_standby_had_not_seen() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let candidate =
        |id: &str, ttl: &str, life| Candidate::new(&etcd).id(id).ttl(ttl).life(life).spawn();
    let first = candidate("first", "3s", beat.life());
    beat.wait_tokens(1);
    let second = candidate("second", "9s", beat.life().ignores_term());
    second.wait_event("waiting");
    let third = candidate("third", "60s", beat.life());
    third.wait_event("waiting");
    third.signal(Signal::SIGSTOP);
    first.signal(Signal::SIGTERM);
    beat.wait_tokens(2);
    let command = second.command_pid();
    second.signal(Signal::SIGSTOP);
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    for n in 0..30 {
        etcd.put("other", &n.to_string());
    }
    assert!(etcd.del(&record()));
    etcd.put("other", "after");
    third.signal(Signal::SIGCONT);
    beat.wait_tokens(3);
    eventually(LIMIT, || !is_alive(command));
    assert_no_overlap(&beat);
}

/// The end of a later term says nothing of one whose record was deleted by hand before.
#[test]
fn before_a_term_that_ended_in_order_while_the_standby_was_frozen() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let candidate = |id: &str, ttl: &str| Candidate::new(&etcd).id(id).ttl(ttl);
    let first = candidate("first", "3s").life(beat.life()).spawn();
    let token = beat.wait_tokens(1);
    let second = candidate("second", "3s").life(beat.life()).spawn();
    second.wait_event("waiting");
    let third = candidate("third", "60s").life(beat.life()).spawn();
    assert_eq!(third.wait_event("waiting")["reason"], "queue");
    third.signal(Signal::SIGSTOP);
    first.signal(Signal::SIGSTOP);
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    etcd.put("other", "before");
    assert!(etcd.del(&record()));
    beat.wait_tokens(2);
    second.signal(Signal::SIGTERM);
    second.wait();
    third.signal(Signal::SIGCONT);
    let wait = third.wait_another_event("waiting");
    assert_eq!(wait["reason"], "record");
    beat.wait_tokens(3);
    assert_eq!(assert_no_overlap(&beat)[0], token);
}

/// A term that ends after its key was lost, or while nobody looked, is over all the same.
#[test]
fn the_end_of_a_term_is_waited_for_by_nobody() {
    if !require_etcd() {
        return;
    }
    for loses_its_key in [true, false] {
        let (etcd, beat) = (Etcd::start(), Beat::new());
        let candidate = |id: &str| Candidate::new(&etcd).id(id).ttl("30s").life(beat.life());
        let leader = candidate("leader").spawn();
        let token = beat.wait_tokens(1);
        let standby = candidate("standby").spawn();
        standby.wait_event("waiting");
        if loses_its_key {
            assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
        } else {
            standby.signal(Signal::SIGSTOP);
            leader.signal(Signal::SIGTERM);
            leader.wait();
            // More than are looked at at once.
            for n in 0..40 {
                etcd.put("other", &n.to_string());
            }
            standby.signal(Signal::SIGCONT);
        }
        leader.wait_event("released");
        let released = now();
        beat.wait_tokens(2);
        assert!(now() - released < TTL, "{}", now() - released);
        assert_eq!(assert_no_overlap(&beat)[0], token);
        let text = etcd.get(&format!("{KEY}.term")).expect("the second term");
        assert!(!text.contains("over"), "{text}");
    }
}
