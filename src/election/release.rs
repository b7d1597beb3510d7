//! Giving back what is ours in etcd: record and candidate key in one transaction, then the lease.
//!
//! That both go at once tells others that the term has ended. Where the key was lost before, or is a single one, the
//! record says first that the term is over, since one that only goes might have been deleted by hand over a living
//! process tree.
//!
//! What is ours is read first and removed under comparisons, so a renewal that was cancelled on
//! its way can neither slip in between nor be followed by nothing: either it comes first and the
//! comparison fails, or it comes later and its own comparisons do.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, KeyValue, Txn, TxnOp};

use super::campaign::Held;
use super::names::Names;
use super::record::Record;
use super::renewal::{Found, Version, find};
use super::{GivenUp, Layout, LeaseId, Token};
use crate::clock::BootInstant;
use crate::etcd::{Connection, Error, Kind, Pool, sleep_until};

/// The most that one endpoint is given.
const ATTEMPT: Duration = Duration::from_secs(1);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// Removes what is `held`, trying every endpoint until `until`. Tells what there was.
pub(super) async fn release(
    pool: &mut Pool,
    names: &Names,
    held: &Held,
    until: BootInstant,
) -> Result<GivenUp, String> {
    let leases: Vec<LeaseId> = held.lease.iter().chain(&held.stale).copied().collect();
    if leases.is_empty() {
        return Ok(GivenUp::Nothing);
    }
    let mut given_up = GivenUp::Nothing;
    // Every endpoint gets its turn, also when the first ones hang.
    let turns = u32::try_from(pool.len().max(2)).unwrap_or(2);
    let turn = (until.saturating_since(BootInstant::now()) / turns).min(ATTEMPT);
    loop {
        let started = BootInstant::now();
        let limit = (started + turn).min(until);
        let error = match attempt(pool, names, held, &leases, &mut given_up, limit).await {
            Ok(()) => return Ok(given_up),
            Err(error) => error,
        };
        pool.failed();
        // What stood there before may have gone with an answer that was lost.
        if held.token.is_some() && !held.keep_record {
            given_up = held.but_record();
        }
        let next = started + BETWEEN_ATTEMPTS;
        if next >= until || BootInstant::now() >= until {
            return Err(error.to_string());
        }
        sleep_until(next).await;
    }
}

async fn attempt(
    pool: &mut Pool,
    names: &Names,
    held: &Held,
    leases: &[LeaseId],
    given_up: &mut GivenUp,
    until: BootInstant,
) -> Result<(), Error> {
    let connection = pool.connect(until).await?;
    let mut refused = None;
    if let Some(lease) = held.lease {
        match remove_keys(connection, names, held, lease, until).await {
            // etcd may let us revoke the lease all the same, and the key goes with it.
            Err(error) if matches!(error.kind, Kind::Refused | Kind::NoLogin) => {
                refused = Some(error);
            }
            Ok(GivenUp::Nothing) => {}
            Ok(removed) => *given_up = removed,
            Err(error) => return Err(error),
        }
    }
    for lease in leases {
        if connection.revoke(lease.0, until).await? && *given_up == GivenUp::Nothing {
            *given_up = held.but_record();
        }
    }
    match refused {
        // A record may be left, which is attached to nothing.
        Some(error) if held.begun => Err(error),
        _ => Ok(()),
    }
}

/// Removes our candidate key and our record, as far as they are there.
async fn remove_keys(
    connection: &mut Connection,
    names: &Names,
    held: &Held,
    lease: LeaseId,
    until: BootInstant,
) -> Result<GivenUp, Error> {
    let key = names.candidate(lease);
    let mut announced = GivenUp::Nothing;
    loop {
        let found = find(connection, &key, &names.record, until).await?;
        let recorded = our_record(&found, lease, held).is_some();
        let stands = recorded && held.keep_record;
        let given_up = match recorded {
            true if held.keep_record => GivenUp::AllButRecord,
            true => GivenUp::All,
            false => held.but_record(),
        };
        let Some((what, txn)) = removal(&found, &key, names, lease, held) else {
            // Whoever read that our term was over may have begun the next one already.
            return Ok(if stands { given_up } else { announced });
        };
        let done = connection.txn("release the leadership", txn, 0, until);
        if done.await?.succeeded {
            match what {
                // What is over is to be removed as well.
                Removal::Announced => announced = given_up,
                Removal::Done => return Ok(given_up),
            }
        }
        if BootInstant::now() >= until {
            let reason = "the keys keep changing".to_owned();
            return Err(Error::new(
                Kind::Elsewhere,
                connection.endpoint(),
                "release the leadership",
                reason,
            ));
        }
    }
}

