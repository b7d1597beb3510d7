//! A relay before a real etcd that understands gRPC, and may lie in every single answer.
//!
//! Not a fake etcd: a fake would have to get leases, revisions, transactions and watches right before it could lie
//! about one of them, and a mistake of its own would pass for a lie. Here the truth stays etcd's; a lie is a change
//! of one message on its way, so that a test can say exactly what was false, and ask etcd what was written.
//!
//! HTTP/2 is spoken by hand (`h2`), since a lie may also be the end of a stream, an answer that does not come, or a
//! message that no honest library would send.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::wire::{HEADER, MEMBER, Message, OPERATIONS, REVISION, SUCCEEDED, TTL, WRITTEN};
use crate::support::{Etcd, now};

/// Whoever has to wait longer for an answer is taken to have given it up. The lies make nobody wait between this and
/// the longest attempt.
const LATE: Duration = Duration::from_millis(100);

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Txn,
    Grant,
    KeepAlive,
    Revoke,
    TimeToLive,
    Watch,
    Other,
}

/// What becomes of an answer.
#[derive(Clone, Debug)]
pub enum Deed {
    /// It is said, true or not.
    Say(Message),
    /// A message of so many bytes begins, and goes on as long as it is read.
    Bulk(usize),
    /// Nothing for so long; what follows is late.
    Wait(Duration),
    /// The stream ends in order, before its time.
    Close,
    /// The stream ends with this gRPC status and text.
    Fail(u16, &'static str),
    /// Nothing more, for ever.
    Hang,
}

/// What is made of an answer: to which call, the how many-th of its stream (from 0), and what etcd has said.
#[derive(Clone)]
pub struct Lie(Arc<Telling>);

type Telling = dyn Fn(Call, usize, Message) -> Vec<Deed> + Send + Sync;

impl Lie {
    pub fn new(
        telling: impl Fn(Call, usize, Message) -> Vec<Deed> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(telling))
    }

    pub fn about(&self, call: Call, nth: usize, message: Message) -> Vec<Deed> {
        (self.0)(call, nth, message)
    }
}

impl fmt::Debug for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lie")
    }
}

/// The truth, and nothing else.
pub fn truth() -> Lie {
    Lie::new(|_, _, message| vec![Deed::Say(message)])
}

/// See the module's head. It serves a single candidate.
pub struct Liar {
    address: SocketAddr,
    shared: Arc<Shared>,
    _over: oneshot::Sender<()>,
}

struct Shared {
    etcd: SocketAddr,
    lie: Mutex<Lie>,
    seen: Mutex<Seen>,
}

/// What has passed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many streams were opened, one for each request but keepalives and watches.
    pub streams: usize,
    /// How many connections.
    pub connections: usize,
    /// When the last keepalive arrived that was answered truthfully, if none was answered otherwise since.
    kept_alive: Option<f64>,
    /// When the last keepalive arrived that was answered truthfully, and so was the write that followed it: what the
    /// deadline may be counted from at the most.
    pub confirmed: Option<f64>,
}

