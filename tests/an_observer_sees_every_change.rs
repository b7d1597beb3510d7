//! `observe`: a line for each change of the leader, through failures of etcd, by whoever may ask, until it is stopped
//! or nobody reads it any more.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use support::guarded::{Guarded, USER};
use support::{Candidate, Etcd, KEY, LIMIT, Running, Signal, Value, ask, eventually, require_etcd};

fn candidate(etcd: &Etcd, id: &str) -> Candidate {
    Candidate::new(etcd).id(id)
}

fn lines(observer: &Running) -> Vec<Value> {
    let text = observer.stdout();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

#[test]
fn observe_prints_each_change_through_failures() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::cluster(3);
    let observer = ask(&etcd, &["observe", "--json"]).spawn();
    let text = ask(&etcd, &["observe"]).spawn();
    eventually(LIMIT, || lines(&observer).len() == 1);
    let mut expected = vec![];
    for (i, id) in ["a", "b", "c"].into_iter().enumerate() {
        // Whoever it is connected to: one of them fails each time.
        etcd.member(i).kill();
        let leader = candidate(&etcd, id).spawn();
        expected.push(leader.wait_elected());
        leader.wait_event("started");
        eventually(LIMIT, || lines(&observer).iter().any(|l| l["id"] == id));
        leader.signal(Signal::SIGTERM);
        leader.wait_gone();
        etcd.member(i).restart();
        etcd.wait_ready();
    }
    eventually(LIMIT, || {
        lines(&observer)
            .last()
            .is_some_and(|l| l["event"] == "no-leader")
    });
    let seen: Vec<u64> = lines(&observer)
        .iter()
        .filter_map(|l| l["token"].as_u64())
        .collect();
    assert_eq!(seen, expected);
    assert!(
        lines(&observer)
            .iter()
            .filter(|l| l["event"] == "leader")
            .all(|l| l["since"].is_u64())
    );
    eventually(LIMIT, || text.stdout().contains("c leads with token"));
}

#[test]
fn observe_tells_of_the_gap_that_a_compaction_makes() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let observer = ask(&etcd, &["observe", "--json"]).spawn();
    eventually(LIMIT, || lines(&observer).len() == 1);
    observer.signal(Signal::SIGSTOP);
    let leader = candidate(&etcd, "missed").command(&["true"]).spawn();
    leader.wait_gone();
    for n in 0..5 {
        etcd.put("other", &n.to_string());
    }
    // The observer's connection breaks, so that it has to ask again for what it has not seen.
    let revision = etcd.revision().to_string();
    etcd.etcdctl(&["compact", &revision]);
    etcd.kill();
    etcd.restart();
    observer.signal(Signal::SIGCONT);
    let seen = eventually(LIMIT, || {
        let lines = lines(&observer);
        (lines.len() > 1).then_some(lines)
    });
    // What had reached it before the break is no gap; one of the two it is.
    println!("{seen:?}");
    assert!(
        seen[1]["event"] == "gap" || seen[1]["id"] == "missed",
        "{seen:?}"
    );
}

/// Asks with the permissions that the README names, and no others.
fn observe_guarded(guarded: &Guarded) -> Running {
    ask(&guarded.etcd, &["observe", "--json", "--user", USER])
        .arg("--password-file")
        .arg(guarded.password_file())
        .spawn()
}

#[test]
fn the_documented_permissions_are_enough() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    let observer = observe_guarded(&guarded);
    eventually(LIMIT, || lines(&observer).len() == 1);
    for layout in ["queue", "single"] {
        let leader = guarded.candidate().args(["--layout", layout]).spawn();
        let token = leader.wait_elected();
        let sees = |line: &Value| line["token"] == token && line["since"].is_u64();
        eventually(LIMIT, || lines(&observer).iter().any(sees));
        guarded.end(&leader);
        eventually(LIMIT, || {
            lines(&observer)
                .last()
                .is_some_and(|line| line["event"] == "no-leader")
        });
    }
    assert_eq!(lines(&observer).len(), 5);
    let said = observer.stderr();
    let is_expected = |line: &str| line.contains("clear text") || line.contains("password");
    assert!(said.lines().all(is_expected), "{said}");
}

#[test]
fn without_permission_it_ends_and_says_what_is_needed() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    let observer = observe_guarded(&guarded);
    eventually(LIMIT, || lines(&observer).len() == 1);
    let revoke = ["user", "revoke-role", USER, USER];
    guarded.etcd.etcdctl(&revoke);
    assert_eq!(observer.wait().code(), Some(125));
    let said = observer.stderr();
    assert!(said.contains("needs a role that may"), "{said}");
}

