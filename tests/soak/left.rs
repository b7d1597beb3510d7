//! What is left once all is over: nothing.

use std::fs;
use std::time::Duration;

use crate::arena::Arena;
use crate::slot::{FINALE_TTL, TIMELINES};
use crate::stamps::{self, Kind};
use crate::support::{Entry, Etcd, Freezer, LIMIT, within};

/// The TTL in seconds of `etcdctl lock` as it is called here, and of `etcdctl elect` and `leaderrun resign`. These may
/// have been killed, and then their leases run out.
pub const OTHERS: [u64; 2] = [5, 60];

/// How long leaderruns may need to be seen gone from etcd, they themselves being over: longer than the leases of those
/// that were killed during the faults, and far shorter than those of the finale, which have to be revoked.
const SOON: Duration = Duration::from_secs(10);

pub fn find_nothing(arena: &Arena) {
    let etcd = &arena.etcd;
    etcd.wait_ready();
    if within(SOON, || of_leaderruns(etcd).is_empty()).is_none() {
        arena.violation(format!("left in etcd: {:?}", of_leaderruns(etcd)));
    }
    let nothing = || etcd.keys("").is_empty() && etcd.leases().is_empty();
    // The longest that others leave is etcdctl's minute.
    if within(3 * LIMIT, nothing).is_none() {
        let (keys, leases) = (etcd.keys(""), etcd.leases());
        arena.violation(format!("left in etcd: keys {keys:?}, leases {leases:?}"));
    }
    let living = stamps::living(&arena.key, Kind::CommandsAndHooks);
    if !living.is_empty() {
        arena.violation(format!("left alive: {living:?}"));
    }
    let cgroups = cgroups(arena);
    if !cgroups.is_empty() {
        arena.violation(format!("left in the cgroup: {cgroups:?}"));
    }
}

/// Keys and leases that are not of others, whose leases are told by the TTL that they were granted for.
fn of_leaderruns(etcd: &Etcd) -> Vec<String> {
    let leases = etcd.leases().into_iter();
    let granted: Vec<(String, u64)> = leases
        .filter_map(|lease| Some((lease.clone(), etcd.granted(&lease)?)))
        .collect();
    let is_anothers = |entry: &Entry| {
        let mut others = granted.iter().filter(|(_, ttl)| OTHERS.contains(ttl));
        others.any(|(lease, _)| *lease == entry.lease)
    };
    let keys = etcd.entries_under("").into_iter();
    let keys = keys
        .filter(|entry| !is_anothers(entry))
        .map(|entry| format!("key {}", entry.key));
    let leases = granted.iter().filter(|(_, ttl)| !OTHERS.contains(ttl));
    let leases = leases.map(|(lease, ttl)| format!("lease {lease} of {ttl} s"));
    keys.chain(leases).collect()
}

/// What leaderruns have made in the cgroup that they were started in.
fn cgroups(arena: &Arena) -> Vec<String> {
    let dir = arena.cgroup.as_ref().map(Freezer::dir);
    let entries = dir.and_then(|dir| fs::read_dir(dir).ok());
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn what_a_leaderrun_leaves_in_etcd_is_told_from_what_runs_out() {
    if !crate::support::require_etcd() {
        return;
    }
    let seconds = |ttl: &str| humantime::parse_duration(ttl).expect("a TTL").as_secs();
    let ours: Vec<u64> = TIMELINES.iter().map(|[ttl, ..]| seconds(ttl)).collect();
    let longest = ours.iter().copied().max().expect("some");
    assert!(ours.iter().all(|ttl| !OTHERS.contains(ttl)), "{ours:?}");
    assert!(
        Duration::from_secs(2 * longest) < SOON
            && 2 * SOON < Duration::from_secs(seconds(FINALE_TTL))
    );
    let etcd = Etcd::start();
    let grant = |ttl: &str| {
        let granted = etcd.etcdctl(&["lease", "grant", ttl]);
        granted.split(' ').nth(1).expect("a lease").to_owned()
    };
    let longest = FINALE_TTL.trim_end_matches('s');
    let (another, ours) = (grant("60"), grant(longest));
    etcd.etcdctl(&["put", "--lease", &another, "a", ""]);
    let lease = format!("lease {} of {longest} s", ours.trim_start_matches('0'));
    assert_eq!(of_leaderruns(&etcd), [&*lease]);
    etcd.etcdctl(&["put", "--lease", &ours, "b", ""]);
    etcd.etcdctl(&["put", "c", ""]);
    assert_eq!(of_leaderruns(&etcd), ["key b", "key c", &*lease]);
}
