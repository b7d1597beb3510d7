//! From an endpoint to a channel: the name, its addresses in turn, TCP, TLS.
//!
//! It is done here, and not by the gRPC library, for three reasons. Each step has its deadline and its
//! own words if it fails. A name with several addresses is several members: each is given its share of
//! the time, and the next attempt begins with the next one, so that a frozen member does not hold up
//! what others could serve. And a connection is made once: the library would mend a broken one behind
//! our back, with the certificates of yesterday.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::{Channel, Uri};

use super::access::Access;
use super::error::{CONNECT, Error, Kind, root_cause, without_number};
use super::stream::{Alert, Stream, of_rustls};
use super::{Endpoint, tls};
use crate::clock::BootInstant;
use crate::timing::show;

/// What a request dies of whose connection was lost before it.
const LOST: &str = "the connection was lost";

/// What one address came to.
type Attempt<T> = Result<T, (Kind, String)>;

/// Connects to an endpoint: to its first address that accepts us, beginning with the `turn`-th. The
/// channel comes with the alert that may yet end it, and the number of addresses.
///
/// # Errors
/// [`Kind::Settings`] for our own files, [`Kind::UnknownName`] and [`Kind::Untrusted`] for what
/// another attempt will hardly heal, [`Kind::Elsewhere`] for the rest.
pub(super) async fn dial(
    endpoint: &Endpoint,
    access: &Arc<Access>,
    turn: usize,
    until: BootInstant,
) -> Result<(Channel, Alert, usize), Error> {
    let failed = |(kind, reason)| Error::new(kind, endpoint, CONNECT, reason);
    let config = if endpoint.is_tls() {
        let files = Arc::clone(access);
        let config = blocking(until, move || tls::configure(&files.tls)).await;
        Some(config.map_err(failed)?)
    } else {
        None
    };
    let mut addresses = resolve(endpoint, until).await.map_err(failed)?;
    let count = addresses.len();
    addresses.rotate_left(turn % count);
    let mut failures = Vec::new();
    for (i, address) in addresses.into_iter().enumerate() {
        let share = left(until) / u32::try_from(count - i).unwrap_or(u32::MAX);
        let until = BootInstant::now() + share;
        match connect(endpoint, address, config.as_ref(), access, until).await {
            Ok(stream) => {
                let alert = stream.alert();
                return Ok((channel(endpoint, stream, until).await?, alert, count));
            }
            Err((kind, reason)) => failures.push((kind, address, reason)),
        }
    }
    // If any of the addresses may still heal, so may the endpoint.
    let hopeless = failures.iter().all(|(kind, ..)| *kind == Kind::Untrusted);
    let reasons: Vec<String> = failures
        .iter()
        .map(|(_, address, reason)| match count {
            1 => reason.clone(),
            _ => format!("{} {reason}", address.ip()),
        })
        .collect();
    let kind = if hopeless {
        Kind::Untrusted
    } else {
        Kind::Elsewhere
    };
    Err(failed((kind, reasons.join("; "))))
}

/// What is left of the time.
fn left(until: BootInstant) -> Duration {
    until.saturating_since(BootInstant::now())
}

/// How a deadline that has passed is told.
pub(super) fn no_answer(limit: Duration) -> String {
    format!("no answer within {}", show(limit))
}

/// Reads files without holding up anybody; whatever is wrong with them is a wrong setting.
pub(super) async fn blocking<T: Send + 'static>(
    until: BootInstant,
    read: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Attempt<T> {
    let limit = left(until);
    match timeout(limit, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(read)) => read.map_err(|complaint| (Kind::Settings, complaint)),
        Ok(Err(e)) => Err((Kind::Elsewhere, e.to_string())),
        Err(_) => Err((
            Kind::Elsewhere,
            format!(
                "the files of the TLS or password settings could not be read within {}",
                show(limit)
            ),
        )),
    }
}

