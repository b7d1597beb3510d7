//! etcd not there, silent or unwilling: leaderrun keeps trying where that may help, and says so once.

mod support;

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::{Candidate, Etcd, KEY, LIMIT, Running, Signal, eventually, require_etcd};

/// Something in the place of etcd that closes every connection at once, and counts them.
fn slammer() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    // It ends with the test's process.
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    (address, count)
}

/// Something that accepts connections and never says a word.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    fn address(&self) -> String {
        self.0.local_addr().expect("an address").to_string()
    }
}

/// Something that does not even accept: its queue of connections is full, so that the kernel drops
/// whatever comes, as a firewall would.
struct BlackHole {
    silent: Silent,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    fn new() -> Self {
        let silent = Silent::new();
        let address = silent.0.local_addr().expect("an address");
        // Listening again sets a new length.
        nix::sys::socket::listen(&silent.0, nix::sys::socket::Backlog::new(0).expect("0"))
            .expect("listen(2)");
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queued.push(stream);
            assert!(queued.len() < 100, "the queue is never full");
        }
        Self {
            silent,
            _queued: queued,
        }
    }
}

fn warnings(run: &Running) -> Vec<String> {
    let text = |e: &support::Value| e["message"].as_str().expect("text").to_owned();
    run.events_named("warning").iter().map(text).collect()
}

#[test]
fn it_starts_leading_when_etcd_appears() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.kill();
    let run = Candidate::new(&etcd).ttl("5s").spawn();
    let warning = run.wait_event("warning")["message"].to_string();
    assert!(
        warning.contains("etcd does not answer") && warning.contains(&etcd.endpoint()),
        "{warning}"
    );
    etcd.restart();
    run.wait_event("started");
    assert!(
        warnings(&run)
            .iter()
            .any(|w| w.contains("etcd answers again"))
    );
    run.signal(Signal::SIGTERM);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn attempts_are_few_and_each_reason_is_told_once() {
    let (address, count) = slammer();
    let run = Candidate::bare()
        .key(KEY)
        .endpoints(&address)
        .args(["--wait=5s", "--log-format=json", "--log-file=/dev/stderr"])
        .command(&["true"])
        .spawn();
    eventually(LIMIT, || run.stderr().contains("etcd has never answered"));
    let attempts = count.load(Ordering::SeqCst);
    // The pauses are 0.05 to 0.1 s, then twice that, up to 3 s, so there are nine in five seconds at
    // most; an attempt may connect once for itself and once for its request. A busy loop makes
    // thousands.
    assert!((4..=24).contains(&attempts), "{attempts} connections");
    assert_eq!(run.wait().code(), Some(125));
    // Leaving takes two seconds, and an attempt each 50 ms.
    let all = count.load(Ordering::SeqCst);
    assert!(all < 200, "{all} connections");
    let lines = run.stderr();
    let reasons: Vec<&str> = lines
        .lines()
        .filter(|line| {
            line.contains("etcd does not answer") || line.contains("etcd has not answered")
        })
        .filter_map(|line| line.split_once(": ")?.1.split_once('"').map(|(r, _)| r))
        .collect();
    assert!(!reasons.is_empty(), "{lines}");
    let distinct: BTreeSet<_> = reasons.iter().collect();
    assert_eq!(reasons.len(), distinct.len(), "{reasons:#?}");
}

