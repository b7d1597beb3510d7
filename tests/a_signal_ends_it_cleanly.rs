//! Signals to leaderrun: what ends it, what is passed on, and with which status it ends.

mod support;

use std::process::Command;
use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Pid, Proxy, Running, Signal, Stalled, assert_no_overlap,
    death_of, eventually, now, require_etcd,
};

/// A command that writes `ready`, then the name of each signal that it gets.
const LISTENER: &str = "
    for s in HUP INT QUIT USR1 USR2 ALRM WINCH TERM 40; do trap \"echo got $s\" $s; done
    echo ready
    while :; do sleep 0.01; done";

const ENDS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// Waits until the command has written `text`.
#[track_caller]
fn wait_output(run: &Running, text: &str) {
    eventually(LIMIT, || run.stdout().contains(text));
}

/// Also those that nix has no name for.
fn send(pid: Pid, signal: &str) {
    let status = Command::new("sh")
        .args([
            "-c",
            "kill -s \"$1\" \"$2\"",
            "sh",
            signal,
            &pid.to_string(),
        ])
        .status();
    assert!(status.expect("sh").success());
}

fn standby(etcd: &Etcd) -> Running {
    // It has a session of its own, without a terminal, which would give SIGHUP another meaning.
    let candidate = Candidate::new(etcd).ttl("5s");
    let run = candidate.sh(LISTENER).spawn();
    run.wait_event("waiting");
    run
}

#[test]
fn the_leaders_command_is_stopped_and_its_status_passed_on() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    for signal in ENDS {
        // The command dies by what it is sent: SIGTERM as --stop-signal, the others as they are.
        let dies = Candidate::new(&etcd).command(&["sleep", "600"]).spawn();
        dies.wait_event("started");
        dies.signal(signal);
        assert_eq!(death_of(dies.wait()), signal as i32);
        let stopping = dies.wait_event("stopping");
        assert_eq!(
            (&stopping["reason"], &stopping["signal"]),
            (&"signal".into(), &signal.as_str().into())
        );
        dies.wait_gone();
        etcd.assert_nothing_left();
    }
    let beat = Beat::new();
    let exits = Candidate::new(&etcd)
        .life(beat.life().exits_on_term(0))
        .spawn();
    beat.wait_stamp(exits.wait_elected(), "beat");
    exits.signal(Signal::SIGTERM);
    assert_eq!(exits.wait().code(), Some(0));
    exits.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn the_stop_signal_can_be_chosen_and_a_second_signal_is_passed_on_as_it_is() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let command = "
        trap 'echo got USR2' USR2; trap 'echo got TERM; exit 4' TERM; echo ready
        while :; do sleep 0.01; done";
    let run = Candidate::new(&etcd)
        .arg("--stop-signal=USR2")
        .sh(command)
        .spawn();
    wait_output(&run, "ready\n");
    run.signal(Signal::SIGTERM);
    wait_output(&run, "got USR2\n");
    assert_eq!(run.wait_event("stopping")["signal"], "SIGUSR2");
    assert!(!run.stdout().contains("TERM"));
    run.signal(Signal::SIGTERM);
    assert_eq!(run.wait().code(), Some(4));
    assert_eq!(run.events_named("stopping").len(), 1);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_standby_leaves_the_queue_and_dies_by_the_signal() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).spawn();
    leader.wait_event("started");
    let queue = etcd.keys(&format!("{KEY}/"));
    for signal in ENDS {
        let run = standby(&etcd);
        assert_eq!(etcd.keys(&format!("{KEY}/")).len(), 2);
        run.signal(signal);
        assert_eq!(death_of(run.wait()), signal as i32);
        run.wait_event("released");
        run.wait_gone();
        assert_eq!(etcd.keys(&format!("{KEY}/")), queue);
        assert_eq!(etcd.leases().len(), 1);
        assert!(run.events_named("started").is_empty());
    }
    leader.signal(Signal::SIGTERM);
    leader.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_standby_dies_by_the_signal_also_when_etcd_does_not_answer() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).ttl("20s").spawn();
    leader.wait_event("started");
    let run = standby(&etcd);
    etcd.stop();
    let asked = now();
    run.signal(Signal::SIGTERM);
    assert_eq!(death_of(run.wait()), 15);
    // Two seconds are the promise; a leader's patience with a silent etcd is eight.
    assert!(now() - asked < 6.0, "{}", now() - asked);
    run.wait_gone();
    assert!(!run.events_named("warning").is_empty());
}

