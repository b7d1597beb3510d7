//! Whoever reaches `--listen` can neither cost a leader its term, nor keep the fence from falling in time, nor
//! keep others from being answered.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::http::{connect, get, send};
use support::{Candidate, Etcd, LIMIT, Pid, Running, eventually, now, require_etcd, within};

/// More than `MOST_CONNECTIONS`, and what a supervisor has open besides.
const MOST_DESCRIPTORS: usize = 64 + 40;

fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// In KiB.
fn memory(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let size = line.and_then(|l| l.trim().split(' ').next()?.parse().ok());
    size.expect("a living process")
}

/// A short timeline: what costs a second is felt. The attackers take the processors from everybody on this host.
fn leader(etcd: &Etcd) -> Running {
    let leader = Candidate::new(etcd)
        .listening()
        .ttl("4s")
        .grace("500ms")
        .margin("1s")
        .command(&["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
        .spawn();
    leader.wait_role("leading");
    leader
}

/// Asks for as long as hostile things are done to it. What a client of good will waits for stays short.
fn while_attacked(attack: impl Fn(&str, &AtomicBool) + Sync) {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = leader(&etcd);
    let address = leader.address();
    let over = AtomicBool::new(false);
    let (mut open, mut longest, mut grown) = (0, 0.0_f64, 0);
    let (mut answered, mut refused) = (0, 0);
    let before = memory(leader.pid());
    thread::scope(|scope| {
        let attacker = scope.spawn(|| attack(&address, &over));
        // Three TTLs of it, by the renewals.
        let renewed = leader.events_named("renewed").len();
        let enough = || leader.events_named("renewed").len() >= renewed + 20;
        let watched = within(LIMIT, || {
            open = open.max(descriptors(leader.pid()));
            grown = grown.max(memory(leader.pid()).saturating_sub(before));
            let asked = now();
            // One that is run so late that many others come between its connection and its request asks again.
            let answer = eventually(LIMIT, || {
                let answer = get(&address, "/leaderz").ok();
                (answered, refused) = match answer {
                    Some(_) => (answered + 1, refused),
                    None => (answered, refused + 1),
                };
                answer
            });
            assert_eq!(answer.status, 200, "leadership was lost");
            longest = longest.max(now() - asked);
            assert!(leader.events_named("stopping").is_empty());
            enough()
        });
        assert!(watched.is_some(), "too few renewals");

        // And then the fence, with the attack going on.
        etcd.stop();
        leader.wait_event("tree-empty");
        over.store(true, Ordering::Relaxed);
        attacker.join().expect("the attacker");
    });
    let headroom = leader.wait_event("tree-empty")["headroom"].as_f64();
    println!(
        "{answered} answers, the slowest took {longest:.3}s, and {refused} refusals; \
         at most {open} descriptors, {grown} KiB more memory; headroom {headroom:?}"
    );
    assert!(refused <= answered / 10, "{refused} of {answered}");
    assert!(open <= MOST_DESCRIPTORS, "{open}");
    assert!(grown < 64 * 1024, "{grown} KiB");
    assert!(headroom.expect("seconds") > 0.0);
    assert_eq!(leader.wait_event("killed")["reason"], "deadline");
    etcd.cont();
    assert_eq!(leader.wait().code(), Some(75));
}

#[test]
fn a_thousand_connections_that_say_nothing() {
    while_attacked(|address, over| {
        while !over.load(Ordering::Relaxed) {
            // Held open together; whoever is not let in gives up.
            let open: Vec<_> = (0..1000).map_while(|_| connect(address).ok()).collect();
            thread::sleep(Duration::from_millis(100));
            drop(open);
        }
    });
}

#[test]
fn heads_that_come_a_byte_at_a_time() {
    while_attacked(|address, over| {
        thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let Ok(mut stream) = connect(address) else {
                            continue;
                        };
                        for byte in b"GET /livez HTTP/1.1\r\nX: y\r\n".iter().cycle() {
                            if over.load(Ordering::Relaxed) || stream.write_all(&[*byte]).is_err() {
                                break;
                            }
                            thread::sleep(Duration::from_millis(100));
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn requests_without_end() {
    while_attacked(|address, over| {
        let megabyte = "x".repeat(1 << 20);
        let heads = [
            format!("GET /{megabyte}"),
            format!("GET /livez HTTP/1.1\r\nX: {megabyte}"),
            format!("GET /livez HTTP/1.1\r\n{}", "X: y\r\n".repeat(1 << 17)),
            "POST /livez HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n".to_owned(),
            "POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n".to_owned(),
        ];
        thread::scope(|scope| {
            for head in &heads {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let Ok(mut stream) = connect(address) else {
                            continue;
                        };
                        let _ = stream.write_all(head.as_bytes());
                        while !over.load(Ordering::Relaxed)
                            && stream.write_all(megabyte.as_bytes()).is_ok()
                        {
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn as_many_requests_as_can_be_sent() {
    while_attacked(|address, over| {
        thread::scope(|scope| {
            for path in ["/metrics", "/status", "/livez", "/nothing"] {
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let _ = get(address, path);
                    }
                });
            }
        });
    });
}

#[test]
fn what_is_too_large_or_too_slow_is_shown_the_door() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = leader(&etcd);
    let address = leader.address();
    let large = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(10_000)
    );
    // Closed with unread bytes, the connection may be reset before the answer is read.
    if let Ok(reply) = send(&address, &large) {
        assert_eq!(reply.status, 431);
    }
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65));
    assert_eq!(send(&address, &many).expect("an answer").status, 431);
    let mut slow = connect(&address).expect("a connection");
    slow.write_all(b"GET /livez HTTP/1.1\r\n").expect("room");
    let began = now();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    let waited = now() - began;
    assert!(waited < 5.0 + 5.0, "{waited}");
    // All are gone, and none of them is remembered by a descriptor.
    let before = descriptors(leader.pid());
    let open: Vec<_> = (0..200).map_while(|_| connect(&address).ok()).collect();
    assert!(open.len() > 64);
    eventually(LIMIT, || descriptors(leader.pid()) > before + 20);
    assert!(descriptors(leader.pid()) <= MOST_DESCRIPTORS);
    eventually(LIMIT, || descriptors(leader.pid()) <= before);
}
