//! What others ask of a leader: to step down.

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};

use super::names::Names;
use super::view::Seat;
use super::{Layout, LeaseId};
use crate::clock::BootInstant;
use crate::etcd::{Connection, Error};

/// How long a request to resign stands, in seconds.
const REQUEST: i64 = 60;

/// Asks the leader in that seat to step down. Returns whether it still had the seat.
pub async fn ask_to_resign(
    connection: &mut Connection,
    key: &str,
    leader: &Seat,
    until: BootInstant,
) -> Result<bool, Error> {
    let names = Names::new(key, Layout::Queue);
    let lease = LeaseId::random();
    connection.grant(lease.0, REQUEST, until).await?;
    let txn = Txn::new()
        .when([Compare::create_revision(
            leader.key.as_str(),
            CompareOp::Equal,
            leader.token.0,
        )])
        .and_then([TxnOp::put(
            names.resign.as_str(),
            leader.token.to_string(),
            Some(PutOptions::new().with_lease(lease.0)),
        )]);
    let asked = connection
        .txn("ask the leader to resign", txn, 0, until)
        .await?
        .succeeded;
    if !asked {
        let _ = connection.revoke(lease.0, until).await;
    }
    Ok(asked)
}
