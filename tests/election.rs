//! The election against a real etcd: who leads, who waits, and what is left behind.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{Client, KeyValue, PutOptions};
use leaderrun::clock::BootInstant;
use leaderrun::election::{
    Ancestor, Command, Config, ElectionError, Event, Handle, Layout, LeaseId, Loss, Record, Term,
    Wait, release_orphan, spawn,
};
use leaderrun::etcd::{Access, Endpoint};
use leaderrun::timing::{Deadline, Settings};
use support::{Etcd, Port, require_etcd};

const KEY: &str = "/election/test";
const RECORD: &str = "/election/test.term";
const LIMIT: Duration = Duration::from_secs(30);

macro_rules! etcd_or_skip {
    () => {
        if require_etcd() {
            Etcd::start()
        } else {
            return;
        }
    };
}

fn config(endpoints: Vec<Endpoint>, id: &str, ttl: u64) -> Config {
    Config {
        layout: Layout::Queue,
        key: KEY.into(),
        id: id.into(),
        settings: Settings {
            ttl: Duration::from_secs(ttl),
            ..Settings::default()
        },
        endpoints,
        access: Access::default(),
        ancestor: None,
    }
}

/// A candidate and what it has told so far.
struct Runner {
    handle: Handle,
    leases: Arc<Mutex<Vec<LeaseId>>>,
    told: Vec<String>,
}

impl Runner {
    fn start(config: Config) -> Self {
        let leases = Arc::new(Mutex::new(Vec::new()));
        let noted = leases.clone();
        let handle = spawn(
            config,
            Box::new(move |lease| noted.lock().unwrap().push(lease)),
        );
        Self {
            handle,
            leases,
            told: Vec::new(),
        }
    }

    fn lease(&self) -> LeaseId {
        *self.leases.lock().unwrap().last().expect("a lease")
    }

    fn send(&self, command: Command) {
        self.handle.commands.send(command).expect("the task lives");
    }

    async fn next(&mut self) -> Option<Event> {
        let Ok(event) = tokio::time::timeout(LIMIT, self.handle.events.recv()).await else {
            panic!("nothing more came after: {:#?}", self.told);
        };
        self.told.extend(event.iter().map(|e| format!("{e:?}")));
        event
    }

    /// The first event from now on that `wanted` makes something of.
    async fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let begun = BootInstant::now();
        while BootInstant::now().saturating_since(begun) < LIMIT {
            let Some(event) = self.next().await else {
                panic!("the task ended after: {:#?}", self.told);
            };
            if let Some(found) = wanted(event) {
                return found;
            }
        }
        panic!("it was not among: {:#?}", self.told);
    }

    async fn elected(&mut self) -> Term {
        self.until(|e| match e {
            Event::Elected(term) => Some(term),
            _ => None,
        })
        .await
    }

    async fn extended(&mut self) -> Deadline {
        self.until(|e| match e {
            Event::Extended(deadline) => Some(deadline),
            _ => None,
        })
        .await
    }

    async fn waiting(&mut self) -> Wait {
        self.until(|e| match e {
            Event::Waiting(wait) => Some(wait),
            _ => None,
        })
        .await
    }

    async fn lost(&mut self) -> Loss {
        self.until(|e| match e {
            Event::Lost(loss) => Some(loss),
            _ => None,
        })
        .await
    }

    async fn warning(&mut self, part: &str) {
        self.until(|e| matches!(e, Event::Warning(text) if text.contains(part)).then_some(()))
            .await;
    }

    async fn released(&mut self) {
        self.until(|e| matches!(e, Event::Released(_)).then_some(()))
            .await;
    }

    async fn end(&mut self) {
        self.send(Command::End {
            campaign_again: false,
        });
        self.released().await;
        assert!(
            self.next().await.is_none(),
            "the task goes on: {:?}",
            self.told
        );
    }

    fn has_told(&mut self, what: &str) -> bool {
        while let Ok(event) = self.handle.events.try_recv() {
            self.told.push(format!("{event:?}"));
        }
        self.told.iter().any(|t| t.starts_with(what))
    }
}