/// What a transaction leads to.
enum Removal {
    /// The record says that the term is over.
    Announced,
    Done,
}

/// The transaction that removes what is ours of what was found; `None` if nothing is.
fn removal(
    found: &Found,
    key: &str,
    names: &Names,
    lease: LeaseId,
    held: &Held,
) -> Option<(Removal, Txn)> {
    let record_key = names.record.as_str();
    let record = our_record(found, lease, held);
    let token = held.token.or(record.as_ref().map(|(_, r)| r.token));
    // A single key that is attached to another lease by now is that of a client of the recipe.
    let of_another =
        |kv: &&KeyValue| names.layout == Layout::Single && kv.lease() != 0 && kv.lease() != lease.0;
    let own = found.own.as_ref().filter(|kv| is_ours(kv, lease, token));
    let own = own.filter(|kv| !of_another(kv));
    let record = match record {
        Some((kv, record))
            if (own.is_none() || names.layout == Layout::Single)
                && !held.keep_record
                && !record.over =>
        {
            let over = Record {
                over: true,
                ..record
            };
            let txn = Txn::new()
                .when([Version::At(kv.mod_revision()).compare(record_key)])
                .and_then([TxnOp::put(record_key, over.to_json(), None)]);
            return Some((Removal::Announced, txn));
        }
        Some((kv, _)) => Some(kv),
        // While our key stands on its lease, nobody else can have begun a term: what cannot be read was our record.
        None => {
            scribbled(found).filter(|_| own.is_some_and(|kv| kv.lease() == lease.0) && held.led)
        }
    };
    let may_come = record.is_none() && held.begun;
    let record = record.filter(|_| !held.keep_record);
    if own.is_none() && record.is_none() {
        return None;
    }
    let mut compares = Vec::new();
    let mut deletes = Vec::new();
    if let Some(kv) = own {
        compares.push(Compare::create_revision(
            key,
            CompareOp::Equal,
            kv.create_revision(),
        ));
        deletes.push(TxnOp::delete(key, None));
    }
    if let Some(kv) = record {
        compares.push(Compare::mod_revision(
            record_key,
            CompareOp::Equal,
            kv.mod_revision(),
        ));
        deletes.push(TxnOp::delete(record_key, None));
    } else if may_come {
        // A transaction on its way may yet write our record; it needs our key, so it is enough
        // that it has not come until the key is gone.
        let seen = found
            .record
            .as_ref()
            .map_or(Version::Absent, |kv| Version::At(kv.mod_revision()));
        compares.push(seen.compare(record_key));
    }
    Some((Removal::Done, Txn::new().when(compares).and_then(deletes)))
}

/// The record that was found, if it is ours.
fn our_record<'a>(found: &'a Found, lease: LeaseId, held: &Held) -> Option<(&'a KeyValue, Record)> {
    let kv = found.record.as_ref()?;
    let record = Record::parse(kv.value())?;
    let ours = record.lease == lease && held.token.is_none_or(|t| t == record.token);
    ours.then_some((kv, record))
}

/// A record that nobody can read.
fn scribbled(found: &Found) -> Option<&KeyValue> {
    let kv = found.record.as_ref()?;
    Record::parse(kv.value()).is_none().then_some(kv)
}

/// Our key by its create revision, also when it was attached to another lease by hand; without
/// a known one, by the lease it is attached to.
fn is_ours(kv: &KeyValue, lease: LeaseId, token: Option<Token>) -> bool {
    match token {
        Some(token) => kv.create_revision() == token.0,
        None => kv.lease() == lease.0,
    }
}
