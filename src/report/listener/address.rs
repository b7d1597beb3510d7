//! Where to listen, as a person types it.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The longest path of a Unix socket, in bytes (`sun_path` of unix(7), with its final NUL).
const MAX_PATH: usize = 107;

/// `HOST:PORT`, `[IPv6]:PORT`, `:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port; 0 lets the kernel choose one.
    Tcp {
        /// A name or an address without brackets; `None` for all addresses of this host.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The address that `text` means.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        const USE: &str =
            "use one such as 127.0.0.1:8080, [::1]:8080, :8080 or unix:/run/leaderrun.sock";
        if text.is_empty() {
            return Err(format!("the address is empty: {USE}"));
        }
        if text.chars().any(char::is_control) {
            return Err(format!("the address {text:?} contains a control character"));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(text, path);
        }
        if text.contains('/') {
            return Err(format!("{text:?} is no address to listen at: {USE}"));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("the address {text:?} has no port: {USE}"));
        };
        let port = match port.parse() {
            Ok(number) if port.bytes().all(|b| b.is_ascii_digit()) => number,
            Ok(_) | Err(_) => {
                return Err(format!(
                    "the address {text:?} has a bad port: use a number up to 65535, or 0 for any"
                ));
            }
        };
        let host = (!host.is_empty())
            .then(|| parse_host(text, host))
            .transpose()?;
        Ok(Self::Tcp { host, port })
    }
}

fn parse_host(text: &str, host: &str) -> Result<String, String> {
    if host.contains([':', '[', ']']) {
        let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        return match inside.map(str::parse::<Ipv6Addr>) {
            Some(Ok(address)) => Ok(address.to_string()),
            Some(Err(_)) | None => Err(format!(
                "the address {text:?} is not valid: write an IPv6 address in brackets, as in [::1]:8080"
            )),
        };
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.bytes().all(fits) {
        Ok(host.to_owned())
    } else {
        Err(format!(
            "the address {text:?} has a host that is no name or address: write HOST:PORT, or :PORT for all addresses"
        ))
    }
}

fn unix(text: &str, path: &str) -> Result<Address, String> {
    match path.len() {
        0 => Err(format!(
            "{text:?} names no file: use one such as unix:/run/leaderrun.sock"
        )),
        1..=MAX_PATH => Ok(Address::Unix(path.into())),
        n => Err(format!(
            "the path of the socket is {n} bytes long: use {MAX_PATH} bytes or less"
        )),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, ":{port}"),
            Self::Tcp {
                host: Some(host),
                port,
            } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp {
                host: Some(host),
                port,
            } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_are_shown_as_they_were_typed() {
        for good in [
            "127.0.0.1:8080",
            "127.0.0.1:0",
            "[::1]:8080",
            "[::]:80",
            ":8080",
            "localhost:65535",
            "my-host.example:1",
            "unix:/run/leaderrun.sock",
            "unix:relative",
        ] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        let longest = format!("unix:/{}", "x".repeat(MAX_PATH - 1));
        assert!(Address::parse(&longest).is_ok());
    }
}