fn endpoints(etcd: &Etcd) -> Vec<Endpoint> {
    Endpoint::parse_list(&etcd.endpoints(), false).expect("addresses")
}

/// An endpoint at which nobody listens, for as long as the port is reserved.
fn endpoint_of(nobody: &Port) -> Vec<Endpoint> {
    Endpoint::parse_list(&nobody.address(), false).expect("an address")
}

// The harness asks etcd by etcdctl, which would block this runtime, and with it the candidates.

async fn client(etcd: &Etcd) -> Client {
    let client = Client::connect([etcd.endpoint()], None).await;
    client.expect("connect to etcd")
}

async fn get(etcd: &Etcd, key: &str) -> Option<KeyValue> {
    let mut answer = client(etcd).await.get(key, None).await.expect("get");
    answer.take_kvs().pop()
}

async fn put(etcd: &Etcd, key: &str, value: &str) {
    let answer = client(etcd).await.put(key, value, None).await;
    answer.expect("put");
}

async fn put_with_lease(etcd: &Etcd, key: &str, value: &str, lease: i64) {
    let options = PutOptions::new().with_lease(lease);
    let answer = client(etcd).await.put(key, value, Some(options)).await;
    answer.expect("put");
}

async fn delete(etcd: &Etcd, key: &str) {
    let answer = client(etcd).await.delete(key, None).await;
    answer.expect("delete");
}

async fn nothing_is_left(etcd: &Etcd) {
    let options = etcd_client::GetOptions::new().with_prefix();
    let left = client(etcd).await.get(KEY, Some(options)).await.unwrap();
    assert!(left.kvs().is_empty(), "left behind: {:?}", left.kvs());
    let leases = client(etcd).await.leases().await.unwrap();
    assert!(
        leases.leases().is_empty(),
        "left behind: {:?}",
        leases.leases()
    );
}

async fn record(etcd: &Etcd) -> Option<(Record, i64)> {
    let kv = get(etcd, RECORD).await?;
    Some((Record::parse(kv.value())?, kv.mod_revision()))
}

