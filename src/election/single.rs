//! The single key: whoever creates it leads, everyone else waits for its deletion.
//!
//! It is the recipe of raw primitives (compare the create revision with 0, put with a lease, watch for
//! DELETE), so clients written to it can take part. There is no queue: when the key goes, all who watch it
//! try, and one succeeds. What follows, the term record above all, is the same as in the queue.

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp};

use super::campaign::{CALL, Campaign};
use super::candidate::{Candidate, Granted, Setback};
use super::queue::{BETWEEN_LOOKS, name_of};
use super::record::Record;
use super::{Event, Leader, LeaseId, Token, Wait};
use crate::clock::BootInstant;
use crate::etcd::{Answer, Error, sleep_until};

/// The candidacy of a wait is none: only a record that says so is over.
const NONE: Token = Token(0);

/// What a try has led to.
enum Try {
    Taken(Token),
    /// Somebody has the key.
    Held(Holding),
}

/// How somebody has the key.
struct Holding {
    kv: KeyValue,
    /// The store's revision at which that was seen.
    revision: i64,
    record: Option<KeyValue>,
    /// Whether it records a term that may still be running.
    recorded: bool,
}

/// A wait for the key.
struct Waiting {
    granted: Granted,
    told: Option<Wait>,
    next_keepalive: BootInstant,
}

impl Campaign {
    /// Takes the key, however long others have it.
    pub(super) async fn take(&mut self, granted: Granted) -> Result<Candidate, Setback> {
        let mut waiting = Waiting {
            next_keepalive: granted.confirmed + granted.timeline.interval(),
            granted,
            told: None,
        };
        loop {
            let looked = BootInstant::now();
            match self.look(&mut waiting).await {
                Ok(Some(candidate)) => return Ok(candidate),
                Ok(None) => {}
                Err(Setback::Trouble(error)) => {
                    let longest = waiting.granted.timeline.interval();
                    let again = self.trouble(error, longest).await;
                    again.map_err(Setback::Hopeless)?;
                }
                Err(other) => return Err(other),
            }
            sleep_until(looked + BETWEEN_LOOKS).await;
        }
    }

    /// Tries to take the key, and waits for a change if that is another's.
    async fn look(&mut self, waiting: &mut Waiting) -> Result<Option<Candidate>, Setback> {
        // It is not to be revived then; and we have no place to lose.
        if waiting.granted.is_over() {
            return Err(self.lease_is_gone());
        }
        let now = BootInstant::now();
        if now >= waiting.next_keepalive {
            let until = now + CALL;
            let lease = waiting.granted.lease.0;
            let connection = self.pool.connect(until).await?;
            if connection.keep_alive(lease, until).await?.ttl <= 0 {
                return Err(self.lease_is_gone());
            }
            waiting.granted.confirmed = now;
            waiting.next_keepalive = now + waiting.granted.timeline.interval();
        }
        let tried = self.try_to_take(&waiting.granted).await?;
        if waiting.told.is_none() {
            self.joined = true;
            self.tell_campaigning(&waiting.granted).await;
        }
        let held = match tried {
            Try::Taken(token) => {
                self.granted = None;
                return Ok(Some(Candidate {
                    granted: waiting.granted.clone(),
                    key: self.names.key.clone(),
                    token,
                }));
            }
            Try::Held(holding) => holding,
        };
        let holder = (name_of(&held.kv), held.kv.key_str().unwrap_or_default());
        let seat = (holder.0.as_str(), LeaseId(held.kv.lease()), holder.1);
        self.warn_of_namesake(std::iter::once(seat));
        let wait = Wait::Queue {
            leader: name_of(&held.kv),
            ahead: 1,
        };
        if waiting.told.as_ref() != Some(&wait) {
            self.tell(Event::Waiting(wait.clone()));
            waiting.told = Some(wait);
        }
        self.tell_leader(leader(&held.kv, held.record.as_ref()));
        let wake = waiting.next_keepalive;
        self.wait_for_deletion(&held, wake).await?;
        // Not before: looks that succeed and watches that fail are no progress.
        self.went_well();
        Ok(None)
    }

    async fn try_to_take(&mut self, granted: &Granted) -> Result<Try, Setback> {
        let key = self.names.key.as_str();
        let others = TxnOp::get(
            self.names.prefix.as_str(),
            Some(GetOptions::new().with_prefix()),
        );
        let record = TxnOp::get(self.names.record.as_str(), None);
        let put = TxnOp::put(
            key,
            self.config.id.as_str(),
            Some(PutOptions::new().with_lease(granted.lease.0)),
        );
        let txn = Txn::new()
            .when([Compare::create_revision(key, CompareOp::Equal, 0)])
            .and_then([put, others.clone(), record.clone()])
            .or_else([TxnOp::get(key, None), others, record]);
        let until = BootInstant::now() + CALL;
        // From here on the key may be ours, whatever becomes of the answer.
        self.held.queued = true;
        let connection = self.pool.connect(until).await?;
        let answer = connection.txn("take the key", txn, 3, until).await;
        let answer = self.unless_lease_is_gone(answer)?;
        let Answer {
            revision,
            arrived,
            succeeded,
            ops,
            ..
        } = answer;
        let mut gets = ops.into_iter();
        let own = gets.next().unwrap_or_default().pop();
        let others = gets.next().unwrap_or_default();
        let record = gets.next().unwrap_or_default().pop();
        let recorded = if let Some(kv) = &record {
            let first = self
                .observer
                .saw(kv.mod_revision(), kv.value(), arrived, NONE);
            let record = Record::parse(kv.value());
            record.is_some_and(|r| BootInstant::now() < self.observer.free_at(&r, first))
        } else {
            self.found_no_record(revision, arrived, true, CALL).await?;
            false
        };
        let token = match own {
            None if succeeded => Token(revision),
            // An earlier attempt, whose answer was lost, did it.
            Some(kv) if kv.lease() == granted.lease.0 => Token(kv.create_revision()),
            Some(kv) => {
                return Ok(Try::Held(Holding {
                    kv,
                    revision,
                    record,
                    recorded,
                }));
            }
            None => return Err(Setback::Again),
        };
        self.held.token = Some(token);
        let queues = |kv: &KeyValue| {
            self.names
                .lease_in(kv.key())
                .is_some_and(|lease| lease.0 == kv.lease())
        };
        if others.iter().any(queues) {
            return Err(self.mixed("places in a queue", "queue"));
        }
        Ok(Try::Taken(token))
    }

    /// Waits for the key's end, or for the next keepalive's time.
    async fn wait_for_deletion(&mut self, held: &Holding, wake: BootInstant) -> Result<(), Error> {
        let lease = held.kv.lease();
        // The holder of a term removes such a key itself, in its turn.
        if lease == 0 && !held.recorded && !std::mem::replace(&mut self.warned_unattached, true) {
            self.warn(format!(
                "the key {} is attached to no lease, so it ends with nobody: delete it by hand once you are sure \
                 that no command of this election is running",
                self.names.key
            ));
        }
        let limit = BootInstant::now() + CALL;
        let key = self.names.key.clone();
        // Its holder may write another value.
        let same = Some(lease);
        self.wait_for_change(&key, held.revision, same, limit, wake)
            .await
    }
}

/// Who leads, if who has the key does: the record may be of an earlier term, which has to run out first.
fn leader(held: &KeyValue, record: Option<&KeyValue>) -> Option<Leader> {
    let token = Token(held.create_revision());
    let name = match name_of(held) {
        name if name.is_empty() => String::from_utf8_lossy(held.key()).into_owned(),
        name => name,
    };
    Leader::beside(record, token, LeaseId(held.lease()), name)
}
