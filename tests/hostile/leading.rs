//! A leader whose renewals are answered with lies: its command is fenced at the instants that follow from the last
//! truthful renewal, by the clock of the command and of the relay.

use std::time::Duration;

use crate::hostile::liar::{Call, Deed, Liar, Lie, truth};
use crate::hostile::lies::{self, Named};
use crate::support::{Candidate, Etcd, LIMIT, Running, Scratch, eventually, now, require_etcd};

const TTL: Duration = Duration::from_secs(6);
const GRACE: Duration = Duration::from_millis(1500);
const MARGIN: Duration = Duration::from_secs(1);

/// How late a busy machine may run us; less than the margin, which is there for that.
const SLACK: f64 = 0.9;
/// Stamps are rounded down to 10 ms, log lines to 1 ms.
const ROUNDING: f64 = 0.015;

/// Stamps its life five times a second, SIGTERM too, and has to be killed.
const COMMAND: &str = r#"exec 3>>"$1" 2>/dev/null
stamp() { read -r now _ </proc/uptime; echo "$now $1" >&3; }
trap 'stamp term' TERM
while :; do stamp beat; sleep 0.2; done"#;

struct Leader {
    name: &'static str,
    key: String,
    liar: Liar,
    running: Running,
    dir: Scratch,
}

impl Leader {
    /// A leader with a relay and an election of its own.
    fn start(etcd: &Etcd, n: usize, name: &'static str) -> Self {
        let (liar, dir) = (Liar::new(etcd), Scratch::new("stamps"));
        let (stamps, key) = (dir.path("stamps"), format!("/hostile/{n}"));
        let running = Candidate::new(etcd)
            .id(name)
            .key(&key)
            .endpoints(liar.endpoint())
            .ttl("6s")
            .grace("1500ms")
            .margin("1s")
            .arg("-v")
            .command(&["sh", "-c", COMMAND, "sh", stamps.to_str().expect("UTF-8")])
            .spawn();
        Self {
            name,
            key,
            liar,
            running,
            dir,
        }
    }

    fn stamps(&self, kind: &str) -> Vec<f64> {
        let text = std::fs::read_to_string(self.dir.path("stamps")).unwrap_or_default();
        text.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n')?.split_once(' '))
            .filter(|(_, k)| *k == kind)
            .map(|(at, _)| at.parse().expect("seconds"))
            .collect()
    }

    /// How many renewals were confirmed.
    fn renewals(&self) -> usize {
        self.running.events_named("renewed").len()
    }

    /// Waits for the end of the tree, and compares what the command has stamped with what the relay has let pass (not
    /// later) and with what the log says of it (not earlier: an answer that came in vain may have been true).
    fn assert_fenced_in_time(&self) {
        let name = self.name;
        // The end is told to one who listens, which spares the test the wait for those who do not.
        self.running.wait_event("tree-empty");
        let sent = self.liar.seen().confirmed.expect("a confirmed renewal");
        self.liar.tell(truth());
        assert_eq!(self.running.wait().code(), Some(75), "{name}");
        self.running.wait_gone();
        let kill = sent + TTL.as_secs_f64() - MARGIN.as_secs_f64();
        let stop = kill - GRACE.as_secs_f64();
        let logged = self.running.instants(GRACE, MARGIN);
        let term = self.stamps("term").first().copied().expect("a stop signal");
        let last = self.stamps("beat").last().copied().expect("a life");
        println!(
            "{name}: stop signal {:+.3}s, last sign of life {:+.3}s",
            term - stop,
            last - kill
        );
        assert!(term < stop + SLACK, "{name}: {term} {stop}");
        assert!(term > logged.stop - ROUNDING, "{name}: {term} {logged:?}");
        assert!(last < kill + SLACK, "{name}: {last} {kill}");
        assert!(last > logged.kill - SLACK, "{name}: {last} {logged:?}");
        assert!(logged.kill < kill + ROUNDING, "{name}: {logged:?} {kill}");
        let stopping = self.running.wait_event("stopping");
        assert_eq!(stopping["reason"], "renewal-timeout", "{name}");
        self.assert_sound();
    }

    /// Nothing but a panic would be written there.
    fn assert_sound(&self) {
        assert_eq!(self.running.stderr(), "", "{}", self.name);
    }

