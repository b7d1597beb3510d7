//! The rotation over the endpoints: at most one connection, dropped whole when anything fails.

use super::connection::{Change, Connection};
use super::{Endpoint, Error};
use crate::clock::BootInstant;

/// The endpoints, which of them is next, and the connection to it.
pub struct Pool {
    endpoints: Vec<Endpoint>,
    current: usize,
    connection: Option<Connection>,
    cluster: Option<u64>,
    answered: bool,
}

impl Pool {
    /// Begins at the first endpoint; connects when first asked to.
    ///
    /// # Panics
    /// If there is no endpoint; [`Endpoint::parse_list`] yields at least one.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        assert!(!endpoints.is_empty(), "at least one endpoint");
        Self {
            endpoints,
            current: 0,
            connection: None,
            cluster: None,
            answered: false,
        }
    }

    /// How many endpoints make a round.
    pub const fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Never; clippy asks for it beside `len`.
    pub const fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The endpoint in use.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoints[self.current]
    }

    /// Whether any endpoint ever answered a call.
    pub fn answered(&self) -> bool {
        self.answered
            || self
                .connection
                .as_ref()
                .is_some_and(|c| c.cluster().is_some())
    }

    /// The connection, made if there is none.
    ///
    /// # Errors
    /// If no connection stands by `until`. The caller reports it to [`Pool::failed`].
    pub async fn connect(&mut self, until: BootInstant) -> Result<&mut Connection, Error> {
        // Written this way round because a borrow that is returned early would last too long.
        if self.connection.is_none() {
            let endpoint = self.endpoints[self.current].clone();
            self.connection = Some(Connection::open(endpoint, self.cluster, until).await?);
        }
        Ok(self.connection.as_mut().expect("made above"))
    }

    /// Drops the connection, with its keepalives and its watch, and moves to the next endpoint.
    pub fn failed(&mut self) {
        self.remember();
        self.connection = None;
        self.current = (self.current + 1) % self.endpoints.len();
    }

    /// The next change of the watched key; never, while nothing is watched.
    pub async fn change(&mut self) -> Change {
        match &mut self.connection {
            Some(connection) => connection.change().await,
            None => std::future::pending().await,
        }
    }

    /// Stops watching.
    pub fn unwatch(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.unwatch();
        }
    }

    /// Lets the next answer decide which cluster this is: only while nothing of ours is in one.
    pub fn forget_cluster(&mut self) {
        self.remember();
        self.cluster = None;
        if let Some(connection) = &mut self.connection {
            connection.forget_cluster();
        }
    }

    fn remember(&mut self) {
        if let Some(cluster) = self.connection.as_ref().and_then(Connection::cluster) {
            self.cluster = Some(cluster);
            self.answered = true;
        }
    }
}
