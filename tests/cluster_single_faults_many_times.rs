//! How often a leader loses its term while one member of three fails at a time: by death, by a freeze, by the
//! network. A lease that was just renewed may be ended by etcd itself, which its history has to show; any other loss
//! at the default timeline fails the test. Two hundred faults take half an hour, so they are asked for by name:
//!
//! ```sh
//! cargo test --test cluster_single_faults_many_times -- --ignored --nocapture
//! ```

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use leaderrun::timing::Timeline;
use support::renewals::{Loss, at, losses, timeline_with};
use support::{
    Candidate, Change, Etcd, History, LIMIT, Network, Running, Value, eventually, now,
    require_etcd, within,
};

const MEMBERS: usize = 3;
/// The node of the leaders.
const HOST: usize = 3;
/// Longer than etcd takes to elect another raft leader, and than the short timeline rides out.
const FAULT: Duration = Duration::from_secs(5);

const KINDS: [&str; 6] = [
    "killed",
    "frozen",
    "cut off",
    "hears nothing",
    "is not heard",
    "cut from the leaders",
];

/// TTL and grace: the default, and one that does not ride out every election of a raft leader.
const TIMELINES: [(u64, Option<u64>); 2] = [(15, None), (5, Some(1))];

/// A fault that has begun.
struct Fault {
    began: f64,
    member: usize,
    is_leader: bool,
}

/// The kind of fault `n`, and the member that it befalls as a follower; none every other time, when it is the raft
/// leader's turn.
fn fault(n: usize) -> (&'static str, Option<usize>) {
    let turn = n / 2;
    let follower = (!n.is_multiple_of(2)).then_some(turn / KINDS.len() % MEMBERS);
    (KINDS[turn % KINDS.len()], follower)
}

#[test]
fn each_kind_meets_each_member_and_the_raft_leader() {
    let faults: BTreeSet<_> = (0..2 * KINDS.len() * MEMBERS).map(fault).collect();
    assert_eq!(faults.len(), KINDS.len() * (MEMBERS + 1), "{faults:?}");
}

struct Term {
    name: String,
    timeline: Timeline,
    leader: Running,
    losses: usize,
}

/// A leader of its own key, that campaigns again after a loss.
fn term(etcd: &Etcd, network: &Network, n: usize) -> Term {
    let (ttl, grace) = TIMELINES[n % TIMELINES.len()];
    let mut timeline = vec!["--ttl".to_owned(), format!("{ttl}s")];
    if let Some(grace) = grace {
        timeline.extend(["--grace".to_owned(), format!("{grace}s")]);
    }
    let leader = Candidate::new(etcd)
        .id(&format!("leader{n}"))
        .key(format!("/election/{n}"))
        .args(&timeline)
        .args(["-v", "--on-loss", "campaign"])
        .command(&["sleep", "infinity"])
        .on(network.node(HOST))
        .spawn();
    leader.wait_elected();
    Term {
        name: timeline.join(" "),
        timeline: timeline_with(ttl, grace),
        leader,
        losses: 0,
    }
}

impl Term {
    /// The new losses, each with what came before.
    fn losses(&mut self) -> Vec<(Loss, Vec<String>)> {
        let events = self.leader.events();
        let new = losses(&events, &self.timeline).split_off(self.losses);
        self.losses += new.len();
        let told = |loss: Loss| {
            let before = events[loss.position.saturating_sub(6)..=loss.position].iter();
            (loss, before.map(Value::to_string).collect())
        };
        new.into_iter().map(told).collect()
    }
}

/// All that has happened to the keys of the elections.
struct Past {
    history: History,
    changes: Vec<Change>,
}

impl Past {
    /// Whether etcd ended the lease of the term with that token.
    fn ended_the_lease_of(&mut self, token: u64) -> bool {
        let told = within(LIMIT, || {
            self.changes.extend(self.history.read_on());
            went_alone(&self.changes, token)
        });
        told == Some(true)
    }
}

/// Whether the key of the term with that token went without the record of the term; none if it did not go. A leaderrun
/// that gives a term back deletes both at once, before it revokes the lease, and nobody else is here but etcd itself.
fn went_alone(changes: &[Change], token: u64) -> Option<bool> {
    let mut after = changes.iter();
    let key = &after
        .find(|c| c.create_revision == token && c.revision == token)?
        .key;
    let gone = after.find(|c| c.key == *key && c.value.is_none())?;
    let record = format!("{}.term", key.rsplit_once('/')?.0);
    let mut same = changes.iter().filter(|c| c.revision == gone.revision);
    Some(same.all(|c| c.key != record))
}

#[test]
fn only_a_key_that_goes_without_the_record_was_taken_by_etcd() {
    let change = |revision, key: &str, create_revision| Change {
        revision,
        key: key.to_owned(),
        value: (create_revision > 0).then(String::new),
        create_revision,
    };
    let mut changes = vec![change(3, "/e/a", 3), change(4, "/e.term", 4)];
    assert_eq!(went_alone(&changes, 3), None);
    changes.extend([change(5, "/e/b", 5), change(6, "/e/a", 0)]);
    assert_eq!(went_alone(&changes, 3), Some(true));
    changes.extend([change(7, "/e/b", 0), change(7, "/e.term", 0)]);
    assert_eq!(went_alone(&changes, 5), Some(false));
}

