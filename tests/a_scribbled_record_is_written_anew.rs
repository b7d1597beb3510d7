//! Whatever anybody writes into the term record, or takes out of it, the leader writes it anew and leads on.

mod support;

use std::time::Duration;

use support::{Beat, Candidate, Etcd, KEY, LIMIT, Signal, eventually, now, require_etcd};

#[test]
fn garbage_in_the_record_is_overwritten_and_the_term_goes_on() {
    const TTL: f64 = 3.0;
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let record = format!("{KEY}.term");
    let leader = Candidate::new(&etcd)
        .id("leader")
        .ttl("3s")
        .arg("-v")
        .life(beat.life())
        .spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "beat");
    let standby = Candidate::new(&etcd)
        .id("standby")
        .ttl("3s")
        .life(beat.life())
        .spawn();
    standby.wait_event("waiting");
    let ours = || {
        let value = etcd.get(&record)?;
        let value: support::Value = serde_json::from_str(&value).ok()?;
        (value["token"] == token && value["ttl"] == 3000).then_some(())
    };
    let garbage = ["", "garbage", "{}", "[1,2]", "{\"token\":7}"];
    // At last it is taken away.
    for written in garbage.map(Some).into_iter().chain([None]) {
        eventually(LIMIT, ours);
        match written {
            Some(garbage) => etcd.put(&record, garbage),
            None => assert!(etcd.del(&record)),
        }
        eventually(Duration::from_secs(2), ours);
        leader.wait_another_event("renewed");
    }
    standby.no_event_until("elected", now() + TTL + 1.0);
    for event in ["stopping", "lost", "warning", "error"] {
        assert!(leader.events_named(event).is_empty(), "{event}");
    }
    assert_eq!(beat.tokens(), [token]);
    // It is still a record to whoever comes next: a clean end needs no wait.
    leader.signal(Signal::SIGTERM);
    leader.wait();
    let asked = now();
    standby.wait_elected();
    assert!(now() - asked < TTL - 1.0, "{}", now() - asked);
}

/// Garbage would keep everybody waiting, for nobody.
#[test]
fn garbage_goes_with_the_term() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let record = format!("{KEY}.term");
    // Renewals are far apart: it is not written anew before the end.
    let leader = || Candidate::new(&etcd).ttl("120s").args(["--cgroup", "off"]);
    for kills in [false, true] {
        let running = leader().spawn();
        running.wait_event("started");
        etcd.put(&record, "garbage");
        running.signal(if kills {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        });
        running.wait();
        eventually(LIMIT, || etcd.get(&record).is_none());
        eventually(LIMIT, || etcd.keys(&format!("{KEY}/")).is_empty());
    }
    // That of another's term is not the standby's to remove.
    let first = leader().spawn();
    first.wait_elected();
    let standby = leader().spawn();
    standby.wait_event("waiting");
    etcd.put(&record, "garbage");
    standby.signal(Signal::SIGKILL);
    standby.wait();
    eventually(LIMIT, || etcd.keys(&format!("{KEY}/")).len() == 1);
    assert_eq!(etcd.get(&record).as_deref(), Some("garbage"));
}
