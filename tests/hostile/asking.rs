//! The questions, answered with lies: no answer is 125, in bounded time, and nothing that etcd says reaches the
//! terminal as it is.

use crate::hostile::liar::{Liar, truth};
use crate::hostile::lies;
use crate::support::{Candidate, Etcd, KEY, LIMIT, Running, eventually, require_etcd, within};

fn ask(question: &str, liar: &Liar) -> Candidate {
    let endpoint = liar.endpoint();
    Candidate::bare().args([question, "--key", KEY, "--endpoints", &endpoint])
}

#[track_caller]
fn assert_sound(name: &str, running: &Running) {
    let said = running.stderr();
    assert!(!said.contains("panicked"), "{name}: {said}");
    let wild = |c: char| c.is_control() && c != '\n';
    assert!(!said.contains(wild), "{name}: {said:?}");
    let lines = said.lines().all(|line| line.starts_with("leaderrun: "));
    assert!(lines, "{name}: {said:?}");
}

#[test]
fn no_answer_is_125() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).spawn();
    leader.wait_elected();
    let (mut asked, mut liars) = (Vec::new(), Vec::new());
    for (name, lie) in lies::of_no_proof() {
        // What is false in keepalives does not concern those who only ask.
        let is_one = ["transaction", "silence", "error", "operations", "nothing"];
        if !is_one.iter().any(|part| name.contains(part)) || name.contains("another cluster") {
            continue;
        }
        let liar = Liar::new(&etcd);
        liar.tell(lie);
        for question in ["status", "resign"] {
            asked.push((name, ask(question, &liar).spawn()));
        }
        asked.push((name, ask("observe", &liar).spawn()));
        liars.push(liar);
    }
    assert!(asked.len() > 15, "{}", asked.len());
    for (name, running) in &asked {
        let late = *name == "a late transaction";
        if !late {
            assert_eq!(
                running.wait().code(),
                Some(125),
                "{name}: {}",
                running.stdout()
            );
        }
        assert_sound(name, running);
    }
}

/// How long the leader's lease has is a part of what is told; without it, nothing is.
#[test]
fn whatever_is_said_of_a_lease_the_status_is_sound() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).spawn();
    leader.wait_elected();
    let lies = lies::of_times_to_live().into_iter();
    let asked: Vec<_> = lies
        .map(|(name, lie)| {
            let liar = Liar::new(&etcd);
            liar.tell(lie);
            (name, ask("status", &liar).spawn(), liar)
        })
        .collect();
    for (name, running, _) in &asked {
        let code = running.wait().code();
        let told = running.stdout();
        println!("{name}: {code:?} {told}{}", running.stderr());
        match code {
            Some(0) => assert!(told.contains("leader "), "{name}: {told}"),
            Some(125) => assert_eq!(told, "", "{name}"),
            other => panic!("{name}: {other:?} {told}"),
        }
        assert!(
            !told.contains(|c: char| c.is_control() && c != '\n'),
            "{told:?}"
        );
        assert_sound(name, running);
    }
}

#[test]
fn an_observer_goes_on_whatever_a_watch_tells() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let lies = lies::of_watches();
    let liars: Vec<_> = lies
        .into_iter()
        // An event out of its order says what was true, and no observer can tell.
        .filter(|(name, _)| *name != "in another order")
        .map(|(name, lie)| {
            let liar = Liar::new(&etcd);
            liar.tell(lie);
            (name, ask("observe", &liar).spawn(), liar)
        })
        .collect();
    for (name, observer, _) in &liars {
        eventually(LIMIT, || observer.stdout().contains("nobody leads"));
        assert!(observer.try_wait().is_none(), "{name}");
    }
    let leader = Candidate::new(&etcd).spawn();
    let leads = format!("leads with token {}", leader.wait_elected());
    for (name, observer, liar) in liars {
        // What is told beside the truth hides nothing of it. And what was hidden is not lost: it comes as soon as a
        // watch stands again, and one that says nothing at all is given up for it.
        let beside = ["compacted", "event", "header"];
        if !beside.iter().any(|part| name.contains(part)) {
            liar.tell(truth());
        }
        let told = within(LIMIT, || observer.stdout().contains(&leads));
        assert!(told.is_some(), "{name}: {}", observer.stderr());
        assert!(observer.try_wait().is_none(), "{name}");
        assert_sound(name, &observer);
    }
}
