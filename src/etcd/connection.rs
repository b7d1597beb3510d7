//! One connection to one endpoint, with the keepalive stream and the watch that live on it.
//!
//! Every call takes the instant by which it has to be over. A call that is cancelled or runs out
//! of time leaves nothing behind that a later call could take for its own answer: the keepalive
//! stream, where answers carry no number, is taken out for the call and put back only when its
//! answer has come.

use std::future::Future;
use std::time::Duration;

use etcd_client::{
    Channel, Client, ConnectOptions, EventType, LeaseGrantOptions, LeaseKeepAliveStream,
    LeaseKeeper, ResponseHeader, Txn, TxnOpResponse, WatchOptions, WatchResponse, WatchStream,
};

use super::Endpoint;
use super::error::{CONNECT, Error, Kind, root_cause};
use crate::clock::BootInstant;
use crate::timing::show;

/// The cluster and raft term that an answer was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The id of the etcd cluster.
    pub cluster: u64,
    /// The raft term of the answering member.
    pub raft_term: u64,
}

/// An answered keepalive.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// Seconds left; zero or less if the member knows no such lease.
    pub ttl: i64,
    /// In which raft term; `None` for an answer whose header the library does not hand out.
    pub proof: Option<Proof>,
}

/// An answered transaction.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// The store's revision: that of the writes, if there were any.
    pub revision: i64,
    /// In which raft term.
    pub proof: Proof,
    /// The operations' answers.
    pub ops: Vec<TxnOpResponse>,
    /// The instant after the answer had arrived.
    pub arrived: BootInstant,
}

/// What a watch saw.
#[derive(Debug)]
pub enum Change {
    /// The first of the watched keys was deleted.
    Deleted,
    /// It was written and is attached to this lease, 0 for none.
    Put {
        /// The lease's id.
        lease: i64,
    },
    /// Another of the watched keys was written or deleted.
    Beside,
    /// The watch is over.
    Ended(Error),
}

struct Watch {
    keys: Vec<String>,
    stream: WatchStream,
}

/// See the module's head.
pub struct Connection {
    endpoint: Endpoint,
    client: Client,
    cluster: Option<u64>,
    keeper: Option<(i64, LeaseKeeper, LeaseKeepAliveStream)>,
    watch: Option<Watch>,
}

