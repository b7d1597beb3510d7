//! The watch on a few keys, and the one that follows a whole range.

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

/// Opens one stream for as many watches.
pub(super) async fn open(
    client: &mut Client,
    keys: Vec<Vec<u8>>,
    options: WatchOptions,
) -> Result<WatchStream, etcd_client::Error> {
    let mut keys = keys.into_iter();
    let first = keys.next().expect("a key");
    let mut stream = client.watch(first, Some(options.clone())).await?;
    for other in keys {
        stream.watch(other, Some(options.clone())).await?;
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

    /// The next events, none now and then; cancel-safe.
    ///
    /// # Errors
    /// [`Kind::Compacted`] if some are lost for good.
    pub async fn next(&mut self) -> Result<Vec<etcd_client::Event>, Error> {
        next(&mut self.stream, &self.endpoint).await
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
