//! What etcd has answered, and in which raft term: that is what a renewal is judged by.

use etcd_client::KeyValue;
use etcd_client::proto::{PbResponseOp, PbTxnOpResponse};

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

impl Pulse {
    /// The member knows no such lease.
    pub(super) const GONE: Self = Self {
        ttl: 0,
        proof: None,
    };
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
    /// The keys that each operation has read; none where it wrote.
    pub ops: Vec<Vec<KeyValue>>,
    /// The instant after the answer had arrived.
    pub arrived: BootInstant,
}

/// The keys that the operations of a transaction have read, at least `wanted` of them; `None` if one says
/// nothing, for then a key that stands would seem to be gone. The library's own accessor panics there.
pub(super) fn read_by(ops: Vec<PbResponseOp>, wanted: usize) -> Option<Vec<Vec<KeyValue>>> {
    let read = |op: PbResponseOp| {
        Some(match op.response? {
            PbTxnOpResponse::ResponseRange(range) => range.kvs.into_iter().map(KeyValue).collect(),
            PbTxnOpResponse::ResponsePut(_)
            | PbTxnOpResponse::ResponseDeleteRange(_)
            | PbTxnOpResponse::ResponseTxn(_) => Vec::new(),
        })
    };
    let ops: Vec<Vec<KeyValue>> = ops.into_iter().map(read).collect::<Option<_>>()?;
    (ops.len() >= wanted).then_some(ops)
}
