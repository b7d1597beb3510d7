//! What a channel runs over: TCP, or TLS that remembers why the other side has ended it.
//!
//! With TLS 1.3 a client hears only after the handshake that its certificate was refused, when the
//! first request is on its way already. The alert says what to change, but whoever waits for an answer
//! would hear of a broken pipe. So it is kept here, and looked for once a write has failed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;

/// The alert that ended a connection, once there was one.
pub(super) type Alert = Arc<OnceLock<rustls::Error>>;

/// See the module's head.
pub(super) struct Stream {
    transport: Transport,
    alert: Alert,
    /// Why a write failed, while the other side's last words are waited for.
    broken: Option<io::Error>,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// rustls's own error, where there is one in this.
pub(super) fn of_rustls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

impl Stream {
    pub fn plain(tcp: TcpStream) -> Self {
        Self::new(Transport::Plain(tcp))
    }

    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::new(Transport::Tls(Box::new(stream)))
    }

    fn new(transport: Transport) -> Self {
        Self {
            transport,
            alert: Alert::default(),
            broken: None,
        }
    }

    /// Where the alert will be found.
    pub fn alert(&self) -> Alert {
        Arc::clone(&self.alert)
    }

    fn io(&mut self) -> Pin<&mut (dyn Io + 'static)> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp),
            Transport::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }

    fn note(&self, error: &io::Error) {
        if let Some(error @ rustls::Error::AlertReceived(_)) = of_rustls(error) {
            let _ = self.alert.set(error.clone());
        }
    }

    /// Writes, or, after a write has failed, reads what is left. A socket that cannot be written to any
    /// more is at its end for readers too, so that does not take long.
    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut (dyn Io + 'static)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.broken.is_none() {
            match ready!(write(self.io(), cx)) {
                Err(error) if matches!(self.transport, Transport::Tls(_)) => {
                    self.broken = Some(error);
                }
                written => return Poll::Ready(written),
            }
        }
        let mut rest = [0; 1024];
        if let Err(error) = ready!(self.io().poll_read(cx, &mut ReadBuf::new(&mut rest))) {
            self.note(&error);
        }
        let error = self.broken.take();
        Poll::Ready(Err(
            error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
        ))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.io().poll_read(cx, buf));
        if let Err(error) = &read {
            self.note(error);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}