    /// The supervisor has never held a message of 100 MB, nor much of one; unless it is over.
    fn assert_small(&self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.pid()));
        let status = status.unwrap_or_default();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        let mib = kib.unwrap_or(0) / 1024;
        assert!(mib < 64, "{}: {mib} MB", self.name);
    }
}

fn leaders(etcd: &Etcd, lies: &[Named]) -> Vec<Leader> {
    let start = |(n, (name, _)): (usize, &Named)| Leader::start(etcd, n, name);
    lies.iter().enumerate().map(start).collect()
}

/// Every `every`-th of the lies, from the `first` on: a few at a time are enough for one machine.
fn fenced_by(first: usize, every: usize) {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let lies: Vec<Named> = lies::of_no_proof()
        .into_iter()
        .skip(first)
        .step_by(every)
        .collect();
    let leaders = leaders(&etcd, &lies);
    for leader in &leaders {
        leader.running.wait_event("renewed");
    }
    for (leader, (_, lie)) in leaders.iter().zip(lies) {
        leader.liar.tell(lie);
    }
    for leader in &leaders {
        leader.running.wait_event("stopping");
        leader.assert_small();
    }
    for leader in &leaders {
        leader.assert_fenced_in_time();
    }
}

#[test]
fn answers_that_prove_nothing_move_no_deadline_1() {
    fenced_by(0, 3);
}

#[test]
fn answers_that_prove_nothing_move_no_deadline_2() {
    fenced_by(1, 3);
}

#[test]
fn answers_that_prove_nothing_move_no_deadline_3() {
    fenced_by(2, 3);
}

/// The leaders go on under these lies for longer than a term without renewals could, and when etcd falls silent their
/// last renewal counts as any other.
fn unimpressed_by(lies: Vec<Named>) {
    let etcd = Etcd::start();
    let leaders = leaders(&etcd, &lies);
    for (leader, (_, lie)) in leaders.iter().zip(lies) {
        leader.running.wait_elected();
        leader.liar.tell(lie);
        // Makes the watch speak, and begin anew if it is ended.
        etcd.put(&format!("{}.resign", leader.key), "nobody");
    }
    let begun = now();
    let streams: Vec<usize> = leaders.iter().map(|l| l.liar.seen().streams).collect();
    for leader in &leaders {
        eventually(LIMIT, || {
            let confirmed = leader.liar.seen().confirmed;
            confirmed.is_some_and(|at| at > begun + TTL.as_secs_f64())
                || leader.running.try_wait().is_some()
        });
        let stopped = leader.running.events_named("stopping");
        assert!(stopped.is_empty(), "{}: {stopped:?}", leader.name);
    }
    for (leader, before) in leaders.iter().zip(streams) {
        let seen = leader.liar.seen();
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let rate = (seen.streams - before) as f64 / (now() - begun);
        println!("{}: {rate:.1} requests a second", leader.name);
        assert!(rate < 40.0, "{}: {rate}", leader.name);
        leader.assert_small();
        let silence = [Call::Txn, Call::KeepAlive];
        leader.liar.tell(Lie::new(move |call, _, m| {
            if silence.contains(&call) {
                vec![Deed::Hang]
            } else {
                vec![Deed::Say(m)]
            }
        }));
    }
    for leader in &leaders {
        leader.assert_fenced_in_time();
    }
}

#[test]
fn odd_answers_take_nothing_from_a_proof() {
    if require_etcd() {
        unimpressed_by(lies::of_no_matter());
    }
}

#[test]
fn a_watch_that_lies_costs_no_term_1() {
    if require_etcd() {
        unimpressed_by(lies::of_watches().into_iter().step_by(2).collect());
    }
}

#[test]
fn a_watch_that_lies_costs_no_term_2() {
    if require_etcd() {
        unimpressed_by(lies::of_watches().into_iter().skip(1).step_by(2).collect());
    }
}

#[test]
fn a_deletion_that_never_happened_costs_no_term() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Leader::start(&etcd, 0, "deletion");
    leader.running.wait_event("renewed");
    let own = etcd.keys("/hostile/0/").pop().expect("a candidate's key");
    leader.liar.tell(lies::deletion_of(&own));
    for _ in 0..3 {
        // An event that the lie takes the place of.
        etcd.put("/hostile/0.resign", "nobody");
        leader
            .running
            .wait_nth_event("renewed", leader.renewals() + 1);
    }
    assert!(leader.running.events_named("stopping").is_empty());
    leader.assert_sound();
}
