//! Connections, and what they may cost.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::bind::Socket;
use crate::report::health::{Answer, Health, answer};

/// How many connections there are at most. Descriptors are scarce, and the connections to etcd need some too.
const MOST_CONNECTIONS: u64 = 64;
/// The longest that a connection is open, whatever goes on in it.
const CONNECTION: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes: the least that hyper can be limited to.
const MAX_HEAD: usize = 8192;
/// How many header fields a request has at most.
const MAX_FIELDS: usize = 64;
/// How long nothing is accepted after the system has refused to.
const REFUSED: Duration = Duration::from_millis(100);

/// Serves until `ended` is.
pub(super) async fn serve(socket: Socket, health: Health, ended: oneshot::Receiver<()>) {
    let accepting = async {
        match socket {
            Socket::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                accept(&health, || async { Ok(listener.accept().await?.0) }).await
            }
            Socket::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                accept(&health, || async { Ok(listener.accept().await?.0) }).await
            }
        }
    };
    tokio::select! {
        _ = ended => {}
        _ = accepting => {}
    }
}

/// Serves every connection that `next` yields.
async fn accept<S, F>(health: &Health, next: impl Fn() -> F) -> io::Result<Infallible>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>>,
{
    let most = most_connections();
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let Ok(stream) = next().await else {
            // There are no descriptors left, say.
            sleep(REFUSED).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= most {
            // The oldest, not the new one: an honest client has had its answer long before so many others have
            // come, and whoever occupies connections cannot keep a probe waiting.
            if let Some(oldest) = open.pop_front() {
                oldest.abort();
            }
        }
        open.push_back(tokio::spawn(connection(stream, health.clone())));
        // All that is ready gets its turn between two connections.
        yield_now().await;
    }
}

fn most_connections() -> usize {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((u64::MAX, u64::MAX));
    usize::try_from(MOST_CONNECTIONS.min(limit / 4).max(1)).unwrap_or(1)
}

/// One request and its answer. A body is not even looked at.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, health: Health) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&health.view(), request.method(), request.uri().path());
        ready(Ok::<_, Infallible>(response(answer)))
    });
    let serving = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // One limit for all of it, since hyper's own covers the head alone. What goes wrong is the client's affair.
    let _ = timeout(CONNECTION, serving).await;
}

fn response(answer: Answer) -> Response<String> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    // The next instant may make it untrue.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
