//! The raft leader is frozen for longer than the TTL and thawed, again and again, while one
//! candidate leads and another waits. Awake again, it takes leases for expired that were renewed
//! with its successor meanwhile, and revokes some of them (etcd issue 15247): no proof that their
//! holder is dead.
//!
//! `LEADERRUN_TEST_FREEZES=N` says how often, instead of 30 times.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use support::renewals::{losses, timeline};
use support::{
    Beat, Candidate, Etcd, LIMIT, Running, Value, assert_no_overlap, eventually, require_etcd,
};

/// Long enough to survive the election of a new raft leader, so that the thawed one finds leases
/// that live.
const TTL: u64 = 5;
const FREEZE: Duration = Duration::from_secs(TTL + 4);
/// Independent clusters that suffer at the same time.
const CLUSTERS: usize = 3;

/// What the logs tell.
#[derive(Debug, Default)]
struct Count {
    freezes: u32,
    terms: usize,
    /// Terms that ended because etcd did not answer for too long.
    timed_out: usize,
    /// Terms that ended because etcd revoked a lease that was renewed less than a TTL before.
    revoked: usize,
    /// How often a standby lost its place.
    displaced: usize,
    /// For the record: the log around a revocation, and how old the renewal was.
    examples: Vec<String>,
    least_headroom: f64,
}

#[test]
fn a_raft_leader_freezes_many_times_and_no_two_commands_overlap() {
    if !require_etcd() {
        return;
    }
    let wanted = std::env::var("LEADERRUN_TEST_FREEZES");
    let wanted = wanted.map_or(30, |n| n.parse().expect("LEADERRUN_TEST_FREEZES: a number"));
    let begun = AtomicU32::new(0);
    let counts: Vec<Count> = thread::scope(|scope| {
        let storm = || storm(|| begun.fetch_add(1, Ordering::Relaxed) < wanted);
        let storms: Vec<_> = (0..CLUSTERS).map(|_| scope.spawn(storm)).collect();
        let ends = storms.into_iter().map(thread::ScopedJoinHandle::join);
        ends.map(|end| end.expect("a storm that was weathered"))
            .collect()
    });
    let sum = |of: fn(&Count) -> usize| counts.iter().map(of).sum::<usize>();
    let freezes: u32 = counts.iter().map(|c| c.freezes).sum();
    println!(
        "{freezes} freezes of the raft leader: {} terms, of which {} were lost because etcd did not answer \
         and {} because etcd revoked a lease renewed a moment before; standbys lost their place {} times",
        sum(|c| c.terms),
        sum(|c| c.timed_out),
        sum(|c| c.revoked),
        sum(|c| c.displaced),
    );
    let least = counts.iter().map(|c| c.least_headroom);
    println!(
        "the least headroom was {:.3} s",
        least.fold(f64::INFINITY, f64::min)
    );
    if let Some(example) = counts.iter().find_map(|c| c.examples.first()) {
        println!("such a revocation, as its holder logged it:\n{example}");
    }
    assert_eq!(freezes, wanted);
}

/// Freezes the raft leader of one cluster for as long as there is `another` time to do so.
fn storm(another: impl Fn() -> bool) -> Count {
    let etcd = Etcd::cluster(3);
    let beat = Beat::new();
    let candidate = |id: &str| {
        Candidate::new(&etcd)
            .id(id)
            .ttl(&format!("{TTL}s"))
            .args(["-v", "--on-loss", "campaign"])
            // It lives for as long as it is allowed to, so that whoever comes too soon is seen.
            .life(beat.life().ignores_term())
            .spawn()
    };
    let pair = [candidate("a"), candidate("b")];
    let mut freezes = 0;
    settle(&etcd, &pair);
    while another() {
        let raft_leader = etcd.leader();
        raft_leader.stop();
        // The fault itself, not a wait for something.
        thread::sleep(FREEZE);
        raft_leader.cont();
        freezes += 1;
        settle(&etcd, &pair);
        assert_no_overlap(&beat);
    }
    let mut count = Count {
        freezes,
        least_headroom: f64::INFINITY,
        ..Count::default()
    };
    for one in &pair {
        count.add(&one.events());
    }
    count
}

/// Waits until one leads, with a renewal from now on, and the other waits for it in the queue.
fn settle(etcd: &Etcd, pair: &[Running; 2]) {
    etcd.wait_ready();
    let renewals = |one: &Running| one.events_named("renewed").len();
    let before = pair.each_ref().map(renewals);
    eventually(3 * LIMIT, || {
        (0..2).any(|i| {
            let (leader, standby) = (&pair[i], &pair[1 - i]);
            state(leader) == "started"
                && state(standby) == "waiting"
                && renewals(leader) > before[i]
        })
    });
}

/// The last event that tells where a candidate stands.
fn state(one: &Running) -> String {
    const TELLING: [&str; 7] = [
        "campaigning",
        "waiting",
        "elected",
        "started",
        "stopping",
        "lost",
        "released",
    ];
    let names = one.events().into_iter().rev();
    let mut names = names.filter_map(|event| event["event"].as_str().map(str::to_owned));
    names
        .find(|name| TELLING.contains(&name.as_str()))
        .unwrap_or_default()
}

impl Count {
    fn add(&mut self, events: &[Value]) {
        let timeline = timeline(TTL);
        for loss in losses(events, &timeline) {
            if loss.reason == "renewal-timeout" {
                self.timed_out += 1;
                continue;
            }
            let (i, age) = (loss.position, loss.age);
            assert!(loss.is_of_a_fresh_lease(&timeline), "{loss:?}");
            self.revoked += 1;
            let around = &events[i.saturating_sub(4)..(i + 6).min(events.len())];
            let lines: Vec<String> = around.iter().map(|e| format!("  {e}\n")).collect();
            let lines = lines.concat();
            self.examples
                .push(format!("renewed {age:.3} s before it was gone\n{lines}"));
        }
        for event in events {
            match event["event"].as_str().expect("a name") {
                "elected" => self.terms += 1,
                "warning"
                    if event["message"]
                        .to_string()
                        .contains("joining the queue again") =>
                {
                    self.displaced += 1;
                }
                "tree-empty" => {
                    let headroom = event["headroom"].as_f64().expect("seconds");
                    self.least_headroom = self.least_headroom.min(headroom);
                }
                _ => {}
            }
        }
    }
}
