//! Each rule of the promise, kept and broken: with the rule the scenario shows nothing, and without it
//! the very violation that the rule is there to prevent.
//!
//! A scenario is run once with the program as it is and once with `LEADERRUN_BREAK` naming the rule.
//! What it saw go wrong, if anything did, is judged while everything of it still runs.

#![cfg(feature = "break-rules")]

mod support;

use std::time::Duration;

use nix::sys::signal::kill;
use support::{
    Beat, Candidate, Etcd, Freezer, KEY, Life, Pid, Proxy, Running, Signal, Stalled, eventually,
    instant_of, is_alive, is_stopped, overlaps, require_etcd, within,
};

/// How late a busy machine may run us.
const SLACK: f64 = 0.4;

/// Keeps the rule, then breaks it.
#[track_caller]
fn can_fail(rule: &str, scenario: impl Fn(&Scene)) {
    if !require_etcd() {
        return;
    }
    scenario(&Scene::new(None));
    scenario(&Scene::new(Some(rule)));
}

/// What every scenario needs: an etcd of its own, stamps, and a leader whose way to etcd can be broken.
struct Scene {
    broken: Option<String>,
    proxy: Proxy,
    beat: Beat,
    etcd: Etcd,
}

impl Scene {
    fn new(broken: Option<&str>) -> Self {
        let etcd = Etcd::start();
        Self {
            broken: broken.map(ToOwned::to_owned),
            proxy: Proxy::new(&etcd),
            beat: Beat::new(),
            etcd,
        }
    }

    fn candidate(&self, id: &str, ttl: &str, life: Life) -> Candidate {
        let candidate = Candidate::new(&self.etcd)
            .id(id)
            .ttl(ttl)
            .arg("-v")
            // Where all of them share a cgroup, the next one would end what a broken one has left in its own.
            .args(["--cgroup", "off"])
            .life(life);
        match &self.broken {
            Some(rule) => candidate.break_rule(rule),
            None => candidate,
        }
    }

    /// A leader behind the proxy. Its margin covers a machine that is busy.
    fn leader(&self, ttl: &str, life: Life) -> Candidate {
        self.leader_of_margin("600ms", ttl, life)
    }

    fn leader_of_margin(&self, margin: &str, ttl: &str, life: Life) -> Candidate {
        self.candidate("leader", ttl, life)
            .margin(margin)
            .endpoints(self.proxy.endpoint())
    }

    /// Who stands next in the queue, or joins it empty.
    fn another(&self, ttl: &str) -> Running {
        self.candidate("another", ttl, self.beat.life()).spawn()
    }

    /// Waits until the command runs and the lease has been renewed; returns its token.
    #[track_caller]
    fn wait_for_command(&self, leader: &Running) -> u64 {
        let token = leader.wait_elected();
        self.beat.wait_stamp(token, "beat");
        // The window until the stop signal is the longest now.
        leader.wait_another_event("renewed");
        token
    }

    fn delete_key(&self) {
        let key = self.etcd.keys(&format!("{KEY}/")).remove(0);
        assert!(self.etcd.del(&key));
    }

    /// What went wrong in the end, if anything did.
    #[track_caller]
    fn judge(&self, violation: Option<String>) {
        match (&self.broken, violation) {
            (None, None) => {}
            (None, Some(violation)) => panic!("with every rule kept: {violation}"),
            (Some(rule), None) => panic!("nothing goes wrong without {rule}"),
            (Some(rule), Some(violation)) => println!("without {rule}: {violation}"),
        }
    }

    /// Whether stamps of the first term come after those of the second, once that has had its time.
    #[track_caller]
    fn judge_overlap(&self) {
        let second = self.beat.wait_tokens(2);
        // Both would stamp every 10 ms, unless the machine is busy.
        let enough = if self.broken.is_none() { 50 } else { 500 };
        eventually(support::LIMIT, || {
            let stamps = self.beat.stamps();
            stamps.iter().filter(|s| s.token == second).count() > enough
                || !overlaps(&stamps).is_empty()
        });
        let found = overlaps(&self.beat.stamps());
        self.judge(found.first().map(|(late, first)| {
            format!(
                "two commands at once: token {} alive at {:.2}, token {} since {:.2}",
                late.token, late.at, first.token, first.at
            )
        }));
    }
}