/// Its holder is dead, as this host can tell, and nobody is there to take over.
#[test]
fn it_tells_when_a_term_has_run_out() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let observer = ask(&etcd, &["observe", "--json"]).spawn();
    let text = ask(&etcd, &["observe"]).spawn();
    eventually(LIMIT, || lines(&observer).len() == 1);
    let leader = candidate(&etcd, "old")
        .ttl("6s")
        .args(["--cgroup", "off"])
        .spawn();
    let token = leader.wait_elected();
    leader.wait_event("started");
    leader.kill_both();
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    let seen = eventually(LIMIT, || {
        let lines = lines(&observer);
        (lines.len() == 4).then_some(lines)
    });
    let part = |name: &str| -> Vec<Value> { seen.iter().map(|line| line[name].clone()).collect() };
    let events = ["no-leader", "leader", "no-leader", "no-leader"];
    assert_eq!(part("event"), events);
    let [absent, none] = [Value::from("absent"), Value::Null];
    let records = [absent, none.clone(), "take-over".into(), "over".into()];
    assert_eq!(part("record"), records);
    assert_eq!(
        part("take_over"),
        [none.clone(), none, token.into(), token.into()]
    );
    let over = format!(
        "nobody leads: an earlier term (token {token}) has run out, and nobody has taken over yet"
    );
    eventually(LIMIT, || text.stdout().contains(&over));
    let running = format!("the command of an earlier term (token {token}) may still be running");
    assert!(text.stdout().contains(&running), "{}", text.stdout());
    // Whoever comes later is told the same, as by `status`.
    let late = ask(&etcd, &["observe", "--json"]).spawn();
    eventually(LIMIT, || lines(&late).len() == 1);
    assert_eq!(lines(&late)[0]["record"], "over");
    let status = ask(&etcd, &["status", "--json"]).output();
    assert!(
        status.stdout.contains("\"record\":\"over\""),
        "{}",
        status.stdout
    );
}

/// Of a term that nobody records there is nothing to see afterwards.
#[test]
fn a_short_term_of_a_foreign_leader_is_seen() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let observer = ask(&etcd, &["observe", "--json"]).spawn();
    eventually(LIMIT, || lines(&observer).len() == 1);
    etcd.etcdctl(&["lock", KEY, "true"]);
    let seen = eventually(LIMIT, || {
        let lines = lines(&observer);
        (lines.len() == 3).then_some(lines)
    });
    assert_eq!(seen[1]["event"], "leader");
    assert_eq!(seen[2]["event"], "no-leader");
}

/// As `tail -f` does: nothing has to happen for it to notice.
#[test]
fn it_ends_with_its_reader() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let ignoring = ["env", "--ignore-signal=PIPE"];
    for (wrapper, signal, code) in [
        (&[][..], Some(Signal::SIGPIPE as i32), None),
        (&ignoring[..], None, Some(125)),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut observer = ask(&etcd, &["observe"]).stdout(writer);
        if !wrapper.is_empty() {
            observer = observer.under(wrapper);
        }
        let observer = observer.spawn();
        let mut line = String::new();
        let mut reader = BufReader::new(reader);
        reader.read_line(&mut line).expect("a line");
        assert!(line.contains("nobody leads"), "{line}");
        drop(reader);
        let status = observer.wait();
        assert_eq!((status.signal(), status.code()), (signal, code));
        let silent = code.is_none();
        assert_eq!(
            observer.stderr().is_empty(),
            silent,
            "{}",
            observer.stderr()
        );
    }
}

#[test]
fn an_outage_is_told_of_once_and_its_end_too() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let observer = ask(&etcd, &["observe", "--json"]).spawn();
    eventually(LIMIT, || lines(&observer).len() == 1);
    etcd.kill();
    eventually(LIMIT, || observer.stderr().contains("warning: "));
    // Long enough for many attempts.
    sleep(Duration::from_secs(10));
    let said = observer.stderr();
    let reasons: Vec<&str> = said
        .lines()
        .filter_map(|line| line.rsplit_once(": "))
        .map(|(_, reason)| reason)
        .collect();
    let mut different = reasons.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(reasons.len(), different.len(), "{said}");
    assert!(reasons.len() <= 3, "{said}");
    etcd.restart();
    eventually(LIMIT, || observer.stderr().contains("etcd answers again"));
    let leader = candidate(&etcd, "web1").spawn();
    let token = leader.wait_elected();
    eventually(LIMIT, || {
        lines(&observer).iter().any(|l| l["token"] == token)
    });
}

#[test]
fn it_ends_when_its_user_is_deleted_or_one_is_asked_for() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    let observer = observe_guarded(&guarded);
    eventually(LIMIT, || lines(&observer).len() == 1);
    guarded.etcd.etcdctl(&["user", "delete", USER]);
    assert_eq!(observer.wait().code(), Some(125));
    let said = observer.stderr();
    assert!(said.contains("does not accept the user"), "{said}");

    let open = Guarded::not_yet(Etcd::start());
    let observer = ask(&open.etcd, &["observe", "--json"]).spawn();
    eventually(LIMIT, || lines(&observer).len() == 1);
    open.etcd.ask_for_users();
    assert_eq!(observer.wait().code(), Some(125));
    let said = observer.stderr();
    assert!(said.contains("give --user"), "{said}");
}
