//! The queue: one atomic look at the candidates and the record, and our place in it.

use std::collections::HashSet;
use std::time::Duration;

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp};

use super::names::Names;
use super::{Layout, Leader, LeaseId, Token};
use crate::clock::BootInstant;
use crate::etcd::{Answer, Connection, Error};

/// The least time between two looks: whoever keeps writing the watched key must not keep us busy.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A candidate as it stands in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub key: String,
    /// The lease in the key's name.
    pub lease: LeaseId,
    /// The lease that the key is attached to, 0 for none.
    pub attached: i64,
    pub created: i64,
    /// The identity, empty if it is not text.
    pub id: String,
}

impl Standing {
    /// Whether the key would vanish with the lease in its name. If not, somebody wrote to it by
    /// hand, and it stays for ever.
    fn is_attached(&self) -> bool {
        self.attached == self.lease.0
    }

    /// The identity, or the key of one that has none: `etcdctl lock` gives itself none.
    fn shown(&self) -> String {
        if self.id.is_empty() {
            self.key.clone()
        } else {
            self.id.clone()
        }
    }
}

/// One look at an election.
#[derive(Debug)]
pub(super) struct Look {
    /// The candidates by create revision.
    pub queue: Vec<Standing>,
    /// A key under the prefix that is no candidate's.
    pub foreign: Option<String>,
    /// The record's key, if it is there.
    pub record: Option<KeyValue>,
    /// The store's revision.
    pub revision: i64,
    /// The instant after the answer had arrived.
    pub arrived: BootInstant,
}

/// Where we stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Our key is gone, or attached to another lease.
    Gone,
    /// Nobody who counts stands before us.
    Next,
    /// Others stand before us.
    Behind {
        /// The nearest of them: the key to watch.
        nearest: String,
        /// The first one's identity, or its key if it has none.
        leader: String,
        /// How many they are.
        ahead: usize,
    },
}

impl Look {
    /// Looks, in one linearizable transaction.
    pub async fn take(
        connection: &mut Connection,
        names: &Names,
        until: BootInstant,
    ) -> Result<Self, Error> {
        let candidates = match names.layout {
            Layout::Queue => {
                TxnOp::get(names.prefix.as_str(), Some(GetOptions::new().with_prefix()))
            }
            Layout::Single => TxnOp::get(names.key.as_str(), None),
        };
        let txn = Txn::new().and_then([candidates, TxnOp::get(names.record.as_str(), None)]);
        let looked = connection.txn("look at the election", txn, 2, until);
        let answer = looked.await?;
        Ok(Self::read(answer, names))
    }

    fn read(answer: Answer, names: &Names) -> Self {
        let mut gets = answer.ops.into_iter();
        let candidates = gets.next().unwrap_or_default();
        let record = gets.next().unwrap_or_default().pop();
        let (queue, foreign) = sort(&candidates, names);
        Self {
            queue,
            foreign,
            record,
            revision: answer.revision,
            arrived: answer.arrived,
        }
    }

    /// Whether the key of the candidacy that bears this token is there.
    pub fn stands(&self, token: Token) -> bool {
        self.queue.iter().any(|s| s.created == token.0)
    }

    /// Those before us whose key is attached to nothing that would end it, and that therefore
    /// count only while the lease in their name lives.
    pub fn doubtful(&self, token: Token) -> Vec<LeaseId> {
        let before = self
            .queue
            .iter()
            .filter(|s| s.created < token.0 && !s.is_attached());
        before.map(|s| s.lease).collect()
    }

    /// Who leads beside us: the first of those before us that count, unless the record is of another, whose term
    /// has to run out first. A foreign candidate leads without a record.
    pub fn leader(&self, token: Token, dead: &HashSet<LeaseId>) -> Option<Leader> {
        let first = self.before(token, dead).next()?;
        let token = Token(first.created);
        Leader::beside(self.record.as_ref(), token, first.lease, first.shown())
    }

    /// Those before us who count.
    fn before<'a>(
        &'a self,
        token: Token,
        dead: &'a HashSet<LeaseId>,
    ) -> impl Iterator<Item = &'a Standing> {
        self.queue
            .iter()
            .filter(move |s| s.created < token.0 && (s.is_attached() || !dead.contains(&s.lease)))
    }

    /// Our place, leaving out detached keys whose lease is known to be `dead`.
    pub fn place(&self, lease: LeaseId, token: Token, dead: &HashSet<LeaseId>) -> Place {
        let ours = self
            .queue
            .iter()
            .find(|s| s.lease == lease && s.created == token.0);
        if !ours.is_some_and(Standing::is_attached) {
            return Place::Gone;
        }
        let before: Vec<&Standing> = self.before(token, dead).collect();
        match (before.first(), before.last()) {
            (Some(first), Some(nearest)) => Place::Behind {
                nearest: nearest.key.clone(),
                leader: first.shown(),
                ahead: before.len(),
            },
            _ => Place::Next,
        }
    }
}

