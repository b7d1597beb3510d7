//! What an operator does to a healthy cluster: hand the raft leadership over, compact, defragment, add and remove
//! members, clear an alarm.
//! Nobody loses a term or a place by it.

mod support;

use std::thread;

use etcd_client::{Client, CompactionOptions, PutOptions};
use support::{Candidate, Etcd, KEY, LIMIT, Running, Signal, Value, eventually, require_etcd};
use tokio::sync::oneshot;

/// In bytes, what a member's database may grow to: small, and yet more than the keys of an election.
const QUOTA: u64 = 400_000;

/// Writes a few keys, so that there is something to compact; yields the last revision.
fn write_something(etcd: &Etcd) -> u64 {
    (0..5).for_each(|i| etcd.put("filler", &i.to_string()));
    etcd.entry("filler").expect("just written").mod_revision
}

/// Compacts all that is past.
fn compact(etcd: &Etcd) {
    let revision = write_something(etcd);
    etcd.etcdctl(&["compact", "--physical", &revision.to_string()]);
}

/// Asks every member for its status.
fn statuses(etcd: &Etcd) -> Vec<Value> {
    let status = etcd.etcdctl(&["endpoint", "status", "-w", "json"]);
    serde_json::from_str(&status).expect("JSON")
}

/// Gives the room of all that is past back, until the database of no member is near its quota: one that is
/// raises the alarm anew. Only the member that is asked for the compaction has made it by the time of the
/// answer.
fn make_room(etcd: &Etcd) {
    let revision = &statuses(etcd)[0]["Status"]["header"]["revision"];
    etcd.etcdctl(&["compact", "--physical", &revision.to_string()]);
    eventually(LIMIT, || {
        etcd.etcdctl(&["defrag"]);
        let size = |member: &Value| member["Status"]["dbSize"].as_u64().expect("a size");
        statuses(etcd).iter().all(|member| size(member) < QUOTA / 2)
    });
}

/// Hands the raft leadership over to the next member.
fn move_leader(etcd: &Etcd) {
    etcd.move_leader((etcd.leader_index() + 1) % 3);
}

/// The member id of that name.
fn id_of(etcd: &Etcd, name: &str) -> String {
    etcd.member_id(name).expect("a member")
}

#[track_caller]
fn renews(leader: &Running, n: usize) {
    leader.wait_nth_event("renewed", leader.events_named("renewed").len() + n);
}

#[test]
fn moved_leadership_compaction_and_defragmentation_cost_no_term_and_no_place() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::cluster(3);
    let candidate = |id: &str| Candidate::new(&etcd).id(id).ttl("15s").arg("-v").spawn();
    let leader = candidate("leader");
    leader.wait_elected();
    let standby = candidate("standby");
    standby.wait_event("waiting");

    for _ in 0..3 {
        move_leader(&etcd);
        renews(&leader, 1);
    }
    compact(&etcd);
    etcd.etcdctl(&["defrag"]);
    renews(&leader, 2);
    // Members whose watches begin anew after what they watched was compacted.
    for member in etcd.members() {
        member.kill();
        etcd.wait_ready();
        compact(&etcd);
        member.restart();
        etcd.wait_ready();
        renews(&leader, 1);
    }
    // A standby that sleeps through it.
    standby.signal(Signal::SIGSTOP);
    compact(&etcd);
    standby.signal(Signal::SIGCONT);
    renews(&leader, 1);

    let none = Vec::<Value>::new();
    assert_eq!(leader.events_named("stopping"), none);
    assert_eq!(standby.events_named("waiting").len(), 1);
    leader.signal(Signal::SIGTERM);
    standby.wait_event("started");
    // Still in the place that it had.
    assert_eq!(standby.events_named("campaigning").len(), 1);
}

