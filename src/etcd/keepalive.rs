//! The stream of keepalives of one lease. Its answers carry no number, so whatever could make one pass for that to
//! another request ends it.

use std::time::Duration;

use etcd_client::{
    Client, Error, LeaseKeepAliveResponse, LeaseKeepAliveStream as Answers, LeaseKeeper,
};
use tokio::time::timeout;

pub(super) struct Keepalives {
    id: i64,
    keeper: LeaseKeeper,
    answers: Answers,
}

/// An answer, or `None` at the stream's end.
type Heard = Result<Option<LeaseKeepAliveResponse>, Error>;

impl Keepalives {
    /// Opens a stream; `None` if the member knows no such lease.
    ///
    /// That sends a keepalive too, but the library swallows the header of its answer; so the one that counts is
    /// always a further one.
    pub async fn open(client: &mut Client, id: i64) -> Result<Option<Self>, Error> {
        match client.lease_keep_alive(id).await {
            Err(Error::LeaseKeepAliveError(_)) => Ok(None),
            Err(e) => Err(e),
            Ok((keeper, answers)) => Ok(Some(Self {
                id,
                keeper,
                answers,
            })),
        }
    }

    pub const fn is_of(&self, id: i64) -> bool {
        self.id == id
    }

    /// What has come although nothing is asked at present. One answer too many would pass for that to the next
    /// request, which might never reach etcd.
    pub async fn unasked(&mut self) -> Option<Heard> {
        timeout(Duration::ZERO, self.answers.message()).await.ok()
    }

    /// Sends a keepalive, and waits for its answer.
    pub async fn send(&mut self) -> Heard {
        self.keeper.keep_alive().await?;
        self.answers.message().await
    }
}
