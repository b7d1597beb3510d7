//! `status`: what a person on call and a script ask. 0 is yes, 1 is no, and 125 is that it cannot be told.

mod support;

use support::guarded::Guarded;
use support::{
    Beat, Candidate, Etcd, Finished, KEY, LIMIT, Running, Signal, Value, ask, eventually, now,
    require_etcd,
};

fn json(asked: &Finished) -> Value {
    serde_json::from_str(&asked.stdout).expect("one object")
}

fn candidate(etcd: &Etcd, id: &str) -> Candidate {
    Candidate::new(etcd).id(id)
}

#[test]
fn status_shows_the_leader_the_queue_and_the_endpoints() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let nobody = ask(&etcd, &["status"]).output();
    assert_eq!(nobody.code(), 1);
    assert!(
        nobody.stdout.contains("leader     none"),
        "{}",
        nobody.stdout
    );

    let leader = candidate(&etcd, "web1").spawn();
    let token = leader.wait_elected();
    leader.wait_event("started");
    let runs: Vec<Running> = ["web2", "web3"]
        .iter()
        .map(|id| {
            let one = candidate(&etcd, id).spawn();
            one.wait_event("waiting");
            one
        })
        .collect();
    let text = ask(&etcd, &["status"]).output();
    assert_eq!(text.code(), 0);
    let has = |part: &str| assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    has(&format!("web1, token {token}, since 20"));
    has("1. web2");
    has("2. web3");
    has(&format!("http://{}: answers", etcd.endpoint()));

    let asked = ask(&etcd, &["status", "--json"]).output();
    let report = json(&asked);
    assert_eq!(asked.code(), 0);
    assert_eq!(report["leader"]["id"], "web1");
    assert_eq!(report["leader"]["token"], token);
    assert_eq!(report["record"], "agrees");
    assert_eq!(report["layout"], "queue");
    assert!(
        report["leader"]["ttl"]
            .as_i64()
            .is_some_and(|ttl| (1..=15).contains(&ttl))
    );
    let since = report["leader"]["since"].as_u64().expect("recorded");
    assert!(since > 1_700_000_000, "{since}");
    let queue: Vec<&str> = report["queue"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|s| s["id"].as_str())
        .collect();
    assert_eq!(queue, ["web2", "web3"]);
    drop(runs);
}

#[test]
fn status_finds_the_single_key() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "web1")
        .args(["--layout", "single"])
        .spawn();
    let token = leader.wait_elected();
    leader.wait_event("started");
    let report = json(&ask(&etcd, &["status", "--json"]).output());
    assert_eq!(report["layout"], "single");
    assert_eq!(report["leader"]["key"], KEY);
    assert_eq!(report["leader"]["token"], token);
}

#[test]
fn status_tells_that_a_term_is_being_waited_out() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "old")
        .ttl("6s")
        .life(beat.life().ignores_term())
        .spawn();
    let token = leader.wait_elected();
    leader.wait_event("started");
    let next = candidate(&etcd, "next").spawn();
    next.wait_event("waiting");
    leader.signal(Signal::SIGSTOP);
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    let asked = ask(&etcd, &["status", "--json"]).output();
    let report = json(&asked);
    assert_eq!(asked.code(), 1, "{report}");
    assert_eq!(report["leader"], Value::Null);
    assert_eq!(report["record"], "take-over");
    assert_eq!(report["take_over"]["token"], token);
    let left = report["take_over"]["remaining"].as_f64().expect("seconds");
    assert!(left > 0.0 && left <= 6.0, "{left}");
    assert_eq!(report["queue"][0]["id"], "next");
    let text = ask(&etcd, &["status"]).output();
    assert!(
        text.stdout
            .contains(&format!("(token {token}) may still be running")),
        "{}",
        text.stdout
    );
    next.wait_elected();
    assert_eq!(ask(&etcd, &["status"]).output().code(), 0);
}

/// Its holder is dead, as this host can tell, and nobody is there to take over.
#[test]
fn status_tells_that_a_term_has_run_out() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "old")
        .ttl("2s")
        .args(["--cgroup", "off"])
        .spawn();
    let token = leader.wait_elected();
    leader.wait_event("started");
    leader.kill_both();
    let report = eventually(LIMIT, || {
        let report = json(&ask(&etcd, &["status", "--json"]).output());
        (report["record"] == "over").then_some(report)
    });
    assert_eq!(report["leader"], Value::Null);
    assert_eq!(report["take_over"]["token"], token);
    assert_eq!(report["take_over"]["remaining"], 0.0);
    let text = ask(&etcd, &["status"]).output();
    assert_eq!(text.code(), 1);
    let says =
        format!("none: an earlier term (token {token}) has run out, and nobody has taken over");
    assert!(text.stdout.contains(&says), "{}", text.stdout);
}

