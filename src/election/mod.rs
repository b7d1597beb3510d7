//! The election: who may lead, since when, and until when.
//!
//! It knows etcd and no process. To the supervisor it is a task that yields [`Event`]s and takes
//! [`Command`]s: a term begins with [`Event::Elected`], every confirmed renewal moves its deadline
//! with [`Event::Extended`], and [`Event::Lost`] says that the command has to stop now. After
//! that, the task goes on renewing what it still can until [`Command::End`] says that the process
//! tree is empty: nothing is given up over a living tree.

mod advice;
mod ask;
mod campaign;
mod candidate;
mod history;
mod names;
mod orphan;
mod queue;
mod record;
mod refusal;
mod release;
mod renewal;
mod single;
mod standby;
mod take_over;
mod task;
mod term;
mod turn;
mod view;

pub use advice::advice;
pub use ask::ask_to_resign;
pub use orphan::{hold_orphan, release_orphan};
pub use record::Record;
pub use refusal::advise;
pub use task::{Handle, spawn};
pub use view::{Seat, Standing, View};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::BootInstant;
use crate::etcd::{Error, Kind};
use crate::timing::{Deadline, Timeline};

/// The fencing token of a term: the create revision of the winning candidate key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub i64);

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An etcd lease id, shown in lower-case hex as etcdctl does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// One that nobody has, in all likelihood: etcd takes ids of our choice. Never 0, which means "choose
    /// one" to etcd, and never negative.
    fn random() -> Self {
        Self(
            i64::try_from(crate::etcd::random() >> 1)
                .unwrap_or(1)
                .max(1),
        )
    }
}

impl std::fmt::Display for LeaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// One term of leadership, as the supervisor and the command need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Grows from term to term.
    pub token: Token,
    /// The lease that the candidate key is attached to.
    pub lease: LeaseId,
    /// The candidate key that won.
    pub leader_key: String,
    /// The timeline with the TTL that the server granted.
    pub timeline: Timeline,
    /// The SIGKILL instant that the beginning of the term has earned.
    pub deadline: Deadline,
    /// When it began, in Unix seconds; for people, never for arithmetic.
    pub since: u64,
    /// From the start of the campaign to the election.
    pub waited: Duration,
}

impl Term {
    /// What another process needs to go on holding it.
    pub fn tenancy(&self) -> Tenancy {
        Tenancy {
            token: self.token,
            lease: self.lease,
            ttl: self.timeline.ttl(),
            since: self.since,
        }
    }
}

/// A term, as far as it has to be known to hold it in the place of a supervisor that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenancy {
    /// The fencing token.
    pub token: Token,
    /// The lease of the candidacy that won.
    pub lease: LeaseId,
    /// The TTL that the server granted.
    pub ttl: Duration,
    /// When the term began, in Unix seconds.
    pub since: u64,
}

/// What a candidate is waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Others stand before us in the queue.
    Queue {
        /// The identity of the first in the queue, or its key if it has none that is text.
        leader: String,
        /// How many candidates stand before us.
        ahead: usize,
    },
    /// We are next, but the record of an earlier term says that its holder may still be running.
    Record {
        /// The token of the recorded term, if it can be read.
        holder: Option<Token>,
        /// When the record will have run out, if nobody renews it; `None` when it cannot be
        /// understood and only its removal can end the wait.
        until: Option<BootInstant>,
    },
}

/// Another candidate that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The token of its term: the create revision of its key.
    pub token: Token,
    /// Its identity, or its key if it has none that is text.
    pub name: String,
    /// When its term began, in Unix seconds, if a record tells; for people.
    pub since: Option<u64>,
}

/// In what way etcd is of no use at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It does not answer.
    Silent,
    /// It answers, but its space quota is used up: it does not write.
    Full,
    /// It answers, but refuses us: somebody has to change a right or a setting.
    Refusing,
}

impl Outage {
    /// What that failure says of etcd.
    pub fn of(error: &Error) -> Self {
        match error.kind {
            Kind::NoSpace => Self::Full,
            kind if kind.is_refusal() && !error.is_of_connecting() => Self::Refusing,
            _ => Self::Silent,
        }
    }
}

/// Why a term is over although its command may be running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The candidate key was deleted, or attached to another lease, or another holds the record.
    KeyLost,
    /// The lease is gone and the candidate key with it.
    LeaseLost,
}

/// How candidates stand for election in etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Each has a key of its own below `KEY/`, and they lead in the order of their keys: the protocol of
    /// Go's `clientv3/concurrency`.
    #[default]
    Queue,
    /// Whoever creates `KEY` leads: the recipe of raw primitives.
    Single,
}

