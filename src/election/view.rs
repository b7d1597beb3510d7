//! An election as anybody can see it in etcd: who leads, who stands behind, and what the record says.
//!
//! Pure, but for what reads it all at one revision, the newest or an earlier one.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp};

use super::names::Names;
use super::queue::name_of;
use super::record::{Record, this_clock};
use super::{Layout, LeaseId, Token};
use crate::clock::BootInstant;
use crate::etcd::{Connection, Error, Keys};

/// A candidate as it stands in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its key.
    pub key: String,
    /// Its identity, empty if it is not text.
    pub id: String,
    /// The create revision: the fencing token of its term, once it leads.
    pub token: Token,
    /// The lease that ends it: the one that it is attached to, or the one in its name; 0 for a key that nothing ends.
    pub lease: LeaseId,
    /// Whether it is attached to that lease.
    pub attached: bool,
}

/// What `KEY.term` says of the candidate who is first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody stands, and no term is recorded.
    Vacant,
    /// The record is the first one's: it leads, since then (Unix seconds).
    Leads(u64),
    /// There is no record: the first is no leaderrun, or about to begin its term.
    Unrecorded,
    /// An earlier term is recorded, whose command may still be running. Whoever is first waits.
    TakeOver(Record),
    /// There is a record that cannot be read; whoever is first waits for its removal.
    Unreadable,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct View {
    names: Names,
    found: BTreeMap<Vec<u8>, KeyValue>,
    /// Leases in the names of keys that are not attached to them, and that are gone: such a key is no candidate's.
    dead: HashSet<LeaseId>,
    /// The store's revision that it shows.
    pub revision: i64,
}

impl View {
    /// Reads an election, in one linearizable transaction.
    pub async fn read(
        connection: &mut Connection,
        key: &str,
        until: BootInstant,
    ) -> Result<Self, Error> {
        // Revision 0 is the newest.
        Self::look(connection, key, 0, until).await
    }

    /// Reads how it was at that revision of the store.
    ///
    /// # Errors
    /// [`crate::etcd::Kind::Compacted`] if etcd does not know any more.
    pub async fn read_at(
        connection: &mut Connection,
        key: &str,
        revision: i64,
        until: BootInstant,
    ) -> Result<Self, Error> {
        let view = Self::look(connection, key, revision, until).await?;
        Ok(Self { revision, ..view })
    }

    async fn look(
        connection: &mut Connection,
        key: &str,
        revision: i64,
        until: BootInstant,
    ) -> Result<Self, Error> {
        let names = Names::new(key, Layout::Queue);
        let then = GetOptions::new().with_revision(revision);
        let txn = Txn::new().and_then([
            TxnOp::get(key, Some(then.clone())),
            TxnOp::get(names.prefix.as_str(), Some(then.clone().with_prefix())),
            TxnOp::get(names.record.as_str(), Some(then)),
        ]);
        let looked = connection.txn("look at the election", txn, 3, until);
        let answer = looked.await?;
        let found = answer.ops.into_iter().flatten();
        let mut view = Self {
            names,
            found: found.map(|kv| (kv.key().to_owned(), kv)).collect(),
            dead: HashSet::new(),
            revision: answer.revision,
        };
        view.bury(connection, until).await?;
        Ok(view)
    }

    /// Asks for the leases of candidates that nothing else would end.
    async fn bury(&mut self, connection: &mut Connection, until: BootInstant) -> Result<(), Error> {
        let doubtful = self.queue().filter(|seat| !seat.attached);
        let doubtful: Vec<LeaseId> = doubtful.map(|seat| seat.lease).collect();
        for lease in doubtful {
            if !connection.lives(lease.0, until).await? {
                self.dead.insert(lease);
            }
        }
        Ok(())
    }

    /// The keys that belong to it, and no others, which somebody who asks need not be allowed to read.
    pub fn keys(&self) -> [Keys; 3] {
        [
            Keys::Prefix(self.names.prefix.clone()),
            Keys::One(self.names.record.clone()),
            Keys::One(self.names.key.clone()),
        ]
    }

    /// Whether a key of that name may be a candidate's.
    pub fn may_stand(&self, key: &[u8]) -> bool {
        key == self.names.key.as_bytes() || self.names.lease_in(key).is_some()
    }

    /// One of the keys was written.
    pub fn put(&mut self, kv: KeyValue) {
        self.found.insert(kv.key().to_owned(), kv);
    }

