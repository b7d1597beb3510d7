//! `--layout single`: whoever creates KEY leads. The promise is the same, and clients that are written to
//! the recipe (compare the create revision with 0, put with a lease, watch for DELETE) take part; here that is
//! etcdctl's `txn`, `lease` and `watch`.

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Pid, Running, Signal, assert_no_overlap, eventually,
    is_alive, now, require_etcd, within,
};

fn candidate(etcd: &Etcd, id: &str, ttl: &str) -> Candidate {
    Candidate::new(etcd)
        .id(id)
        .ttl(ttl)
        .args(["--layout", "single"])
}

/// A leader whose command and daemon ignore the stop signal, and live for as long as they may.
fn stubborn(etcd: &Etcd, beat: &Beat, ttl: &str) -> (Running, u64) {
    let life = beat.life().ignores_term().with_daemon();
    let leader = candidate(etcd, "leader", ttl).life(life).spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "daemon");
    (leader, token)
}

fn waiting(etcd: &Etcd, beat: &Beat, id: &str, ttl: &str) -> Running {
    let one = candidate(etcd, id, ttl).life(beat.life()).spawn();
    one.wait_event("waiting");
    one
}

#[test]
fn one_command_at_a_time_and_the_key_shows_who_leads() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let life = beat.life().exits(0, Duration::from_millis(300));
    let runs: Vec<Running> = ["a", "b", "c", "d", "e"]
        .iter()
        .map(|id| candidate(&etcd, id, "15s").life(life.clone()).spawn())
        .collect();
    let leader = eventually(LIMIT, || etcd.get(KEY));
    assert!(
        ["a", "b", "c", "d", "e"].contains(&leader.as_str()),
        "{leader}"
    );
    for run in &runs {
        assert_eq!(run.wait().code(), Some(0), "{}", run.stderr());
        run.wait_gone();
    }
    let tokens = assert_no_overlap(&beat);
    assert_eq!(tokens.len(), 5);
    assert!(tokens.is_sorted(), "{tokens:?}");
    // Nobody waited for a lease to expire.
    for run in &runs {
        let headroom = run.wait_event("tree-empty")["headroom"].as_f64();
        assert!(headroom.is_some_and(|h| h > 5.0), "{headroom:?}");
        assert_eq!(run.events_named("campaigning").len(), 1);
    }
    etcd.assert_nothing_left();
}

#[test]
fn the_environment_names_the_key_itself() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = candidate(&etcd, "a", "15s")
        .sh("echo $LEADERRUN_KEY $LEADERRUN_LEADER_KEY $LEADERRUN_TOKEN $ETCD_LOCK_KEY $ETCD_LOCK_REV")
        .spawn();
    let token = run.wait_elected();
    assert_eq!(run.wait().code(), Some(0));
    assert_eq!(run.stdout(), format!("{KEY} {KEY} {token} {KEY} {token}\n"));
}

/// The key is gone, and the tree still lives: the record makes whoever comes next wait.
fn lost(deed: impl FnOnce(&Etcd), frozen: bool) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, token) = stubborn(&etcd, &beat, "6s");
    let waits = waiting(&etcd, &beat, "waits", "6s");
    let command = leader.command_pid();
    if frozen {
        leader.signal(Signal::SIGSTOP);
    }
    deed(&etcd);
    let newcomer = candidate(&etcd, "newcomer", "6s").life(beat.life()).spawn();
    let second = beat.wait_tokens(2);
    eventually(LIMIT, || !is_alive(command));
    assert_eq!(assert_no_overlap(&beat), [token, second]);
    if !frozen {
        assert_eq!(leader.wait().code(), Some(75));
    }
    drop((waits, newcomer));
}

fn lease_of(etcd: &Etcd) -> String {
    etcd.entry(KEY).expect("somebody leads").lease
}

#[test]
fn the_key_deleted() {
    lost(|etcd| assert!(etcd.del(KEY)), false);
}

#[test]
fn the_key_deleted_while_the_supervisor_is_frozen() {
    lost(|etcd| assert!(etcd.del(KEY)), true);
}

