//! What systemd is told, where it is the one that started us (`sd_notify(3)`, `systemd.service(5)`).
//!
//! leaderrun speaks for itself and not for its command: it is ready when it stands for election, or when it
//! leads; an etcd outage is a status and no failure; the watchdog is fed as long as the supervisor runs.

use std::time::Duration;

use sd_notify::NotifyState;

/// The line to systemd; says nothing where there is none.
#[derive(Debug)]
pub struct Systemd {
    listens: bool,
    ready: bool,
    status: String,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// The line that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn from_environment() -> Self {
        Self {
            listens: std::env::var_os("NOTIFY_SOCKET").is_some(),
            ready: false,
            status: String::new(),
            // Half of what is allowed, as sd_watchdog_enabled(3) recommends.
            watchdog: sd_notify::watchdog_enabled().map(|limit| limit / 2),
        }
    }

    /// Where the run stands, in one line; said when it changes.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            self.say(&[NotifyState::Status(status)]);
        }
    }

    /// The service has started; said once.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.say(&[NotifyState::Ready]);
        }
    }

    /// The service is shutting down, and may take `limit` if that is known.
    pub fn stopping(&mut self, limit: Option<Duration>) {
        self.say(&[NotifyState::Stopping]);
        if let Some(limit) = limit {
            let micros = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
            self.say(&[NotifyState::ExtendTimeoutUsec(micros)]);
        }
    }

    /// How often the watchdog is to be fed, if there is one.
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The supervisor is alive.
    pub fn feed_watchdog(&self) {
        self.say(&[NotifyState::Watchdog]);
    }

    fn say(&self, state: &[NotifyState<'_>]) {
        if self.listens {
            // systemd not listening is systemd's affair.
            let _ = sd_notify::notify(state);
        }
    }
}