/// What the election needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The election's name; the queue lives under `KEY/`, the single key is `KEY`, the record `KEY.term`.
    pub key: String,
    /// How candidates stand.
    pub layout: Layout,
    /// The identity, stored as the candidate key's value.
    pub id: String,
    /// The wanted timeline; the real one follows from the TTL that the server grants.
    pub settings: crate::timing::Settings,
    /// Where etcd is; tried in turn, one at a time.
    pub endpoints: Vec<crate::etcd::Endpoint>,
    /// What lets us in there.
    pub access: crate::etcd::Access,
    /// The term that an ancestor of this process claimed to hold when it started us.
    pub ancestor: Option<Ancestor>,
}

/// A term on the same key that the inherited environment speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its candidate key.
    pub leader_key: String,
    /// Its fencing token.
    pub token: Token,
}

/// What the election tells the supervisor.
#[derive(Debug)]
pub enum Event {
    /// The candidate key is in the queue.
    Campaigning {
        /// The lease of the candidacy.
        lease: LeaseId,
        /// The TTL that the server granted.
        ttl: Duration,
    },
    /// The candidacy is over before it led to a term; another follows once etcd answers.
    Displaced,
    /// Not elected yet; sent once for each change.
    Waiting(Wait),
    /// Another candidate leads than the one who led when this was last sent. Known from our looks at the queue, so
    /// a change is heard of within a renew interval, and a short term may be missed.
    Leader(Leader),
    /// When the term of whoever leads beside us began, in Unix seconds, as far as a record tells; sent for each change.
    LeadsSince(Option<u64>),
    /// A term has begun: the command may start.
    Elected(Term),
    /// A renewal is confirmed.
    Extended(Deadline),
    /// After [`Event::Lost`]: the record still keeps other leaderruns waiting, until at least this instant.
    Held(BootInstant),
    /// An attempt at a renewal failed; the deadline stands and the next attempt follows.
    RenewalFailed {
        /// The endpoint that was tried.
        endpoint: String,
        /// What that says of etcd.
        outage: Outage,
        /// What went wrong.
        error: String,
    },
    /// Somebody asks us to step down (`KEY.resign`), as planned; may come again and again.
    ResignAsked,
    /// The term is over: the command has to stop now.
    Lost(Loss),
    /// While no term runs: every endpoint was tried in vain. Sent for each round of failures.
    Unreachable {
        /// In what way.
        outage: Outage,
        /// Whether any endpoint ever answered in this run.
        answered_before: bool,
        /// What went wrong at the endpoint tried last, named.
        error: String,
    },
    /// etcd answers again, after [`Event::Unreachable`].
    Reachable,
    /// Something that a person should look at; the election goes on.
    Warning(String),
    /// The answer to each [`Command`]: what was ours in etcd is gone, but for a record that is to stand.
    Released(GivenUp),
    /// The answer to each [`Command`] if etcd could not be told in time.
    ReleaseFailed(String),
    /// The election cannot go on, and trying again would not help. The task has ended.
    Failed(ElectionError),
}

/// What a farewell has given up in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// There was nothing of ours.
    Nothing,
    /// A place in the queue that led to no term.
    Place,
    /// All that was ours, a term among it.
    All,
    /// All but the term's record, which is to stand: others wait until it has run out.
    AllButRecord,
}

/// What the supervisor tells the election. Closing the channel ends the task without a word to etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The process tree is empty: give up the term's record, key and lease, then
    /// campaign again at the tail, or end.
    End {
        /// Whether to stand for election again.
        campaign_again: bool,
    },
    /// Leave the queue; only while no command runs.
    Leave,
    /// As [`Command::Leave`], but let the term's record stand: others wait until it has run out.
    LeaveRecord,
}

/// What retrying cannot heal.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// etcd refuses us.
    #[error("{0}")]
    Refused(String),
    /// The server chose another TTL, which the settings do not fit.
    #[error("etcd granted a TTL of {} instead of {}: {error}", crate::timing::show(*.granted), crate::timing::show(*.asked))]
    Timeline {
        /// The TTL that was asked for.
        asked: Duration,
        /// The TTL that was granted.
        granted: Duration,
        /// Why the settings do not fit it.
        error: crate::timing::TimelineError,
    },
    /// An ancestor of this process holds the same election.
    #[error(
        "this election is held by an ancestor of this process ({0}): it would wait for itself for ever"
    )]
    HeldByAncestor(String),
}