#[tokio::test]
async fn leadership_is_handed_over_in_order_and_nothing_is_left() {
    let etcd = etcd_or_skip!();
    let mut first = Runner::start(config(endpoints(&etcd), "first", 30));
    let term = first.elected().await;
    assert_eq!(term.leader_key, format!("{KEY}/{}", first.lease()));
    let kv = get(&etcd, &term.leader_key).await.unwrap();
    assert_eq!(
        (kv.value(), kv.create_revision(), kv.lease()),
        (&b"first"[..], term.token.0, term.lease.0)
    );
    let (written, _) = record(&etcd).await.unwrap();
    assert!(written.is_of(term.token, term.lease));
    assert_eq!(written.deadline, term.deadline);

    let mut second = Runner::start(config(endpoints(&etcd), "second", 30));
    assert_eq!(
        second.waiting().await,
        Wait::Queue {
            leader: "first".into(),
            ahead: 1
        }
    );
    let mut third = Runner::start(config(endpoints(&etcd), "third", 30));
    assert_eq!(
        third.waiting().await,
        Wait::Queue {
            leader: "first".into(),
            ahead: 2
        }
    );

    assert!(!second.has_told("Elected"));
    first.end().await;
    let after = second.elected().await;
    assert!(after.token > term.token);
    assert!(!third.has_told("Elected"));
    second.end().await;
    assert!(third.elected().await.token > after.token);
    third.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn a_term_is_renewed_and_its_deadline_moves_forward_only() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "a", 2));
    let term = leader.elected().await;
    let mut last = term.deadline;
    for _ in 0..12 {
        let deadline = leader.extended().await;
        assert!(deadline > last);
        last = deadline;
    }
    assert!(
        BootInstant::now() > term.deadline.0,
        "it has outlived its first deadline"
    );
    leader.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn one_that_leaves_the_middle_of_the_queue_is_not_waited_for() {
    let etcd = etcd_or_skip!();
    let mut first = Runner::start(config(endpoints(&etcd), "first", 30));
    first.elected().await;
    let mut second = Runner::start(config(endpoints(&etcd), "second", 30));
    second.waiting().await;
    let mut third = Runner::start(config(endpoints(&etcd), "third", 30));
    third.waiting().await;
    second.send(Command::Leave);
    second.released().await;
    assert_eq!(
        third.waiting().await,
        Wait::Queue {
            leader: "first".into(),
            ahead: 1
        }
    );
    first.end().await;
    third.elected().await;
    third.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn after_an_end_one_may_campaign_again_at_the_tail() {
    let etcd = etcd_or_skip!();
    let mut first = Runner::start(config(endpoints(&etcd), "first", 30));
    let term = first.elected().await;
    let mut second = Runner::start(config(endpoints(&etcd), "second", 30));
    second.waiting().await;
    first.send(Command::End {
        campaign_again: true,
    });
    first.released().await;
    assert_eq!(
        first.waiting().await,
        Wait::Queue {
            leader: "second".into(),
            ahead: 1
        }
    );
    second.elected().await;
    second.end().await;
    assert!(first.elected().await.token > term.token);
    first.end().await;
    nothing_is_left(&etcd).await;
}

/// Both by hand: the key, or the lease and the key with it.
async fn a_loss_by_hand(etcd: &Etcd, revoke: bool) {
    let mut leader = Runner::start(config(endpoints(etcd), "leader", 2));
    let term = leader.elected().await;
    let mut waiter = Runner::start(config(endpoints(etcd), "waiter", 2));
    waiter.waiting().await;
    if revoke {
        client(etcd).await.lease_revoke(term.lease.0).await.unwrap();
        assert_eq!(leader.lost().await, Loss::LeaseLost);
    } else {
        delete(etcd, &term.leader_key).await;
        assert_eq!(leader.lost().await, Loss::KeyLost);
    }
    let wait = waiter.waiting().await;
    assert!(
        matches!(wait, Wait::Record { holder, .. } if holder == Some(term.token)),
        "{wait:?}"
    );
    // The tree is not dead yet. For more than two TTLs the record is renewed and waited for.
    let mut newcomer = Runner::start(config(endpoints(etcd), "newcomer", 2));
    let until = BootInstant::now() + Duration::from_secs(5);
    let (_, mut seen) = record(etcd).await.unwrap();
    let mut renewals = 0;
    while BootInstant::now() < until {
        let (held, revision) = record(etcd).await.expect("the record stands");
        assert!(held.is_of(term.token, term.lease));
        renewals += u32::from(revision != seen);
        seen = revision;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(renewals > 3, "{renewals}");
    assert!(!waiter.has_told("Elected") && !newcomer.has_told("Elected"));
    leader.end().await;
    let lost = leader
        .told
        .iter()
        .position(|t| t.starts_with("Lost"))
        .unwrap();
    assert!(
        !leader.told[lost..]
            .iter()
            .any(|t| t.starts_with("Extended")),
        "{:?}",
        leader.told
    );
    assert_eq!(
        leader.told.iter().filter(|t| t.starts_with("Lost")).count(),
        1
    );
    waiter.elected().await;
    waiter.end().await;
    newcomer.elected().await;
    newcomer.end().await;
    nothing_is_left(etcd).await;
}

#[tokio::test]
async fn a_key_deleted_by_hand_ends_the_term_but_the_record_holds() {
    let etcd = etcd_or_skip!();
    Box::pin(a_loss_by_hand(&etcd, false)).await;
}

#[tokio::test]
async fn a_lease_revoked_by_hand_ends_the_term_but_the_record_holds() {
    let etcd = etcd_or_skip!();
    Box::pin(a_loss_by_hand(&etcd, true)).await;
}

#[tokio::test]
async fn a_key_overwritten_by_hand_is_lost_and_removed_in_the_end() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 5));
    let term = leader.elected().await;
    let mut waiter = Runner::start(config(endpoints(&etcd), "waiter", 5));
    waiter.waiting().await;
    // Written anew with its lease kept: of no consequence.
    put_with_lease(&etcd, &term.leader_key, "changed", term.lease.0).await;
    leader.extended().await;
    put(&etcd, &term.leader_key, "by hand").await;
    assert_eq!(leader.lost().await, Loss::KeyLost);
    assert!(get(&etcd, &term.leader_key).await.is_some());
    assert!(!waiter.has_told("Elected"));
    leader.end().await;
    assert!(get(&etcd, &term.leader_key).await.is_none());
    waiter.elected().await;
    waiter.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn a_detached_key_without_an_owner_is_not_waited_for() {
    let etcd = etcd_or_skip!();
    // Its lease is gone, or never was.
    put(&etcd, &format!("{KEY}/1234abcd"), "nobody").await;
    // This one's lives.
    let lease = client(&etcd)
        .await
        .lease_grant(600, None)
        .await
        .unwrap()
        .id();
    put(&etcd, &format!("{KEY}/{lease:x}"), "somebody").await;
    let mut waiter = Runner::start(config(endpoints(&etcd), "waiter", 2));
    assert_eq!(
        waiter.waiting().await,
        Wait::Queue {
            leader: "somebody".into(),
            ahead: 1
        }
    );
    client(&etcd).await.lease_revoke(lease).await.unwrap();
    // The key stays, but the next keepalive's look finds its lease gone.
    waiter.elected().await;
    waiter.end().await;
}