    /// One of the keys was deleted.
    pub fn delete(&mut self, key: &[u8]) {
        self.found.remove(key);
    }

    /// Whether both show the same candidates' keys, written by the same revisions.
    pub fn has_the_candidates_of(&self, other: &Self) -> bool {
        let versions = |view: &Self| -> Vec<(Vec<u8>, i64)> {
            let candidates = view.found.iter().filter(|(key, _)| self.may_stand(key));
            candidates
                .map(|(key, kv)| (key.clone(), kv.mod_revision()))
                .collect()
        };
        versions(self) == versions(other)
    }

    /// How the candidates stand; `None` if there are none, or some of each layout.
    pub fn layout(&self) -> Option<Layout> {
        match (self.single().is_some(), self.queue().next().is_some()) {
            (true, false) => Some(Layout::Single),
            (false, true) => Some(Layout::Queue),
            _ => None,
        }
    }

    /// The candidates, by create revision.
    pub fn seats(&self) -> Vec<Seat> {
        let mut seats: Vec<Seat> = self.single().into_iter().chain(self.queue()).collect();
        seats.sort_by_key(|seat| seat.token);
        seats
    }

    fn single(&self) -> Option<Seat> {
        let kv = self.found.get(self.names.key.as_bytes())?;
        // The keys beside another election's are no candidates; a queue below one is a strange name, but not refused.
        let beside = [".term", ".resign"];
        if beside.iter().any(|end| self.names.key.ends_with(end)) {
            return None;
        }
        let holds = kv.lease() != 0 || self.bars_others(kv);
        holds.then(|| seat(kv, LeaseId(kv.lease())))
    }

    /// Whether the election's own key, without a lease, has to be removed before anybody can lead. Beside a queue it is
    /// no candidate's and may hold anything, and so while the term is recorded of somebody who came later: that was in
    /// a queue. Otherwise those of the single layout wait for its removal.
    fn bars_others(&self, kv: &KeyValue) -> bool {
        let record = self.found.get(self.names.record.as_bytes());
        let term = record.and_then(|kv| Record::parse(kv.value()));
        let is_of_queue = term.is_some_and(|term| term.token.0 > kv.create_revision());
        self.queue().next().is_none() && !is_of_queue
    }

    fn queue(&self) -> impl Iterator<Item = Seat> {
        let seats = self.found.values().filter_map(|kv| {
            let lease = self.names.lease_in(kv.key())?;
            Some(seat(kv, lease))
        });
        seats.filter(|seat| seat.attached || !self.dead.contains(&seat.lease))
    }

    /// What the record says of `first`, the candidate of the smallest create revision that counts.
    pub fn standing(&self, first: Option<&Seat>) -> Standing {
        let record = self.found.get(self.names.record.as_bytes());
        match record.map(|kv| Record::parse(kv.value())) {
            None if first.is_none() => Standing::Vacant,
            None => Standing::Unrecorded,
            Some(None) => Standing::Unreadable,
            Some(Some(record)) => match first {
                // A key that was attached to another lease by hand keeps its create revision, but the term is over.
                Some(first) if first.attached && record.is_of(first.token, first.lease) => {
                    Standing::Leads(record.since)
                }
                _ => Standing::TakeOver(record),
            },
        }
    }
}

impl Seat {
    /// Whether there is a lease that ends it.
    pub fn has_lease(&self) -> bool {
        self.lease != LeaseId(0)
    }
}

impl Standing {
    /// Whether the first candidate leads, as far as etcd says.
    pub const fn is_led(&self) -> bool {
        matches!(self, Self::Leads(_) | Self::Unrecorded)
    }
}

impl Record {
    /// When this version, first seen at `first`, no longer keeps others waiting, if nobody renews it.
    pub fn runs_out(&self, first: BootInstant) -> BootInstant {
        self.free_at(first, &this_clock())
    }

    /// How long it keeps others waiting at the most, if nobody renews it from now on.
    pub fn time_left(&self) -> Duration {
        let now = BootInstant::now();
        self.runs_out(now).saturating_since(now)
    }
}

fn seat(kv: &KeyValue, lease: LeaseId) -> Seat {
    Seat {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        id: name_of(kv),
        token: Token(kv.create_revision()),
        lease,
        attached: kv.lease() == lease.0 && lease != LeaseId(0),
    }
}
