//! Where etcd is: parsing and checking what a person typed.
//!
//! A wrong endpoint must be refused before the campaign begins, with a message that says what to
//! change; only what cannot be seen in the text (nobody listens, the name does not resolve) is
//! left to the connection.

use std::fmt;
use std::net::Ipv6Addr;

use thiserror::Error;

/// The port of etcd's client URLs where none is given.
pub const DEFAULT_PORT: u16 = 2379;

/// One client URL of an etcd member, normalised: `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
}

/// Why a list of endpoints is refused. Every message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Nothing at all.
    #[error("the list of endpoints is empty: name at least one, as in 127.0.0.1:2379")]
    EmptyList,
    /// Two commas in a row, or one at an end.
    #[error("the list of endpoints {0:?} has an empty element: remove the comma too many")]
    EmptyElement(String),
    /// Blanks between endpoints, or within one.
    #[error("the endpoint {0:?} contains a blank: separate endpoints by commas")]
    Blank(String),
    /// `http://` and `https://` in one list.
    #[error("the endpoints mix http and https: use one scheme for all of them")]
    MixedSchemes,
    /// `http://` where a TLS setting is given.
    #[error(
        "the endpoint {0:?} does without TLS, but there is a setting for it (--cacert, --cert or a variable such as ETCDCTL_CACERT): use https, or leave that setting out"
    )]
    WithoutTls(String),
    /// `;` between endpoints.
    #[error("the endpoint {0:?} contains a semicolon: separate endpoints by commas")]
    Semicolon(String),
    /// `http:host`.
    #[error(
        "the endpoint {0:?} has a scheme without slashes: use http://HOST:PORT or https://HOST:PORT"
    )]
    Slashes(String),
    /// Neither `http` nor `https`.
    #[error(
        "the endpoint {0:?} has the unknown scheme {1:?}: use http://HOST:PORT or https://HOST:PORT"
    )]
    Scheme(String, String),
    /// `user:password@`. It is not shown: there may be a password in it.
    #[error(
        "an endpoint contains a user or an @: write HOST:PORT alone, and give the user by --user, the password by \
         --password-file"
    )]
    UserInfo,
    /// Anything after the authority.
    #[error("the endpoint {0:?} has a path, query or fragment: end it after the port")]
    Path(String),
    /// No host before the port.
    #[error("the endpoint {0:?} has no host: write HOST:PORT")]
    NoHost(String),
    /// A host with characters that no name has.
    #[error("the endpoint {0:?} has a host that is no name or address: write HOST:PORT")]
    Host(String),
    /// An IPv6 address without brackets, or with wrong ones.
    #[error(
        "the endpoint {0:?} is not a valid IPv6 endpoint: write the address in brackets, as in [::1]:2379"
    )]
    Ipv6(String),
    /// A port that is none.
    #[error(
        "the endpoint {0:?} has a bad port: use a number from 1 to 65535, or leave it out for 2379"
    )]
    Port(String),
}

impl Endpoint {
    /// Parses a comma-separated list; duplicates are dropped, the order is kept. With a `tls` setting,
    /// no scheme means https.
    ///
    /// # Errors
    /// The first thing that is wrong with the list.
    pub fn parse_list(list: &str, tls: bool) -> Result<Vec<Self>, EndpointError> {
        if list.trim().is_empty() {
            return Err(EndpointError::EmptyList);
        }
        // Before any complaint that shows something of the list.
        if list.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let elements: Vec<&str> = list.split(',').map(str::trim).collect();
        if elements.iter().any(|e| e.is_empty()) {
            return Err(EndpointError::EmptyElement(list.to_owned()));
        }
        let mut endpoints = Vec::new();
        for element in elements {
            let endpoint = Self::parse(element, tls)?;
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        if endpoints.iter().any(|e| e.tls != endpoints[0].tls) {
            return Err(EndpointError::MixedSchemes);
        }
        if tls && !endpoints[0].tls {
            return Err(EndpointError::WithoutTls(endpoints[0].to_string()));
        }
        Ok(endpoints)
    }

    fn parse(text: &str, tls: bool) -> Result<Self, EndpointError> {
        let whole = || text.to_owned();
        if text.contains(char::is_whitespace) {
            return Err(EndpointError::Blank(whole()));
        }
        if text.contains(';') {
            return Err(EndpointError::Semicolon(whole()));
        }
        let (tls, rest) = match text.split_once("://") {
            None if lacks_slashes(text) => return Err(EndpointError::Slashes(whole())),
            None => (tls, text),
            Some((s, rest)) if s.eq_ignore_ascii_case("http") => (false, rest),
            Some((s, rest)) if s.eq_ignore_ascii_case("https") => (true, rest),
            Some((s, _)) => return Err(EndpointError::Scheme(whole(), s.to_owned())),
        };
        // A lone slash is what browsers and copied URLs append; it names no path.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(EndpointError::Path(whole()));
        }
        let (host, port) = split_port(text, rest)?;
        let port = match port {
            None => DEFAULT_PORT,
            Some(p) if p.bytes().all(|b| b.is_ascii_digit()) => match p.parse() {
                Ok(0) | Err(_) => return Err(EndpointError::Port(whole())),
                Ok(port) => port,
            },
            Some(_) => return Err(EndpointError::Port(whole())),
        };
        Ok(Self { tls, host, port })
    }

    /// The host as it is resolved: a name, an IPv4 address, or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is spoken to by TLS.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Whether `http:` begins it and is no host before a port.
fn lacks_slashes(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        let is_scheme = ["http", "https"]
            .iter()
            .any(|s| scheme.eq_ignore_ascii_case(s));
        is_scheme && rest.contains(|c: char| !c.is_ascii_digit())
    })
}