impl Liar {
    /// Before the first member of `etcd`, and truthful for the time being.
    pub fn new(etcd: &Etcd) -> Self {
        let shared = Arc::new(Shared {
            etcd: etcd.endpoint().parse().expect("an address"),
            lie: Mutex::new(truth()),
            seen: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("own socket");
        let address = listener.local_addr().expect("bound");
        let (over, is_over) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("own socket");
                tokio::select! {
                    () = theirs.accept(listener) => {}
                    _ = is_over => {}
                }
            });
        });
        Self {
            address,
            shared,
            _over: over,
        }
    }

    /// What to give as `--endpoints`.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Lies in this way from now on, also in streams that are open.
    pub fn tell(&self, lie: Lie) {
        *lock(&self.shared.lie) = lie;
    }

    /// What has passed so far.
    pub fn seen(&self) -> Seen {
        lock(&self.shared.seen).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Ok((near, _)) = listener.accept().await {
            lock(&self.seen).connections += 1;
            let shared = Arc::clone(&self);
            // Whatever breaks, breaks for the candidate as well.
            tokio::spawn(async move { drop(shared.relay(near).await) });
        }
    }

    async fn relay(self: Arc<Self>, near: TcpStream) -> Result<(), h2::Error> {
        let Ok(far) = TcpStream::connect(self.etcd).await else {
            return Ok(());
        };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let (requests, far) = h2::client::handshake(far).await?;
        tokio::spawn(far);
        let mut near = h2::server::handshake(near).await?;
        while let Some(accepted) = near.accept().await {
            let (request, respond) = accepted?;
            lock(&self.seen).streams += 1;
            let (shared, requests) = (Arc::clone(&self), requests.clone());
            tokio::spawn(async move { drop(shared.call(request, respond, requests).await) });
        }
        Ok(())
    }

    async fn call(
        self: Arc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        requests: SendRequest<Bytes>,
    ) -> Result<(), h2::Error> {
        let (parts, asked) = request.into_parts();
        let call = call_of(parts.uri.path());
        let mut requests = requests.ready().await?;
        let (answer, to_etcd) = requests.send_request(Request::from_parts(parts, ()), false)?;
        let arrivals = Arc::new(Mutex::new(VecDeque::new()));
        tokio::spawn(pass_on(asked, to_etcd, Arc::clone(&arrivals)));
        let (parts, mut answers) = answer.await?.into_parts();
        let whole = answers.is_end_stream();
        let mut out = respond.send_response(Response::from_parts(parts, ()), whole)?;
        if whole {
            return Ok(());
        }
        let (mut nth, mut unread) = (0, BytesMut::new());
        while let Some(chunk) = answers.data().await {
            unread.extend_from_slice(&read(chunk?, &mut answers));
            while let Some(message) = next_message(&mut unread) {
                let told = Message::parse(&message);
                let lie = lock(&self.lie).clone();
                let deeds = lie.about(call, nth, told.clone());
                nth += 1;
                let arrived = lock(&arrivals).pop_front();
                self.note(call, &told, &deeds, arrived);
                for deed in deeds {
                    if !self.perform(deed, &mut out).await? {
                        return Ok(());
                    }
                }
            }
        }
        let trailers = answers.trailers().await?.unwrap_or_default();
        out.send_trailers(trailers)
    }

    /// Returns whether the stream goes on.
    async fn perform(&self, deed: Deed, out: &mut SendStream<Bytes>) -> Result<bool, h2::Error> {
        let end = |status: u16, text: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.into());
            trailers.insert("grpc-message", text.parse().expect("a header's text"));
            trailers
        };
        match deed {
            Deed::Say(message) => {
                let bytes = message.bytes();
                out.send_data(framed(bytes.len(), &bytes), false)?;
            }
            Deed::Bulk(length) => {
                out.send_data(framed(length, &[]), false)?;
                let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
                for _ in 0..length.div_ceil(chunk.len()) {
                    out.reserve_capacity(chunk.len());
                    while out.capacity() < chunk.len() {
                        let more = std::future::poll_fn(|cx| out.poll_capacity(cx)).await;
                        if more.is_none_or(|more| more.is_err()) {
                            return Ok(false);
                        }
                    }
                    out.send_data(chunk.clone(), false)?;
                }
            }
            Deed::Wait(time) => tokio::time::sleep(time).await,
            Deed::Close => {
                out.send_trailers(end(0, ""))?;
                return Ok(false);
            }
            Deed::Fail(status, text) => {
                out.send_trailers(end(status, text))?;
                return Ok(false);
            }
            Deed::Hang => std::future::pending().await,
        }
        Ok(true)
    }

    /// Keeps account of what a deadline may be counted from.
    fn note(&self, call: Call, told: &Message, deeds: &[Deed], arrived: Option<f64>) {
        let is_true = proves_as_much(call, told, deeds);
        let mut seen = lock(&self.seen);
        match call {
            // What is not said takes nothing back.
            Call::KeepAlive if deeds.is_empty() => {}
            Call::KeepAlive => seen.kept_alive = arrived.filter(|_| is_true),
            Call::Txn if is_true && wrote(told) => {
                if let Some(at) = seen.kept_alive.take() {
                    seen.confirmed = Some(at);
                }
            }
            _ => {}
        }
    }
}