#[test]
fn a_question_without_permission_is_told_what_to_change() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    for words in [&["status"][..], &["observe"], &["resign"]] {
        let asked = ask(&guarded.etcd, words).output();
        assert_eq!(asked.code(), 125, "{words:?}");
        let hint = "give --user and --password-file";
        assert!(asked.stderr.contains(hint), "{words:?}: {}", asked.stderr);
    }
}

#[test]
fn status_of_a_foreign_leader_knows_no_since() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let lock = etcd.spawn_etcdctl(&["lock", KEY, "sleep", "600"]);
    eventually(LIMIT, || etcd.keys(&format!("{KEY}/")).len() == 1);
    let report = json(&ask(&etcd, &["status", "--json"]).output());
    assert_eq!(report["record"], "absent");
    assert_eq!(report["leader"]["since"], Value::Null);
    let text = ask(&etcd, &["status"]).output();
    assert!(
        text.stdout.contains("(no identity, key "),
        "{}",
        text.stdout
    );
    // A foreign leader is never deleted.
    let resign = ask(&etcd, &["resign"]).output();
    assert_eq!(resign.code(), 125);
    assert!(
        resign.stderr.contains("revoke its lease"),
        "{}",
        resign.stderr
    );
    assert_eq!(etcd.keys(KEY).len(), 1);
    drop(lock);
}

#[test]
fn one_dead_endpoint_is_named_and_none_that_answers_is_125() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::cluster(3);
    let leader = candidate(&etcd, "web1").spawn();
    leader.wait_event("started");
    // Not the raft leader, which the others would take a while to replace.
    let frozen = (etcd.leader_index() + 1) % 3;
    etcd.member(frozen).stop();
    let begun = now();
    let asked = ask(&etcd, &["status", "--json"]).output();
    let report = json(&asked);
    assert_eq!(asked.code(), 0);
    assert!(now() - begun < 9.0);
    let failed: Vec<bool> = report["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| e["error"].is_string())
        .collect();
    let expected: Vec<bool> = (0..3).map(|i| i == frozen).collect();
    assert_eq!(failed, expected);
    etcd.member(frozen).cont();

    etcd.kill();
    for words in [&["status"][..], &["resign"], &["observe"]] {
        let asked = ask(&etcd, words).output();
        assert_eq!(asked.code(), 125, "{words:?}");
        assert!(asked.stderr.contains("leaderrun: "), "{}", asked.stderr);
    }
}

/// Scripts decide by the status, and some of them throw the text away.
#[test]
fn the_status_is_true_also_when_nobody_reads_the_text() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let unheard = |words: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let asked = ask(&etcd, words).stdout(writer).output();
        assert_eq!(asked.stderr, "", "{words:?}");
        asked.code()
    };
    let questions = [&["status"][..], &["status", "--json"], &["resign"]];
    assert_eq!(questions.map(unheard), [1, 1, 1]);
    let leader = candidate(&etcd, "web1").spawn();
    leader.wait_event("started");
    assert_eq!(questions.map(unheard), [0, 0, 0]);
    assert_eq!(leader.wait_event("stopping")["reason"], "resigned");
}

/// It is nobody's candidate, but all who compete for it wait for its removal.
#[test]
fn a_single_key_without_a_lease_is_shown() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.put(KEY, "by hand");
    let asked = ask(&etcd, &["status", "--json"]).output();
    let report = json(&asked);
    assert_eq!(asked.code(), 0, "{report}");
    assert_eq!(report["leader"]["id"], "by hand");
    assert_eq!(report["leader"]["key"], KEY);
    assert_eq!(report["leader"]["lease"], Value::Null);
    assert_eq!(report["leader"]["ttl"], Value::Null);
    assert_eq!(report["layout"], "single");
    let waiting = candidate(&etcd, "web1")
        .args(["--layout", "single"])
        .spawn();
    assert_eq!(waiting.wait_event("waiting")["leader"], "by hand");
    let text = ask(&etcd, &["status"]).output();
    assert_eq!(text.code(), 0);
    for says in ["by hand, token ", "no lease, all wait for its removal"] {
        assert!(text.stdout.contains(says), "{says}: {}", text.stdout);
    }
    let observer = ask(&etcd, &["observe"]).spawn();
    eventually(LIMIT, || {
        observer.stdout().contains("by hand leads with token ")
    });
    let resign = ask(&etcd, &["resign"]).output();
    assert_eq!(resign.code(), 125, "{}", resign.stdout);
    let says = "attached to no lease: delete it by hand once you are sure";
    assert!(resign.stderr.contains(says), "{}", resign.stderr);
    assert!(etcd.del(KEY));
    waiting.wait_elected();
}

