//! etcd as this program needs it: one endpoint at a time, and a deadline around every await.
//!
//! The client library balances over endpoints but does not fail over: a call to a frozen member
//! hangs for as long as the member is frozen, and a broken connection is mended behind the
//! caller's back. Leadership has to know which member answered and when, so the rotation is ours:
//! a [`Pool`] holds at most one [`Connection`], and whatever goes wrong on it costs the whole
//! connection, with its keepalive stream and its watch, and moves on to the next endpoint.
//!
//! Certificates are read for each connection, the password for each login ([`Access`] names them), so
//! that both can be replaced while we run.
//!
//! There are no HTTP/2 pings. Renewals are the liveness check; etcd closes connections that ping
//! more often than once in 5 s (grpc-go's keepalive enforcement policy).

mod access;
mod answer;
mod call;
mod connection;
mod dial;
mod endpoint;
mod error;
mod inquiry;
mod keepalive;
mod lease;
mod login;
mod pace;
mod pool;
mod stream;
mod tls;
mod watch;

pub use access::{Access, Identity, Login, Password, Secret, SettingFile, Tls};
pub use answer::{Answer, Proof, Pulse};
pub use connection::Connection;
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Error, Kind};
pub use inquiry::Inquiry;
pub use pace::{Backoff, random, sleep_until};
pub use pool::Pool;
pub use watch::{Change, Follow, Keys, deed};
