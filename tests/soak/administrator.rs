//! Somebody who means well, and has the right to do everything: asks leaders to resign, and writes where leaderruns
//! write, into their keys and into the record.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::arena::{Arena, EndOnPanic, HOSTS};
use crate::random::Random;
use crate::slot::TIMELINES;
use crate::support::{Candidate, within};

/// No term's key or record is in it.
const GARBAGE: &str = "written by hand";

/// What is done with a right to.
pub fn deeds(arena: &Arena) {
    let _end = EndOnPanic(arena);
    let mut random = Random::new(arena.settings.seed, "administrator", 0);
    while arena.pause(random.millis(2000, 12_000)) {
        let host = random.one_of(&HOSTS);
        match random.below(3) {
            0 => ask_to_resign(arena, host),
            1 => overwrite_a_key(arena, random.below(64)),
            _ => scribble(arena),
        }
    }
}

/// By `leaderrun resign`, from that node.
fn ask_to_resign(arena: &Arena, node: usize) {
    let asking = Candidate::bare()
        .args(["resign", "--key", &arena.key])
        .args(["--endpoints", &arena.etcd.endpoints()])
        .on(arena.network.node(node))
        .spawn();
    arena.fault("asked to resign", &format!("from node {node}"));
    // Dropped, it is killed.
    within(Duration::from_secs(10), || asking.try_wait().is_some());
}

/// As a proclamation of another value does: the lease stays.
fn overwrite_a_key(arena: &Arena, number: usize) {
    let listed =
        arena
            .etcd
            .try_etcdctl(&["get", "--prefix", "--keys-only", &format!("{}/", arena.key)]);
    let listed = listed.unwrap_or_default();
    let keys: Vec<&str> = listed.lines().filter(|line| !line.is_empty()).collect();
    let Some(key) = keys.get(number % keys.len().max(1)) else {
        return;
    };
    let put = ["put", "--ignore-lease", key, GARBAGE];
    if arena.etcd.try_etcdctl(&put).is_ok() {
        arena.fault("candidate key overwritten", key);
    }
}

/// Garbage in the record makes all wait: its holder writes it anew at the next renewal. If nobody has for as long as
/// a term without a renewal can last, nobody holds it, and it is to be taken away.
fn scribble(arena: &Arena) {
    let record = format!("{}.term", arena.key);
    if arena
        .etcd
        .try_etcdctl(&["get", &record])
        .is_ok_and(|r| r.is_empty())
    {
        return;
    }
    if arena.etcd.try_etcdctl(&["put", &record, GARBAGE]).is_err() {
        return;
    }
    arena.fault("record overwritten", "");
    let longest = TIMELINES.map(|[ttl, ..]| humantime::parse_duration(ttl).expect("a TTL"));
    let longest = longest.into_iter().max().expect("some") * 2;
    if within(longest, || !is_garbage(arena, &record)).is_some() {
        arena.note("record written anew");
        return;
    }
    // Also when the faults are over meanwhile, or nobody would ever lead again.
    let taken = within(Duration::from_secs(60), || {
        take_away(arena, &record) || !is_garbage(arena, &record)
    });
    arena.note(&format!("record taken away: {}", taken.is_some()));
}

/// An etcd that does not answer leaves it open.
fn is_garbage(arena: &Arena, record: &str) -> bool {
    let value = arena
        .etcd
        .try_etcdctl(&["get", "--print-value-only", record]);
    value.map_or(true, |value| value.trim_end() == GARBAGE)
}

/// If it is garbage.
fn take_away(arena: &Arena, record: &str) -> bool {
    let txn = arena.etcd.spawn_etcdctl_with(&["txn"], Stdio::piped());
    let request = format!("value(\"{record}\") = \"{GARBAGE}\"\n\ndel {record}\n\n\n");
    if let Some(mut input) = txn.take_stdin() {
        let _ = input.write_all(request.as_bytes());
    }
    within(Duration::from_secs(10), || txn.try_wait().is_some());
    txn.stdout().starts_with("SUCCESS")
}
