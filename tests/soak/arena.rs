//! Where a soak takes place: what its threads share.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::historian::Ending;
use crate::slot::{Family, stands};
use crate::support::{Etcd, Freezer, Network, Scratch, unique_id};

/// How many members; they are the first nodes of the network.
pub const MEMBERS: usize = 3;
/// The nodes of the candidates. The first of them has two.
pub const HOSTS: [usize; 3] = [3, 4, 5];
/// The node of each candidate.
pub const SLOTS: [usize; 4] = [3, 3, 4, 5];

/// What is asked of a soak.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides every fault.
    pub seed: u64,
    /// How long there are faults.
    pub time: Duration,
    /// Processes that do nothing but compute, all the time.
    pub spinners: usize,
    /// The layout of the election: a single key, instead of a queue.
    pub single: bool,
    /// Rules that the candidates are to break, if they can.
    pub broken: Vec<String>,
}

impl Settings {
    /// As `--layout` has it.
    pub fn layout(&self) -> &'static str {
        if self.single { "single" } else { "queue" }
    }
}

/// How far the soak is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// There are faults.
    Faults,
    /// There are none any more, and everybody leads once.
    Finale,
    /// All ends.
    Over,
}

/// All that is shared.
#[derive(Debug)]
pub struct Arena {
    pub settings: Settings,
    pub network: Network,
    pub etcd: Etcd,
    pub key: String,
    /// Who runs in each slot.
    pub families: [Mutex<Option<Family>>; SLOTS.len()],
    pub record: Mutex<Record>,
    /// A cgroup for all leaderruns, where one can be made. They leave none in it.
    pub cgroup: Option<Freezer>,
    /// The revision up to which the historian has read.
    pub known: AtomicU64,
    endings: Mutex<Vec<Ending>>,
    harm: RwLock<()>,
    phase: AtomicU8,
    begun: Instant,
    dir: Scratch,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Record {
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u32>,
    /// Every fault and what became of it, with its instant.
    pub diary: Vec<String>,
    /// Ends of terms by reason.
    pub ends: BTreeMap<String, u32>,
    pub terms: usize,
    pub families: usize,
    /// The smallest headroom, and whose.
    pub headroom: Option<(f64, String)>,
    /// The logs of the families that are over.
    pub stories: Vec<Story>,
    /// What must not be.
    pub violations: Vec<String>,
}

/// The log of a family that is over.
#[derive(Debug)]
pub struct Story {
    pub name: String,
    pub tokens: Vec<u64>,
    pub log: String,
}

impl Arena {
    /// `None` where there can be no network of our own.
    pub fn new(settings: Settings) -> Option<Self> {
        let network = Network::new(MEMBERS + HOSTS.len())?;
        let etcd = Etcd::start_on(&network, MEMBERS);
        let dir = Scratch::new("soak");
        fs::write(dir.path("stamps"), "").expect("own directory");
        Some(Self {
            settings,
            network,
            etcd,
            key: format!("/election/soak-{}", unique_id()),
            families: Default::default(),
            record: Mutex::default(),
            cgroup: Freezer::cgroup(),
            known: AtomicU64::new(0),
            endings: Mutex::default(),
            harm: RwLock::default(),
            phase: AtomicU8::new(Phase::Faults as u8),
            begun: Instant::now(),
            dir,
        })
    }

    /// The file of the stamps.
    pub fn stamps(&self) -> PathBuf {
        self.dir.path("stamps")
    }

    /// `KEY.term`.
    pub fn key_of_record(&self) -> String {
        format!("{}.term", self.key)
    }

    /// What is written by whoever deletes the record by hand, in the same transaction.
    pub fn mark_of_deletion(&self) -> String {
        format!("{}.deleted", self.key)
    }