#[track_caller]
fn send(pid: Pid, signal: Signal) {
    kill(pid, signal).expect("it lives");
}

#[track_caller]
fn freeze(leader: &Running) {
    leader.signal(Signal::SIGSTOP);
    eventually(support::LIMIT, || is_stopped(leader.pid()));
}

#[test]
fn record() {
    // The key goes, the command has its grace period, and another stands ready.
    can_fail("record", |scene| {
        let life = scene.beat.life().ignores_term();
        let leader = scene.leader("4s", life).grace("1500ms").spawn();
        scene.wait_for_command(&leader);
        scene.delete_key();
        let _another = scene.another("4s");
        scene.judge_overlap();
    });
}

#[test]
fn confirmation() {
    // The keepalive succeeds, and the transaction does not, as the key is gone.
    can_fail("confirmation", |scene| {
        let life = scene.beat.life().ignores_term();
        let leader = scene.leader("3s", life).grace("300ms").spawn();
        scene.wait_for_command(&leader);
        scene.delete_key();
        let _another = scene.another("3s");
        scene.judge_overlap();
    });
}

#[test]
fn take_over_wait() {
    can_fail("take-over-wait", |scene| {
        let leader = scene.leader("3s", scene.beat.life()).spawn();
        scene.wait_for_command(&leader);
        // It cannot hear that its key is gone.
        scene.proxy.pause();
        scene.delete_key();
        let _another = scene.another("3s");
        scene.judge_overlap();
    });
}

#[test]
fn sent_instant() {
    // etcd answers both parts of a renewal late, and then no more: what the deadline gains by that is
    // more than the margin.
    can_fail("sent-instant", |scene| {
        let life = scene.beat.life().ignores_term();
        let leader = scene
            .leader_of_margin("400ms", "4s", life)
            .args(["--grace", "500ms", "--renew-interval", "1100ms"])
            .spawn();
        scene.wait_for_command(&leader);
        scene.proxy.delay_answers(Duration::from_millis(400));
        // The first may have been on its way already.
        leader.wait_another_event("renewed");
        leader.wait_another_event("renewed");
        scene.proxy.pause();
        scene.delete_key();
        let _another = scene.another("4s");
        scene.judge_overlap();
    });
}

#[test]
fn sweep() {
    // The main process ends and leaves a daemon.
    can_fail("sweep", |scene| {
        let life = scene.beat.life().with_daemon();
        let life = life.ignores_term().exits(0, Duration::from_secs(1));
        let leader = scene.leader("4s", life).grace("500ms").spawn();
        scene.beat.wait_stamp(leader.wait_elected(), "daemon");
        let _another = scene.another("4s");
        scene.judge_overlap();
    });
}

#[test]
fn release_order() {
    // The same, but the daemon gets its grace period and is killed then.
    can_fail("release-order", |scene| {
        let life = scene.beat.life().with_daemon();
        let life = life.ignores_term().exits(0, Duration::from_secs(1));
        let leader = scene.leader("4s", life).grace("1s").spawn();
        scene.beat.wait_stamp(leader.wait_elected(), "daemon");
        let _another = scene.another("4s");
        scene.judge_overlap();
    });
}

#[test]
fn fence() {
    can_fail("fence", |scene| {
        let leader = scene.leader("3s", scene.beat.life()).spawn();
        scene.wait_for_command(&leader);
        freeze(&leader);
        let _another = scene.another("3s");
        scene.judge_overlap();
    });
}

#[test]
fn no_rescue() {
    // etcd comes back between the stop signal and SIGKILL.
    can_fail("no-rescue", |scene| {
        let life = scene.beat.life().notes_term();
        let leader = scene.leader("5s", life).grace("2s").spawn();
        let token = scene.wait_for_command(&leader);
        scene.proxy.pause();
        let stopping = leader.wait_event("stopping");
        scene.proxy.resume();
        leader.wait_another_event("renewed");
        let killed = instant_of(&stopping) + 2.0;
        let alive = within(Duration::from_secs(4), || {
            scene.beat.last_stamp(token).at > killed + SLACK || leader.try_wait().is_some()
        });
        alive.expect("an end, or a life past the deadline");
        let last = scene.beat.last_stamp(token).at;
        scene.judge((last > killed + SLACK).then(|| {
            format!(
                "told to stop, and alive {:.2}s after SIGKILL was due",
                last - killed
            )
        }));
    });
}

