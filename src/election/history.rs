//! How a record that was seen, and is gone, came to be removed: etcd remembers, until it is compacted.
//!
//! Nobody has to wait after the end of a term, but after a record that was deleted by hand everybody does, since
//! its command may be running. The end of a term removes the record and the candidate key in one transaction, or,
//! where that key was lost before, writes into the record first that it is over.

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp};

use super::Token;
use super::campaign::Campaign;
use super::names::Names;
use super::record::Record;
use super::take_over::Seen;
use crate::clock::BootInstant;
use crate::etcd::{Connection, Error, Kind};

impl Campaign {
    /// Takes note of a look that found no record at that revision of the store, and whose answer had `arrived` by
    /// then. Unless a key of ours has `stood` since the record was seen, all of it may have been deleted at once.
    pub(super) async fn found_no_record(
        &mut self,
        revision: i64,
        arrived: BootInstant,
        stood: bool,
        until: BootInstant,
    ) -> Result<(), Error> {
        let Some(seen) = self.observer.seen() else {
            return Ok(());
        };
        let ended = stood && {
            let connection = self.pool.connect(until).await?;
            match ended_in_order(connection, &self.names, seen, revision, until).await {
                // What etcd has forgotten counts as deleted by hand.
                Err(error) if error.kind == Kind::Compacted => false,
                other => other?,
            }
        };
        self.observer.saw_none(arrived, ended);
        Ok(())
    }
}

/// Whether the record that was `seen`, or a later one, went by the end of its term; at the revision `gone` there was
/// none.
async fn ended_in_order(
    connection: &mut Connection,
    names: &Names,
    seen: &Seen,
    mut gone: i64,
    until: BootInstant,
) -> Result<bool, Error> {
    let mut there = seen.mod_revision;
    // Another history than the one that it was seen in.
    if gone <= there {
        return Ok(false);
    }
    let mut last = None;
    // Where nobody else has written since, it went with the last revision.
    let mut at = gone - 1;
    while gone - there > 1 {
        match read(connection, &names.record, [at], until).await? {
            [Some(kv)] => (there, last) = (at, Some(kv)),
            [None] => gone = at,
        }
        at = there + (gone - there) / 2;
    }
    let value = last.as_ref().map_or(seen.value.as_slice(), KeyValue::value);
    // One that was scribbled on was that of the term which had been seen.
    let Some(record) = Record::parse(value).or_else(|| Record::parse(&seen.value)) else {
        return Ok(false);
    };
    if record.over {
        return Ok(true);
    }
    let key = names.candidate(record.lease);
    let stood = |kv: &Option<KeyValue>| {
        kv.as_ref()
            .is_some_and(|kv| Token(kv.create_revision()) == record.token)
    };
    let keys = read(connection, &key, [there, gone], until).await?;
    Ok(keys.each_ref().map(stood) == [true, false])
}

/// How a key was at these revisions of the store.
async fn read<const N: usize>(
    connection: &mut Connection,
    key: &str,
    revisions: [i64; N],
    until: BootInstant,
) -> Result<[Option<KeyValue>; N], Error> {
    let at = |revision| TxnOp::get(key, Some(GetOptions::new().with_revision(revision)));
    let txn = Txn::new().and_then(revisions.map(at));
    let answer = connection.txn("look back", txn, N, until).await?;
    let mut gets = answer.ops.into_iter();
    Ok(revisions.map(|_| gets.next().unwrap_or_default().pop()))
}
