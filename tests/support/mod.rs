//! The harness of the integration tests: a real etcd, real candidates, commands that stamp their life.
//!
//! Every test file says `mod support;` and is one behaviour. Tests wait for events (the JSON log,
//! the stamps of a [`Beat`]) with the generous [`LIMIT`]; nothing here sleeps to "let things settle".
//! What a test starts ends with it: handles kill exactly their own processes when dropped, children
//! die with the test's thread, and a [`Beat`] ends by itself after a while whatever happens.
//!
//! ```ignore
//! if !require_etcd() { return; }
//! let etcd = Etcd::start();
//! let beat = Beat::new();
//! let leader = Candidate::new(&etcd).life(beat.life()).spawn();
//! leader.wait_event("started");
//! leader.signal(Signal::SIGKILL);
//! ```

// Each test file compiles this module for itself and uses its own part of it.
#![allow(dead_code, unused_imports)]

mod after;
mod beat;
mod candidate;
mod container;
mod etcd;
mod etcdctl;
mod freezer;
pub mod guarded;
pub mod helper;
mod history;
pub mod http;
mod instants;
pub mod isolation;
mod log;
pub mod network;
pub mod pki;
mod place;
mod ports;
pub mod postgres;
mod process;
mod proxy;
pub mod pty;
pub mod renewals;
mod running;
mod scratch;
mod stalled;
mod systemd;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

pub use after::{death_of, kill};
pub use beat::{Beat, Life, Stamp, assert_no_overlap, overlaps};
pub use candidate::{Candidate, Finished, KEY, ask};
pub use container::{Root, pid_1};
pub use etcd::{Etcd, Member};
pub use etcdctl::Entry;
pub use freezer::Freezer;
pub use history::{Change, History};
pub use instants::{Instants, instant_of};
pub use network::Network;
pub use nix::sys::signal::Signal;
pub use nix::unistd::Pid;
pub use pki::Pki;
pub use ports::Port;
pub use process::{
    children_of, count_deliveries, deliveries, in_namespace_of, is_alive, is_stopped,
    leave_without_first_thread, rests, send,
};
pub use proxy::Proxy;
pub use pty::Pty;
pub use running::Running;
pub use scratch::Scratch;
pub use serde_json::Value;
pub use stalled::Stalled;
pub use systemd::{Systemd, shipped_units};

/// The user nobody, for what an ordinary user does.
pub const NOBODY: u32 = 65534;

/// How long a test waits for what must happen; far longer than it takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(5);

/// The same, at least, however long each look takes.
const DEAR_POLL: Duration = Duration::from_millis(250);

/// The present instant on `CLOCK_BOOTTIME`, in seconds: the scale of every [`Stamp`].
pub fn now() -> f64 {
    let t = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME");
    Duration::from(t).as_secs_f64()
}

/// What [`eventually`] asks again and again: `bool`, or an `Option` of what was found.
pub trait Answer {
    /// What there is once the answer is yes.
    type Found;
    /// The answer, if it is yes.
    fn found(self) -> Option<Self::Found>;
}

