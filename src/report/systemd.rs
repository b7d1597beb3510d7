//! What systemd is told, where it is the one that started us (`sd_notify(3)`, `systemd.service(5)`).
//!
//! leaderrun speaks for itself and not for its command: it is ready when it stands for election, or is kept
//! from it by nothing but an etcd that is away, or else when it leads; an etcd outage is a status and no
//! failure; the watchdog is fed as long as the supervisor runs.
//!
//! The protocol is a datagram of lines, so it is spoken here rather than by a library: no send may wait (a
//! manager that does not read must not stall renewals), what could not be said is owed and not lost, and
//! nothing that comes out of etcd may become a line of its own.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::escape::escape_sentence;

/// How much longer than `--stop-timeout` a stop may take: SIGKILL, the proof that the tree is empty, and
/// the farewell to etcd.
const AFTER_STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How many messages may wait for a manager that does not read.
const MOST_OWED: usize = 32;

/// The line to systemd; says nothing where there is none.
#[derive(Debug)]
pub struct Systemd {
    line: Option<(UnixDatagram, SocketAddr)>,
    ready: bool,
    stopping: bool,
    status: String,
    watchdog: Option<Duration>,
    owed: VecDeque<String>,
}

impl Systemd {
    /// The line that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name);
        Self {
            line: variable("NOTIFY_SOCKET").and_then(|name| open(&name).ok()),
            ready: false,
            stopping: false,
            status: String::new(),
            watchdog: watchdog(variable, std::process::id()),
            owed: VecDeque::new(),
        }
    }

    /// Whether there is anybody to tell.
    pub const fn listens(&self) -> bool {
        self.line.is_some()
    }

    /// Where the run stands, in one line; said when it changes.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            // Names of others are in it, and a line feed would begin a message of theirs to systemd.
            let line = format!("STATUS={}", escape_sentence(status));
            self.owed.retain(|waiting| !waiting.starts_with("STATUS="));
            self.say(line);
        }
    }

    /// The service has started; said once.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.say("READY=1".to_owned());
        }
    }

    /// The service is shutting down, and the command is given `stop_timeout` if that is limited.
    ///
    /// Without a limit systemd's own (`TimeoutStopSec=`) is the only one, and stands.
    pub fn stopping(&mut self, stop_timeout: Option<Duration>) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.say("STOPPING=1".to_owned());
        }
        if let Some(limit) = stop_timeout {
            // Counted by systemd from the arrival, and never taken as less than what it allows already. It
            // adds the number to the time since boot, so one that would overflow is kept from it.
            let micros = limit.saturating_add(AFTER_STOP_TIMEOUT).as_micros();
            let micros = u64::try_from(micros).unwrap_or(u64::MAX).min(u64::MAX / 4);
            self.say(format!("EXTEND_TIMEOUT_USEC={micros}"));
        }
    }

    /// How often the watchdog is to be fed, if there is one.
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The supervisor is alive.
    pub fn feed_watchdog(&mut self) {
        // One that waits to be said serves as well as two.
        let line = "WATCHDOG=1".to_owned();
        self.owed.retain(|waiting| *waiting != line);
        self.say(line);
    }

    /// Whether something could not be said yet.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Says what is owed, as far as there is room.
    pub fn pay(&mut self) {
        let Some((socket, address)) = &self.line else {
            self.owed.clear();
            return;
        };
        while let Some(line) = self.owed.front() {
            match socket.send_to_addr(line.as_bytes(), address) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Said; or nobody is there to hear it, which is systemd's affair.
                Ok(_) | Err(_) => self.owed.pop_front(),
            };
        }
    }

    fn say(&mut self, line: String) {
        if self.owed.len() < MOST_OWED {
            self.owed.push_back(line);
        }
        self.pay();
    }
}

/// A socket that never waits, and the address that `name` stands for: `@` begins an abstract one (unix(7)).
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// How often the watchdog is to be fed: half of what is allowed, as `sd_watchdog_enabled(3)` recommends.
fn watchdog(lookup: impl Fn(&str) -> Option<OsString>, own: u32) -> Option<Duration> {
    let number = |name| lookup(name).map(|text| text.to_str()?.parse::<u64>().ok());
    // Without a process id it is for whoever has the variable.
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == Some(own.into()));
    let micros = number("WATCHDOG_USEC")??;
    (ours && micros > 1).then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(pid: Option<&str>, micros: Option<&str>) -> Option<Duration> {
        let lookup = |name: &str| match name {
            "WATCHDOG_PID" => pid.map(OsString::from),
            "WATCHDOG_USEC" => micros.map(OsString::from),
            _ => None,
        };
        watchdog(lookup, 7)
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_asked_and_only_if_it_is_ours() {
        let half = Some(Duration::from_secs(10));
        assert_eq!(every(Some("7"), Some("20000000")), half);
        assert_eq!(every(None, Some("20000000")), half);
        assert_eq!(every(Some("8"), Some("20000000")), None);
        assert_eq!(every(Some("x"), Some("20000000")), None);
        assert_eq!(every(Some("7"), None), None);
        assert_eq!(every(Some("7"), Some("0")), None);
        assert_eq!(every(Some("7"), Some("soon")), None);
    }

    #[test]
    fn a_manager_that_does_not_read_stalls_nothing_and_misses_nothing_that_matters() {
        let name = format!("leaderrun-unit-test-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut systemd = Systemd {
            line: Some(open(OsStr::new(&format!("@{name}"))).unwrap()),
            ready: false,
            stopping: false,
            status: String::new(),
            watchdog: None,
            owed: VecDeque::new(),
        };
        let mut sent = 0;
        while !systemd.owes() {
            sent += 1;
            systemd.status(&format!("{sent}"));
        }
        systemd.ready();
        for n in 0..1000 {
            systemd.feed_watchdog();
            systemd.status(&format!("x\nMAINPID={n}"));
        }
        let mut heard = Vec::new();
        let mut buffer = [0; 256];
        manager.set_nonblocking(true).unwrap();
        while let Ok(n) = manager.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..n].to_vec()).unwrap());
            systemd.pay();
        }
        assert_eq!(heard.len(), sent + 2, "{heard:?}");
        assert_eq!(
            heard[sent - 1..],
            ["READY=1", "WATCHDOG=1", "STATUS=x\\nMAINPID=999"]
        );
    }
}
