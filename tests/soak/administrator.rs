//! Somebody who means well, and has the right to do everything: asks leaders to resign, and writes where leaderruns
//! write, into their keys and into the record.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::arena::{Arena, EndOnPanic, HOSTS, Phase};
use crate::random::Random;
use crate::slot::{Harm, TIMELINES, stands};
use crate::support::{Candidate, LIMIT, within};

/// No term's key or record is in it.
const GARBAGE: &str = "written by hand";

/// What is done with a right to.
pub fn deeds(arena: &Arena) {
    let _end = EndOnPanic(arena);
    let mut random = Random::new(arena.settings.seed, "administrator", 0);
    while arena.pause(random.millis(2000, 12_000)) {
        let host = random.one_of(&HOSTS);
        match random.below(8) {
            0 | 1 => ask_to_resign(arena, host),
            2 | 3 => overwrite_a_key(arena, random.below(64)),
            4 | 5 => scribble(arena),
            _ => delete_the_record(arena),
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
    let keys = arena.candidate_keys();
    let Some((key, _)) = keys.get(number % keys.len().max(1)) else {
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
    let record = arena.key_of_record();
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
    let is_garbage = format!("value(\"{record}\") = \"{GARBAGE}\"");
    transact(arena, &is_garbage, &format!("del {record}"))
}

/// Deletes the record of a leader that reaches etcd, which is to write it anew. A candidate that joined while nothing
/// tells of a leader cut off would start beside it, so nobody is harmed meanwhile.
fn delete_the_record(arena: &Arena) {
    let _calm = arena.calm();
    let Some((slot, lease, token)) = leader_that_renews(arena) else {
        return;
    };
    let (record, mark) = (arena.key_of_record(), arena.mark_of_deletion());
    // A key that is gone would be a leader that is fenced, and writes no record.
    let leads = format!("create(\"{}\") = \"{token}\"", arena.candidate_key(&lease));
    if transact(arena, &leads, &format!("put {mark} {token}\ndel {record}")) {
        arena.fault("record deleted", &format!("of token {token}"));
        let settled = within(LIMIT, || {
            let there = arena.etcd.try_etcdctl(&["get", "--keys-only", &record]);
            there.is_ok_and(|keys| !keys.trim().is_empty())
                || !runs_with(arena, slot, token)
                || arena.phase() == Phase::Over
        });
        if settled.is_none() {
            arena.violation(format!("the record of token {token} was not written anew"));
        }
    } else {
        arena.note("record not deleted, or nobody knows");
    }
    within(LIMIT, || arena.etcd.try_etcdctl(&["del", &mark]).is_ok());
}

/// A leader that nobody has harmed and that has renewed meanwhile: its slot, lease and token.
fn leader_that_renews(arena: &Arena) -> Option<(usize, String, u64)> {
    let slot = arena.leader()?;
    let token = leads_with(arena, slot)?;
    let renewals = || {
        let family = arena.family(slot);
        family
            .as_ref()
            .map_or(0, |f| f.running.events_named("renewed").len())
    };
    let before = renewals();
    within(Duration::from_secs(10), || renewals() >= before + 2)?;
    let lease = arena.lease(slot)?;
    (leads_with(arena, slot) == Some(token)).then_some((slot, lease, token))
}

/// The token with which the candidate of that slot leads, if nothing is amiss with it.
fn leads_with(arena: &Arena, slot: usize) -> Option<u64> {
    let family = arena.family(slot);
    let family = family.as_ref().filter(|f| f.harm == Harm::None)?;
    let leads = family.running.try_wait().is_none() && stands(&family.running) == "started";
    let elected = family.running.events_named("elected").pop()?;
    elected["token"].as_u64().filter(|_| leads)
}

/// Whether the command of that term may be alive, of a candidate that nobody harms.
fn runs_with(arena: &Arena, slot: usize, token: u64) -> bool {
    let family = arena.family(slot);
    family.as_ref().is_some_and(|f| {
        let elected = f.running.events_named("elected").pop();
        f.running.try_wait().is_none()
            && elected.is_some_and(|e| e["token"].as_u64() == Some(token))
            && ["started", "stopping"].contains(&stands(&f.running).as_str())
    })
}

/// Whether etcd has done so, if that holds.
fn transact(arena: &Arena, holds: &str, operations: &str) -> bool {
    let txn = arena.etcd.spawn_etcdctl_with(&["txn"], Stdio::piped());
    let request = format!("{holds}\n\n{operations}\n\n\n");
    if let Some(mut input) = txn.take_stdin() {
        let _ = input.write_all(request.as_bytes());
    }
    within(Duration::from_secs(10), || txn.try_wait().is_some());
    txn.stdout().starts_with("SUCCESS")
}
