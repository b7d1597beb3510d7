//! When renewals fail, the stop signal and SIGKILL come at the instants of the timeline, and the
//! command is dead a margin before another may start.

mod support;

use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, Instants, Port, Proxy, Running, Signal, assert_no_overlap, instant_of,
    now, require_etcd,
};

const TTL: f64 = 6.0;
const GRACE: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(1);

/// How late a busy machine may run us; less than the margin, which is there for that.
const SLACK: f64 = 0.8;
/// Stamps are rounded down to 10 ms, log lines to 1 ms.
const ROUNDING: f64 = 0.015;

/// A leader whose command notes SIGTERM and has to be killed.
fn leader(etcd: &Etcd, beat: &Beat) -> Candidate {
    Candidate::new(etcd)
        .id("leader")
        .ttl("6s")
        .grace("2s")
        .margin("1s")
        .arg("-v")
        .life(beat.life().notes_term().with_daemon())
}

fn standby(etcd: &Etcd, beat: &Beat) -> Candidate {
    Candidate::new(etcd)
        .id("standby")
        .ttl("5s")
        .life(beat.life())
}

/// Waits for the end of the leader's tree, and compares the stamps with the timeline.
#[track_caller]
fn assert_fenced_in_time(leader: &Running, beat: &Beat, token: u64) -> Instants {
    let empty = leader.wait_event("tree-empty");
    let headroom = empty["headroom"].as_f64().expect("seconds");
    let due = leader.instants(GRACE, MARGIN);
    let term = beat.wait_stamp(token, "term").at;
    let last = beat.last_stamp(token).at;
    println!(
        "stop signal {:+.3}s, last sign of life {:+.3}s, headroom {headroom:.3}s of {MARGIN:?}",
        term - due.stop,
        last - due.kill
    );
    assert!(term > due.stop - ROUNDING, "stopped early: {term} {due:?}");
    assert!(term < due.stop + SLACK, "stopped late: {term} {due:?}");
    assert!(last > due.kill - SLACK, "killed early: {last} {due:?}");
    assert!(last < due.kill + SLACK, "killed late: {last} {due:?}");
    assert!(headroom > MARGIN.as_secs_f64() - SLACK, "{empty}");
    assert_eq!(leader.wait_event("stopping")["reason"], "renewal-timeout");
    assert_eq!(leader.wait_event("killed")["reason"], "deadline");
    assert_eq!(leader.wait_event("lost")["reason"], "renewal-timeout");
    due
}

#[test]
fn etcd_freezes() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat).spawn();
    let token = leader.wait_elected();
    let standby = standby(&etcd, &beat).spawn();
    standby.wait_event("waiting");
    leader.wait_event("renewed");
    etcd.stop();
    assert_fenced_in_time(&leader, &beat, token);
    etcd.cont();
    assert_eq!(leader.wait().code(), Some(75));
    beat.wait_tokens(2);
    assert_no_overlap(&beat);
}

#[test]
fn etcd_is_killed() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat).spawn();
    let token = leader.wait_elected();
    leader.wait_event("renewed");
    etcd.kill();
    assert_fenced_in_time(&leader, &beat, token);
    // Nobody can be told of the end, which is given up in bounded time.
    assert_eq!(leader.wait().code(), Some(75));
    assert!(leader.events_named("released").is_empty());
    leader.wait_gone();
}

/// The network breaks while the leader leads, and the standby keeps its own way to etcd.
fn cut_off(breaks: impl FnOnce(&Proxy)) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let proxy = Proxy::new(&etcd);
    let leader = leader(&etcd, &beat).endpoints(proxy.endpoint()).spawn();
    let token = leader.wait_elected();
    let standby = standby(&etcd, &beat).arg("-v").spawn();
    standby.wait_event("waiting");
    leader.wait_event("renewed");
    breaks(&proxy);
    let cut = now();
    let due = assert_fenced_in_time(&leader, &beat, token);
    let next = standby.wait_elected();
    let first = beat.wait_stamp(next, "start").at;
    println!(
        "cut off to next start {:.3}s, from the earliest {:+.3}s",
        first - cut,
        first - due.another
    );
    assert!(first > due.another - ROUNDING, "{first} {due:?}");
    assert!(first < cut + TTL + 2.0, "{first} {cut}");

    // The one that was cut off comes back, and does not touch its successor.
    proxy.resume();
    assert_eq!(leader.wait().code(), Some(75));
    standby.wait_another_event("renewed");
    assert_eq!(beat.tokens(), [token, next]);
    assert_no_overlap(&beat);
}

