//! The watch on a few keys, and the one that follows all that happens to some.

use etcd_client::{Client, EventType, WatchOptions, WatchResponse, WatchStream};

use super::Endpoint;
use super::error::{Error, Kind};

/// What the watch is called in messages.
pub(super) const WATCH: &str = "watch a key";

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
    /// The connection was dropped, to make another with new certificates and password.
    Reloaded,
}

pub(super) struct Watch {
    keys: Vec<String>,
    stream: WatchStream,
}

impl Watch {
    pub fn new(keys: &[&str], stream: WatchStream) -> Self {
        Self {
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            stream,
        }
    }

    /// Whether these are the watched keys.
    pub fn is_of(&self, keys: &[&str]) -> bool {
        self.keys == keys
    }

    /// The next change; cancel-safe. After [`Change::Ended`] there is none.
    pub async fn change(&mut self, endpoint: &Endpoint) -> Change {
        loop {
            let events = match next(&mut self.stream, endpoint).await {
                Ok(events) => events,
                Err(error) => return Change::Ended(error),
            };
            // Each message is about one watch, and each of our watches about one key.
            let of_first = |e: &etcd_client::Event| {
                e.kv().is_some_and(|kv| kv.key() == self.keys[0].as_bytes())
            };
            // What cannot be understood is a reason to look, too.
            let known = |e: &etcd_client::Event| deed(e).is_some();
            if events.iter().any(|e| !of_first(e) || !known(e)) {
                return Change::Beside;
            }
            // A key that was deleted and made anew is not the one that was watched.
            if events.iter().any(|e| deed(e) == Some(EventType::Delete)) {
                return Change::Deleted;
            }
            if let Some(put) = events.last() {
                let lease = put.kv().map_or(0, etcd_client::KeyValue::lease);
                return Change::Put { lease };
            }
        }
    }
}

/// What an event tells of; `None` if it is nothing that we know. The library's own accessor panics there.
pub fn deed(event: &etcd_client::Event) -> Option<EventType> {
    [EventType::Put, EventType::Delete]
        .into_iter()
        .find(|known| *known as i32 == event.0.r#type)
}

/// What one watch is about. etcd wants a permission for all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// This key.
    One(String),
    /// All keys that begin so.
    Prefix(String),
}

/// The arguments of one watch.
type Arguments = (String, WatchOptions);

impl Keys {
    pub(super) fn after(&self, revision: i64) -> Arguments {
        let options = WatchOptions::new().with_start_revision(revision.saturating_add(1));
        match self {
            Self::One(key) => (key.clone(), options),
            Self::Prefix(prefix) => (prefix.clone(), options.with_prefix()),
        }
    }
}

/// Opens one stream for as many watches.
pub(super) async fn open(
    client: &mut Client,
    watches: Vec<Arguments>,
) -> Result<WatchStream, etcd_client::Error> {
    let mut watches = watches.into_iter();
    let (first, options) = watches.next().expect("a watch");
    let mut stream = client.watch(first, Some(options)).await?;
    for (other, options) in watches {
        stream.watch(other, Some(options)).await?;
    }
    Ok(stream)
}

/// Events as they come.
pub struct Follow {
    stream: WatchStream,
    endpoint: Endpoint,
}

impl Follow {
    pub(super) const fn new(stream: WatchStream, endpoint: Endpoint) -> Self {
        Self { stream, endpoint }
    }

    /// The next events, none now and then; cancel-safe. Those of one kind of keys come in their order, but
    /// one kind may be told of late: what a transaction has done to several comes apart, and what has happened
    /// before the watch began comes for each kind when etcd finds the time.
    ///
    /// # Errors
    /// [`Kind::Compacted`] if some are lost for good, [`Kind::Refused`] if they are not for us; a token that
    /// has ended gets that as well.
    pub async fn next(&mut self) -> Result<Vec<etcd_client::Event>, Error> {
        let refused = |error: &Error| error.brief().contains("permission denied");
        match next(&mut self.stream, &self.endpoint).await {
            Err(error) if refused(&error) => Err(error.of_kind(Kind::Refused)),
            other => other,
        }
    }
}

async fn next(
    stream: &mut WatchStream,
    endpoint: &Endpoint,
) -> Result<Vec<etcd_client::Event>, Error> {
    let failed = |kind, reason| Error::new(kind, endpoint, WATCH, reason);
    match stream.message().await {
        Ok(Some(message)) if message.canceled() => Err(failed(kind_of_end(&message), {
            format!("etcd ended the watch: {}", message.cancel_reason())
        })),
        Ok(Some(message)) => Ok(message.events().to_vec()),
        Ok(None) => Err(failed(Kind::Elsewhere, "the stream was closed".into())),
        Err(e) => Err(Error::from_client(endpoint, WATCH, &e)),
    }
}

fn kind_of_end(message: &WatchResponse) -> Kind {
    if message.compact_revision() > 0 {
        Kind::Compacted
    } else {
        Kind::Elsewhere
    }
}