/// The term that is recorded was one of the single key, which somebody has deleted and written anew since.
#[test]
fn a_single_key_without_a_lease_is_shown_beside_an_earlier_term() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let term = r#"{"token":1,"lease":"1f","ttl":15000,"since":1,"boot":"","ns":0,"d":5,"m":1500}"#;
    etcd.put(&format!("{KEY}.term"), term);
    etcd.put(KEY, "by hand");
    let asked = ask(&etcd, &["status", "--json"]).output();
    let report = json(&asked);
    assert_eq!(asked.code(), 1, "{report}");
    assert_eq!(report["leader"], Value::Null);
    assert_eq!(report["take_over"]["token"], 1);
    assert_eq!(report["queue"][0]["id"], "by hand");
    assert_eq!(report["layout"], "single");
}

/// In the queue the election's own key is no candidate, whatever is kept there.
#[test]
fn a_key_without_a_lease_is_not_shown_beside_a_queue() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.put(KEY, "a setting");
    let leader = candidate(&etcd, "web1").ttl("6s").spawn();
    let token = leader.wait_elected();
    leader.wait_event("started");
    let status = || json(&ask(&etcd, &["status", "--json"]).output());
    let report = status();
    assert_eq!(report["layout"], "queue");
    assert_eq!(report["leader"]["id"], "web1");
    assert_eq!(report["queue"], Value::Array(Vec::new()));
    // Nobody stands, but the record tells of a term in the queue.
    leader.signal(Signal::SIGSTOP);
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    let report = status();
    assert_eq!(report["leader"], Value::Null);
    assert_eq!(report["take_over"]["token"], token);
    assert_eq!(report["queue"], Value::Array(Vec::new()));
}

/// What drives a terminal, or shows letters in another order, is written as JSON can write it.
#[test]
fn json_is_harmless_on_a_terminal_and_loses_nothing() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let id = "a\u{9b}31m\u{7f}\u{1b}[2J\u{202e}b\u{2028}\"ü\\";
    let granted = etcd.etcdctl(&["lease", "grant", "600"]);
    let lease = granted.split(' ').nth(1).expect("an id");
    let key = format!("{KEY}/{lease}");
    etcd.etcdctl(&["put", "--lease", lease, "--", &key, id]);
    let observer = ask(&etcd, &["observe", "--json"]).spawn();
    eventually(LIMIT, || observer.stdout().contains("token"));
    let status = ask(&etcd, &["status", "--json"]).output();
    let line = observer.stdout();
    for text in [&status.stdout, &line] {
        let wild = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2028}".contains(c);
        assert!(!text.contains(wild), "{text:?}");
    }
    assert_eq!(json(&status)["leader"]["id"], id);
    let line: Value = serde_json::from_str(line.trim_end()).expect("an object");
    assert_eq!(line["id"], id);
}

/// It bears a lease's name, but no such lease lives: nobody waits for it, so nobody is told of it.
#[test]
fn a_stray_key_without_a_living_lease_is_no_candidate_to_any_question() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.put(&format!("{KEY}/abcd"), "hand");
    let observer = ask(&etcd, &["observe"]).spawn();
    eventually(LIMIT, || observer.stdout().contains("nobody leads"));
    let leader = candidate(&etcd, "web1").spawn();
    leader.wait_event("started");
    eventually(LIMIT, || {
        observer.stdout().contains("web1 leads with token ")
    });
    assert_eq!(ask(&etcd, &["status"]).output().code(), 0);
    let resign = ask(&etcd, &["resign", "--wait"]).output();
    assert_eq!(resign.code(), 0, "{}", resign.stderr);
    eventually(LIMIT, || observer.stdout().lines().count() == 3);
    assert!(!observer.stdout().contains("hand"), "{}", observer.stdout());
    assert_eq!(ask(&etcd, &["status"]).output().code(), 1);
}

#[test]
fn the_keys_beside_an_election_are_no_candidates() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "web1").spawn();
    leader.wait_event("started");
    let asked = Candidate::bare()
        .args(["status", "--key", &format!("{KEY}.term")])
        .args(["--endpoints", &etcd.endpoint()])
        .output();
    assert_eq!(asked.code(), 1, "{}", asked.stdout);
}
