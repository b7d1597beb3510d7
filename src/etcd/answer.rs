//! What etcd has answered, and in which raft term: that is what a renewal is judged by.

use etcd_client::TxnOpResponse;

use crate::clock::BootInstant;

/// The cluster and raft term that an answer was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The id of the etcd cluster.
    pub cluster: u64,
    /// The raft term of the answering member.
    pub raft_term: u64,
}

/// An answered keepalive.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// Seconds left; zero or less if the member knows no such lease.
    pub ttl: i64,
    /// In which raft term; `None` for an answer whose header the library does not hand out.
    pub proof: Option<Proof>,
}

/// An answered transaction.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// The store's revision: that of the writes, if there were any.
    pub revision: i64,
    /// In which raft term.
    pub proof: Proof,
    /// The operations' answers.
    pub ops: Vec<TxnOpResponse>,
    /// The instant after the answer had arrived.
    pub arrived: BootInstant,
}
