//! Signals to leaderrun arrive: none is lost that the kernel would not lose, none comes twice, and at every
//! stage of a run they mean what the manual's table says.
//!
//! What users of other tools have complained about, and which test of ours would see it:
//!
//! | complaint known from another tool | where | our test |
//! | --- | --- | --- |
//! | SIGTERM ends the tool, and the command lives on | uutils/coreutils#8040 | `the_leaders_command_is_stopped_and_its_status_passed_on` |
//! | SIGTERM is passed on, and SIGINT, SIGHUP and the rest are not | uutils/coreutils#10238, just-containers/s6-overlay#347 | `a_leader_passes_on_what_does_not_end_it`, `stopping_it_passes_all_of_them_on` |
//! | SIGINT to the supervisor ends it, and the command lives on | skarnet/s6#4 | `ctrl_c_reaches_the_command_once`, `a_request_to_end_at_the_election_is_not_lost` |
//! | the command's own children are not told and live on, beside the next command | uutils/coreutils#4176, just-containers/s6-overlay#229, just-containers/s6-overlay#572 | `each_of_forty_sessions_is_told_once_at_the_fence`, `a_tree_that_goes_on_forking_is_killed_to_the_last` |
//! | a signal between fork and exec is lost | nrdvana/daemonproxy#42 | `between_the_election_and_the_exec_no_signal_is_lost` |
//! | the command gets a signal that nobody sent, right after its start | Yelp/dumb-init#136 | `a_shell_within_has_its_own_jobs` (it would die of it) |
//! | a hang, where the starter ignores SIGCHLD | sudo-project/sudo#98 | `no_signal_is_blocked_or_ignored_that_the_starter_did_not_ignore` |
//! | what the starter ignores is not ignored by the command | uutils/coreutils#10254 | `no_signal_is_blocked_or_ignored_that_the_starter_did_not_ignore` |
//! | the command's exit status is lost | uutils/coreutils#1742, just-containers/s6-overlay#320 | `an_exit_status_is_passed_on` |
//! | the status of a command that had to be killed is that of an internal failure | uutils/coreutils#11392 | `a_command_that_ignores_the_stop_signal_is_killed_after_the_stop_timeout` |
//! | `kill -9` of the supervisor leaves what it runs alone | Supervisor/supervisor#199, ochinchina/supervisord#16 | `killed`, `killed_while_the_command_ignores_the_stop_signal` |

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Proxy, Running, Scratch, Signal, Stalled, assert_no_overlap,
    count_deliveries, death_of, deliveries, eventually, helper, instant_of, now, require_etcd,
    send,
};

/// Of these the kernel keeps one of a kind until it is delivered.
const STANDARD: [i32; 4] = [
    Signal::SIGUSR1 as i32,
    Signal::SIGUSR2 as i32,
    Signal::SIGHUP as i32,
    Signal::SIGWINCH as i32,
];
/// Of these it keeps all.
const REAL_TIME: [i32; 6] = [36, 40, 41, 50, 63, 64];

fn all() -> impl Iterator<Item = i32> {
    STANDARD.into_iter().chain(REAL_TIME)
}

// --- a burst -------------------------------------------------------------------------------------