impl Answer for bool {
    type Found = ();
    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Answer for Option<T> {
    type Found = T;
    fn found(self) -> Option<T> {
        self
    }
}

/// Asks until the answer is yes; panics at the caller's line if it is not within `limit`.
#[track_caller]
pub fn eventually<A: Answer>(limit: Duration, ask: impl FnMut() -> A) -> A::Found {
    match within(limit, ask) {
        Some(found) => found,
        None => panic!("not within {limit:?}"),
    }
}

/// Asks until the answer is yes or `limit` has passed.
pub fn within<A: Answer>(limit: Duration, mut ask: impl FnMut() -> A) -> Option<A::Found> {
    let end = Instant::now() + limit;
    loop {
        // The last look comes after the limit, so that a frozen test machine does not fail a test.
        let asked = Instant::now();
        let last = asked >= end;
        if let Some(found) = ask().found() {
            return Some(found);
        }
        if last {
            return None;
        }
        // What costs much, as a run of etcdctl does, is asked for less often: others want the machine too.
        thread::sleep((2 * asked.elapsed()).clamp(POLL, DEAR_POLL));
    }
}

/// Whether there is an etcd to test against.
///
/// Without one the test is to return, and says loudly that it was skipped; with
/// `LEADERRUN_TEST_REQUIRE=1`, as `scripts/test` sets it, a skip is a failure.
#[track_caller]
pub fn require_etcd() -> bool {
    let missing: Vec<String> = [etcd_path(), etcdctl_path()]
        .into_iter()
        .filter(|program| !starts(program))
        .map(|program| program.display().to_string())
        .collect();
    if missing.is_empty() {
        return true;
    }
    lacks(&format!(
        "{} cannot be run: run scripts/setup --tests, or set ETCD and ETCDCTL",
        missing.join(" and ")
    ));
    false
}

/// Whether there is such a program; what is said of [`require_etcd`] holds here too.
#[track_caller]
pub fn require_program(name: &str) -> bool {
    let there = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()));
    require_that(there, name)
}

/// Whether `what` is `there`; what is said of [`require_etcd`] holds here too.
#[track_caller]
pub fn require_that(there: bool, what: &str) -> bool {
    if !there {
        lacks(&format!("there is no {what}: run scripts/setup --tests"));
    }
    there
}

/// Whether a test that could run after `scripts/setup` is to fail instead of being skipped.
fn is_skip_forbidden() -> bool {
    std::env::var_os("LEADERRUN_TEST_REQUIRE").is_some_and(|v| v == "1")
}

/// Says that the present test is skipped for want of what `scripts/setup` installs or every machine of ours has; with
/// `LEADERRUN_TEST_REQUIRE=1` that fails it.
#[track_caller]
pub fn lacks(why: &str) {
    assert!(
        !is_skip_forbidden(),
        "{why} (LEADERRUN_TEST_REQUIRE=1 forbids to skip)"
    );
    skip(why);
}

/// Says loudly that the present test is skipped, for what depends on the kernel, on the container or on who runs it.
/// For all else there is [`lacks`].
pub fn skip(why: &str) {
    use std::io::Write;
    let line = format!(
        "SKIPPED {}: {why}\n",
        thread::current().name().unwrap_or("a test")
    );
    // Past the capture of libtest, which would hide it in a test that "passes".
    let _ = std::io::stderr().write_all(line.as_bytes());
    // And past that of a runner with a process for each test: scripts/test shows these at its end.
    let shown_later = std::env::var_os("LEADERRUN_TEST_SKIPPED");
    let file = shown_later.and_then(|file| fs::File::options().append(true).open(file).ok());
    if let Some(mut file) = file {
        let _ = file.write_all(line.as_bytes());
    }
}

/// The etcd to start: `ETCD`, or the one on the PATH.
pub fn etcd_path() -> PathBuf {
    std::env::var_os("ETCD").map_or_else(|| "etcd".into(), PathBuf::from)
}

/// The etcdctl to ask with: `ETCDCTL`, or the one on the PATH.
pub fn etcdctl_path() -> PathBuf {
    std::env::var_os("ETCDCTL").map_or_else(|| "etcdctl".into(), PathBuf::from)
}

/// Whether `program` can be started. What it would say is not waited for: each test asks, and etcd takes its
/// time.
fn starts(program: &std::path::Path) -> bool {
    let started = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut started) = started else {
        return false;
    };
    let _ = started.kill();
    started.wait().is_ok()
}

/// An id that no other test, nor another run of this one, has.
pub fn unique_id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static START: OnceLock<u128> = OnceLock::new();
    let start = START.get_or_init(|| {
        std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |d| d.as_nanos())
    });
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{n}-{:x}", std::process::id(), start % (1 << 40))
}