#[tokio::test]
async fn an_etcd_that_stands_still_extends_nothing_and_is_forgiven() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 30));
    let term = leader.elected().await;
    etcd.stop();
    let mut failures = 0;
    let mut last = term.deadline;
    let stopped = BootInstant::now();
    while failures < 3 {
        leader
            .until(|e| match e {
                Event::RenewalFailed { error, .. } => {
                    assert!(error.contains("no answer within"), "{error}");
                    failures += 1;
                    Some(())
                }
                // At most what was sent before the stop.
                Event::Extended(deadline) => {
                    last = deadline;
                    assert!(deadline <= term.timeline.deadline(stopped));
                    Some(())
                }
                other => panic!("{other:?}"),
            })
            .await;
    }
    etcd.cont();
    assert!(leader.extended().await > last);
    leader.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn a_leader_that_vanishes_is_waited_out_to_its_recorded_deadline() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 2));
    let term = leader.elected().await;
    let mut waiter = Runner::start(config(endpoints(&etcd), "waiter", 2));
    waiter.waiting().await;
    drop(leader.handle.commands);
    while leader.handle.events.recv().await.is_some() {}
    // The lease is gone at once, as a stalled etcd leader might have it, or by hand.
    client(&etcd)
        .await
        .lease_revoke(term.lease.0)
        .await
        .unwrap();
    let (last, _) = record(&etcd).await.unwrap();
    waiter.elected().await;
    assert!(BootInstant::now() >= last.deadline.another_may_start(last.margin));
    waiter.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn a_record_of_another_host_is_waited_out_by_its_ttl() {
    let etcd = etcd_or_skip!();
    let foreign =
        r#"{"token":7,"lease":"1f","ttl":4000,"since":1,"boot":"another","ns":0,"d":5,"m":200}"#;
    put(&etcd, RECORD, foreign).await;
    let begun = BootInstant::now();
    let mut waiter = Runner::start(config(endpoints(&etcd), "waiter", 2));
    assert!(matches!(waiter.waiting().await, Wait::Record { holder: Some(t), .. } if t.0 == 7));
    waiter.elected().await;
    assert!(BootInstant::now().saturating_since(begun) >= Duration::from_secs(4));
    waiter.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn an_orphan_is_released_by_its_lease_alone() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 60));
    leader.elected().await;
    let mut middle = Runner::start(config(endpoints(&etcd), "middle", 60));
    middle.waiting().await;
    let mut last = Runner::start(config(endpoints(&etcd), "last", 60));
    assert!(matches!(last.waiting().await, Wait::Queue { ahead: 2, .. }));
    // A dead endpoint before the living one.
    let nobody = Port::reserve();
    let both = format!("{},{}", nobody.address(), etcd.endpoint());
    let both = Endpoint::parse_list(&both, false).unwrap();
    for orphan in [middle, leader] {
        let lease = orphan.lease();
        drop(orphan);
        let until = BootInstant::now() + Duration::from_secs(5);
        release_orphan(&config(both.clone(), "", 60), lease, false, until)
            .await
            .unwrap();
    }
    let term = last.elected().await;
    assert!(term.waited < Duration::from_secs(30));
    last.end().await;
    nothing_is_left(&etcd).await;
    // Nobody is there: said in time.
    let dead = config(endpoint_of(&nobody), "", 60);
    let until = BootInstant::now() + Duration::from_millis(500);
    let error = release_orphan(&dead, LeaseId(5), false, until)
        .await
        .unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn foreign_keys_under_the_prefix_are_ignored_with_one_warning() {
    let etcd = etcd_or_skip!();
    put(&etcd, &format!("{KEY}/config"), "x").await;
    put(&etcd, &format!("{KEY}/1f/2e"), "x").await;
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 2));
    leader.warning("is not a candidate's").await;
    leader.elected().await;
    leader.extended().await;
    leader.end().await;
    // But for one about the version of etcd, where it is old.
    let warnings = leader
        .told
        .iter()
        .filter(|t| t.starts_with("Warning") && !t.contains("leases can end there"));
    assert_eq!(warnings.count(), 1);
    assert!(get(&etcd, &format!("{KEY}/config")).await.is_some());
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_is_never_taken_over() {
    let etcd = etcd_or_skip!();
    put(&etcd, RECORD, "{\"version\":2}").await;
    let mut waiter = Runner::start(config(endpoints(&etcd), "waiter", 2));
    waiter.warning("etcdctl del /election/test.term").await;
    assert_eq!(
        waiter.waiting().await,
        Wait::Record {
            holder: None,
            until: None
        }
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiter.has_told("Elected"));
    delete(&etcd, RECORD).await;
    waiter.elected().await;
    waiter.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn a_record_deleted_by_hand_is_written_anew_by_the_next_renewal() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 2));
    let term = leader.elected().await;
    delete(&etcd, RECORD).await;
    // One may have been on its way.
    leader.extended().await;
    leader.extended().await;
    let (written, _) = record(&etcd).await.expect("written anew");
    assert!(written.is_of(term.token, term.lease));
    leader.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn a_record_of_somebody_else_ends_the_term_and_is_left_alone() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 2));
    leader.elected().await;
    let foreign =
        r#"{"token":7,"lease":"1f","ttl":4000,"since":1,"boot":"another","ns":0,"d":5,"m":200}"#;
    put(&etcd, RECORD, foreign).await;
    assert_eq!(leader.lost().await, Loss::KeyLost);
    leader.end().await;
    assert_eq!(
        get(&etcd, RECORD).await.unwrap().value(),
        foreign.as_bytes()
    );
}