/// Counts signals, and writes the counts into a file whenever they have changed, until SIGKILL.
#[test]
fn counter() {
    let Some(file) = helper::asked() else { return };
    let file = Path::new(&file);
    count_deliveries(&all().collect::<Vec<_>>());
    let born = Instant::now();
    let mut written = String::new();
    while born.elapsed() < Duration::from_secs(120) {
        let lines = all().map(|s| format!("{s} {}\n", deliveries(s)));
        let counts = lines.collect::<Vec<_>>().concat();
        if counts != written {
            let new = file.with_extension("new");
            fs::write(&new, &counts).expect("own directory");
            fs::rename(&new, file).expect("own directory");
            written = counts;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn counts(file: &Path) -> BTreeMap<i32, u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let count = |line: &str| {
        let (signal, count) = line.split_once(' ')?;
        Some((signal.parse().ok()?, count.parse().ok()?))
    };
    text.lines().filter_map(count).collect()
}

#[test]
fn in_a_burst_of_ten_thousand_none_is_lost_and_none_doubled() {
    const EACH: u64 = 1000;
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("counts"));
    let file = dir.path("counts");
    let run = Candidate::new(&etcd)
        .argv(helper::argv("counter", &file))
        .spawn();
    eventually(LIMIT, || counts(&file).len() == all().count());
    let began = now();
    for _ in 0..EACH {
        all().for_each(|signal| send(run.pid(), signal));
    }
    let real_time = |counts: &BTreeMap<i32, u64>, n| REAL_TIME.iter().all(|s| counts[s] >= n);
    eventually(LIMIT, || real_time(&counts(&file), EACH));
    println!(
        "all delivered after {:.3}s: {:?}",
        now() - began,
        counts(&file)
    );
    // What comes now must not come because of the burst: real-time signals are the last in the queue.
    let before = counts(&file);
    for signal in all() {
        send(run.pid(), signal);
        eventually(LIMIT, || counts(&file)[&signal] > before[&signal]);
    }
    let after = counts(&file);
    for signal in REAL_TIME {
        assert_eq!(after[&signal], EACH + 1, "signal {signal}: {after:?}");
    }
    for signal in STANDARD {
        let (before, after) = (before[&signal], after[&signal]);
        assert!((1..=EACH).contains(&before), "signal {signal}: {before}");
        assert_eq!(after, before + 1, "signal {signal}");
    }
    send(run.command_pid(), Signal::SIGKILL as i32);
    assert_eq!(death_of(run.wait()), 9);
    run.wait_gone();
    etcd.assert_nothing_left();
}

// --- at the wrong moment -------------------------------------------------------------------------

/// The request to end comes when the run has said so much, and as near to that as we can.
fn asked_to_end_at(event: &str) {
    const ROUNDS: usize = 12;
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut started = 0;
    for round in 0..ROUNDS {
        let run = Candidate::new(&etcd).sh("exec sleep 600").spawn();
        while run.events_named(event).is_empty() {
            thread::sleep(Duration::from_micros(200));
        }
        let signal = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT][round % 3];
        run.signal(signal);
        assert_eq!(death_of(run.wait()), signal as i32);
        run.wait_gone();
        started += run.events_named("started").len();
        etcd.assert_nothing_left();
    }
    println!("{started} of {ROUNDS} commands had been started");
}

#[test]
fn a_request_to_end_at_the_election_is_not_lost() {
    asked_to_end_at("elected");
}

#[test]
fn a_request_to_end_at_the_beginning_is_not_lost() {
    asked_to_end_at("campaigning");
}

/// A guardian that stands still takes in the order to start and the signal at once: the signal comes before
/// the exec, or even before the fork.
#[test]
fn between_the_election_and_the_exec_no_signal_is_lost() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGHUP,
    ] {
        let leader = Candidate::new(&etcd).spawn();
        leader.wait_event("started");
        let run = Candidate::new(&etcd).sh("exec sleep 600").spawn();
        run.wait_event("waiting");
        let stalled = Stalled::main_thread(run.guardian_pid());
        leader.signal(Signal::SIGTERM);
        run.wait_event("elected");
        run.signal(signal);
        if signal == Signal::SIGTERM || signal == Signal::SIGINT {
            run.wait_event("stopping");
        }
        assert!(run.events_named("started").is_empty());
        drop(stalled);
        assert_eq!(death_of(run.wait()), signal as i32);
        run.wait_gone();
        leader.wait_gone();
        etcd.assert_nothing_left();
    }
}

#[test]
fn a_request_to_end_while_a_record_is_waited_out() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // The whole family dies at once, so that its record stands.
    let first = Candidate::new(&etcd).ttl("60s").spawn();
    first.wait_event("started");
    first.kill_both();
    first.wait_gone();
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let run = Candidate::new(&etcd).ttl("5s").spawn();
        assert_eq!(run.wait_event("waiting")["reason"], "record");
        // None of these is meant for it.
        for other in all() {
            send(run.pid(), other);
        }
        run.signal(signal);
        assert_eq!(death_of(run.wait()), signal as i32);
        run.wait_event("released");
        run.wait_gone();
        assert!(run.events_named("elected").is_empty());
        assert!(etcd.keys(&format!("{KEY}/")).is_empty());
    }
    assert!(etcd.entry(&format!("{KEY}.term")).is_some());
}

// --- stopping and fencing ------------------------------------------------------------------------

/// A command that writes `ready`, then the name of each signal that it gets.
const LISTENER: &str = "
    for s in HUP INT QUIT USR1 USR2 ALRM WINCH TERM 40; do trap \"echo got $s\" $s; done
    echo ready
    while :; do sleep 0.01; done";