#[test]
fn silent_endpoints_are_passed_over() {
    if !require_etcd() {
        return;
    }
    let (etcd, silent, hole) = (Etcd::start(), Silent::new(), BlackHole::new());
    let list = [silent.address(), hole.silent.address(), etcd.endpoint()].join(",");
    let run = Candidate::new(&etcd)
        .endpoints(list)
        .ttl("4s")
        .grace("500ms")
        .spawn();
    run.wait_event("started");
    // And go on being passed over: leadership outlasts the TTL.
    let record = || etcd.entry(&format!("{KEY}.term")).expect("a record");
    let first = record().mod_revision;
    eventually(LIMIT, || record().mod_revision > first + 6);
    assert!(run.events_named("stopping").is_empty());
    // One that waits behind it, through the same list in another order.
    let list = [hole.silent.address(), etcd.endpoint(), silent.address()].join(",");
    let standby = Candidate::new(&etcd).endpoints(list).ttl("5s").spawn();
    standby.wait_event("waiting");
    run.signal(Signal::SIGTERM);
    standby.wait_event("started");
    standby.signal(Signal::SIGTERM);
    run.wait_gone();
    standby.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn try_passes_over_silent_endpoints_too() {
    if !require_etcd() {
        return;
    }
    let (etcd, silent) = (Etcd::start(), Silent::new());
    let list = [silent.address(), etcd.endpoint()].join(",");
    let run = Candidate::new(&etcd).endpoints(list).arg("--try");
    assert_eq!(run.command(&["true"]).output().code(), 0);
    etcd.assert_nothing_left();
}

#[test]
fn a_name_that_does_not_exist_is_a_failure_at_once() {
    // No label of a name is longer than 63 bytes, so every resolver knows without asking anybody.
    let name = format!("{}.invalid", "x".repeat(70));
    let run = Candidate::bare()
        .key(KEY)
        .endpoints(format!("{name}:2379"))
        .text_log()
        .command(&["true"])
        .spawn();
    assert_eq!(run.wait().code(), Some(125));
    let stderr = run.stderr();
    assert!(
        stderr.contains(&name) && stderr.contains("does not exist: check --endpoints"),
        "{stderr}"
    );
    assert!(!stderr.contains("trying again"), "{stderr}");
    run.wait_gone();
    // Whoever has not given that option is told what to check instead.
    for variable in ["LEADERRUN_ENDPOINTS", "ETCDCTL_ENDPOINTS"] {
        let asks = Candidate::bare().args(["status", "--key", KEY]);
        let campaigns = Candidate::bare().key(KEY).command(&["true"]);
        for run in [campaigns, asks] {
            let run = run.env(variable, format!("{name}:2379")).output();
            assert_eq!(run.code(), 125);
            let says = format!("does not exist: check {variable}");
            assert!(run.stderr.contains(&says), "{}", run.stderr);
        }
    }
}

#[test]
fn a_name_that_does_not_exist_beside_one_that_does_is_passed_over() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let list = format!("{}.invalid:2379,{}", "x".repeat(70), etcd.endpoint());
    let run = Candidate::new(&etcd).endpoints(list).command(&["true"]);
    assert_eq!(run.output().code(), 0);
    etcd.assert_nothing_left();
}

/// An etcd that asks for a user from now on.
fn enable_auth(etcd: &Etcd) {
    etcd.etcdctl(&["user", "add", "root:secret"]);
    etcd.etcdctl(&["user", "grant-role", "root", "root"]);
    etcd.etcdctl(&["auth", "enable"]);
}

fn as_root(etcd: &Etcd, arguments: &[&str]) -> String {
    etcd.etcdctl(&[&["--user=root:secret"], arguments].concat())
}

#[test]
fn a_refusal_is_a_failure_at_once() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    enable_auth(&etcd);
    let run = Candidate::new(&etcd).text_log().command(&["true"]).spawn();
    assert_eq!(run.wait().code(), Some(125));
    let stderr = run.stderr();
    assert!(
        stderr.contains("error: ") && stderr.contains("etcd asks for a user"),
        "{stderr}"
    );
    assert!(!stderr.contains("trying again"), "{stderr}");
    run.wait_gone();
    as_root(&etcd, &["auth", "disable"]);
    etcd.assert_nothing_left();
}

#[test]
fn a_refusal_in_standby_is_a_warning_and_tried_again() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // Somebody who leads by a lease of ten minutes, and needs no renewals.
    etcd.etcdctl(&["lease", "grant", "600"]);
    let lease = etcd.leases().pop().expect("granted");
    let foreign = format!("{KEY}/{lease}");
    etcd.etcdctl(&["put", &foreign, "other", &format!("--lease={lease}")]);
    let run = Candidate::new(&etcd).command(&["true"]).spawn();
    assert_eq!(run.wait_event("waiting")["leader"], "other");

    enable_auth(&etcd);
    eventually(LIMIT, || {
        warnings(&run)
            .iter()
            .any(|w| w.contains("etcd asks for a user"))
    });
    as_root(&etcd, &["auth", "disable"]);
    etcd.del(&foreign);
    assert_eq!(run.wait().code(), Some(0));
    run.wait_gone();
    etcd.revoke(&lease);
    etcd.assert_nothing_left();
}

#[test]
fn a_standby_outlives_an_etcd_that_goes_away() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).ttl("3s").spawn();
    leader.wait_event("started");
    let standby = Candidate::new(&etcd).ttl("5s").command(&["true"]).spawn();
    standby.wait_event("waiting");
    etcd.kill();
    standby.wait_event("warning");
    // Without etcd the leader is lost; the standby is not.
    leader.wait_event("lost");
    etcd.restart();
    assert_eq!(leader.wait().code(), Some(75));
    assert_eq!(standby.wait().code(), Some(0));
    standby.wait_gone();
}