#[test]
fn parent_death_signal() {
    // Nobody is left to kill it.
    can_fail("parent-death-signal", |scene| {
        let leader = scene.leader("3s", scene.beat.life()).spawn();
        scene.wait_for_command(&leader);
        leader.kill_both();
        let _another = scene.another("3s");
        scene.judge_overlap();
    });
}

#[test]
fn guardian_watch() {
    // A stopped guardian has no timer.
    can_fail("guardian-watch", |scene| {
        let leader = scene.leader("3s", scene.beat.life()).spawn();
        scene.wait_for_command(&leader);
        send(leader.guardian_pid(), Signal::SIGSTOP);
        scene.proxy.pause();
        let _another = scene.another("3s");
        scene.judge_overlap();
    });
}

#[test]
fn orphan_release() {
    can_fail("orphan-release", |scene| {
        let leader = scene.leader("10s", scene.beat.life()).spawn();
        scene.wait_for_command(&leader);
        let another = scene.another("10s");
        another.wait_event("waiting");
        leader.signal(Signal::SIGKILL);
        leader.wait_gone();
        let waited = within(Duration::from_secs(3), || scene.beat.tokens().len() == 2);
        scene.judge(
            waited
                .is_none()
                .then(|| "3s after the tree's death the next one still waits".to_owned()),
        );
    });
}

#[test]
fn key_watch() {
    // Right after a renewal, so that the fence by itself is 3 s away.
    can_fail("key-watch", |scene| {
        let life = scene.beat.life().notes_term();
        let leader = scene.leader("5s", life).grace("1s").spawn();
        let token = scene.wait_for_command(&leader);
        scene.delete_key();
        let told = || scene.beat.stamps().into_iter().any(|s| s.kind == "term");
        let told = within(Duration::from_secs(2), told);
        assert_eq!(scene.beat.tokens(), [token]);
        scene.judge(
            told.is_none()
                .then(|| "2s after its key was deleted the leader still leads".to_owned()),
        );
    });
}

#[test]
fn own_group() {
    // What the shell does to a job.
    can_fail("own-group", |scene| {
        let leader = scene.leader("3s", scene.beat.life()).own_group().spawn();
        scene.wait_for_command(&leader);
        leader.signal_group(Signal::SIGSTOP);
        let _another = scene.another("3s");
        scene.judge_overlap();
    });
}

#[test]
fn never_block() {
    // The guardian answers every renewal, nobody takes the answers, and then the supervisor freezes.
    can_fail("never-block", |scene| {
        let leader = scene
            .leader("3s", scene.beat.life())
            .args(["--renew-interval", "100ms"])
            .spawn();
        scene.wait_for_command(&leader);
        let _stalled = Stalled::thread(leader.pid(), "watch");
        let before = leader.events_named("renewed").len();
        leader.wait_nth_event("renewed", before + 25);
        freeze(&leader);
        let _another = scene.another("3s");
        scene.judge_overlap();
    });
}

#[test]
fn hold_while_alive() {
    can_fail("hold-while-alive", |scene| {
        // Where there is no such freezer, the rule has no test, and that has been said.
        let Some(freezer) = Freezer::immortal() else {
            return;
        };
        let life = scene.beat.life().with_daemon();
        let leader = scene.leader("3s", life).spawn();
        let token = scene.wait_for_command(&leader);
        let daemon = Pid::from_raw(scene.beat.wait_stamp(token, "daemon").pid);
        freezer.freeze(daemon);
        scene.delete_key();
        let another = scene.another("3s");
        another.wait_event("waiting");
        let started = within(Duration::from_secs(4), || scene.beat.tokens().len() == 2);
        assert!(is_alive(daemon));
        freezer.thaw();
        scene.judge(
            started.map(|()| "another runs while a descendant of the first is alive".to_owned()),
        );
    });
}
