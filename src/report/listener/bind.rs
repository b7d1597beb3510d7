//! Taking the address, before anybody campaigns, so that one that cannot be had fails the start.
//!
//! Not before the guardian is forked, which would inherit the socket: what a killed supervisor listened at has to
//! be free for its successor at once. (A command gets nothing of it either: descriptors are close-on-exec.)

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use thiserror::Error;

use super::Address;

/// How long a name may be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// Why there is no listening.
#[derive(Debug, Error)]
#[error("cannot listen at {}", crate::report::escape(&.address.to_string()))]
pub struct BindError {
    address: Address,
    source: io::Error,
}

/// A socket that listens, though nobody answers yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) socket: Socket,
    pub(super) file: Option<SocketFile>,
    address: String,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(net::TcpListener),
    Unix(unix::UnixListener),
}

impl Bound {
    /// Listens at `address`. A file that a dead process has left there is replaced; one of a living process is not.
    ///
    /// # Errors
    /// If the address cannot be had, or a name cannot be looked up within 5 s.
    pub async fn new(address: &Address) -> Result<Self, BindError> {
        let bound = match address {
            Address::Tcp { host, port } => tcp(host.as_deref(), *port).await,
            Address::Unix(path) => unix(path),
        };
        bound.map_err(|source| BindError {
            address: address.clone(),
            source,
        })
    }

    /// Where, with the port that the kernel has chosen.
    pub fn address(&self) -> &str {
        &self.address
    }
}

async fn tcp(host: Option<&str>, port: u16) -> io::Result<Bound> {
    let listener = match host {
        // One socket for both protocols, where there are both.
        None => net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|e| {
            match e.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {
                    net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
                }
                _ => Err(e),
            }
        }),
        Some(host) => {
            let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, port))).await;
            let timed_out =
                |_| io::Error::new(ErrorKind::TimedOut, "the name was not found in time");
            let addresses: Vec<SocketAddr> = found.map_err(timed_out)??.collect();
            net::TcpListener::bind(&*addresses)
        }
    }?;
    listener.set_nonblocking(true)?;
    Ok(Bound {
        address: listener.local_addr()?.to_string(),
        socket: Socket::Tcp(listener),
        file: None,
    })
}

fn unix(path: &Path) -> io::Result<Bound> {
    // Of two that find the same dead file, the second must not remove the first one's new socket.
    let _lock = lock_directory_of(path);
    let listener = match unix::UnixListener::bind(path) {
        Err(e) if e.kind() == ErrorKind::AddrInUse && is_dead(path)? => {
            match fs::remove_file(path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                Ok(()) | Err(_) => unix::UnixListener::bind(path)?,
            }
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(Bound {
        address: format!("unix:{}", path.display()),
        socket: Socket::Unix(listener),
        file: Some(SocketFile::new(path)?),
    })
}

/// Where it cannot be had within a second, by a directory that may not be read, say, it is done without.
fn lock_directory_of(path: &Path) -> Option<Flock<fs::File>> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut directory = fs::File::open(directory.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..100 {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((file, Errno::EWOULDBLOCK)) => directory = file,
            Err(_) => return None,
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Whether `path` is a socket that nobody listens at.
fn is_dead(path: &Path) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        // Its owner has just ended.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let why = "the file exists and is no socket";
        return Err(io::Error::new(ErrorKind::AlreadyExists, why));
    }
    // Without waiting: a living process may have no room for another connection, which is an answer.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let answer = socket::connect(probe.as_raw_fd(), &UnixAddr::new(path)?);
    Ok(matches!(answer, Err(Errno::ECONNREFUSED | Errno::ENOENT)))
}

/// The file of our socket, removed when this is dropped unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("leaderrun-{name}-{}", std::process::id()))
    }

    fn kind(path: &Path) -> ErrorKind {
        unix(path).expect_err("not ours").kind()
    }

    #[test]
    fn a_dead_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let path = scratch("sock");
        let dead = unix::UnixListener::bind(&path).unwrap();
        assert_eq!(kind(&path), ErrorKind::AddrInUse, "it lives");
        // A backlog of one, and one more: no room.
        let one = unix::UnixStream::connect(&path).unwrap();
        socket::listen(&dead, socket::Backlog::new(0).unwrap()).unwrap();
        assert_eq!(kind(&path), ErrorKind::AddrInUse, "it is busy");
        drop((one, dead));
        let first = unix(&path).unwrap();
        assert_eq!(first.address(), format!("unix:{}", path.display()));
        drop(first);
        assert!(!path.exists(), "removed at the end");

        fs::write(&path, "a file").unwrap();
        assert_eq!(kind(&path), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_socket_of_another_is_not_removed_at_the_end() {
        let path = scratch("taken");
        let ours = unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let theirs = unix::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn of_many_that_find_a_dead_socket_one_gets_it() {
        let path = scratch("race");
        for _ in 0..20 {
            drop(unix::UnixListener::bind(&path).unwrap());
            let start = std::sync::Barrier::new(8);
            let got: Vec<_> = thread::scope(|scope| {
                let racers: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            unix(&path)
                        })
                    })
                    .collect();
                racers.into_iter().map(|r| r.join().unwrap()).collect()
            });
            assert_eq!(got.iter().filter(|bound| bound.is_ok()).count(), 1);
            assert!(unix::UnixStream::connect(&path).is_ok());
        }
    }
}