impl Connection {
    /// Connects; answers of another cluster than `cluster` will be refused.
    pub(super) async fn open(
        endpoint: Endpoint,
        cluster: Option<u64>,
        until: BootInstant,
    ) -> Result<Self, Error> {
        let failed = |kind, reason| Error::new(kind, &endpoint, CONNECT, reason);
        let limit = until.saturating_since(BootInstant::now());
        let builder = tonic::transport::Endpoint::from_shared(endpoint.to_string())
            .map_err(|e| failed(Kind::Refused, root_cause(&e)))?
            .connect_timeout(limit)
            .tcp_nodelay(true);
        let channel = match tokio::time::timeout(limit, Box::pin(builder.connect())).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(_)) if endpoint.is_name() && !resolves(&endpoint, until).await => {
                return Err(failed(
                    Kind::UnknownName,
                    format!("the name {} does not exist", endpoint.host()),
                ));
            }
            Ok(Err(e)) => return Err(failed(Kind::Elsewhere, root_cause(&e))),
            Err(_) => return Err(failed(Kind::Elsewhere, no_answer(limit))),
        };
        let options = ConnectOptions::new().with_require_leader(true);
        let client = Client::from_channel(Channel::Tonic(channel), Some(options));
        let client = bounded(&endpoint, CONNECT, until, client).await?;
        Ok(Self {
            endpoint,
            client,
            cluster,
            keeper: None,
            watch: None,
        })
    }

    /// The endpoint.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) const fn cluster(&self) -> Option<u64> {
        self.cluster
    }

    pub(super) const fn forget_cluster(&mut self) {
        self.cluster = None;
    }

    /// Grants a lease with an id of our choice; yields the TTL that the server chose, in seconds.
    ///
    /// # Errors
    /// [`Kind::LeaseExists`] if the id is taken; otherwise it may have been granted.
    pub async fn grant(&mut self, id: i64, ttl: i64, until: BootInstant) -> Result<i64, Error> {
        let doing = "grant a lease";
        let call = self
            .client
            .lease_grant(ttl, Some(LeaseGrantOptions::new().with_id(id)));
        let answer = bounded(&self.endpoint, doing, until, call).await?;
        self.check(doing, answer.header())?;
        Ok(answer.ttl())
    }

    /// Revokes a lease, and with it the keys that are attached to it. Yields whether it was there.
    pub async fn revoke(&mut self, id: i64, until: BootInstant) -> Result<bool, Error> {
        let call = self.client.lease_revoke(id);
        match bounded(&self.endpoint, "revoke the lease", until, call).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == Kind::LeaseNotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The seconds that a lease has left; negative if there is no such lease.
    pub async fn time_to_live(&mut self, id: i64, until: BootInstant) -> Result<i64, Error> {
        let doing = "look at a lease";
        let call = self.client.lease_time_to_live(id, None);
        match bounded(&self.endpoint, doing, until, call).await {
            Ok(answer) => {
                self.check(doing, answer.header())?;
                Ok(answer.ttl())
            }
            Err(e) if e.kind == Kind::LeaseNotFound => Ok(-1),
            Err(e) => Err(e),
        }
    }

    /// Runs a transaction; linearizable, also if it only reads.
    pub async fn txn(
        &mut self,
        doing: &'static str,
        txn: Txn,
        until: BootInstant,
    ) -> Result<Answer, Error> {
        let answer = bounded(&self.endpoint, doing, until, self.client.txn(txn)).await?;
        let arrived = BootInstant::now();
        let (proof, revision) = self.check(doing, answer.header())?;
        Ok(Answer {
            succeeded: answer.succeeded(),
            revision,
            proof,
            ops: answer.op_responses(),
            arrived,
        })
    }

    /// Sends one keepalive and awaits its answer, on a stream that is opened if there is none.
    ///
    /// Opening the stream sends a keepalive too, but the library swallows the header of its
    /// answer; so the one that counts is always a further one.
    pub async fn keep_alive(&mut self, id: i64, until: BootInstant) -> Result<Pulse, Error> {
        let doing = "renew the lease";
        let gone = Pulse {
            ttl: 0,
            proof: None,
        };
        let (mut keeper, mut stream) = match self.keeper.take() {
            Some((of, keeper, stream)) if of == id => (keeper, stream),
            _ => {
                let call = async {
                    match self.client.lease_keep_alive(id).await {
                        Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(None),
                        Err(e) => Err(e),
                        Ok(opened) => Ok(Some(opened)),
                    }
                };
                match bounded(&self.endpoint, doing, until, call).await? {
                    Some(opened) => opened,
                    None => return Ok(gone),
                }
            }
        };
        let call = async {
            keeper.keep_alive().await?;
            stream.message().await
        };
        let Some(answer) = bounded(&self.endpoint, doing, until, call).await? else {
            return Err(self.error(doing, "the stream was closed"));
        };
        let (proof, _) = self.check(doing, answer.header())?;
        if answer.id() != id {
            return Err(self.error(doing, "the answer is for another lease"));
        }
        if answer.ttl() > 0 {
            self.keeper = Some((id, keeper, stream));
        }
        Ok(Pulse {
            ttl: answer.ttl(),
            proof: Some(proof),
        })
    }

    /// Watches these `keys` alone from `revision` on, unless they are being watched already.
    ///
    /// # Panics
    /// If there are none.
    pub async fn watch(
        &mut self,
        keys: &[&str],
        revision: i64,
        until: BootInstant,
    ) -> Result<(), Error> {
        if self.watch.as_ref().is_some_and(|w| w.keys == keys) {
            return Ok(());
        }
        self.watch = None;
        let (first, others) = keys.split_first().expect("a key");
        let options = WatchOptions::new().with_start_revision(revision);
        let call = async {
            let mut stream = self.client.watch(*first, Some(options.clone())).await?;
            for other in others {
                stream.watch(*other, Some(options.clone())).await?;
            }
            Ok(stream)
        };
        let stream = bounded(&self.endpoint, WATCH, until, call).await?;
        self.watch = Some(Watch {
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            stream,
        });
        Ok(())
    }

    /// Every event of the keys in `range` (the end not included) from `revision` on. Apart from
    /// [`Self::watch`], and gone with the connection.
    pub async fn follow(
        &mut self,
        range: (String, String),
        revision: i64,
        until: BootInstant,
    ) -> Result<Follow, Error> {
        let options = WatchOptions::new()
            .with_start_revision(revision)
            .with_range(range.1);
        let call = self.client.watch(range.0, Some(options));
        Ok(Follow {
            stream: bounded(&self.endpoint, WATCH, until, call).await?,
            endpoint: self.endpoint.clone(),
        })
    }

    pub(super) fn unwatch(&mut self) {
        self.watch = None;
    }

    /// The next change of the watched keys; cancel-safe. A watch that has ended watches no more.
    pub(super) async fn change(&mut self) -> Change {
        let Some(watch) = &mut self.watch else {
            return std::future::pending().await;
        };
        let error = loop {
            match watch.stream.message().await {
                Ok(Some(message)) if message.canceled() => break ended(&self.endpoint, &message),
                Ok(Some(message)) => {
                    let events = message.events();
                    // Each message is about one watch, and each of our watches about one key.
                    let of_first = |e: &etcd_client::Event| {
                        e.kv()
                            .is_some_and(|kv| kv.key() == watch.keys[0].as_bytes())
                    };
                    if events.iter().any(|e| !of_first(e)) {
                        return Change::Beside;
                    }
                    // A key that was deleted and made anew is not the one that was watched.
                    if events.iter().any(|e| e.event_type() == EventType::Delete) {
                        return Change::Deleted;
                    }
                    if let Some(put) = events.last() {
                        let lease = put.kv().map_or(0, etcd_client::KeyValue::lease);
                        return Change::Put { lease };
                    }
                }
                Ok(None) => break closed(&self.endpoint),
                Err(e) => break Error::from_client(&self.endpoint, WATCH, &e),
            }
        };
        self.watch = None;
        Change::Ended(error)
    }

    fn error(&self, doing: &'static str, reason: &str) -> Error {
        Error::new(Kind::Elsewhere, &self.endpoint, doing, reason.to_owned())
    }

    /// Reads a header, and refuses an answer of another cluster than the one that holds our keys:
    /// there, everything of ours would seem to be gone.
    fn check(
        &mut self,
        doing: &'static str,
        header: Option<&ResponseHeader>,
    ) -> Result<(Proof, i64), Error> {
        let Some(header) = header else {
            return Err(self.error(doing, "the answer has no header"));
        };
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

const WATCH: &str = "watch a key";

/// Events as they come.
pub struct Follow {
    stream: WatchStream,
    endpoint: Endpoint,
}

impl Follow {
    /// The next events, none now and then; cancel-safe.
    ///
    /// # Errors
    /// [`Kind::Compacted`] if some are lost for good.
    pub async fn next(&mut self) -> Result<Vec<etcd_client::Event>, Error> {
        match self.stream.message().await {
            Ok(Some(message)) if message.canceled() => Err(ended(&self.endpoint, &message)),
            Ok(Some(message)) => Ok(message.events().to_vec()),
            Ok(None) => Err(closed(&self.endpoint)),
            Err(e) => Err(Error::from_client(&self.endpoint, WATCH, &e)),
        }
    }
}

fn ended(endpoint: &Endpoint, message: &WatchResponse) -> Error {
    let kind = if message.compact_revision() > 0 {
        Kind::Compacted
    } else {
        Kind::Elsewhere
    };
    let reason = format!("etcd ended the watch: {}", message.cancel_reason());
    Error::new(kind, endpoint, WATCH, reason)
}

fn closed(endpoint: &Endpoint) -> Error {
    let reason = "the stream was closed".to_owned();
    Error::new(Kind::Elsewhere, endpoint, WATCH, reason)
}

/// The deadline around every await.
async fn bounded<T>(
    endpoint: &Endpoint,
    doing: &'static str,
    until: BootInstant,
    call: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    let limit = until.saturating_since(BootInstant::now());
    // Boxed, since a call's future is some kilobytes, and every future around it would be as well.
    match tokio::time::timeout(limit, Box::pin(call)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(Error::from_client(endpoint, doing, &e)),
        Err(_) => Err(Error::new(
            Kind::Elsewhere,
            endpoint,
            doing,
            no_answer(limit),
        )),
    }
}

fn no_answer(limit: Duration) -> String {
    format!("no answer within {}", show(limit))
}

/// Whether a name that could not be connected to exists, as far as the resolver can say.
///
/// `EAI_NONAME` and `EAI_NODATA` reach us as text alone (`gai_strerror(3)` of glibc and musl);
/// everything else, a resolver that does not answer above all, may heal.
async fn resolves(endpoint: &Endpoint, until: BootInstant) -> bool {
    const UNKNOWN: [&str; 4] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ];
    let limit = until.saturating_since(BootInstant::now());
    let lookup = tokio::net::lookup_host((endpoint.host(), endpoint.port()));
    match tokio::time::timeout(limit, lookup).await {
        Ok(Err(e)) => {
            let text = e.to_string();
            !UNKNOWN.iter().any(|unknown| text.contains(unknown))
        }
        Ok(Ok(_)) | Err(_) => true,
    }
}
