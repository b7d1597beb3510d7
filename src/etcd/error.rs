//! What a failed call means: try elsewhere, act on it, or give up.
//!
//! etcd's own errors are gRPC codes with fixed messages (etcd's `api/v3rpc/rpctypes/error.go`);
//! one code serves several of them, so code and message are read together. Whatever is not known
//! by name is taken for trouble on the way, which another endpoint may not have.

use std::error::Error as StdError;

use tonic::{Code, Status};

use super::Endpoint;

/// What the caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No usable answer: broken connection, timeout, no raft leader, overload. Whether the
    /// request took effect is unknown; try the next endpoint.
    Elsewhere,
    /// The endpoint's name does not exist (as opposed to: cannot be resolved at present).
    UnknownName,
    /// There is no such lease.
    LeaseNotFound,
    /// The lease id is taken.
    LeaseExists,
    /// The revision to watch from has been compacted.
    Compacted,
    /// We do not trust the endpoint's certificate or it does not trust ours, or there is no TLS.
    Untrusted,
    /// A setting of ours is wrong, and the message names it: a file, a password.
    Settings,
    /// etcd asks for a user, and we have not logged in.
    NoLogin,
    /// The login is out of date: its token has ended, or users or roles were changed meanwhile.
    StaleLogin,
    /// etcd understood and said no: permissions, invalid arguments.
    Refused,
    /// etcd's space quota is used up (its NOSPACE alarm): it reads but does not write.
    NoSpace,
}

impl Kind {
    /// Whether etcd has refused us, or would: somebody has to change a right or a setting.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::NoLogin | Self::Settings)
    }
}

/// A failed call, in words for a person.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{doing} {} {endpoint}: {reason}", if *.doing == CONNECT { "to" } else { "at" })]
pub struct Error {
    /// What can be done about it.
    pub kind: Kind,
    /// Which endpoint was asked.
    pub endpoint: String,
    doing: &'static str,
    reason: String,
}

/// What a person has to do about [`Kind::NoSpace`], for it does not heal by itself.
const MAKE_SPACE: &str = "compact and defragment etcd, then run `etcdctl alarm disarm`";

/// The one thing that is done *to* an endpoint.
pub(super) const CONNECT: &str = "connect";

impl Error {
    /// A failure that we found ourselves.
    pub fn new(kind: Kind, endpoint: &Endpoint, doing: &'static str, reason: String) -> Self {
        Self {
            kind,
            endpoint: endpoint.to_string(),
            doing,
            reason,
        }
    }

    /// The same deed, with a better reason.
    pub(super) fn because(self, kind: Kind, reason: String) -> Self {
        Self {
            kind,
            reason,
            ..self
        }
    }

    /// The same failure, better understood.
    pub(super) fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Whether all that is known is that the connection broke.
    pub(super) fn is_of_broken_connection(&self) -> bool {
        let says = |text| self.reason.contains(text);
        says("broken pipe") || says("connection was lost") || says("onnection reset")
    }

    /// Whether there was nobody to ask: it is not etcd that has said no.
    pub fn is_of_connecting(&self) -> bool {
        self.doing == CONNECT
    }

    /// What failed and why, without the endpoint.
    pub fn brief(&self) -> String {
        format!("{}: {}", self.doing, self.reason)
    }

    pub(super) fn from_client(
        endpoint: &Endpoint,
        doing: &'static str,
        error: &etcd_client::Error,
    ) -> Self {
        use etcd_client::Error as E;
        let (kind, reason) = match error {
            E::GRpcStatus(status) => match classify(status) {
                Kind::NoSpace => (Kind::NoSpace, format!("{}: {MAKE_SPACE}", describe(status))),
                kind => (kind, describe(status)),
            },
            E::TransportError(e) => (Kind::Elsewhere, root_cause(e)),
            other => (Kind::Elsewhere, other.to_string()),
        };
        Self::new(kind, endpoint, doing, reason)
    }
}

/// The kind of an answer that etcd, or the transport in its place, gave.
fn classify(status: &Status) -> Kind {
    let says = |text: &str| status.message().contains(text);
    match status.code() {
        Code::NotFound if says("lease not found") => Kind::LeaseNotFound,
        Code::FailedPrecondition if says("lease already exists") => Kind::LeaseExists,
        Code::OutOfRange if says("has been compacted") => Kind::Compacted,
        Code::OutOfRange if says("too large lease TTL") => Kind::Refused,
        Code::ResourceExhausted if says("database space exceeded") => Kind::NoSpace,
        // Users or roles changed between the check and the request, or since a JWT was signed.
        Code::InvalidArgument if says("revision of auth store is old") => Kind::StaleLogin,
        Code::InvalidArgument if says("user name is empty") => Kind::NoLogin,
        Code::Unauthenticated if says("invalid auth token") => Kind::StaleLogin,
        Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument => Kind::Refused,
        _ => Kind::Elsewhere,
    }
}

/// etcd's message, or what the transport died of.
fn describe(status: &Status) -> String {
    match status.source() {
        Some(source) => root_cause(source),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

/// The innermost cause: the layers above it only say "transport error".
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    without_number(&cause.to_string())
}

/// The standard library appends the number of an error, which says nothing to a person.
pub(super) fn without_number(text: &str) -> String {
    let end = text.rfind(" (os error ").unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_errors_are_told_apart_by_code_and_message() {
        for (code, message, kind) in [
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                Kind::LeaseNotFound,
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: lease already exists",
                Kind::LeaseExists,
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: not leader",
                Kind::Elsewhere,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Kind::Compacted,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                Kind::Elsewhere,
            ),
            (
                Code::OutOfRange,
                "etcdserver: too large lease TTL",
                Kind::Refused,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Kind::NoSpace,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Kind::Elsewhere,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                Kind::Refused,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                Kind::StaleLogin,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: user name is empty",
                Kind::NoLogin,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
                Kind::StaleLogin,
            ),
            (Code::Unavailable, "etcdserver: no leader", Kind::Elsewhere),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Kind::Elsewhere,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                Kind::Elsewhere,
            ),
            (
                Code::Unavailable,
                "etcdserver: rpc not supported for learner",
                Kind::Elsewhere,
            ),
            (Code::Unknown, "transport error", Kind::Elsewhere),
        ] {
            assert_eq!(
                classify(&Status::new(code, message)),
                kind,
                "{code:?} {message}"
            );
        }
    }

    #[test]
    fn a_message_names_the_deed_the_endpoint_and_the_innermost_cause() {
        let endpoint = &Endpoint::parse_list("127.0.0.1:1", false).unwrap()[0];
        let refused = std::io::Error::from_raw_os_error(111);
        let error = Error::new(Kind::Elsewhere, endpoint, CONNECT, root_cause(&refused));
        assert_eq!(
            error.to_string(),
            "connect to http://127.0.0.1:1: Connection refused"
        );
        let status = etcd_client::Error::GRpcStatus(Status::unavailable("etcdserver: no leader"));
        let error = Error::from_client(endpoint, "renew the lease", &status);
        assert_eq!(
            error.to_string(),
            "renew the lease at http://127.0.0.1:1: etcdserver: no leader"
        );
        assert_eq!(error.brief(), "renew the lease: etcdserver: no leader");
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        let full = etcd_client::Error::GRpcStatus(full);
        let error = Error::from_client(endpoint, "grant a lease", &full);
        assert_eq!(error.kind, Kind::NoSpace);
        assert!(error.brief().contains("etcdctl alarm disarm"), "{error}");
    }
}
