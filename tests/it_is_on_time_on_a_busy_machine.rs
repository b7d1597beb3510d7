//! With far more to do than the machine has processors, SIGKILL still comes before another may start: the
//! margin is what a guardian may be late by.

mod support;

use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::unistd::Uid;
use support::{Beat, Candidate, Etcd, LIMIT, Pid, Running, Signal, eventually, now, require_etcd};

const ROUNDS: usize = 10;
/// How many processes there are on a crowded machine.
const CROWD: usize = 4000;
const GRACE: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(1);

/// Processes that compute, and some that fill memory. They die with the test.
fn load() -> Vec<Running> {
    let spinning = (0..20).map(|_| spinner());
    // tail keeps all of a line that does not end.
    let memory = "while :; do head -c 300M /dev/zero | tail -c 300M >/dev/null; done";
    let filling = (0..2).map(|_| burn("filler", memory));
    spinning.chain(filling).collect()
}

fn burn(name: &str, script: &str) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Running::spawn(name, command)
}

fn spinner() -> Running {
    burn("spinner", "while :; do :; done")
}

/// Ten leaders whose commands ignore the stop signal; what happens to their supervisors; how late each
/// command's last sign of life was, measured from the instant of its SIGKILL.
fn lateness(crowd: Option<Running>, harm: impl Fn(&Running) -> f64) -> Vec<f64> {
    let etcd = Etcd::start();
    let beats: Vec<Beat> = (0..ROUNDS).map(|_| Beat::new()).collect();
    let leaders: Vec<Running> = beats
        .iter()
        .enumerate()
        .map(|(i, beat)| {
            Candidate::new(&etcd)
                .id(&format!("leader{i}"))
                .key(format!("/election/{i}"))
                .args(["--ttl", "10s", "--grace", "2s", "--margin", "1s", "-v"])
                // What kills a whole cgroup need not find what is in it.
                .args(["--cgroup", "off"])
                .life(beat.life().ignores_term().with_daemon())
                .spawn()
        })
        .collect();
    let mut tokens = vec![];
    for (leader, beat) in leaders.iter().zip(&beats) {
        tokens.push(leader.wait_elected());
        beat.wait_stamp(tokens[tokens.len() - 1], "daemon");
    }
    let guardians: Vec<Pid> = leaders.iter().map(Running::guardian_pid).collect();
    let load = load();
    let due: Vec<f64> = leaders
        .iter()
        .map(|leader| {
            // The next renewal is far away then.
            leader.wait_another_event("renewed");
            harm(leader)
        })
        .collect();
    // To look for who lives is work too, so it waits until all should be dead.
    let last = due.iter().fold(now(), |latest, &at| latest.max(at));
    thread::sleep(Duration::from_secs_f64(last - now()) + MARGIN);
    // In this order, since whoever ends looks at all processes for its own.
    drop((crowd, load));
    eventually(LIMIT, || {
        let dead =
            |(leader, guardian): (&Running, &Pid)| leader.tree().iter().all(|p| p == guardian);
        leaders.iter().zip(&guardians).all(dead)
    });
    let mut late: Vec<f64> = (0..ROUNDS)
        .map(|i| beats[i].last_stamp(tokens[i]).at - due[i])
        .collect();
    late.sort_by(f64::total_cmp);
    late
}

fn report(what: &str, late: &[f64]) {
    let list: Vec<String> = late.iter().map(|s| format!("{:+.0}", s * 1e3)).collect();
    println!(
        "{what}: last signs of life, in ms from SIGKILL's instant: {}; median {:+.0}, latest {:+.0}, margin {}",
        list.join(" "),
        late[late.len() / 2] * 1e3,
        late[late.len() - 1] * 1e3,
        MARGIN.as_millis()
    );
}

#[track_caller]
fn assert_in_time(late: &[f64]) {
    assert_eq!(late.len(), ROUNDS);
    assert!(late.iter().all(|&s| s < MARGIN.as_secs_f64()), "{late:?}");
    // They lived to the end of their grace: else this would show nothing.
    assert!(late[late.len() / 2] > -0.5, "{late:?}");
}

/// To find a command's processes takes time, which must not grow with what else there is.
#[test]
fn a_stopped_supervisor_on_a_busy_and_crowded_machine() {
    if !require_etcd() {
        return;
    }
    let mut command = Command::new("timeout");
    let crowd = format!("for i in $(seq {CROWD}); do sleep 300 & done; echo there; wait");
    command.args(["300", "bash", "-c", &crowd]);
    let crowd = Running::spawn("crowd", command);
    eventually(LIMIT, || crowd.stdout() == "there\n");
    let late = lateness(Some(crowd), |leader| {
        leader.signal(Signal::SIGSTOP);
        leader.instants(GRACE, MARGIN).kill
    });
    report("supervisor stopped among many", &late);
    assert_in_time(&late);
}

#[test]
fn a_killed_supervisor_on_a_busy_machine() {
    if !require_etcd() {
        return;
    }
    let late = lateness(None, |leader| {
        let killed = now();
        leader.signal(Signal::SIGKILL);
        let grace = killed + GRACE.as_secs_f64();
        grace.min(leader.instants(GRACE, MARGIN).kill)
    });
    report("supervisor killed", &late);
    assert_in_time(&late);
}

#[test]
fn a_stopped_supervisor_on_a_busy_machine() {
    if !require_etcd() {
        return;
    }
    let late = lateness(None, |leader| {
        leader.signal(Signal::SIGSTOP);
        leader.instants(GRACE, MARGIN).kill
    });
    report("supervisor stopped", &late);
    assert_in_time(&late);
}

/// To die, a process has to run. One that was to come last has fifty others before it here, and each of many.
#[test]
fn a_command_that_is_to_run_last_dies_in_time() {
    if !require_etcd() {
        return;
    }
    if !Uid::effective().is_root() {
        support::skip("only root may let processes run first");
        return;
    }
    let etcd = Etcd::start();
    let script = "trap '' TERM; for i in $(seq 60); do $0 sh -c 'while :; do :; done' & done; wait";
    for last in [&["nice", "-n", "19"][..], &["chrt", "--idle", "0"]] {
        let last = last.join(" ");
        let leader = Candidate::new(&etcd)
            .args(["--ttl", "8s", "--grace", "1s", "--margin", "1s", "-v"])
            .args(["--cgroup", "off"])
            .command(&["sh", "-c", script, &last])
            .spawn();
        leader.wait_event("started");
        eventually(LIMIT, || leader.tree().len() > 60);
        let spinners: Vec<Running> = (0..20).map(|_| spinner()).collect();
        leader.wait_another_event("renewed");
        etcd.stop();
        let headroom = leader.wait_event("tree-empty")["headroom"].as_f64();
        println!("{last}: {headroom:?} s left of the margin");
        assert!(headroom.is_some_and(|left| left > 0.0), "{headroom:?}");
        drop(spinners);
        etcd.cont();
        leader.wait_gone();
    }
}
