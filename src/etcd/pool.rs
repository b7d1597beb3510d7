//! The rotation over the endpoints: at most one connection, dropped whole when anything fails.

use std::sync::Arc;

use tokio::sync::watch;

use super::connection::Connection;
use super::{Access, Change, Endpoint, Error};
use crate::clock::BootInstant;

/// The endpoints, which of them is next, and the connection to it.
pub struct Pool {
    endpoints: Vec<Endpoint>,
    access: Arc<Access>,
    current: usize,
    /// How often every endpoint was left: so many of a name's addresses are behind us.
    rounds: usize,
    /// Changes when certificates and password are to be read anew.
    reload: Option<watch::Receiver<()>>,
    connection: Option<Connection>,
    /// For each endpoint, until when others are tried before it.
    rests: Vec<Option<BootInstant>>,
    /// For each endpoint, a connection that was left while a login was on its way.
    parked: Vec<Option<Connection>>,
    cluster: Option<u64>,
    answered: bool,
}

impl Pool {
    /// Begins at the first endpoint; connects when first asked to.
    ///
    /// # Panics
    /// If there is no endpoint; [`Endpoint::parse_list`] yields at least one.
    pub fn new(endpoints: Vec<Endpoint>, access: Access) -> Self {
        assert!(!endpoints.is_empty(), "at least one endpoint");
        Self {
            parked: endpoints.iter().map(|_| None).collect(),
            rests: vec![None; endpoints.len()],
            endpoints,
            access: Arc::new(access),
            current: 0,
            rounds: 0,
            reload: None,
            connection: None,
            cluster: None,
            answered: false,
        }
    }

    /// Drops the connection whenever `reload` changes, to make another with what the files hold then.
    pub fn reload_on(&mut self, reload: watch::Receiver<()>) {
        self.reload = Some(reload);
    }

    /// What lets us in.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// How many endpoints make a round.
    pub const fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// How many addresses the endpoint in use has, as far as a connection to it stands.
    pub fn addresses(&self) -> usize {
        self.connection.as_ref().map_or(1, Connection::addresses)
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
        if let Some(reload) = &mut self.reload
            && reload.has_changed().unwrap_or(false)
        {
            reload.mark_unchanged();
            self.begin_anew();
        }
        // Written this way round because a borrow that is returned early would last too long.
        if self.connection.is_none() {
            let made = if let Some(mut parked) = self.parked[self.current].take() {
                parked.expect_cluster(self.cluster);
                parked
            } else {
                let endpoint = self.endpoints[self.current].clone();
                let opening =
                    Connection::open(endpoint, &self.access, self.rounds, self.cluster, until);
                // Boxed, since it is some kilobytes, and every future around it would be as well.
                Box::pin(opening).await?
            };
            self.connection = Some(made);
        }
        let connection = self.connection.as_mut().expect("made above");
        connection.admitted(until).await?;
        Ok(connection)
    }

    /// Drops the connection, with its keepalives and its watch, and moves to the next endpoint. A login
    /// that is on its way goes on, for the next time that this endpoint is tried.
    pub fn failed(&mut self) {
        self.rests[self.current] = None;
        self.leave();
    }

    /// The same where nobody is, or after a call that took all of its time, as where a member is frozen or cut off, or
    /// waits for a raft leader that is gone: until then, those come before it that answered, if only to say no.
    pub fn was_silent(&mut self, until: BootInstant) {
        self.rests[self.current] = Some(until);
        self.leave();
    }

    fn leave(&mut self) {
        self.remember();
        self.parked[self.current] = self
            .connection
            .take()
            .filter(Connection::is_logging_in)
            .map(|mut connection| {
                connection.quieten();
                connection
            });
        let left = self.current;
        self.current = next(left, &self.rests, BootInstant::now());
        if self.current <= left {
            self.rounds = self.rounds.wrapping_add(1);
        }
    }

    /// The next change of the watched key; while nothing is watched, only [`Change::Reloaded`].
    pub async fn change(&mut self) -> Change {
        let watched = async {
            match &mut self.connection {
                Some(connection) => connection.change().await,
                None => std::future::pending().await,
            }
        };
        let reload = async {
            if let Some(reload) = &mut self.reload
                && reload.changed().await.is_ok()
            {
                return;
            }
            // Nobody is there to ask for it.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            change = watched => return change,
            () = reload => {}
        }
        self.begin_anew();
        Change::Reloaded
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
            connection.expect_cluster(None);
        }
    }

    fn begin_anew(&mut self) {
        self.remember();
        self.connection = None;
        self.parked.fill_with(|| None);
    }

    fn remember(&mut self) {
        if let Some(cluster) = self.connection.as_ref().and_then(Connection::cluster) {
            self.cluster = Some(cluster);
            self.answered = true;
        }
    }
}

/// Who comes after `current`: the first that does not rest, be it `current` itself, or, where all rest, the one beside it.
fn next(current: usize, rests: &[Option<BootInstant>], now: BootInstant) -> usize {
    let count = rests.len();
    let mut order = (1..=count).map(|step| (current + step) % count);
    let awake = |index: &usize| rests[*index].is_none_or(|until| until <= now);
    order.find(awake).unwrap_or((current + 1) % count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_was_silent_comes_after_who_answered() {
        let at = |seconds| BootInstant::from_duration(Duration::from_secs(seconds));
        let now = at(10);
        let rests = |seconds: [u64; 3]| seconds.map(|s| (s > 0).then(|| at(s)));
        assert_eq!(next(0, &rests([0, 0, 0]), now), 1);
        assert_eq!(next(2, &rests([0, 0, 0]), now), 0);
        assert_eq!(next(1, &rests([0, 0, 12]), now), 0);
        // The only one that answered is tried again.
        assert_eq!(next(2, &rests([12, 11, 0]), now), 2);
        // All are silent, or were long enough ago.
        assert_eq!(next(2, &rests([12, 11, 13]), now), 0);
        assert_eq!(next(0, &rests([12, 10, 13]), now), 1);
        assert_eq!(next(0, &[None], now), 0);
    }
}
