//! Loopback ports that nobody else takes while a test holds them.
//!
//! A port found by binding `:0` lies in the range that the kernel hands to outgoing connections. While
//! an etcd is down, its clients' own reconnects could be given that very port (and connect to
//! themselves). So ports come from below that range, and an abstract socket of the port's name keeps
//! other tests away, also while a member is killed and the port is unbound.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A reserved port; free for others once dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UnixListener,
}

impl Port {
    /// Reserves a port that is free now.
    pub fn reserve() -> Self {
        let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
            .ok()
            .and_then(|s| s.split_whitespace().next()?.parse::<u16>().ok())
            .unwrap_or(32768);
        // Where the kernel takes nearly all ports for itself, any will do.
        let (low, high) = if ephemeral > 20_000 {
            (10_000, ephemeral)
        } else {
            (10_000, 60_000)
        };
        for n in 0..2000_u32 {
            let random = RandomState::new().hash_one(n) % u64::from(high - low);
            let number = low + u16::try_from(random).expect("below the range's size");
            let Some(claim) = claim(number) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self {
                    number,
                    _claim: claim,
                };
            }
        }
        panic!("no free port on loopback from {low} to {high}");
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The endpoint `127.0.0.1:PORT`: of whom it is reserved for, or of nobody at all.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

fn claim(number: u16) -> Option<UnixListener> {
    let name = format!("leaderrun-test-port-{number}");
    let address = SocketAddr::from_abstract_name(name).ok()?;
    UnixListener::bind_addr(&address).ok()
}
