//! How a record that was seen, and is gone, came to be removed: etcd remembers, until it is compacted.
//!
//! Nobody has to wait after the end of a term, but after a record that was deleted by hand everybody does, since
//! its command may be running. The end of a term removes the record and the candidate key in one transaction, or,
//! where that key was lost before or is a single one, writes into the record first that it is over.

use std::time::Duration;

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp};

use super::campaign::Campaign;
use super::names::Names;
use super::record::Record;
use super::take_over::Seen;
use super::{Layout, Token};
use crate::clock::BootInstant;
use crate::etcd::{Connection, Error, Kind};

/// How many revisions one request asks about: a few requests see through all that a busy etcd has written meanwhile.
const PROBES: i64 = 16;

impl Campaign {
    /// Takes note of a look that found no record at that revision of the store, and whose answer had `arrived` by
    /// then. Unless a key of ours has `stood` since the record was seen, all of it may have been deleted at once.
    /// Each request may take as long as an `attempt`.
    ///
    /// # Errors
    /// etcd does not tell. When it has not for a second time, the record counts as deleted by hand.
    pub(super) async fn found_no_record(
        &mut self,
        revision: i64,
        arrived: BootInstant,
        stood: bool,
        attempt: Duration,
    ) -> Result<(), Error> {
        let Some(seen) = self.observer.seen().cloned() else {
            return Ok(());
        };
        let past = if stood {
            self.look_back(&seen, revision, attempt).await
        } else {
            Ok(Record::parse(&seen.value))
        };
        let vanished = match past {
            Ok(vanished) => vanished,
            // What etcd has forgotten, or cannot be had from it, counts as deleted by hand.
            Err(error) if error.kind == Kind::Compacted || self.observer.looked_back_in_vain() => {
                Record::parse(&seen.value)
            }
            Err(error) => return Err(error),
        };
        self.observer.saw_none(arrived, vanished);
        Ok(())
    }

    async fn look_back(
        &mut self,
        seen: &Seen,
        gone: i64,
        attempt: Duration,
    ) -> Result<Option<Record>, Error> {
        let until = BootInstant::now() + attempt;
        let connection = self.pool.connect(until).await?;
        let mut history = History {
            connection,
            names: &self.names,
            attempt,
        };
        history.vanished(seen, gone).await
    }
}

struct History<'a> {
    connection: &'a mut Connection,
    names: &'a Names,
    attempt: Duration,
}

/// Where a key stood, and where it stood no longer: at two revisions, one after the other.
struct End {
    there: i64,
    gone: i64,
    /// As it stood last; `None` if only where the search began.
    last: Option<KeyValue>,
}