/// When the members but the faulty one knew of no raft leader during the fault and after it, as their logs tell; each
/// of them in turn, since both are needed.
fn without_raft_leader(etcd: &Etcd, fault: &Fault) -> Vec<(f64, f64)> {
    let mut times = Vec::new();
    for n in (0..MEMBERS).filter(|&n| n != fault.member) {
        // The raft leader is missed some time after it has gone.
        let mut since = fault.is_leader.then_some(fault.began);
        for line in etcd.member(n).log().lines() {
            let lost = line.contains(" lost leader ");
            let found = line.contains(" elected leader ") || line.contains(" changed leader ");
            if !lost && !found {
                continue;
            }
            let at = at(&serde_json::from_str(line).expect("etcd logs JSON"));
            if at < fault.began {
                continue;
            }
            if lost {
                since.get_or_insert(at);
            } else if let Some(since) = since.take() {
                times.push((since, at));
            }
        }
    }
    times
}

/// What ended a term, as far as the logs show it. An error is no explanation.
fn explain(
    term: &Term,
    loss: &Loss,
    past: &mut Past,
    leaderless: &[(f64, f64)],
) -> Result<String, String> {
    if loss.is_of_the_lease() {
        return if !loss.is_of_a_fresh_lease(&term.timeline) {
            Err("the lease had run out".to_owned())
        } else if past.ended_the_lease_of(loss.token) {
            Ok("etcd itself ended a lease that was just renewed".to_owned())
        } else {
            Err("etcd has not ended the lease".to_owned())
        };
    }
    let (rides_out, renewed) = (term.timeline.outage().as_secs_f64(), loss.at - loss.age);
    let meanwhile = leaderless
        .iter()
        .filter(|(from, to)| *from < loss.at && *to > renewed);
    let longest = meanwhile.map(|(from, to)| to - from).fold(0.0, f64::max);
    println!(
        "  the last renewal was sent {:.3} s before; meanwhile there was no raft leader for {longest:.3} s, and the \
         timeline rides out {rides_out:.3} s",
        loss.age
    );
    if longest > rides_out {
        Ok("etcd had no raft leader for longer than that rides out".to_owned())
    } else {
        Err("etcd had a raft leader in time".to_owned())
    }
}

fn begin(etcd: &Etcd, network: &Network, kind: &str, member: usize) {
    match kind {
        "killed" => etcd.member(member).kill(),
        "frozen" => etcd.member(member).stop(),
        "cut off" => network.drop_only(network.around(member)),
        "hears nothing" => network.drop_only(network.ways_to(member)),
        "is not heard" => network.drop_only(network.ways_from(member)),
        _ => network.drop_only(support::network::between(&[HOST], &[member])),
    }
}

fn end(etcd: &Etcd, network: &Network, kind: &str, member: usize) {
    match kind {
        "killed" => etcd.member(member).restart(),
        "frozen" => etcd.member(member).cont(),
        _ => network.heal(),
    }
}

#[test]
#[ignore = "two hundred faults take half an hour"]
fn one_member_of_three_fails_at_a_time() {
    if !require_etcd() {
        return;
    }
    let Some(network) = Network::new(MEMBERS + 1) else {
        return;
    };
    let faults: usize =
        std::env::var("LEADERRUN_FAULTS").map_or(200, |n| n.parse().expect("a number"));
    let etcd = Etcd::start_on(&network, MEMBERS);
    let mut past = Past {
        history: etcd.history("/election/", 1),
        changes: Vec::new(),
    };
    let mut terms: Vec<Term> = (0..6).map(|n| term(&etcd, &network, n)).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for n in 0..faults {
        let (kind, follower) = fault(n);
        let member = follower.unwrap_or_else(|| etcd.leader_index());
        if follower == Some(etcd.leader_index()) {
            etcd.move_leader((member + 1) % MEMBERS);
        }
        let fault = Fault {
            began: now(),
            member,
            is_leader: follower.is_none(),
        };
        let role = if fault.is_leader {
            "raft leader"
        } else {
            "follower"
        };
        *counts.entry(format!("faults: {role} {kind}")).or_default() += 1;
        println!("{:8.1} fault {n}: {role} {kind}, m{member}", fault.began);
        begin(&etcd, &network, kind, member);
        // The fault itself, not a wait for something.
        thread::sleep(FAULT);
        end(&etcd, &network, kind, member);
        etcd.wait_ready();
        for term in &mut terms {
            let renewed = term.leader.events_named("renewed").len();
            eventually(2 * LIMIT, || {
                term.leader.events_named("renewed").len() > renewed
            });
            for (loss, story) in term.losses() {
                println!("{:8.1} {} lost its term:", loss.at, term.name);
                for line in story {
                    println!("  {line}");
                }
                let leaderless = without_raft_leader(&etcd, &fault);
                let why = explain(term, &loss, &mut past, &leaderless);
                let (Ok(cause) | Err(cause)) = &why;
                println!("  {cause}");
                let name = format!("{}, {}, {role} {kind}: {cause}", term.name, loss.reason);
                *counts.entry(format!("lost: {name}")).or_default() += 1;
                // The default timeline rides out every election of a raft leader.
                let is_etcds = why.is_ok() && loss.is_of_the_lease();
                if !is_etcds && term.timeline.outage() > FAULT {
                    unexplained.push(name);
                }
            }
        }
    }
    println!("{faults} faults, {} leaders through each", terms.len());
    past.changes.extend(past.history.read_on());
    assert!(!past.changes.is_empty(), "a history that tells nothing");
    for (what, n) in &counts {
        println!("{n:5} {what}");
    }
    assert_eq!(unexplained, Vec::<String>::new());
}