#[test]
fn whoever_is_still_connecting_dies_by_the_signal() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let interrupt = |signal: Signal| {
        let run = Candidate::new(&etcd).ttl("2s").spawn();
        run.wait_event("warning");
        run.signal(signal);
        assert_eq!(death_of(run.wait()), signal as i32);
        run.wait_gone();
    };
    // One that takes in requests and answers none, and one that is not there.
    etcd.stop();
    interrupt(Signal::SIGTERM);
    etcd.cont();
    etcd.wait_ready();
    // What was asked of it in vain ends with its TTL.
    eventually(LIMIT, || etcd.leases().is_empty());
    etcd.assert_nothing_left();
    etcd.kill();
    interrupt(Signal::SIGINT);
    interrupt(Signal::SIGQUIT);
}

#[test]
fn a_command_that_ignores_the_stop_signal_is_killed_after_the_stop_timeout() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let run = Candidate::new(&etcd)
        .args(["--stop-timeout", "400ms"])
        .life(beat.life().ignores_term().with_daemon())
        .spawn();
    let token = run.wait_elected();
    beat.wait_stamp(token, "daemon");
    let asked = now();
    run.signal(Signal::SIGTERM);
    assert_eq!(run.wait_event("killed")["reason"], "stop-timeout");
    assert!(now() - asked >= 0.4);
    assert_eq!(death_of(run.wait()), 9);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn without_a_stop_timeout_a_planned_stop_may_outlast_the_ttl() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = Candidate::new(&etcd)
        .ttl("3s")
        .grace("200ms")
        .life(beat.life().notes_term().exits(5, Duration::from_secs(5)))
        .spawn();
    let first = leader.wait_elected();
    beat.wait_stamp(first, "beat");
    let standby = Candidate::new(&etcd).life(beat.life()).spawn();
    standby.wait_event("waiting");
    leader.signal(Signal::SIGTERM);
    let asked = beat.wait_stamp(first, "term").at;
    assert_eq!(leader.wait().code(), Some(5));
    let ended = beat.wait_stamp(first, "end").at;
    assert!(
        ended - asked > 3.2,
        "longer than TTL or grace: {asked} to {ended}"
    );
    assert!(leader.events_named("killed").is_empty());
    standby.wait_event("started");
    assert_no_overlap(&beat);
}

/// Ends with 7 at its second SIGTERM.
const TWICE: &str = "
    n=0; trap 'n=$((n+1)); echo got $n; [ $n -lt 2 ] || exit 7' TERM; echo ready
    while :; do sleep 0.01; done";

#[test]
fn a_loss_during_a_planned_stop_does_not_change_the_status() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd).grace("4s").sh(TWICE).spawn();
    wait_output(&run, "ready\n");
    run.signal(Signal::SIGTERM);
    wait_output(&run, "got 1\n");
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    // The loss sends the stop signal again.
    assert_eq!(run.wait().code(), Some(7));
    assert_eq!(run.wait_nth_event("stopping", 2)["reason"], "key-lost");
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_signal_during_a_loss_is_passed_on_and_does_not_change_the_status() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd).grace("4s").sh(TWICE).spawn();
    wait_output(&run, "ready\n");
    assert!(etcd.del(&etcd.keys(&format!("{KEY}/"))[0]));
    wait_output(&run, "got 1\n");
    run.signal(Signal::SIGTERM);
    assert_eq!(run.wait().code(), Some(75));
    assert_eq!(run.wait_event("command-exited")["code"], 7);
    assert_eq!(run.events_named("stopping").len(), 1);
    run.wait_gone();
    etcd.assert_nothing_left();
}

