//! `--min-hold`: leadership outlasts a short command, so that a job that many hosts start runs once.

mod support;

use std::time::Duration;

use support::{Beat, Candidate, Etcd, Life, Running, Signal, assert_no_overlap, now, require_etcd};

const RECORD: &str = "/election/test.term";
const CANDIDATES: &str = "/election/test/";
/// Long enough to tell a record that runs out from one that was removed.
const TTL: &str = "8s";

fn holder(etcd: &Etcd, life: Life, hold: &str) -> Candidate {
    Candidate::new(etcd)
        .ttl(TTL)
        .args(["--min-hold", hold])
        .life(life)
}

fn short(beat: &Beat) -> Life {
    beat.life().exits(3, Duration::from_millis(50))
}

/// Holds leadership although its command is over.
fn holding(etcd: &Etcd, beat: &Beat) -> Running {
    let holder = holder(etcd, short(beat), "10m").spawn();
    // The tree is empty, so what would come next is the release.
    holder.wait_event("tree-empty");
    holder
}

#[track_caller]
fn assert_a_try_fails(etcd: &Etcd, beat: &Beat) {
    let rival = Candidate::new(etcd).arg("--try").life(beat.life()).output();
    assert_eq!(rival.code(), 124);
}

/// The holder is gone, and its record keeps the others out for about a TTL.
#[track_caller]
fn assert_the_record_stands(etcd: &Etcd, beat: &Beat) {
    let since = now();
    assert!(etcd.get(RECORD).is_some(), "no record");
    assert_a_try_fails(etcd, beat);
    let rival = Candidate::new(etcd).id("rival").life(beat.life()).spawn();
    let next = beat.wait_tokens(2);
    let waited = beat.first_stamp(next).at - since;
    assert!(waited > 3.0, "the next started after {waited:.2} s");
    assert_no_overlap(beat);
    drop(rival);
}

#[test]
fn leadership_is_kept_until_the_hold_is_over_and_the_status_is_the_commands() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let holder = holder(&etcd, short(&beat), "4s").spawn();
    let elected = { holder.wait_elected() };
    let began = beat.wait_stamp(elected, "start").at;
    holder.wait_event("tree-empty");
    assert_a_try_fails(&etcd, &beat);
    let heir = Candidate::new(&etcd).id("heir").life(beat.life()).spawn();
    heir.wait_event("waiting");
    assert_eq!(holder.wait().code(), Some(3));
    let next = beat.wait_tokens(2);
    let held = beat.first_stamp(next).at - began;
    // Stamps are rounded down to 10 ms, and the command starts a moment after the election.
    assert!(held > 3.8, "held for {held:.2} s");
    // Released, and not left to run out: the TTL is longer.
    assert!(held < 9.0, "held for {held:.2} s");
    assert_no_overlap(&beat);
}

#[test]
fn a_command_that_outlasts_the_hold_is_released_at_its_end() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let life = beat.life().exits(0, Duration::from_millis(700));
    let finished = holder(&etcd, life, "300ms").output();
    assert_eq!(finished.code(), 0);
    assert_eq!(etcd.get(RECORD), None);
    assert!(etcd.keys(CANDIDATES).is_empty() && etcd.leases().is_empty());
}

#[test]
fn a_stop_during_the_hold_leaves_at_once_and_lets_the_record_stand() {
    if !require_etcd() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let (etcd, beat) = (Etcd::start(), Beat::new());
        let holder = holding(&etcd, &beat);
        holder.signal(signal);
        assert_eq!(holder.wait().code(), Some(3));
        assert_eq!(holder.events_named("released").len(), 1);
        assert!(etcd.keys(CANDIDATES).is_empty() && etcd.leases().is_empty());
        assert_the_record_stands(&etcd, &beat);
    }
}

#[test]
fn other_signals_do_not_cut_the_hold() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let holder = holding(&etcd, &beat);
    for signal in [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGALRM,
        Signal::SIGWINCH,
    ] {
        holder.signal(signal);
    }
    assert_a_try_fails(&etcd, &beat);
    assert_eq!(holder.try_wait(), None);
    assert_eq!(etcd.keys(CANDIDATES).len(), 1);
}

#[test]
fn a_stop_while_the_command_runs_cuts_the_hold_short_likewise() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let holder = holder(&etcd, beat.life().exits_on_term(7), "10m").spawn();
    beat.wait_tokens(1);
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.wait_within(Duration::from_secs(10)).code(), Some(7));
    assert_the_record_stands(&etcd, &beat);
}

#[test]
fn a_supervisor_that_is_killed_lets_the_record_stand() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let killed = holding(&etcd, &beat);
    killed.signal(Signal::SIGKILL);
    killed.wait_gone();
    assert_the_record_stands(&etcd, &beat);

    // While the command runs, too: its end would otherwise be an invitation.
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let killed = holder(&etcd, beat.life(), "10m").spawn();
    beat.wait_tokens(1);
    killed.signal(Signal::SIGKILL);
    killed.wait_gone();
    assert_the_record_stands(&etcd, &beat);
}

#[test]
fn after_the_hold_a_killed_supervisor_is_released_by_its_guardian() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let killed = holder(&etcd, beat.life(), "1s").arg("-v").spawn();
    let began = beat.wait_stamp(beat.wait_tokens(1), "start").at;
    // A renewal after the hold hands the lease back to the guardian.
    let mut n = 0;
    while now() - began < 2.0 {
        n += 1;
        killed.wait_nth_event("renewed", n);
    }
    killed.wait_nth_event("renewed", n + 1);
    killed.signal(Signal::SIGKILL);
    killed.wait_gone();
    assert_eq!(etcd.get(RECORD), None);
}

#[test]
fn a_key_that_is_lost_during_the_hold_does_not_invite_the_next_at_once() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let holder = holding(&etcd, &beat);
    assert!(etcd.del(&etcd.keys(CANDIDATES)[0]));
    assert_eq!(holder.wait_within(Duration::from_secs(10)).code(), Some(3));
    assert_the_record_stands(&etcd, &beat);
}

#[test]
fn the_hold_does_not_need_the_guardian() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let holder = holding(&etcd, &beat);
    nix::sys::signal::kill(holder.guardian_pid(), Signal::SIGKILL).expect("alive");
    assert_a_try_fails(&etcd, &beat);
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.wait().code(), Some(3));
    assert_the_record_stands(&etcd, &beat);
}

#[test]
fn of_five_hosts_whose_clocks_differ_one_runs_the_job() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let hosts: Vec<_> = (0..5)
        .map(|n| {
            // The clocks' difference.
            std::thread::sleep(Duration::from_millis(400 * u64::from(n > 0)));
            let life = beat.life().exits(0, Duration::from_millis(50));
            holder(&etcd, life, "5s")
                .id(&format!("host-{n}"))
                .arg("--try")
                .spawn()
        })
        .collect();
    let mut codes: Vec<_> = hosts.iter().map(|host| host.wait().code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(124), Some(124), Some(124), Some(124)]);
    assert_eq!(beat.tokens().len(), 1);
    assert_eq!(etcd.get(RECORD), None);
}
