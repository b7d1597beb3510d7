//! A candidate that knows the raft leader alone, while that is cut off from its quorum: for a
//! while it still takes itself for the leader, and may answer keepalives all by itself.

use super::renewals::{at, sent, timeline};
use super::{Beat, Candidate, Etcd, Value, now};

const TTL: u64 = 10;

/// What became of it.
#[derive(Debug)]
pub struct Isolation {
    /// From when on there was no quorum.
    pub since: f64,
    /// When the renewals that moved the deadline were sent.
    pub sent: Vec<f64>,
    /// The `stopping` event.
    pub stopping: Value,
    /// The errors of the attempts that failed.
    pub errors: Vec<String>,
    /// The last sign of life of the command, which goes on until SIGKILL.
    pub last_stamp: f64,
    /// The exit status.
    pub code: i32,
}

impl Isolation {
    /// Lets it happen, to a candidate that `with` may change.
    #[track_caller]
    pub fn of(with: impl FnOnce(Candidate) -> Candidate) -> Self {
        // The raft leader steps down when it has heard of no quorum for one election timeout. Five
        // seconds instead of one leave it time to answer more than one keepalive.
        let etcd = Etcd::start_with(3, &["--election-timeout=5000"]);
        let beat = Beat::new();
        let raft_leader = etcd.leader_index();
        let candidate = Candidate::new(&etcd)
            .endpoints(etcd.member(raft_leader).endpoint())
            .ttl(&format!("{TTL}s"))
            .arg("-v")
            .life(beat.life().ignores_term());
        let leader = with(candidate).spawn();
        let token = leader.wait_elected();
        leader.wait_nth_event("renewed", 2);
        for other in (0..3).filter(|&i| i != raft_leader) {
            etcd.member(other).stop();
        }
        let since = now();
        let stopping = leader.wait_event("stopping");
        let code = leader.wait().code().expect("an exit status");
        let errors = leader.events_named("renewal-failed");
        let renewed = leader.events_named("renewed");
        Self {
            since,
            sent: renewed.iter().map(|e| sent(e, &timeline(TTL))).collect(),
            stopping,
            errors: errors.iter().map(|e| e["error"].to_string()).collect(),
            last_stamp: beat.last_stamp(token).at,
            code,
        }
    }

    /// When the last renewal was sent that a quorum can have confirmed.
    pub fn last_confirmed(&self) -> f64 {
        let confirmed = self.sent.iter().filter(|&&sent| sent <= self.since);
        confirmed.fold(0.0, |last, &sent| last.max(sent))
    }

    /// How many renewals moved the deadline although there was no quorum. An event's instant is
    /// known to some milliseconds.
    pub fn unproven(&self) -> usize {
        let late = self.since + 0.05;
        self.sent.iter().filter(|&&sent| sent > late).count()
    }

    /// How long the command outlived the last confirmed renewal.
    pub fn outlived(&self) -> f64 {
        self.last_stamp - self.last_confirmed()
    }

    /// From a renewal until the stop signal, and until SIGKILL, and until another may start.
    pub fn allowed() -> [f64; 3] {
        let timeline = timeline(TTL);
        let (window, grace) = (timeline.window(), timeline.grace());
        [window, window + grace, timeline.ttl()].map(|d| d.as_secs_f64())
    }

    /// When the stop signal came, after the last confirmed renewal.
    pub fn stopped_after(&self) -> f64 {
        at(&self.stopping) - self.last_confirmed()
    }
}