/// Host, normalised, and port, if there is one.
fn split_port<'a>(text: &str, rest: &'a str) -> Result<(String, Option<&'a str>), EndpointError> {
    let whole = || text.to_owned();
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (address, after) = bracketed
            .split_once(']')
            .ok_or_else(|| EndpointError::Ipv6(whole()))?;
        let address: Ipv6Addr = address.parse().map_err(|_| EndpointError::Ipv6(whole()))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(EndpointError::Port(whole())),
        };
        return Ok((format!("[{address}]"), port));
    }
    if rest.matches(':').count() > 1 {
        return Err(EndpointError::Ipv6(whole()));
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    if host.is_empty() {
        return Err(EndpointError::NoHost(whole()));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !host.bytes().all(fits) {
        return Err(EndpointError::Host(whole()));
    }
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &str) -> Vec<String> {
        let endpoints = Endpoint::parse_list(list, false).unwrap();
        endpoints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn endpoints_are_normalised_and_duplicates_dropped() {
        assert_eq!(shown("127.0.0.1:2379"), ["http://127.0.0.1:2379"]);
        assert_eq!(shown("ETCD-1, http://etcd-1:2379/"), ["http://etcd-1:2379"]);
        assert_eq!(
            shown("[::1],[fe80::0:1]:99"),
            ["http://[::1]:2379", "http://[fe80::1]:99"]
        );
        assert_eq!(shown("HTTP://a:1,b"), ["http://a:1", "http://b:2379"]);
        assert_eq!(shown("http:1"), ["http://http:1"], "a host of that name");
    }

    #[test]
    fn the_host_of_an_address_has_no_brackets() {
        let parsed = Endpoint::parse_list("127.0.0.1,[::1],etcd", false).unwrap();
        let hosts: Vec<&str> = parsed.iter().map(Endpoint::host).collect();
        assert_eq!(hosts, ["127.0.0.1", "::1", "etcd"]);
    }

    #[test]
    fn a_tls_setting_makes_https_of_no_scheme() {
        let tls = |list: &str, tls| {
            let parsed = Endpoint::parse_list(list, tls)?;
            Ok(parsed.iter().all(Endpoint::is_tls))
        };
        assert_eq!(tls("a,b", false), Ok(false));
        assert_eq!(tls("a,b", true), Ok(true));
        assert_eq!(tls("https://a,HTTPS://b", false), Ok(true));
        assert_eq!(tls("a,https://b", true), Ok(true));
        assert_eq!(tls("a,https://b", false), Err(EndpointError::MixedSchemes));
        assert_eq!(tls("a,http://b", true), Err(EndpointError::MixedSchemes));
        assert!(
            matches!(tls("http://a", true), Err(EndpointError::WithoutTls(e)) if e == "http://a:2379")
        );
        let shown = Endpoint::parse_list("[::1]", true).unwrap()[0].to_string();
        assert_eq!(shown, "https://[::1]:2379");
    }

    #[test]
    fn what_cannot_be_an_endpoint_is_refused_by_its_reason() {
        use EndpointError as E;
        let error = |list: &str| Endpoint::parse_list(list, false).unwrap_err();
        assert_eq!(error(""), E::EmptyList);
        assert_eq!(error("  "), E::EmptyList);
        assert!(matches!(error("a,,b"), E::EmptyElement(_)));
        assert!(matches!(error("a,"), E::EmptyElement(_)));
        assert_eq!(error("http://a,https://b"), E::MixedSchemes);
        assert!(matches!(error("unix:///run/etcd"), E::Scheme(_, s) if s == "unix"));
        for list in [
            "http://me:hunter2@a:1",
            "me:hunter2@a,,b",
            "ftp://me:hunter2@a",
            "b,me:hunter2 @a",
            "http://b,https://me:hunter,2@a/",
        ] {
            assert_eq!(error(list), E::UserInfo, "{list}");
        }
        let message = E::UserInfo.to_string();
        assert!(message.contains("--user") && message.contains("--password-file"));
        for list in ["http:127.0.0.1:1", "HTTPS:etcd", "http:/a:1", "http:a"] {
            assert!(matches!(error(list), E::Slashes(_)), "{list}");
        }
        assert!(matches!(error("a:1;b:2"), E::Semicolon(_)));
        assert!(matches!(error("http://a:1;http://b:2"), E::Semicolon(_)));
        assert!(matches!(error("http://a:1/v3"), E::Path(_)));
        assert!(matches!(error("a:1?x=y"), E::Path(_)));
        assert!(matches!(error("a#x"), E::Path(_)));
        assert!(matches!(error(":2379"), E::NoHost(_)));
        assert!(matches!(error("http://"), E::NoHost(_)));
        assert!(matches!(error("a b"), E::Blank(_)));
        assert!(matches!(error("127.0.0.1:1 127.0.0.1:2"), E::Blank(_)));
        assert!(matches!(error("a!b"), E::Host(_)));
        assert!(matches!(error("::1"), E::Ipv6(_)));
        assert!(matches!(error("[::1"), E::Ipv6(_)));
        assert!(matches!(error("[etcd]:1"), E::Ipv6(_)));
        for bad in ["a:", "a:0", "a:65536", "a:+1", "a:x", "[::1]x", "[::1]:"] {
            assert!(matches!(error(bad), E::Port(_)), "{bad}");
        }
    }
}
