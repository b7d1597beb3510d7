//! What there is: two candidates, etcd, and what is on its way between them.
//!
//! No instant is absolute. Everything is so many ticks ago, or so many ticks ahead, and what is too long
//! ago to matter is all the same age; so the states are finitely many although time has no end.

use std::ops::{Index, IndexMut};

/// Whole ticks since something, up to where more makes no difference.
pub type Age = u8;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    A,
    B,
}

impl Who {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub a: Candidate,
    pub b: Candidate,
    /// Whose candidacy is the older one: the smaller token.
    pub older: Who,
    /// `KEY.term`.
    pub record: Option<Record>,
    /// A command was started with a smaller token than one before it.
    pub misordered: bool,
}

impl Index<Who> for State {
    type Output = Candidate;
    fn index(&self, who: Who) -> &Candidate {
        match who {
            Who::A => &self.a,
            Who::B => &self.b,
        }
    }
}

impl IndexMut<Who> for State {
    fn index_mut(&mut self, who: Who) -> &mut Candidate {
        match who {
            Who::A => &mut self.a,
            Who::B => &mut self.b,
        }
    }
}

/// One leaderrun, from its start to the end of all of its processes; then the next in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    pub phase: Phase,
    /// Its candidate key in etcd, if that stands.
    pub key: Option<Key>,
    /// Its present candidacy's token is smaller than that of a term which has begun.
    pub outranked: bool,
    /// What it has seen of another's record.
    pub seen: Option<Seen>,
    /// The renewal, or the beginning of a term, that it is waiting for.
    pub flight: Option<Flight>,
    /// One that it has given up, and that etcd may yet apply.
    pub late: Option<Sent>,
    /// What the guardian knows of the run of the command.
    pub run: Option<Run>,
    /// What there is of the command.
    pub tree: Tree,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No process.
    Out,
    /// In the queue.
    Standby,
    /// The term has begun; the command runs as soon as that is confirmed.
    Leading,
    /// The loss of the leadership is known, while the command may be alive.
    Lost,
    /// The command is dead; key and record are to be given back.
    Ending,
    /// The supervisor is dead, and the guardian is not.
    Orphan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Since when the quorum has not renewed its lease. Counted only where leases are trusted.
    pub renewed: Age,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub owner: Who,
    /// It is of the owner's last candidacy.
    pub current: bool,
    /// When the renewal that wrote it was sent.
    pub sent: Age,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// When.
    pub first: Age,
    /// The version seen is the one that stands.
    pub present: bool,
    /// The reader's clock has gained a tick since.
    pub gained: bool,
}

/// A transaction that writes the record, after a keepalive that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    pub ago: Age,
    pub expects: Version,
    /// The keepalive was acknowledged by a member that was no longer the leader.
    pub stalled: bool,
}

/// The version of the record that a transaction compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    Absent,
    Present,
    Outdated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    pub sent: Sent,
    /// Whether etcd has written it, once that is decided and the answer is on its way.
    pub written: Option<bool>,
}

/// The history of a run of the command, as far as its fence depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Ticks until the deadline.
    pub deadline: i8,
    /// It was asked to stop, and leadership goes on meanwhile.
    pub stopping: bool,
    /// Since when descendants are all that is left.
    pub left: Option<Age>,
    /// Since when it is being fenced.
    pub fenced: Option<Age>,
    /// Since when it has been told so, by the first stop signal.
    pub told: Option<Age>,
    /// SIGKILL was sent in vain: a process hangs in the kernel.
    pub withstands: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    Empty,
    /// The main process and a descendant.
    Whole,
    /// A descendant.
    Left,
}

impl State {
    pub fn new() -> Self {
        let nobody = Candidate {
            phase: Phase::Out,
            key: None,
            outranked: false,
            seen: None,
            flight: None,
            late: None,
            run: None,
            tree: Tree::Empty,
        };
        Self {
            a: nobody.clone(),
            b: nobody,
            older: Who::A,
            record: None,
            misordered: false,
        }
    }

    /// Whether the record is of this candidate's present term.
    pub fn record_is_of(&self, who: Who) -> bool {
        self.record.is_some_and(|r| r.owner == who && r.current)
    }

    /// Whether nobody stands before it in the queue.
    pub fn is_next(&self, who: Who) -> bool {
        self[who].key.is_some() && (self.older == who || self[who.other()].key.is_none())
    }
}

impl Candidate {
    pub fn is_alive(&self) -> bool {
        self.tree != Tree::Empty
    }
}