#[track_caller]
fn wait_output(run: &Running, text: &str) {
    eventually(LIMIT, || run.stdout().contains(text));
}

/// Each is passed on as it is, one after the other, and once.
#[track_caller]
fn assert_passes_all_on(run: &Running) {
    let own = ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "WINCH"];
    let numbers = own.map(|name| {
        let known: Signal = format!("SIG{name}").parse().expect("a signal");
        (name, known as i32)
    });
    for (name, number) in numbers.into_iter().chain([("40", 40)]) {
        send(run.pid(), number);
        wait_output(run, &format!("got {name}\n"));
    }
    let written = run.stdout();
    // With `ready` and the stop signal.
    assert_eq!(written.lines().count(), 10, "{written}");
}

#[test]
fn stopping_it_passes_all_of_them_on() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd).sh(LISTENER).spawn();
    wait_output(&run, "ready\n");
    run.signal(Signal::SIGTERM);
    wait_output(&run, "got TERM\n");
    assert_passes_all_on(&run);
    assert_eq!(run.events_named("stopping").len(), 1);
    send(run.command_pid(), Signal::SIGKILL as i32);
    assert_eq!(death_of(run.wait()), 9);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn fencing_it_passes_all_of_them_on_and_none_delays_the_kill() {
    const GRACE: f64 = 4.0;
    /// How late a busy machine may run us.
    const SLACK: f64 = 1.0;
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .args(["--ttl", "30s", "--grace", "4s"])
        .sh(LISTENER)
        .spawn();
    wait_output(&run, "ready\n");
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    wait_output(&run, "got TERM\n");
    assert_passes_all_on(&run);
    let stopping = instant_of(&run.wait_event("stopping"));
    run.wait_nth_event("killed", 1);
    let killed = instant_of(&run.wait_event("killed"));
    println!(
        "killed {:+.3}s from the end of its grace",
        killed - stopping - GRACE
    );
    assert!(killed - stopping > GRACE - SLACK && killed - stopping < GRACE + SLACK);
    assert_eq!(run.wait().code(), Some(75), "the loss came first");
    assert_eq!(run.events_named("stopping").len(), 1);
    run.wait_gone();
    etcd.assert_nothing_left();
}

// --- a request to end outlasts --on-loss campaign ------------------------------------------------

/// A leader that is to campaign again, and is being fenced.
fn fenced_campaigner(etcd: &Etcd, beat: &Beat) -> Running {
    let run = Candidate::new(etcd)
        .args(["--on-loss", "campaign", "--ttl", "10s", "--grace", "1500ms"])
        .life(beat.life().notes_term())
        .spawn();
    let token = run.wait_elected();
    beat.wait_stamp(token, "beat");
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    // The command may have been told before leaderrun knows.
    run.wait_event("stopping");
    run
}

#[test]
fn a_request_to_end_during_the_fence_is_followed_by_no_other_campaign() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let run = fenced_campaigner(&etcd, &beat);
        run.signal(signal);
        assert_eq!(run.wait().code(), Some(75), "after {signal}");
        assert_eq!(run.events_named("campaigning").len(), 1);
        run.wait_gone();
        etcd.assert_nothing_left();
    }
    // Nothing else asks it to end.
    let run = fenced_campaigner(&etcd, &beat);
    run.signal(Signal::SIGHUP);
    run.wait_nth_event("elected", 2);
    run.wait_nth_event("started", 2);
    run.signal(Signal::SIGTERM);
    run.wait_event("stopping");
    send(run.command_pid(), Signal::SIGKILL as i32);
    run.wait();
    run.wait_gone();
    assert_no_overlap(&beat);
}

#[test]
fn a_request_to_end_while_the_lost_term_is_given_up() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let proxy = Proxy::new(&etcd);
    let run = Candidate::new(&etcd)
        .endpoints(proxy.endpoint())
        .args(["--on-loss", "campaign", "--ttl", "3s"])
        .life(beat.life())
        .spawn();
    run.wait_event("started");
    // The fence falls, and nobody is there to take the term back.
    proxy.pause();
    run.wait_event("lost");
    run.signal(Signal::SIGTERM);
    assert_eq!(run.wait().code(), Some(75));
    assert_eq!(run.events_named("campaigning").len(), 1);
    run.wait_gone();
}