    /// The candidates' keys, the leader's first as a rule, each with the lease in its name, or in its holder's log.
    pub fn candidate_keys(&self) -> Vec<(String, Option<String>)> {
        let single = self.settings.single;
        let prefix = format!("{}/", self.key);
        let get = if single {
            vec!["get", "--keys-only", &self.key]
        } else {
            let order = ["--sort-by=CREATE", "--order=ASCEND"];
            [&["get", "--prefix", "--keys-only", &prefix], &order[..]].concat()
        };
        let listed = self.etcd.try_etcdctl(&get).unwrap_or_default();
        let lease_of = |key: &str| match key.strip_prefix(&prefix) {
            Some(lease) => Some(lease.to_owned()),
            None => self.leader().and_then(|slot| self.lease(slot)),
        };
        let keys = listed.lines().filter(|line| !line.is_empty());
        keys.map(|key| (key.to_owned(), lease_of(key))).collect()
    }

    /// The key of a candidate with that lease.
    pub fn candidate_key(&self, lease: &str) -> String {
        if self.settings.single {
            self.key.clone()
        } else {
            format!("{}/{lease}", self.key)
        }
    }

    /// The lease with which the candidate of that slot was elected last.
    pub fn lease(&self, slot: usize) -> Option<String> {
        let family = self.family(slot);
        let elected = family.as_ref()?.running.events_named("elected").pop()?;
        Some(elected["lease"].as_str()?.to_owned())
    }

    /// What runs a leaderrun on that node.
    pub fn entering(&self, node: usize) -> Vec<String> {
        let cgroup = self.cgroup.as_ref().map(Freezer::entering);
        [
            cgroup.unwrap_or_default(),
            self.network.node(node).entering(),
        ]
        .concat()
    }

    /// Held by each fault that takes somebody away from etcd, or takes away what it holds there, while it lasts.
    pub fn harming(&self) -> RwLockReadGuard<'_, ()> {
        self.harm.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of all these, and keeps others from beginning.
    pub fn calm(&self) -> RwLockWriteGuard<'_, ()> {
        self.harm.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that have gone, and have not been judged yet.
    pub fn endings(&self) -> MutexGuard<'_, Vec<Ending>> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Faults,
            1 => Phase::Finale,
            _ => Phase::Over,
        }
    }

    /// Goes on to that phase, never back.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// Waits for so long, or until that phase has come: whether it has not.
    pub fn pause_until(&self, phase: Phase, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.phase() >= phase || left.is_zero() {
                return self.phase() < phase;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Waits for so long, or until there are to be no faults any more: whether there are.
    pub fn pause(&self, time: Duration) -> bool {
        self.pause_until(Phase::Finale, time)
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot, which nobody else harms or ends meanwhile.
    pub fn family(&self, slot: usize) -> MutexGuard<'_, Option<Family>> {
        let family = self.families[slot].lock();
        family.unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot whose candidate leads, as its log says; a frozen one goes on leading there.
    pub fn leader(&self) -> Option<usize> {
        (0..SLOTS.len()).find(|&slot| {
            let family = self.family(slot);
            family
                .as_ref()
                .is_some_and(|f| stands(&f.running) == "started")
        })
    }

    /// Notes what happens.
    pub fn note(&self, what: &str) {
        let at = self.begun.elapsed().as_secs_f64();
        let wall = humantime::format_rfc3339_millis(std::time::SystemTime::now());
        self.record().diary.push(format!("{at:8.3} {wall} {what}"));
    }

    /// Notes a fault.
    pub fn fault(&self, kind: &'static str, detail: &str) {
        *self.record().faults.entry(kind).or_default() += 1;
        self.note(&format!("{kind} {detail}"));
    }

    /// Notes what must not be, and ends the faults.
    pub fn violation(&self, what: String) {
        self.note(&format!("VIOLATION: {what}"));
        self.record().violations.push(what);
        self.enter(Phase::Over);
    }
}

/// Ends the soak when a thread of it has failed, so that the others do not wait for it.
pub struct EndOnPanic<'a>(pub &'a Arena);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.enter(Phase::Over);
        }
    }
}
