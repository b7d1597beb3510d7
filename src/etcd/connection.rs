//! One connection to one endpoint, with the keepalive stream and the watch that live on it.
//!
//! Every call takes the instant by which it has to be over. A call that is cancelled or runs out
//! of time leaves nothing behind that a later call could take for its own answer: the keepalive
//! stream, where answers carry no number, is taken out for the call and put back only when its
//! answer has come.

use std::sync::Arc;

use etcd_client::{Channel, Client, ConnectOptions, ResponseHeader, Txn};

use super::answer::{Answer, Proof, Pulse, read_by};
use super::call::{Request, bounded};
use super::dial::dial;
use super::error::{CONNECT, Error, Kind};
use super::inquiry::Inquiry;
use super::keepalive::Keepalives;
use super::login::LoggingIn;
use super::stream::Alert;
use super::watch::{self, Change, Follow, Keys, WATCH, Watch};
use super::{Access, Endpoint, tls};
use crate::clock::BootInstant;

/// How often a request is made at most, for logins that are out of date. More than twice, since users and
/// roles may go on changing.
const TRIES: u32 = 4;

/// See the module's head.
pub struct Connection {
    endpoint: Endpoint,
    access: Arc<Access>,
    alert: Alert,
    /// How many addresses the endpoint has.
    addresses: usize,
    /// Whether etcd has not answered on it yet.
    fresh: bool,
    logging_in: Option<LoggingIn>,
    client: Client,
    cluster: Option<u64>,
    keepalives: Option<Keepalives>,
    watch: Option<Watch>,
}

impl Connection {
    /// Connects, and begins to log in; answers of another cluster than `cluster` will be refused. Of
    /// several addresses, the `turn`-th is tried first.
    pub(super) async fn open(
        endpoint: Endpoint,
        access: &Arc<Access>,
        turn: usize,
        cluster: Option<u64>,
        until: BootInstant,
    ) -> Result<Self, Error> {
        let (channel, alert, addresses) = dial(&endpoint, access, turn, until).await?;
        let options = ConnectOptions::new()
            .with_require_leader(true)
            // Logging in is ours: see `login.rs`.
            .with_auto_token_refresh(false);
        let client = Client::from_channel(Channel::Tonic(channel), Some(options));
        let client = bounded(&endpoint, CONNECT, until, client).await?;
        Ok(Self {
            logging_in: LoggingIn::begin(&client, access, &endpoint),
            endpoint,
            access: Arc::clone(access),
            alert,
            addresses,
            fresh: true,
            client,
            cluster,
            keepalives: None,
            watch: None,
        })
    }

    /// How many addresses the endpoint had when this connection was made.
    pub(super) const fn addresses(&self) -> usize {
        self.addresses
    }

    /// Waits for the login that is on its way, if there is one.
    pub(super) async fn admitted(&mut self, until: BootInstant) -> Result<(), Error> {
        let Some(login) = &mut self.logging_in else {
            return Ok(());
        };
        let Some(end) = login.end(until).await else {
            return Err(LoggingIn::unfinished(&self.endpoint));
        };
        self.logging_in = None;
        end.map_err(|error| self.explain(error))
    }

    /// Whether a login is on its way, which whoever comes next had better wait for.
    pub(super) const fn is_logging_in(&self) -> bool {
        self.logging_in.is_some()
    }

    /// Ends keepalives and watch.
    pub(super) fn quieten(&mut self) {
        self.keepalives = None;
        self.watch = None;
    }

    /// Gets a new token, if we have a user.
    async fn log_in(&mut self, until: BootInstant) -> Result<(), Error> {
        self.logging_in = LoggingIn::begin(&self.client, &self.access, &self.endpoint);
        self.admitted(until).await
    }

    /// The reason behind a failure that only says that the connection is broken.
    fn explain(&self, error: Error) -> Error {
        if let Some(alert) = self.alert.get() {
            let reason = tls::describe(alert, &self.access.tls, self.endpoint.host());
            return error.because(Kind::Untrusted, reason);
        }
        // A member that is shut down does the same, but to whom it never answered this may be the reason.
        if self.fresh && !self.endpoint.is_tls() && error.is_of_broken_connection() {
            let reason =
                "the connection was broken off (does etcd there ask for https? Then begin it with https:// in --endpoints)".to_owned();
            return error.because(Kind::Elsewhere, reason);
        }
        error
    }

    /// Whether the same request may succeed after another login. etcd refuses such requests before it
    /// does anything, so all of them may be repeated.
    fn may_heal(&self, error: &Error) -> bool {
        match error.kind {
            Kind::StaleLogin => true,
            // etcd was told to ask for users after we had connected.
            Kind::NoLogin => self.access.login.is_some(),
            _ => false,
        }
    }