#[test]
fn packets_vanish() {
    cut_off(Proxy::pause);
}

#[test]
fn connections_are_reset() {
    cut_off(Proxy::cut);
}

#[test]
fn answers_vanish_although_every_request_is_served() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let proxy = Proxy::new(&etcd);
    let leader = leader(&etcd, &beat).endpoints(proxy.endpoint()).spawn();
    let token = leader.wait_elected();
    let standby = standby(&etcd, &beat).spawn();
    standby.wait_event("waiting");
    leader.wait_event("renewed");
    proxy.pause_answers();
    // Lease and record may be renewed; without an answer that is no news to the leader.
    assert_fenced_in_time(&leader, &beat, token);
    proxy.resume();
    assert_eq!(leader.wait().code(), Some(75));
    beat.wait_tokens(2);
    assert_no_overlap(&beat);
}

#[test]
fn renewals_come_back_after_the_stop_signal_and_rescue_nobody() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let proxy = Proxy::new(&etcd);
    let leader = leader(&etcd, &beat)
        .args(["--renew-interval", "300ms"])
        .endpoints(proxy.endpoint())
        .spawn();
    let token = leader.wait_elected();
    leader.wait_event("renewed");
    proxy.pause();
    leader.wait_event("stopping");
    let due = leader.instants(GRACE, MARGIN);
    proxy.resume();
    assert_eq!(leader.wait().code(), Some(75));
    let last = beat.last_stamp(token).at;
    assert!(last > due.kill - SLACK, "killed early: {last} {due:?}");
    assert!(last < due.kill + SLACK, "killed late: {last} {due:?}");
    let renewals = leader.events_named("renewed");
    let after = renewals.iter().filter(|r| instant_of(r) > due.stop).count();
    println!("{after} renewals were confirmed after the stop signal");
}

/// The leader campaigns again after etcd was away.
fn leads_again(goes: impl FnOnce(&Etcd), comes_back: impl FnOnce(&Etcd)) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = leader(&etcd, &beat).args(["--on-loss", "campaign"]).spawn();
    let first = leader.wait_elected();
    leader.wait_event("renewed");
    goes(&etcd);
    assert_fenced_in_time(&leader, &beat, first);
    comes_back(&etcd);
    let elected = leader.wait_nth_event("elected", 2);
    let second = elected["token"].as_u64().expect("a token");
    assert!(second > first, "{elected}");
    beat.wait_stamp(second, "start");
    leader.wait_another_event("renewed");
    assert!(leader.try_wait().is_none());
    leader.signal(Signal::SIGKILL);
    assert_eq!(assert_no_overlap(&beat), [first, second]);
}

#[test]
fn on_loss_campaign_leads_again_when_etcd_thaws() {
    leads_again(Etcd::stop, Etcd::cont);
}

#[test]
fn on_loss_campaign_leads_again_when_etcd_is_restarted() {
    leads_again(Etcd::kill, Etcd::restart);
}

/// While a raft leader is elected, the members that live are silent. One that is dead fails at once, again and again,
/// and is not the one to wait with.
#[test]
fn a_dead_member_is_tried_no_more_often_than_silent_ones() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let silent = [Proxy::new(&etcd), Proxy::new(&etcd)];
    let dead = Port::reserve();
    let endpoints = [silent[0].endpoint(), silent[1].endpoint(), dead.address()].join(",");
    let leader = Candidate::new(&etcd)
        .endpoints(endpoints)
        .ttl("5s")
        .grace("1s")
        .arg("-v")
        .spawn();
    leader.wait_event("renewed");
    silent.iter().for_each(Proxy::pause);
    leader.wait();
    let failed = leader.events_named("renewal-failed");
    let tried: Vec<_> = failed.iter().map(|e| e["endpoint"].to_string()).collect();
    let of_dead = |tried: &&String| tried.contains(&dead.address());
    // The silent ones, the dead one, and the first again until the deadline.
    assert_eq!(tried.iter().filter(of_dead).count(), 1, "{tried:?}");
}
