//! Warnings at the start: an etcd that is too old or never compacted, a timeline that is too short, a namesake. One line
//! each, once, with what to do, and never in the way of the campaign.

mod support;

use std::time::Duration;

use leaderrun::clock::BootInstant;
use leaderrun::election::advice;
use leaderrun::etcd::{Access, Endpoint, Pool};
use support::{Candidate, Etcd, LIMIT, Running, Signal, eventually, require_etcd};

fn told(run: &Running, part: &str) -> usize {
    let named =
        |event: &support::Value| event["message"].as_str().is_some_and(|m| m.contains(part));
    let others = run
        .events_named("warning")
        .iter()
        .filter(|e| named(e))
        .count();
    let at_start = run.warnings_at_start();
    others + at_start.iter().filter(|m| m.contains(part)).count()
}

/// What is said of this etcd if `many` revisions are many.
fn advice_of(etcd: &Etcd, many: i64) -> Vec<String> {
    let runtime = leaderrun::runtime::single_threaded().expect("a runtime");
    runtime.block_on(async {
        let endpoints = Endpoint::parse_list(&etcd.endpoints(), false).expect("endpoints");
        let mut pool = Pool::new(endpoints, Access::default());
        let until = BootInstant::now() + LIMIT;
        let connection = pool.connect(until).await.expect("a connection");
        advice(connection.inquiry(), "/any", many).await
    })
}

fn is_about_compaction(line: impl AsRef<str>) -> bool {
    let line = line.as_ref();
    line.contains("never been compacted") && line.contains("--auto-compaction-retention=1h")
}

#[test]
fn an_etcd_that_was_never_compacted() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    for n in 0..5 {
        etcd.put("/some/key", &n.to_string());
    }
    let said = advice_of(&etcd, 5);
    assert_eq!(
        said.iter().filter(|l| is_about_compaction(l)).count(),
        1,
        "{said:?}"
    );
    assert!(
        said.iter().any(|l| l.contains("all of its 6 revisions")),
        "{said:?}"
    );
    assert!(
        !advice_of(&etcd, 6).iter().any(is_about_compaction),
        "too few"
    );
    etcd.etcdctl(&["compaction", "3"]);
    assert!(
        !advice_of(&etcd, 5).iter().any(is_about_compaction),
        "compacted"
    );
}

/// Which one is here is for the machine to say; that of Debian is too old.
#[test]
fn an_etcd_without_the_fixes_of_its_leases() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let version = etcd.etcdctl(&["endpoint", "status", "-w", "fields"]);
    let version = version
        .lines()
        .find_map(|l| l.strip_prefix("\"Version\" : \"")?.strip_suffix('"'))
        .expect("a version");
    let mut parts = version.split(['.', '-']).map(|n| n.parse::<u32>().unwrap());
    let number = [parts.next(), parts.next(), parts.next()].map(Option::unwrap);
    let old = number < [3, 4, 31] || ([3, 5, 0]..[3, 5, 13]).contains(&number);
    // It stands for election twice, and goes on for a while.
    let campaigner = Candidate::new(&etcd).ttl("3s").arg("-v");
    let run = campaigner.args(["--on-loss", "campaign"]).spawn();
    run.wait_event("renewed");
    let lease = run.wait_event("elected")["lease"].clone();
    etcd.revoke(lease.as_str().expect("hexadecimal"));
    run.wait_nth_event("elected", 2);
    run.wait_another_event("renewed");
    run.wait_another_event("renewed");
    assert_eq!(told(&run, "upgrade it"), usize::from(old), "{version}");
    assert_eq!(told(&run, version), usize::from(old), "{version}");
    assert_eq!(told(&run, "never been compacted"), 0);
    run.signal(Signal::SIGTERM);
    run.wait();
    let quiet = Candidate::new(&etcd)
        .text_log()
        .arg("-q")
        .sh("exit 0")
        .output();
    assert_eq!((quiet.code(), quiet.stderr.as_str()), (0, ""));
}

#[test]
fn a_timeline_that_no_election_in_etcd_fits_into() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    for (ttl, times) in [("5s", 1), ("15s", 0)] {
        let run = Candidate::new(&etcd).ttl(ttl).sh("exit 0").spawn();
        run.wait();
        assert_eq!(told(&run, "use a longer --ttl"), times, "{ttl}");
    }
    // This one takes no TTL below one and a half election timeouts.
    let slow = ["--election-timeout=12000", "--heartbeat-interval=1000"];
    let etcd = Etcd::start_with(1, &slow);
    let run = Candidate::new(&etcd).ttl("5s").sh("exit 0").spawn();
    run.wait();
    assert_eq!(run.wait_event("campaigning")["ttl"], 18.0);
    assert_eq!(told(&run, "use a longer --ttl"), 0);
}

#[test]
fn a_namesake() {
    if !require_etcd() {
        return;
    }
    for layout in ["queue", "single"] {
        let etcd = Etcd::start();
        let candidate = |id: &str| {
            let candidate = Candidate::new(&etcd).id(id).ttl("3s");
            candidate.args(["--layout", layout])
        };
        let first = candidate("twin").spawn();
        first.wait_event("started");
        let (second, other) = (candidate("twin").spawn(), candidate("other").spawn());
        let said = "another candidate has our identity 'twin'";
        eventually(LIMIT, || told(&second, said) == 1);
        other.wait_event("waiting");
        // Many looks later it is still said once, and to nobody else.
        second.no_event_until(
            "warning",
            support::now() + Duration::from_secs(2).as_secs_f64(),
        );
        assert_eq!((told(&first, said), told(&other, said)), (0, 0), "{layout}");
    }
}