    /// Makes a request, and makes it again after another login if that is what it takes.
    pub(super) async fn call<T>(
        &mut self,
        doing: &'static str,
        until: BootInstant,
        request: impl for<'a> Fn(&'a mut Client) -> Request<'a, T>,
    ) -> Result<T, Error> {
        let mut tries = 1;
        loop {
            match bounded(&self.endpoint, doing, until, request(&mut self.client)).await {
                Err(error) if tries < TRIES && self.may_heal(&error) => self.log_in(until).await?,
                answer => return answer.map_err(|error| self.explain(error)),
            }
            tries += 1;
        }
    }

    /// The endpoint.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// For questions that nobody waits for.
    pub fn inquiry(&self) -> Inquiry {
        Inquiry {
            client: self.client.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    pub(super) const fn cluster(&self) -> Option<u64> {
        self.cluster
    }

    /// Which cluster's answers are taken; `None` lets the next one decide.
    pub(super) const fn expect_cluster(&mut self, cluster: Option<u64>) {
        self.cluster = cluster;
    }

    /// Runs a transaction; linearizable, also if it only reads. Whichever way its comparisons go, it consists
    /// of at least so many `operations`, and an answer without one of them is none.
    pub async fn txn(
        &mut self,
        doing: &'static str,
        txn: Txn,
        operations: usize,
        until: BootInstant,
    ) -> Result<Answer, Error> {
        let answer = self
            .call(doing, until, |client| Box::pin(client.txn(txn.clone())))
            .await?;
        let arrived = BootInstant::now();
        let (proof, revision) = self.check(doing, answer.header())?;
        let succeeded = answer.succeeded();
        let Some(ops) = read_by(answer.0.responses, operations) else {
            return Err(self.error(doing, "the answer leaves operations out"));
        };
        Ok(Answer {
            succeeded,
            revision,
            proof,
            ops,
            arrived,
        })
    }

    /// Sends one keepalive and awaits its answer, on a stream that is opened if there is none.
    pub async fn keep_alive(&mut self, id: i64, until: BootInstant) -> Result<Pulse, Error> {
        match self.keep_alive_once(id, until).await {
            Err(error) if self.may_heal(&error) => {
                self.log_in(until).await?;
                self.keep_alive_once(id, until).await
            }
            pulse => pulse,
        }
    }

    async fn keep_alive_once(&mut self, id: i64, until: BootInstant) -> Result<Pulse, Error> {
        let doing = "renew the lease";
        let kept = self.keepalives.take().filter(|k| k.is_of(id));
        let mut keepalives = if let Some(mut kept) = kept {
            match kept.unasked().await {
                None => kept,
                Some(Err(e)) => return Err(Error::from_client(&self.endpoint, doing, &e)),
                Some(Ok(_)) => {
                    return Err(self.error(doing, "the stream was closed, or spoke unasked"));
                }
            }
        } else {
            let call = Keepalives::open(&mut self.client, id);
            match bounded(&self.endpoint, doing, until, call).await? {
                Some(opened) => opened,
                None => return Ok(Pulse::GONE),
            }
        };
        let call = keepalives.send();
        let Some(answer) = bounded(&self.endpoint, doing, until, call).await? else {
            return Err(self.error(doing, "the stream was closed"));
        };
        let (proof, _) = self.check(doing, answer.header())?;
        if answer.id() != id {
            return Err(self.error(doing, "the answer is for another lease"));
        }
        if answer.ttl() > 0 {
            self.keepalives = Some(keepalives);
        }
        Ok(Pulse {
            ttl: answer.ttl(),
            proof: Some(proof),
        })
    }

    /// Watches these `keys` alone for what happens after `revision`, unless they are being watched already.
    ///
    /// # Panics
    /// If there are none.
    pub async fn watch(
        &mut self,
        keys: &[&str],
        revision: i64,
        until: BootInstant,
    ) -> Result<(), Error> {
        if self.watch.as_ref().is_some_and(|w| w.is_of(keys)) {
            return Ok(());
        }
        self.watch = None;
        let stream = self
            .call(WATCH, until, |client| {
                let one = |&key: &&str| Keys::One(key.to_owned()).after(revision);
                let watches = keys.iter().map(one).collect();
                Box::pin(watch::open(client, watches))
            })
            .await?;
        self.watch = Some(Watch::new(keys, stream));
        Ok(())
    }

    /// Every event of these keys after `revision`, each kind of them in its order. Apart from
    /// [`Self::watch`], and gone with the connection.
    ///
    /// # Panics
    /// If there are none.
    pub async fn follow(
        &mut self,
        keys: &[Keys],
        revision: i64,
        until: BootInstant,
    ) -> Result<Follow, Error> {
        let stream = self
            .call(WATCH, until, |client| {
                let watches = keys.iter().map(|keys| keys.after(revision)).collect();
                Box::pin(watch::open(client, watches))
            })
            .await?;
        Ok(Follow::new(stream, self.endpoint.clone()))
    }

    pub(super) fn unwatch(&mut self) {
        self.watch = None;
    }

    /// The next change of the watched keys; cancel-safe. A watch that has ended watches no more.
    pub(super) async fn change(&mut self) -> Change {
        let Some(watch) = &mut self.watch else {
            return std::future::pending().await;
        };
        let change = watch.change(&self.endpoint).await;
        if matches!(change, Change::Ended(_)) {
            self.watch = None;
        }
        change
    }

    pub(super) fn error(&self, doing: &'static str, reason: &str) -> Error {
        Error::new(Kind::Elsewhere, &self.endpoint, doing, reason.to_owned())
    }

    /// Reads a header, and refuses an answer of another cluster than the one that holds our keys:
    /// there, everything of ours would seem to be gone.
    pub(super) fn check(
        &mut self,
        doing: &'static str,
        header: Option<&ResponseHeader>,
    ) -> Result<(Proof, i64), Error> {
        // etcd's raft terms and revisions begin with 1: a header that says nothing is none.
        let Some(header) = header.filter(|h| h.raft_term() > 0 && h.revision() > 0) else {
            return Err(self.error(doing, "the answer has no header"));
        };
        self.fresh = false;
        let cluster = *self.cluster.get_or_insert(header.cluster_id());
        if cluster != header.cluster_id() {
            let reason = format!(
                "this is the etcd cluster {:x}, not {cluster:x} as before: --endpoints must name one cluster",
                header.cluster_id()
            );
            return Err(self.error(doing, &reason));
        }
        let proof = Proof {
            cluster,
            raft_term: header.raft_term(),
        };
        Ok((proof, header.revision()))
    }
}
