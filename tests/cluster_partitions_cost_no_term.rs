//! Three members and the candidates, each on a node of a network of their own. What is swallowed
//! around a single member, in one direction or both, costs no term at the default timeline; a leader
//! that reaches no member has its command dead in time, and the next one leads.

mod support;

use std::thread;
use std::time::Duration;

use support::network::{Way, between};
use support::{
    Beat, Candidate, Etcd, LIMIT, Network, Running, Signal, Value, assert_no_overlap, now,
    require_etcd, within,
};

/// The nodes: members, then the leader, then the one behind it.
const MEMBERS: [usize; 3] = [0, 1, 2];
const LEADER: usize = 3;
const STANDBY: usize = 4;

/// How long each fault lasts at least: longer than the default window for renewals.
const FAULT: Duration = Duration::from_secs(10);

struct Scene {
    etcd: Etcd,
    network: Network,
}

impl Scene {
    fn new() -> Option<Self> {
        if !require_etcd() {
            return None;
        }
        let network = Network::new(5)?;
        let etcd = Etcd::start_on(&network, MEMBERS.len());
        Some(Self { etcd, network })
    }

    fn candidate(&self, node: usize, id: &str, options: &[&str]) -> Candidate {
        Candidate::new(&self.etcd)
            .id(id)
            .arg("-v")
            .args(options.iter().copied())
            .on(self.network.node(node))
    }
}

/// A leader with one timeline, which others may have beside it.
struct Term {
    name: &'static str,
    leader: Running,
    standby: Running,
    lost: Vec<String>,
}

impl Term {
    fn begin(scene: &Scene, name: &'static str, options: &[&str]) -> Self {
        let candidate = |node, id: &str| {
            let key = format!("/election/{name}");
            let options = [&["--on-loss", "campaign"], options].concat();
            scene.candidate(node, id, &options).key(key).spawn()
        };
        let leader = candidate(LEADER, "leader");
        leader.wait_elected();
        let standby = candidate(STANDBY, "standby");
        standby.wait_event("waiting");
        Self {
            name,
            leader,
            standby,
            lost: Vec::new(),
        }
    }

    /// Whether it has been renewed anew within the time, and lost nothing meanwhile.
    fn judge(&mut self, fault: &str, before: [usize; 2]) {
        let [renewed, stopping] = self.counts();
        if stopping > before[1] {
            let events = self.leader.events();
            let end = events.iter().rposition(|e| e["event"] == "stopping");
            let end = end.expect("it was counted");
            println!("{} timeline lost by {fault}:", self.name);
            for event in &events[end.saturating_sub(8)..=end] {
                println!("  {event}");
            }
            self.lost.push(fault.to_owned());
        } else if renewed == before[0] {
            self.lost.push(format!("{fault} (no renewal)"));
        }
    }

    fn counts(&self) -> [usize; 2] {
        ["renewed", "stopping"].map(|name| self.leader.events_named(name).len())
    }

    /// Waits until the leader leads, or another does: then it is its turn again.
    fn lead_again(&self) {
        let leads = || {
            let events = self.leader.events();
            let mut names = events.iter().rev().filter_map(|e| e["event"].as_str());
            let telling = ["renewed", "stopping", "lost", "waiting", "campaigning"];
            names.find(|name| telling.contains(name)) == Some("renewed")
        };
        if within(Duration::from_secs(3), leads).is_none() {
            self.standby.signal(Signal::SIGKILL);
        }
        within(3 * LIMIT, leads).expect("it leads again");
    }
}

#[test]
fn what_is_swallowed_around_one_member_many_times_costs_no_term_at_the_default_timeline() {
    let Some(scene) = Scene::new() else { return };
    let network = &scene.network;
    let mut terms = [
        Term::begin(&scene, "default", &["--ttl", "15s"]),
        Term::begin(&scene, "short", &["--ttl", "5s", "--grace", "1s"]),
    ];
    let mut faults: Vec<(String, Vec<Way>)> = Vec::new();
    for member in MEMBERS {
        faults.push((format!("around m{member}"), network.around(member)));
        faults.push((format!("into m{member}"), network.ways_to(member)));
        faults.push((format!("out of m{member}"), network.ways_from(member)));
        let cut = between(&[LEADER], &[member]);
        faults.push((format!("leader to m{member}"), cut));
    }
    let count = faults.len();
    // The last three hit whichever member leads then.
    for kind in ["around", "into", "out of"] {
        faults.push((format!("{kind} the raft leader"), Vec::new()));
    }
    let mut raft_leaders = 0;
    for (n, (fault, mut ways)) in faults.into_iter().enumerate() {
        let raft_leader = scene.etcd.leader_index();
        if n >= count {
            ways = match n - count {
                0 => network.around(raft_leader),
                1 => network.ways_to(raft_leader),
                _ => network.ways_from(raft_leader),
            };
        }
        let hits_leader = n >= count || fault.ends_with(&format!(" m{raft_leader}"));
        raft_leaders += usize::from(hits_leader);
        terms.iter().for_each(Term::lead_again);
        let before = terms.each_ref().map(Term::counts);
        network.drop_only(ways);
        // The fault itself, not a wait for something.
        thread::sleep(FAULT);
        network.heal();
        for (term, before) in terms.iter_mut().zip(before) {
            term.judge(&fault, before);
        }
        scene.etcd.wait_ready();
    }
    for Term {
        name, lost, leader, ..
    } in &terms
    {
        let failed = leader.events_named("renewal-failed");
        let least = failed.iter().filter_map(|e| e["remaining"].as_f64());
        println!(
            "{name} timeline: {} of {} faults cost the term ({lost:?}), {raft_leaders} of them hit the raft leader; \
             {} attempts at a renewal failed, at the worst with {:?} s left before the stop signal",
            lost.len(),
            count + 3,
            failed.len(),
            least.reduce(f64::min)
        );
    }
    let [default, _] = &terms;
    assert_eq!(default.lost, Vec::<String>::new());
}