/// Whether the candidate hears what etcd has said, as far as a renewal rests on it: a larger TTL proves nothing more,
/// and neither the member's id nor the revision proves anything.
fn proves_as_much(call: Call, told: &Message, deeds: &[Deed]) -> bool {
    let essence = |message: &Message| {
        let header = |header: Message| match header.number(REVISION).cast_signed() {
            1.. => header.without(MEMBER).without(REVISION),
            _ => header,
        };
        let message = message.clone().map(HEADER, header);
        match call {
            Call::KeepAlive => message.without(TTL),
            _ => message,
        }
    };
    let ttl = |message: &Message| message.number(TTL).cast_signed();
    match deeds {
        [Deed::Wait(time), ..] if *time > LATE => false,
        [Deed::Wait(_), Deed::Say(said), ..] | [Deed::Say(said), ..] => {
            essence(said) == essence(told) && (call != Call::KeepAlive || ttl(said) >= ttl(told))
        }
        _ => false,
    }
}

/// Whether a transaction has written something: the record, after the candidacy's first write.
fn wrote(answer: &Message) -> bool {
    let first = answer.all(OPERATIONS).into_iter().next();
    answer.number(SUCCEEDED) == 1 && first.is_some_and(|op| !op.all(WRITTEN).is_empty())
}

fn call_of(path: &str) -> Call {
    match path.rsplit('/').next() {
        Some("Txn") => Call::Txn,
        Some("LeaseGrant") => Call::Grant,
        Some("LeaseKeepAlive") => Call::KeepAlive,
        Some("LeaseRevoke") => Call::Revoke,
        Some("LeaseTimeToLive") => Call::TimeToLive,
        Some("Watch") => Call::Watch,
        _ => Call::Other,
    }
}

/// Requests go to etcd as they come, and are noted.
async fn pass_on(
    mut asked: RecvStream,
    mut to_etcd: SendStream<Bytes>,
    arrivals: Arc<Mutex<VecDeque<f64>>>,
) -> Result<(), h2::Error> {
    let mut unread = BytesMut::new();
    while let Some(chunk) = asked.data().await {
        let Ok(chunk) = chunk else {
            to_etcd.send_reset(h2::Reason::CANCEL);
            return Ok(());
        };
        let chunk = read(chunk, &mut asked);
        unread.extend_from_slice(&chunk);
        while next_message(&mut unread).is_some() {
            lock(&arrivals).push_back(now());
        }
        to_etcd.send_data(chunk, false)?;
    }
    to_etcd.send_data(Bytes::new(), true)
}

/// Makes room for as much again.
fn read(chunk: Bytes, stream: &mut RecvStream) -> Bytes {
    let _ = stream.flow_control().release_capacity(chunk.len());
    chunk
}

/// gRPC's frames: not compressed, the length in four bytes, the message.
fn next_message(unread: &mut BytesMut) -> Option<BytesMut> {
    let length = unread.get(1..5)?;
    let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
    let length = usize::try_from(length).expect("a length");
    if unread.len() < 5 + length {
        return None;
    }
    unread.advance(5);
    Some(unread.split_to(length))
}

fn framed(length: usize, message: &[u8]) -> Bytes {
    let mut frame = vec![0];
    frame.extend(u32::try_from(length).expect("a length").to_be_bytes());
    frame.extend(message);
    frame.into()
}