/// The addresses of an endpoint; at least one.
///
/// `EAI_NONAME` and `EAI_NODATA` reach us as text alone (`gai_strerror(3)` of glibc and musl);
/// everything else, a resolver that does not answer above all, may heal.
async fn resolve(endpoint: &Endpoint, until: BootInstant) -> Attempt<Vec<SocketAddr>> {
    const UNKNOWN: [&str; 4] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ];
    let limit = left(until);
    let lookup = tokio::net::lookup_host((endpoint.host(), endpoint.port()));
    let unknown = || {
        let reason = format!("the name {} does not exist", endpoint.host());
        Err((Kind::UnknownName, reason))
    };
    match timeout(limit, lookup).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<SocketAddr> = Vec::new();
            for address in found {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if addresses.is_empty() {
                return unknown();
            }
            Ok(addresses)
        }
        Ok(Err(e)) if UNKNOWN.iter().any(|text| e.to_string().contains(text)) => unknown(),
        Ok(Err(e)) => Err((Kind::Elsewhere, without_number(&e.to_string()))),
        Err(_) => Err((
            Kind::Elsewhere,
            format!("the name {}: {}", endpoint.host(), no_answer(limit)),
        )),
    }
}

/// TCP, then TLS if the endpoint has it.
async fn connect(
    endpoint: &Endpoint,
    address: SocketAddr,
    config: Option<&Arc<ClientConfig>>,
    access: &Access,
    until: BootInstant,
) -> Attempt<Stream> {
    let elsewhere = |e: io::Error| (Kind::Elsewhere, root_cause(&e));
    let limit = left(until);
    let tcp = timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_| (Kind::Elsewhere, no_answer(limit)))?
        .map_err(elsewhere)?;
    tcp.set_nodelay(true).map_err(elsewhere)?;
    let Some(config) = config else {
        return Ok(Stream::plain(tcp));
    };
    let untrusted = |reason| (Kind::Untrusted, reason);
    let name = ServerName::try_from(endpoint.host().to_owned())
        .map_err(|_| untrusted(format!("{} is no name for TLS", endpoint.host())))?;
    let limit = left(until);
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
    let stream = timeout(limit, handshake)
        .await
        .map_err(|_| {
            let reason = format!("the TLS handshake was not over within {}", show(limit));
            (Kind::Elsewhere, reason)
        })?
        .map_err(|e| {
            if let Some(cause) = of_rustls(&e) {
                return untrusted(tls::describe(cause, &access.tls, endpoint.host()));
            }
            // What etcd does to a handshake on a port of plain http, but also when it is shut down.
            let reason = "the TLS handshake was broken off: is TLS spoken there at all? If not, begin it with http:// in --endpoints";
            (Kind::Elsewhere, reason.to_owned())
        })?;
    if stream.get_ref().1.alpn_protocol() != Some(tls::HTTP_2) {
        return Err(untrusted(
            "it speaks TLS but no HTTP/2: is this etcd's client port?".into(),
        ));
    }
    Ok(Stream::tls(stream))
}

/// A channel over the stream, and over no other: once that is broken, so is the channel.
async fn channel(
    endpoint: &Endpoint,
    stream: Stream,
    until: BootInstant,
) -> Result<Channel, Error> {
    let failed = |reason| Error::new(Kind::Elsewhere, endpoint, CONNECT, reason);
    let mut stream = Some(TokioIo::new(stream));
    let once = tower::service_fn(move |_: Uri| {
        let taken = stream.take();
        async move { taken.ok_or_else(|| io::Error::other(LOST)) }
    });
    let builder = tonic::transport::Endpoint::from_shared(endpoint.to_string())
        .map_err(|e| failed(root_cause(&e)))?;
    let limit = left(until);
    let connected: Pin<Box<dyn Future<Output = _> + Send + '_>> =
        Box::pin(builder.connect_with_connector(once));
    match timeout(limit, connected).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(e)) => Err(failed(root_cause(&e))),
        Err(_) => Err(failed(no_answer(limit))),
    }
}