/// The leader loses its way to etcd; what comes of it must be the same for each kind of loss.
fn loses_etcd(ways: impl FnOnce(&Network) -> Vec<Way>) {
    let Some(scene) = Scene::new() else { return };
    let beat = Beat::new();
    let candidate = |node, id: &str, life| {
        // The margin covers a machine that is busy.
        let options = ["--ttl", "5s", "--grace", "1s", "--margin", "600ms"];
        scene.candidate(node, id, &options).life(life).spawn()
    };
    let leader = candidate(LEADER, "leader", beat.life().ignores_term().with_daemon());
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    let standby = candidate(STANDBY, "standby", beat.life());
    standby.wait_event("waiting");
    leader.wait_another_event("renewed");

    scene.network.drop_only(ways(&scene.network));
    let cut = now();
    let next = beat.wait_tokens(2);
    let took = now() - cut;
    assert_eq!(assert_no_overlap(&beat), [token, next]);
    assert_eq!(leader.wait_event("stopping")["reason"], "renewal-timeout");
    let headroom = leader.wait_event("tree-empty")["headroom"].clone();
    println!("next start {took:.3} s after the cut, headroom {headroom} s");
    assert!(headroom.as_f64().expect("seconds") > 0.0, "{headroom}");
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
    // Not a word got through, so the key went with its lease and the record with the next term.
    scene.network.heal();
    standby.signal(Signal::SIGTERM);
    standby.wait_event("released");
    standby.wait_gone();
    assert!(within(LIMIT, || scene.etcd.leases().is_empty()).is_some());
    scene.etcd.assert_nothing_left();
}

#[test]
fn a_leader_that_is_cut_off_is_dead_before_the_next_one_leads() {
    loses_etcd(|network| network.around(LEADER));
}

#[test]
fn so_is_one_that_is_only_heard() {
    // Requests arrive, and renew the lease and the record for as long as connections last.
    loses_etcd(|network| network.ways_to(LEADER));
}

#[test]
fn so_is_one_that_only_hears() {
    loses_etcd(|network| network.ways_from(LEADER));
}

/// Two halves, and one member that both see: of the halves' own members only one finds a quorum.
#[test]
fn a_bridge_between_two_halves_keeps_one_leader() {
    let Some(scene) = Scene::new() else { return };
    let beat = Beat::new();
    let candidate = |node, id: &str| {
        let options = ["--ttl", "8s", "--margin", "600ms", "--on-loss", "campaign"];
        scene
            .candidate(node, id, &options)
            .life(beat.life().ignores_term())
            .spawn()
    };
    let leader = candidate(LEADER, "leader");
    leader.wait_elected();
    let standby = candidate(STANDBY, "standby");
    standby.wait_event("waiting");
    for bridge in MEMBERS {
        let left = [(bridge + 1) % 3, LEADER];
        let right = [(bridge + 2) % 3, STANDBY];
        scene.network.drop_only(between(&left, &right));
        // Each of the two reaches the bridge, so one of them leads and is renewed.
        let renewals = || {
            let events = [&leader, &standby].map(|one| one.events_named("renewed").len());
            events.into_iter().sum::<usize>()
        };
        let before = renewals();
        thread::sleep(FAULT);
        within(LIMIT, || renewals() > before + 2).expect("renewals over the bridge");
        assert_no_overlap(&beat);
        scene.network.heal();
        scene.etcd.wait_ready();
    }
    let lost = [&leader, &standby].map(|one| one.events_named("stopping").len());
    let terms = assert_no_overlap(&beat).len();
    println!("bridged three times: {terms} terms, lost by leader and standby {lost:?}");
}

#[test]
fn a_slow_link_and_broken_connections_cost_no_term() {
    let Some(scene) = Scene::new() else { return };
    let leader = scene.candidate(LEADER, "leader", &["--ttl", "15s"]).spawn();
    leader.wait_elected();
    let renews = |n| leader.wait_nth_event("renewed", leader.events_named("renewed").len() + n);
    scene.network.slow_down(LEADER, 64);
    renews(2);
    scene.network.speed_up(LEADER);
    let mut reset = 0;
    for _ in 0..5 {
        reset += usize::from(scene.network.reset(LEADER));
        renews(1);
    }
    println!("connections were reset {reset} times of 5 (0: this kernel cannot)");
    for member in MEMBERS {
        scene.network.reset(member);
        renews(1);
    }
    assert_eq!(leader.events_named("stopping"), Vec::<Value>::new());
}