/// Who waits has no key of its own that would have gone too.
#[test]
fn all_of_it_deleted_at_once_while_the_supervisor_is_frozen() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, token) = stubborn(&etcd, &beat, "6s");
    let _waits = waiting(&etcd, &beat, "waits", "6s");
    let command = leader.command_pid();
    leader.signal(Signal::SIGSTOP);
    etcd.etcdctl(&["del", "--prefix", KEY]);
    let second = beat.wait_tokens(2);
    eventually(LIMIT, || !is_alive(command));
    assert_eq!(assert_no_overlap(&beat), [token, second]);
}

#[test]
fn the_lease_revoked() {
    lost(|etcd| etcd.revoke(&lease_of(etcd)), false);
}

#[test]
fn the_key_attached_to_nothing() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, token) = stubborn(&etcd, &beat, "6s");
    let waits = waiting(&etcd, &beat, "waits", "6s");
    etcd.put(KEY, "by hand");
    assert_eq!(leader.wait_event("stopping")["reason"], "key-lost");
    // It gave up what was its own, also in this state.
    let second = beat.wait_tokens(2);
    assert_eq!(leader.wait().code(), Some(75));
    assert_eq!(assert_no_overlap(&beat), [token, second]);
    // Nobody was told to delete by hand what a term still stood behind.
    let warnings = waits.events_named("warning");
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// As nobody who keeps to the recipe does: the create revision stays, and the term is over all the same.
#[test]
fn the_key_taken_over_with_another_lease() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, _) = stubborn(&etcd, &beat, "6s");
    let lease = grant(&etcd, 60);
    etcd.etcdctl(&["put", "--lease", &lease, KEY, "foreign"]);
    let status = Candidate::bare()
        .args(["status", "--json", "--key", KEY, "--endpoints"])
        .arg(etcd.endpoints())
        .output();
    assert_eq!(status.code(), 1, "{}", status.stdout);
    assert!(status.stdout.contains("take-over"), "{}", status.stdout);
    assert_eq!(leader.wait().code(), Some(75));
    let entry = etcd
        .entry(KEY)
        .expect("the end of ours took nothing of theirs");
    assert_eq!((entry.value.as_str(), entry.lease), ("foreign", lease));
}

#[test]
fn a_killed_supervisor_is_followed_at_once() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "30s")
        .life(beat.life().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    let waits = waiting(&etcd, &beat, "waits", "30s");
    let killed = now();
    leader.signal(Signal::SIGKILL);
    let second = waits.wait_elected();
    let after = now() - killed;
    assert!(after < 6.0, "{after}");
    assert!(!is_alive(daemon));
    beat.wait_stamp(second, "start");
    assert_eq!(assert_no_overlap(&beat), [token, second]);
}

#[test]
fn a_wait_outlasts_an_etcd_that_is_killed_and_comes_back() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "15s")
        .arg("-v")
        .life(beat.life())
        .spawn();
    let token = leader.wait_elected();
    let waits = waiting(&etcd, &beat, "waits", "4s");
    etcd.kill();
    waits.wait_event("warning");
    etcd.restart();
    leader.wait_another_event("renewed");
    leader.signal(Signal::SIGTERM);
    let second = waits.wait_elected();
    beat.wait_stamp(second, "start");
    assert_eq!(assert_no_overlap(&beat), [token, second]);
    waits.signal(Signal::SIGTERM);
    waits.wait_gone();
    leader.wait_gone();
    etcd.assert_nothing_left();
}

/// Candidates of the other layout would lead beside us: each looks after its own put.
#[test]
fn the_layouts_do_not_mix() {
    if !require_etcd() {
        return;
    }
    for (first, second) in [("queue", "single"), ("single", "queue")] {
        let etcd = Etcd::start();
        let of = |id: &str, layout: &str| Candidate::new(&etcd).id(id).args(["--layout", layout]);
        let leader = of("leader", first).arg("-v").spawn();
        leader.wait_event("started");
        let refused = of("refused", second).output();
        assert_eq!(refused.code(), 125);
        let says = |e: &support::Value| e["message"].to_string();
        let errors: Vec<String> = refused.events.iter().map(says).collect();
        let hint = format!("use --layout {first}");
        assert!(errors.iter().any(|e| e.contains(&hint)), "{errors:?}");
        leader.wait_another_event("renewed");
        leader.signal(Signal::SIGTERM);
        leader.wait_gone();
        etcd.assert_nothing_left();
    }
}

