//! Questions about an etcd that no candidacy waits for: beside the calls of a [`super::Connection`], and over it.

use etcd_client::{Client, GetOptions};

use super::call::bounded;
use super::{Endpoint, Error, Kind};
use crate::clock::BootInstant;

/// A handle for them. It keeps the transport alive, so it is not to be kept for long.
pub struct Inquiry {
    pub(super) client: Client,
    pub(super) endpoint: Endpoint,
}

impl Inquiry {
    /// Who is asked.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The version of the member that answers. With users, some versions tell it to root alone: etcd 3.5.28 and the
    /// first ones of 3.6 (etcd issues 21466, 21663); 3.4 tells everybody.
    pub async fn version(&mut self, until: BootInstant) -> Result<String, Error> {
        let status = self.client.status();
        let answer = bounded(&self.endpoint, "ask for the version", until, status).await?;
        Ok(answer.version().to_owned())
    }

    /// The store's revision, if its first one can still be read: then it has never been compacted. `key` is any that we
    /// may read.
    pub async fn uncompacted(
        &mut self,
        key: &str,
        until: BootInstant,
    ) -> Result<Option<i64>, Error> {
        let first = GetOptions::new().with_revision(1).with_serializable();
        let get = self.client.get(key, Some(first));
        match bounded(&self.endpoint, "read the first revision", until, get).await {
            Ok(answer) => Ok(answer.header().map(etcd_client::ResponseHeader::revision)),
            Err(error) if error.kind == Kind::Compacted => Ok(None),
            Err(error) => Err(error),
        }
    }
}