impl History<'_> {
    /// The record that was deleted by hand since one was `seen`, as far as can be told: that one, or that of a later
    /// term. At the revision `gone` there was none.
    async fn vanished(&mut self, seen: &Seen, gone: i64) -> Result<Option<Record>, Error> {
        let record_seen = Record::parse(&seen.value);
        // Another history than the one that it was seen in.
        if seen.mod_revision < 0 || gone <= seen.mod_revision {
            return Ok(record_seen);
        }
        let names = self.names;
        let end = self
            .end_of(&names.record, seen.mod_revision, gone, |_| true)
            .await?;
        // One that was scribbled on was that of the term which had been seen.
        let last = end.last.as_ref().map(|kv| Record::parse(kv.value()));
        let Some(last) = last.flatten().or_else(|| record_seen.clone()) else {
            return Ok(None);
        };
        if !self.ended(&last, &end).await? {
            return Ok(Some(last.respected_as_long_as(record_seen.as_ref())));
        }
        // That one was written after another had gone, which may have been the one that was seen.
        let is_later = |kv: &KeyValue| kv.create_revision() > seen.mod_revision;
        match record_seen {
            Some(before)
                if end.last.as_ref().is_some_and(is_later)
                    && !last.is_of(before.token, before.lease)
                    && !self.ended_with_its_key(&before, seen, gone).await? =>
            {
                Ok(Some(before))
            }
            _ => Ok(None),
        }
    }

    /// Whether the record that stood until then went by the end of its term.
    async fn ended(&mut self, record: &Record, end: &End) -> Result<bool, Error> {
        if record.over {
            return Ok(true);
        }
        // A single key and its record are easily deleted by hand at once, with their prefix, and leave all who wait be.
        if self.names.layout == Layout::Single {
            return Ok(false);
        }
        let key = self.names.candidate(record.lease);
        let stands = |kv: &KeyValue| is_of(kv, record.token);
        self.went(&key, end.there, end.gone, stands).await
    }

    /// Whether the term of that record ended when its key went, which stood when the record was `seen`.
    async fn ended_with_its_key(
        &mut self,
        record: &Record,
        seen: &Seen,
        gone: i64,
    ) -> Result<bool, Error> {
        if self.names.layout == Layout::Single {
            return Ok(false);
        }
        let names = self.names;
        let key = names.candidate(record.lease);
        let stands = |kv: &KeyValue| is_of(kv, record.token);
        if !self.went(&key, seen.mod_revision, gone, stands).await? {
            return Ok(false);
        }
        let end = self.end_of(&key, seen.mod_revision, gone, stands).await?;
        let holds = |kv: &KeyValue| {
            Record::parse(kv.value()).is_some_and(|found| found.is_of(record.token, record.lease))
        };
        self.went(&names.record, end.there, end.gone, holds).await
    }

    /// Whether a key stood at the revision `there`, and no longer at `gone`.
    async fn went(
        &mut self,
        key: &str,
        there: i64,
        gone: i64,
        stands: impl Fn(&KeyValue) -> bool,
    ) -> Result<bool, Error> {
        let found = self.read(key, &[there, gone]).await?;
        let stood = found.into_iter().map(|kv| kv.is_some_and(|kv| stands(&kv)));
        Ok(stood.eq([true, false]))
    }

    /// Where a key that stood at the revision `there`, and no longer at `gone`, ended. If it came and went several
    /// times, this is one of its ends, rather a late one.
    async fn end_of(
        &mut self,
        key: &str,
        there: i64,
        gone: i64,
        stands: impl Fn(&KeyValue) -> bool,
    ) -> Result<End, Error> {
        let mut end = End {
            there,
            gone,
            last: None,
        };
        while end.gone - end.there > 1 {
            let probes = probes(end.there, end.gone);
            let found = self.read(key, &probes).await?;
            for (at, kv) in probes.into_iter().zip(found).rev() {
                if let Some(kv) = kv.filter(&stands) {
                    (end.there, end.last) = (at, Some(kv));
                    break;
                }
                end.gone = at;
            }
        }
        Ok(end)
    }

    /// How a key was at these revisions of the store.
    async fn read(&mut self, key: &str, revisions: &[i64]) -> Result<Vec<Option<KeyValue>>, Error> {
        let until = BootInstant::now() + self.attempt;
        let at = |&revision| TxnOp::get(key, Some(GetOptions::new().with_revision(revision)));
        let gets: Vec<TxnOp> = revisions.iter().map(at).collect();
        let txn = Txn::new().and_then(gets);
        let count = revisions.len();
        let answer = self.connection.txn("look back", txn, count, until).await?;
        let found = answer.ops.into_iter().take(count);
        Ok(found.map(|mut kvs| kvs.pop()).collect())
    }
}

fn is_of(kv: &KeyValue, token: Token) -> bool {
    Token(kv.create_revision()) == token
}

/// Revisions between the two, in order; the last one always, for where nobody else has written since, the key went with
/// what came after it.
fn probes(there: i64, gone: i64) -> Vec<i64> {
    let last = gone - 1;
    let step = ((last - there) / PROBES).max(1);
    let spaced = (1..PROBES).map(|i| there + i * step);
    spaced.take_while(|&at| at < last).chain([last]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_between_and_in_order_and_the_last_is_there() {
        for (there, gone) in [
            (1, 3),
            (1, 10),
            (5, 22),
            (5, 23),
            (7, 40_000),
            (0, i64::MAX),
        ] {
            let probes = probes(there, gone);
            assert!(probes.is_sorted(), "{probes:?}");
            assert!(
                there < probes[0] && probes.last() == Some(&(gone - 1)),
                "{probes:?}"
            );
        }
    }
}
