//! Exclusion while the raft leader of a real cluster freezes and thaws: it may acknowledge
//! keepalives that nobody else saw, and revoke leases that were renewed a moment ago.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leaderrun::clock::BootInstant;
use leaderrun::election::{Command, Config, Event, Layout, spawn};
use leaderrun::etcd::{Access, Endpoint};
use leaderrun::timing::{Deadline, Settings};
use support::{Etcd, require_etcd};

/// Whose command would be running, and until when its guardian would let it.
type Running = Arc<Mutex<Option<(String, Deadline)>>>;

/// Plays supervisor and guardian: kills at the deadline, ends a lost term half a second later.
async fn candidate(config: Config, running: Running, events: Arc<Mutex<Vec<String>>>) {
    let id = config.id.clone();
    let mut handle = spawn(config, Box::new(|_| {}));
    let mut deadline: Option<Deadline> = None;
    loop {
        let fence = async {
            match deadline {
                Some(d) => leaderrun::etcd::sleep_until(d.0).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = fence => {
                events.lock().unwrap().push(format!("{id}: fenced"));
                *running.lock().unwrap() = None;
                deadline = None;
                let _ = handle.commands.send(Command::End { campaign_again: true });
            }
            event = handle.events.recv() => match event.expect("the task lives") {
                Event::Elected(term) => {
                    let mut running = running.lock().unwrap();
                    if let Some((other, until)) = &*running {
                        panic!("{id} is elected while {other} may run for {:?}", until.0.saturating_since(BootInstant::now()));
                    }
                    *running = Some((id.clone(), term.deadline));
                    deadline = Some(term.deadline);
                    events.lock().unwrap().push(format!("{id}: elected {}", term.token));
                }
                Event::Extended(d) if deadline.is_some() => {
                    assert!(deadline.is_some_and(|old| d > old), "a deadline never moves back");
                    *running.lock().unwrap() = Some((id.clone(), d));
                    deadline = Some(d);
                    events.lock().unwrap().push(format!("{id}: extended"));
                }
                Event::Lost(loss) if deadline.is_some() => {
                    events.lock().unwrap().push(format!("{id}: lost {loss:?}"));
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    *running.lock().unwrap() = None;
                    deadline = None;
                    let _ = handle.commands.send(Command::End { campaign_again: true });
                }
                other => events.lock().unwrap().push(format!("{id}: {other:?}")),
            },
        }
    }
}

#[tokio::test]
async fn a_raft_leader_that_freezes_and_thaws_makes_no_two_leaders() {
    if !require_etcd() {
        return;
    }
    let etcd = Arc::new(Etcd::cluster(3));
    let running: Running = Arc::default();
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut tasks = Vec::new();
    for id in ["a", "b", "c"] {
        let config = Config {
            key: "/election/cluster".into(),
            layout: Layout::Queue,
            id: id.into(),
            settings: Settings {
                ttl: Duration::from_secs(5),
                ..Settings::default()
            },
            endpoints: Endpoint::parse_list(&etcd.endpoints(), false).unwrap(),
            access: Access::default(),
            ancestor: None,
        };
        tasks.push(tokio::spawn(candidate(
            config,
            running.clone(),
            events.clone(),
        )));
    }
    let rounds = std::env::var("LEADERRUN_TEST_ROUNDS").map_or(3, |n| n.parse().expect("a number"));
    for round in 0..rounds {
        wait_for(&events, &tasks, "extended").await;
        // Elsewhere, since etcdctl would block this runtime, and with it the candidates.
        let asked = etcd.clone();
        let index = tokio::task::spawn_blocking(move || asked.leader_index()).await;
        let leader = etcd.member(index.expect("a raft leader"));
        events
            .lock()
            .unwrap()
            .push(format!("round {round}: freeze {}", leader.endpoint()));
        leader.stop();
        // The freeze is what is tested, not something that is waited for.
        tokio::time::sleep(Duration::from_secs(9)).await;
        leader.cont();
        events.lock().unwrap().push("thaw".into());
        wait_for(&events, &tasks, "extended").await;
    }
    let events = events.lock().unwrap();
    let count = |what: &str| events.iter().filter(|e| e.contains(what)).count();
    eprintln!(
        "{rounds} freezes: {} terms, {} lost by a revoked lease, {} fenced",
        count("elected"),
        count("LeaseLost"),
        count("fenced")
    );
    if std::env::var_os("LEADERRUN_TEST_VERBOSE").is_some() {
        eprintln!("{events:#?}");
    }
}

/// Waits for something that has not happened yet; fails with the task that failed.
async fn wait_for(events: &Mutex<Vec<String>>, tasks: &[tokio::task::JoinHandle<()>], what: &str) {
    let from = events.lock().unwrap().len();
    for _ in 0..4000 {
        assert!(
            tasks.iter().all(|t| !t.is_finished()),
            "a candidate failed: {:#?}",
            events.lock().unwrap()
        );
        if events.lock().unwrap()[from..]
            .iter()
            .any(|e| e.contains(what))
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {what} after: {:#?}", events.lock().unwrap());
}