/// The identity in a candidate's value, empty if it is not text.
pub(super) fn name_of(kv: &KeyValue) -> String {
    kv.value_str().unwrap_or_default().to_owned()
}

fn sort(candidates: &[KeyValue], names: &Names) -> (Vec<Standing>, Option<String>) {
    let mut foreign = None;
    let mut queue = Vec::with_capacity(candidates.len());
    for kv in candidates {
        let lease = match names.layout {
            Layout::Queue => names.lease_in(kv.key()),
            // There is no name but the election's; a key that is attached elsewhere is another's.
            Layout::Single => Some(LeaseId(kv.lease())),
        };
        match lease {
            Some(lease) => queue.push(Standing {
                key: String::from_utf8_lossy(kv.key()).into_owned(),
                lease,
                attached: kv.lease(),
                created: kv.create_revision(),
                id: name_of(kv),
            }),
            None => foreign = Some(String::from_utf8_lossy(kv.key()).into_owned()),
        }
    }
    queue.sort_by_key(|s| s.created);
    (queue, foreign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn standing(lease: i64, attached: i64, created: i64) -> Standing {
        Standing {
            key: format!("k/{lease:x}"),
            lease: LeaseId(lease),
            attached,
            created,
            id: format!("id-{lease}"),
        }
    }

    fn look(queue: Vec<Standing>) -> Look {
        Look {
            queue,
            foreign: None,
            record: None,
            revision: 100,
            arrived: BootInstant::now(),
        }
    }

    #[test]
    fn everyone_watches_the_nearest_before_it() {
        let look = look(vec![
            standing(3, 3, 10),
            standing(1, 1, 20),
            standing(2, 2, 30),
        ]);
        let place = |lease, token| look.place(LeaseId(lease), Token(token), &HashSet::new());
        assert_eq!(place(3, 10), Place::Next);
        let mut nameless = standing(9, 9, 5);
        nameless.id.clear();
        assert_eq!(nameless.shown(), "k/9");
        let behind = |nearest: &str, ahead| Place::Behind {
            nearest: nearest.into(),
            leader: "id-3".into(),
            ahead,
        };
        assert_eq!(place(1, 20), behind("k/3", 1));
        assert_eq!(place(2, 30), behind("k/1", 2));
        assert_eq!(
            place(2, 31),
            Place::Gone,
            "deleted and made anew by another"
        );
        assert_eq!(place(4, 40), Place::Gone);
    }

    #[test]
    fn a_detached_key_counts_while_the_lease_in_its_name_lives() {
        let look = look(vec![
            standing(3, 0, 10),
            standing(5, 9, 15),
            standing(1, 1, 20),
            standing(7, 0, 25),
        ]);
        assert_eq!(look.doubtful(Token(20)), [LeaseId(3), LeaseId(5)]);
        let place = |dead: &[i64]| {
            let dead = dead.iter().copied().map(LeaseId).collect();
            look.place(LeaseId(1), Token(20), &dead)
        };
        assert!(matches!(place(&[]), Place::Behind { ahead: 2, nearest, .. } if nearest == "k/5"));
        assert!(matches!(place(&[5]), Place::Behind { ahead: 1, nearest, .. } if nearest == "k/3"));
        assert_eq!(place(&[3, 5]), Place::Next);
        assert_eq!(
            look.place(LeaseId(7), Token(25), &HashSet::new()),
            Place::Gone,
            "our own key is detached"
        );
    }

    proptest! {
        #[test]
        fn exactly_one_of_a_queue_of_attached_keys_is_next(leases in proptest::collection::hash_set(1_i64..1000, 1..20)) {
            let queue: Vec<Standing> = leases.iter().zip(1..).map(|(l, r)| standing(*l, *l, r)).collect();
            let look = look(queue.clone());
            let next = queue.iter().filter(|s| {
                look.place(s.lease, Token(s.created), &HashSet::new()) == Place::Next
            });
            prop_assert_eq!(next.count(), 1);
        }
    }
}