/// `create(KEY) = 0`, put with that lease; whether it succeeded.
fn take(etcd: &Etcd, lease: &str, value: &str) -> bool {
    let txn = etcd.spawn_etcdctl_with(&["txn"], Stdio::piped());
    let request =
        format!("create(\"{KEY}\") = \"0\"\n\nput {KEY} {value} --lease={lease}\n\nget {KEY}\n\n");
    let mut input = txn.take_stdin().expect("a pipe");
    input.write_all(request.as_bytes()).expect("it reads");
    drop(input);
    assert!(txn.wait().success(), "{}", txn.stderr());
    txn.stdout().starts_with("SUCCESS")
}

fn grant(etcd: &Etcd, seconds: u32) -> String {
    // lease 694d8f5a1b2c3d4e granted with TTL(30s)
    let granted = etcd.etcdctl(&["lease", "grant", &seconds.to_string()]);
    let id = granted.split_whitespace().nth(1).expect("an id");
    // It is filled up with zeros here, and only here.
    id.trim_start_matches('0').to_owned()
}

#[test]
fn a_client_of_the_recipe_leads_and_is_followed() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let lease = grant(&etcd, 30);
    assert!(take(&etcd, &lease, "recipe"));
    let waits = candidate(&etcd, "waits", "15s").life(beat.life()).spawn();
    assert_eq!(waits.wait_event("waiting")["leader"], "recipe");
    assert!(waits.events_named("elected").is_empty());
    // It proclaims another value, which changes nothing.
    etcd.etcdctl(&["put", "--lease", &lease, KEY, "proclaimed"]);
    waits.no_event_until("elected", now() + 0.3);
    let gone = now();
    etcd.revoke(&lease);
    waits.wait_elected();
    let after = now() - gone;
    // Not the 15 s of a lease.
    assert!(after < 6.0, "{after}");
}

#[test]
fn a_client_of_the_recipe_waits_for_the_end_of_the_tree() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "15s")
        .args(["--stop-timeout", "1s"])
        .life(beat.life().ignores_term().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    let lease = grant(&etcd, 60);
    assert!(!take(&etcd, &lease, "recipe"));
    let watch = etcd.spawn_etcdctl(&["watch", KEY]);
    leader.signal(Signal::SIGTERM);
    eventually(LIMIT, || watch.stdout().contains("DELETE"));
    assert!(!is_alive(daemon));
    assert!(take(&etcd, &lease, "recipe"));
    leader.wait_gone();
    assert_eq!(
        etcd.get(KEY).as_deref(),
        Some("recipe"),
        "the end of ours took nothing of theirs"
    );
}

#[test]
fn a_key_without_a_lease_is_waited_for_and_named() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.put(KEY, "configuration");
    let waits = candidate(&etcd, "waits", "15s").spawn();
    let warning = waits.wait_event("warning")["message"].to_string();
    assert!(warning.contains("attached to no lease"), "{warning}");
    assert!(
        within(Duration::from_millis(300), || !waits
            .events_named("elected")
            .is_empty())
        .is_none()
    );
    assert!(etcd.del(KEY));
    waits.wait_elected();
}

#[test]
fn tries_and_waits_end_with_124() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = candidate(&etcd, "leader", "15s").spawn();
    leader.wait_elected();
    for patience in [&["--try"][..], &["--wait", "500ms"]] {
        let gave_up = candidate(&etcd, "impatient", "15s").args(patience).output();
        assert_eq!(gave_up.code(), 124);
    }
    assert_eq!(etcd.leases().len(), 1);
}