#[tokio::test]
async fn a_standby_whose_lease_dies_joins_again_at_the_tail() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 5));
    leader.elected().await;
    let mut early = Runner::start(config(endpoints(&etcd), "early", 5));
    early.waiting().await;
    let mut late = Runner::start(config(endpoints(&etcd), "late", 5));
    late.waiting().await;
    let first_lease = early.lease();
    client(&etcd)
        .await
        .lease_revoke(first_lease.0)
        .await
        .unwrap();
    early.warning("joining the queue again").await;
    assert_eq!(
        early.waiting().await,
        Wait::Queue {
            leader: "leader".into(),
            ahead: 2
        }
    );
    assert!(early.lease() != first_lease);
    leader.end().await;
    late.elected().await;
    late.end().await;
    early.elected().await;
    early.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn an_endpoint_that_is_dead_is_passed_over() {
    let etcd = etcd_or_skip!();
    let (before, after) = (Port::reserve(), Port::reserve());
    let list = format!(
        "{},{},{}",
        before.address(),
        etcd.endpoint(),
        after.address()
    );
    let mut leader = Runner::start(config(
        Endpoint::parse_list(&list, false).unwrap(),
        "leader",
        5,
    ));
    leader.elected().await;
    leader.extended().await;
    leader.end().await;
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn leaving_while_nobody_answers_takes_no_time() {
    let nobody = Port::reserve();
    let mut runner = Runner::start(config(endpoint_of(&nobody), "a", 5));
    let error = runner
        .until(|e| match e {
            Event::Unreachable {
                answered_before,
                error,
                ..
            } => {
                assert!(!answered_before);
                Some(error)
            }
            _ => None,
        })
        .await;
    assert!(error.starts_with("connect to http://127.0.0.1:"), "{error}");
    assert!(error.ends_with("Connection refused"), "{error}");
    let begun = BootInstant::now();
    runner.send(Command::Leave);
    runner.released().await;
    assert!(BootInstant::now().saturating_since(begun) < Duration::from_secs(1));
    assert!(
        runner.leases.lock().unwrap().is_empty(),
        "no lease was chosen without a connection"
    );
}

#[tokio::test]
async fn leaving_is_bounded_when_etcd_stands_still() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 5));
    leader.elected().await;
    let mut waiter = Runner::start(config(endpoints(&etcd), "waiter", 5));
    waiter.waiting().await;
    etcd.stop();
    let begun = BootInstant::now();
    waiter.send(Command::Leave);
    leader.send(Command::End {
        campaign_again: false,
    });
    waiter
        .until(|e| matches!(e, Event::ReleaseFailed(_)).then_some(()))
        .await;
    assert!(BootInstant::now().saturating_since(begun) < Duration::from_millis(1990));
    leader
        .until(|e| matches!(e, Event::ReleaseFailed(_)).then_some(()))
        .await;
    for mut runner in [leader, waiter] {
        // What there is to say of this etcd may come late.
        while let Some(event) = runner.next().await {
            assert!(matches!(event, Event::Warning(_)), "{event:?}");
        }
    }
    etcd.cont();
}

