//! What goes wrong: independent streams of faults, one for each sort, so that faults of different
//! sorts come at the same time. The seed decides kinds, targets and times, but half of the targets are
//! whoever leads at that moment.
//!
//! Left out is what the promise excludes: supervisor and guardian of one family both killed or frozen,
//! and the record deleted or overwritten while its holder is frozen or cut off, unless it stays
//! away for as long as its holder can lead. So while somebody deletes the record, no fault begins that could do that.

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::kill;

use crate::arena::{Arena, EndOnPanic, HOSTS, MEMBERS, Phase, SLOTS};
use crate::random::Random;
use crate::slot::Harm;
use crate::support::network::{Way, between};
use crate::support::{Running, Signal};

fn stream(arena: &Arena, name: &str) -> Random {
    Random::new(arena.settings.seed, name, 0)
}

/// The leader in half of all cases, else any slot.
fn target(arena: &Arena, random: &mut Random) -> usize {
    let (any, leader) = (random.below(SLOTS.len()), random.percent(50));
    arena.leader().filter(|_| leader).unwrap_or(any)
}

/// What passes between nodes.
pub fn network(arena: &Arena) {
    let _end = EndOnPanic(arena);
    let mut random = stream(arena, "network");
    let network = &arena.network;
    while arena.pause(random.millis(100, 3000)) {
        let member = random.below(MEMBERS);
        let host = SLOTS[target(arena, &mut random)];
        let sides: Vec<bool> = (0..network.size()).map(|_| random.percent(50)).collect();
        let side = |wanted| (0..sides.len()).filter(|&n| sides[n] == wanted).collect();
        let (left, right): (Vec<usize>, Vec<usize>) = (side(true), side(false));
        let without = |nodes: &[usize]| -> Vec<usize> {
            nodes.iter().copied().filter(|&n| n != member).collect()
        };
        let (m, h) = (format!("m{member}"), format!("host {host}"));
        let (kind, detail, ways): (_, _, Vec<Way>) = match random.below(12) {
            0 => ("member isolated", m, network.around(member)),
            1 => ("member hears nothing", m, network.ways_to(member)),
            2 => ("member is not heard", m, network.ways_from(member)),
            3 | 4 => ("host isolated", h, network.around(host)),
            5 => ("host hears nothing", h, network.ways_to(host)),
            6 => ("host is not heard", h, network.ways_from(host)),
            7 => (
                "host cut from a member",
                format!("{h}, {m}"),
                between(&[host], &[member]),
            ),
            8 => (
                "halves",
                format!("{left:?} {right:?}"),
                between(&left, &right),
            ),
            9 => (
                "bridge",
                format!("{left:?} {right:?} over {m}"),
                between(&without(&left), &without(&right)),
            ),
            10 => {
                let node = random.below(network.size());
                network.slow_down(node, 32);
                ("slow link", format!("node {node}"), Vec::new())
            }
            _ => {
                let node = random.below(network.size());
                network.reset(node);
                ("connections reset", format!("node {node}"), Vec::new())
            }
        };
        let _harm = arena.harming();
        arena.fault(kind, &detail);
        network.drop_only(ways);
        arena.pause(random.millis(200, 8000));
        network.heal();
        (0..network.size()).for_each(|node| network.speed_up(node));
        arena.note(&format!("{kind} healed"));
    }
}

/// etcd itself. Members that were started here die with this thread, so it stays.
pub fn members(arena: &Arena) {
    let _end = EndOnPanic(arena);
    let mut random = stream(arena, "members");
    let etcd = &arena.etcd;
    while arena.pause(random.millis(500, 5000)) {
        let n = random.below(MEMBERS);
        let (member, other) = (etcd.member(n), etcd.member((n + 1) % MEMBERS));
        let number = random.below(11);
        let time = random.millis(200, 6000);
        let _harm = arena.harming();
        if number >= 8 {
            maintain(arena, number, n);
            continue;
        }
        let kind = match number {
            0..=2 => {
                member.kill();
                "member killed"
            }
            3..=5 => {
                member.stop();
                "member frozen"
            }
            6 => {
                member.kill();
                other.stop();
                "one member killed, one frozen"
            }
            _ => {
                etcd.stop();
                "all members frozen"
            }
        };
        arena.fault(kind, &format!("m{n}"));
        arena.pause(time);
        etcd.cont();
        etcd.members().iter().for_each(|m| m.restart());
        arena.note(&format!("{kind}, mended"));
    }
    arena.pause_until(Phase::Over, Duration::from_secs(86_400));
}

/// What an operator does to members that work.
fn maintain(arena: &Arena, number: usize, member: usize) {
    let etcd = &arena.etcd;
    let (kind, detail, done) = match number {
        8 => {
            let id = etcd.member_id(etcd.member(member).name());
            let moved = id.map(|id| etcd.try_etcdctl(&["move-leader", &id]));
            let moved = moved.is_some_and(|moved| moved.is_ok());
            ("raft leader moved", format!("to m{member}"), moved)
        }
        9 => {
            // Not what the historian has yet to read.
            let revision = arena.known.load(Ordering::SeqCst).to_string();
            let compacted = etcd.try_etcdctl(&["compact", &revision]).is_ok();
            ("compacted", revision, compacted)
        }
        _ => {
            let defragmented = etcd.try_etcdctl(&["defrag"]).is_ok();
            ("defragmented", String::new(), defragmented)
        }
    };
    if done {
        arena.fault(kind, &detail);
    }
}

