//! What is asked about leases.

use std::time::Duration;

use etcd_client::LeaseGrantOptions;

use super::connection::Connection;
use super::error::{Error, Kind};
use crate::clock::BootInstant;
use crate::timing::MAX_TTL;

impl Connection {
    /// Grants a lease with an id of our choice; yields the TTL that the server chose, which lies between 1 s and
    /// [`MAX_TTL`].
    ///
    /// # Errors
    /// [`Kind::LeaseExists`] if the id is taken; otherwise it may have been granted.
    pub async fn grant(
        &mut self,
        id: i64,
        ttl: i64,
        until: BootInstant,
    ) -> Result<Duration, Error> {
        let doing = "grant a lease";
        let options = LeaseGrantOptions::new().with_id(id);
        let answer = self
            .call(doing, until, |client| {
                Box::pin(client.lease_grant(ttl, Some(options.clone())))
            })
            .await?;
        self.check(doing, answer.header())?;
        let granted = u64::try_from(answer.ttl()).map(Duration::from_secs);
        match granted {
            Ok(ttl) if (Duration::from_secs(1)..=MAX_TTL).contains(&ttl) => Ok(ttl),
            _ => Err(self.error(doing, &format!("a TTL of {}s was granted", answer.ttl()))),
        }
    }

    /// Revokes a lease, and with it the keys that are attached to it. Yields whether it was there.
    pub async fn revoke(&mut self, id: i64, until: BootInstant) -> Result<bool, Error> {
        let revoked = self.call("revoke the lease", until, |client| {
            Box::pin(client.lease_revoke(id))
        });
        match revoked.await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == Kind::LeaseNotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The seconds that a lease has left; negative if there is no such lease. `None` if it lives and has keys that are
    /// not for us to see.
    pub async fn time_to_live(
        &mut self,
        id: i64,
        until: BootInstant,
    ) -> Result<Option<i64>, Error> {
        let doing = "look at a lease";
        let answer = self.call(doing, until, |client| {
            Box::pin(client.lease_time_to_live(id, None))
        });
        match answer.await {
            Ok(answer) => {
                self.check(doing, answer.header())?;
                Ok(Some(answer.ttl()))
            }
            Err(e) if e.kind == Kind::LeaseNotFound => Ok(Some(-1)),
            Err(e) if e.kind.is_refusal() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether a lease lives.
    pub async fn lives(&mut self, id: i64, until: BootInstant) -> Result<bool, Error> {
        let ttl = self.time_to_live(id, until).await?;
        Ok(ttl.is_none_or(|ttl| ttl > 0))
    }
}