#[tokio::test]
async fn an_etcd_that_asks_for_a_user_is_a_failure_at_once() {
    let etcd = etcd_or_skip!();
    let mut client = client(&etcd).await;
    client.user_add("root", "secret", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    let mut runner = Runner::start(config(endpoints(&etcd), "a", 5));
    let error = failed(&mut runner).await;
    assert!(
        matches!(&error, ElectionError::Refused(text) if text.contains("asks for a user: give --user")),
        "{error}"
    );
    assert!(runner.next().await.is_none());
}

#[tokio::test]
async fn an_election_that_an_ancestor_holds_is_refused() {
    let etcd = etcd_or_skip!();
    let mut leader = Runner::start(config(endpoints(&etcd), "leader", 5));
    let term = leader.elected().await;
    let ancestor = Ancestor {
        leader_key: term.leader_key.clone(),
        token: term.token,
    };
    let mut child = config(endpoints(&etcd), "child", 5);
    child.ancestor = Some(ancestor.clone());
    let mut runner = Runner::start(child.clone());
    let error = failed(&mut runner).await;
    assert!(matches!(error, ElectionError::HeldByAncestor(key) if key == term.leader_key));
    leader.end().await;
    nothing_is_left(&etcd).await;
    // A term that is over is nobody's.
    let mut runner = Runner::start(child);
    runner.elected().await;
    runner.end().await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_failure_at_once_unless_another_endpoint_may_be_there() {
    // No resolver has to be asked to know that there is no such name.
    let none = Endpoint::parse_list("no..name:1,none..either:1", false).unwrap();
    let mut runner = Runner::start(config(none, "a", 5));
    let error = failed(&mut runner).await;
    assert!(
        error
            .to_string()
            .contains("does not exist: check --endpoints"),
        "{error}"
    );
    let nobody = Port::reserve();
    let one = Endpoint::parse_list(&format!("no..name:1,{}", nobody.address()), false).unwrap();
    let mut runner = Runner::start(config(one, "a", 5));
    for _ in 0..3 {
        runner
            .until(|e| matches!(e, Event::Unreachable { .. }).then_some(()))
            .await;
    }
}

async fn failed(runner: &mut Runner) -> ElectionError {
    runner
        .until(|e| match e {
            Event::Failed(error) => Some(error),
            _ => None,
        })
        .await
}