/// Supervisors and guardians.
pub fn processes(arena: &Arena) {
    let _end = EndOnPanic(arena);
    let mut random = stream(arena, "processes");
    while arena.pause(random.millis(200, 3000)) {
        let slot = target(arena, &mut random);
        let number = random.below(10);
        // Shorter than the window for renewals, or longer than the TTL.
        let times = [random.millis(50, 1500), random.millis(5000, 12_000)];
        let time = random.one_of(&times);
        let _harm = arena.harming();
        let Some((kind, name)) = harm(arena, slot, number) else {
            continue;
        };
        arena.fault(kind, &name);
        if kind == SUPERVISOR_FROZEN {
            arena.pause(time);
            let mut slot = arena.family(slot);
            if let Some(family) = slot.as_mut().filter(|f| f.name == name) {
                family.running.signal(Signal::SIGCONT);
                family.harm = Harm::None;
                arena.note(&format!("supervisor thawed {name}"));
            }
        }
    }
}

const SUPERVISOR_FROZEN: &str = "supervisor frozen";

/// Harms the family of that slot, if that is not excluded: how, and whom.
fn harm(arena: &Arena, slot: usize, number: usize) -> Option<(&'static str, String)> {
    let mut slot = arena.family(slot);
    let family = slot.as_mut().filter(|f| f.harm == Harm::None)?;
    let running = &family.running;
    if running.try_wait().is_some() {
        return None;
    }
    let (kind, harm) = match number {
        0 | 1 => {
            running.signal(Signal::SIGKILL);
            ("supervisor killed", Harm::Done)
        }
        2..=6 => {
            running.signal(Signal::SIGSTOP);
            (SUPERVISOR_FROZEN, Harm::SupervisorPaused)
        }
        7 => {
            kill(running.guardian()?, Signal::SIGKILL).ok()?;
            ("guardian killed", Harm::Done)
        }
        8 => {
            kill(running.guardian()?, Signal::SIGSTOP).ok()?;
            ("guardian frozen", Harm::Done)
        }
        _ => {
            let pid = running.events_named("started").pop()?["pid"].as_i64()?;
            let command = i32::try_from(pid).ok()?;
            // Who has ended may be reaped, so look whether it is still this family's.
            let pid = running.tree().into_iter().find(|p| p.as_raw() == command)?;
            kill(pid, Signal::SIGKILL).ok()?;
            ("command killed", Harm::None)
        }
    };
    family.harm = harm;
    Some((kind, family.name.clone()))
}

/// What hangs about in etcd, taken away by hand.
pub fn keys(arena: &Arena) {
    let _end = EndOnPanic(arena);
    let mut random = stream(arena, "keys");
    let etcd = &arena.etcd;
    while arena.pause(random.millis(1000, 6000)) {
        // The oldest is the leader's, as a rule.
        let (any, leader) = (random.below(64), random.percent(50));
        let number = if leader { 0 } else { any };
        let revokes = random.percent(50);
        let _harm = arena.harming();
        let keys = arena.candidate_keys();
        let Some((key, lease)) = keys.get(number % keys.len().max(1)) else {
            continue;
        };
        let done = match lease {
            Some(lease) if revokes => etcd.try_etcdctl(&["lease", "revoke", lease]),
            None if revokes => continue,
            _ => etcd.try_etcdctl(&["del", key]),
        };
        let kind = if revokes {
            "lease revoked"
        } else {
            "candidate key deleted"
        };
        if done.is_ok() {
            arena.fault(kind, key);
        }
    }
}

/// A machine that has other things to do.
pub fn load(arena: &Arena) {
    let _end = EndOnPanic(arena);
    let mut random = stream(arena, "load");
    let _always: Vec<Running> = spinners(arena.settings.spinners);
    while arena.pause(random.millis(2000, 10_000)) {
        let number = 2 + random.below(8);
        let time = random.millis(500, 4000);
        let _now = spinners(number);
        arena.fault("machine busy", &format!("{number} spinners"));
        arena.pause(time);
    }
}

fn spinners(number: usize) -> Vec<Running> {
    let spinner = || {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        Running::spawn("spinner", command)
    };
    (0..number).map(|_| spinner()).collect()
}

/// Others who want the same: `etcdctl lock` and `etcdctl elect`, which nobody fences, and which know queues only.
pub fn foreigners(arena: &Arena) {
    let _end = EndOnPanic(arena);
    if arena.settings.single {
        return;
    }
    let mut random = stream(arena, "foreigners");
    while arena.pause(random.millis(5000, 20_000)) {
        let node = arena.network.node(random.one_of(&HOSTS));
        let time = random.millis(2000, 10_000);
        let (kind, tail): (_, &[&str]) = if random.percent(95) {
            ("etcdctl lock", &["--ttl=5", "sleep", "0.5"])
        } else {
            ("etcdctl elect", &["somebody"])
        };
        let verb = kind.rsplit(' ').next().expect("a word");
        let arguments = [&[verb, &*arena.key], tail].concat();
        let foreigner = arena
            .etcd
            .spawn_etcdctl_under(&node.entering(), &arguments, Stdio::null());
        arena.fault(kind, "joins");
        let end = std::time::Instant::now() + time;
        while foreigner.try_wait().is_none()
            && std::time::Instant::now() < end
            && arena.pause(Duration::from_millis(100))
        {}
        if foreigner.try_wait().is_none() {
            // It gives back what it holds, if it can. Dropped, it is killed.
            foreigner.signal(Signal::SIGINT);
            let gone = || foreigner.try_wait().is_some();
            crate::support::within(Duration::from_secs(5), gone);
        }
        arena.note(&format!("{kind} is gone"));
    }
}