/// The guardian's word that it fences may be on its way while the signal is taken.
#[test]
fn a_signal_after_a_loss_that_was_not_heard_of_yet_does_not_change_the_status() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .ttl("5s")
        .grace("1s")
        .margin("1s")
        .sh("trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.01; done")
        .spawn();
    wait_output(&run, "ready\n");
    let deaf = Stalled::thread(run.pid(), "watch");
    etcd.stop();
    wait_output(&run, "got\n");
    run.signal(Signal::SIGTERM);
    assert_eq!(run.wait_event("stopping")["reason"], "signal");
    etcd.cont();
    drop(deaf);
    assert_eq!(run.wait().code(), Some(75));
    assert_eq!(run.wait_event("lost")["reason"], "renewal-timeout");
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_leader_passes_on_what_does_not_end_it() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd).sh(LISTENER).spawn();
    wait_output(&run, "ready\n");
    // One after the other, since two of one kind may become one.
    for signal in ["HUP", "USR1", "USR2", "ALRM", "WINCH", "40"] {
        send(run.pid(), signal);
        wait_output(&run, &format!("got {signal}\n"));
    }
    assert!(run.try_wait().is_none() && run.events_named("stopping").is_empty());
    // In a planned stop as well.
    run.signal(Signal::SIGTERM);
    wait_output(&run, "got TERM\n");
    for signal in ["INT", "QUIT"] {
        send(run.pid(), signal);
        wait_output(&run, &format!("got {signal}\n"));
    }
    assert_eq!(run.stdout().lines().count(), 10, "{}", run.stdout());
    send(run.command_pid(), "KILL");
    assert_eq!(death_of(run.wait()), 9);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_standby_ignores_what_does_not_end_it() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).ttl("5s").spawn();
    leader.wait_event("started");
    let run = standby(&etcd);
    for signal in ["HUP", "USR1", "USR2", "ALRM", "WINCH", "40"] {
        send(run.pid(), signal);
    }
    leader.signal(Signal::SIGTERM);
    wait_output(&run, "ready\n");
    // Signals come in order: had an earlier one been kept for the command, it would come first.
    send(run.pid(), "ALRM");
    wait_output(&run, "got ALRM\n");
    assert_eq!(run.stdout(), "ready\ngot ALRM\n");
    send(run.command_pid(), "KILL");
    run.wait_gone();
    leader.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_real_time_signal_that_kills_the_command_kills_leaderrun() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd).command(&["sleep", "600"]).spawn();
    run.wait_event("started");
    send(run.pid(), "40");
    assert_eq!(death_of(run.wait()), 40);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_stopped_command_is_continued_to_take_the_stop_signal() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .sh("trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done")
        .spawn();
    wait_output(&run, "ready\n");
    let command = run.command_pid();
    send(command, "STOP");
    eventually(LIMIT, || support::is_stopped(command));
    run.signal(Signal::SIGTERM);
    assert_eq!(run.wait().code(), Some(6));
    run.wait_gone();
    etcd.assert_nothing_left();
}

/// timeout(1) signals its child, and then its own group, in which the child is too.
#[test]
fn a_signal_that_comes_twice_leaves_nothing_behind() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).sh("exec sleep 600").spawn();
    leader.wait_event("started");
    let proxy = Proxy::new(&etcd);
    let standby = Candidate::new(&etcd).endpoints(proxy.endpoint()).spawn();
    standby.wait_event("waiting");
    for run in [&standby, &leader] {
        // What it says to etcd at the end is on its way when the second one comes.
        proxy.pause();
        run.signal(Signal::SIGTERM);
        run.signal(Signal::SIGTERM);
        run.signal(Signal::SIGINT);
        proxy.resume();
        // Of several that are pending, the kernel hands over the smallest first.
        let death = death_of(run.wait());
        assert!([2, 15].contains(&death), "{death}");
        run.wait_event("released");
    }
    etcd.assert_nothing_left();
}