#[test]
fn added_and_removed_members_cost_no_term() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::cluster(3);
    let leader = Candidate::new(&etcd).ttl("15s").arg("-v").spawn();
    let token = leader.wait_elected();
    // One that never comes up, so that the quorum is three of four meanwhile.
    let add = ["member", "add", "m3", "--peer-urls=http://127.0.0.1:9"];
    // Members have to have been connected for five seconds.
    eventually(LIMIT, || etcd.try_etcdctl(&add).is_ok());
    renews(&leader, 2);
    // Not started, it has no name.
    etcd.etcdctl(&["member", "remove", &id_of(&etcd, "")]);
    renews(&leader, 2);
    // The raft leader itself, which hands over and ends.
    let removed = etcd.leader();
    let remove = ["member", "remove", &id_of(&etcd, removed.name())];
    // It may end before it has answered, and is unknown when it is asked for again.
    eventually(LIMIT, || {
        let _ = etcd.try_etcdctl(&remove);
        removed.died()
    });
    renews(&leader, 3);
    assert_eq!(leader.events_named("stopping"), Vec::<Value>::new());
    leader.signal(Signal::SIGTERM);
    assert_eq!(leader.wait_event("exiting")["status"], 143);
    assert_eq!(leader.events_named("elected").len(), 1, "token {token}");
}

#[test]
fn an_alarm_that_is_cleared_in_time_costs_no_term() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start_with(3, &[&format!("--quota-backend-bytes={QUOTA}")]);
    let leader = Candidate::new(&etcd).ttl("60s").arg("-v").spawn();
    leader.wait_elected();
    let filler = "x".repeat(20_000);
    let full = (0..100).any(|_| etcd.try_etcdctl(&["put", "filler", &filler]).is_err());
    assert!(full, "no alarm");
    assert!(etcd.etcdctl(&["alarm", "list"]).contains("NOSPACE"));
    // It knows of it, and that it cannot go on for ever like that.
    leader.wait_event("renewal-failed");
    assert!(etcd.del("filler"));
    make_room(&etcd);
    etcd.etcdctl(&["alarm", "disarm"]);
    renews(&leader, 2);
    assert_eq!(leader.events_named("stopping"), Vec::<Value>::new());
}

/// A queue of candidates that leave from its end, one by one, so that a standby behind them begins
/// one watch after the other, while all that is past is being compacted without a pause: a watch
/// may well be asked for from a revision that is gone by then.
#[test]
fn watches_that_begin_in_the_compacted_past_are_begun_anew() {
    const QUEUE: usize = 60;
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut client = runtime
        .block_on(Client::connect([&endpoint], None))
        .expect("connect to etcd");
    let queue: Vec<String> = (0..QUEUE)
        .map(|_| {
            runtime.block_on(async {
                let lease = client.lease_grant(600, None).await.expect("a lease").id();
                let key = format!("{KEY}/{lease:x}");
                let options = PutOptions::new().with_lease(lease);
                client
                    .put(&*key, "foreigner", Some(options))
                    .await
                    .expect("put");
                key
            })
        })
        .collect();
    let standby = Candidate::new(&etcd).id("standby").arg("-v").spawn();
    let (end, ended) = oneshot::channel();
    let storm = thread::spawn(move || compact_until(&endpoint, ended));
    for (left, key) in queue.iter().enumerate().rev() {
        let waiting = standby.wait_nth_event("waiting", QUEUE - left);
        assert_eq!(waiting["ahead"], left + 1);
        runtime
            .block_on(client.delete(key.as_str(), None))
            .expect("delete");
    }
    standby.wait_event("started");
    end.send(()).expect("the storm goes on");
    let compactions = storm.join().expect("a storm");
    println!("{compactions} compactions");
    assert!(compactions > QUEUE);
    assert!(standby.events_named("warning").is_empty());
}

/// Writes and compacts as fast as etcd can; yields how often.
fn compact_until(endpoint: &str, mut ended: oneshot::Receiver<()>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut client = Client::connect([endpoint], None).await.expect("connect");
        let mut compactions = 0;
        while ended.try_recv().is_err() {
            let put = client.put("filler", "x", None).await.expect("put");
            let revision = put.header().expect("a header").revision();
            let options = CompactionOptions::new();
            compactions += usize::from(client.compact(revision, Some(options)).await.is_ok());
        }
        compactions
    })
}
