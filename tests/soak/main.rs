//! Never two: candidates of one election under random faults of every sort at once, for as long as
//! wanted, with a judge who knows nothing but what their commands write.
//!
//! The commands stamp one shared file. Asked is, among leaderruns: no stamp of an older token after a
//! newer one's first, and no process of an older command alive when a newer starts; no stamp after the
//! term's record has gone from etcd, which a historian reads there, and no release that a log tells of before the tree
//! is empty; once the faults stop, each candidate leads in its turn; in the end nothing is left in etcd, in the
//! process table or in the cgroup.
//!
//! `LEADERRUN_SOAK_SECONDS` (30) is how long there are faults, `LEADERRUN_SOAK_SEED` decides them and the layout,
//! `LEADERRUN_SOAK_SPINNERS` (0) compute all the while. `scripts/soak` sets them. With the feature `break-rules`,
//! the same faults have to show two at once, or a record that has gone too soon.

#[path = "../support/mod.rs"]
mod support;

mod administrator;
mod arena;
mod historian;
mod left;
mod nemesis;
mod random;
mod report;
mod slot;
mod stamps;

use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime};

use arena::{Arena, EndOnPanic, Phase, SLOTS, Settings};
use random::Random;
use stamps::Judge;
use support::{helper, require_etcd};

/// In the finale each candidate leads once; what was harmed before waits for a TTL first, and behind foreigners.
const FINALE: Duration = Duration::from_secs(180);

#[test]
fn stamps_its_life() {
    let Some(argument) = helper::asked() else {
        return;
    };
    let argument = argument.into_string().expect("text");
    let (file, life) = match argument.split_once('?') {
        Some((file, life)) => (file, Some(life.parse().expect("milliseconds"))),
        None => (&*argument, None),
    };
    stamps::live(file.as_ref(), life.map(Duration::from_millis));
}

#[test]
#[cfg_attr(feature = "break-rules", ignore = "a build for the tests below")]
fn never_two_whatever_happens_many_times() {
    if !require_etcd() {
        return;
    }
    let seed = number("LEADERRUN_SOAK_SEED").unwrap_or_else(from_the_clock);
    let settings = Settings {
        seed,
        single: Random::new(seed, "layout", 0).percent(25),
        time: Duration::from_secs(number("LEADERRUN_SOAK_SECONDS").unwrap_or(30)),
        spinners: usize::try_from(number("LEADERRUN_SOAK_SPINNERS").unwrap_or(0)).expect("a few"),
        broken: Vec::new(),
    };
    let Some((arena, judge)) = soak(settings) else {
        return;
    };
    println!("{}", report::summary(&arena, &judge));
    let sound = arena.record().violations.is_empty();
    assert!(sound, "{}", report::evidence(&arena, &judge));
}

/// With a rule off, the faults have to show two at once.
#[cfg(feature = "break-rules")]
fn two_at_once_without(rule: &str) {
    if let Some(judge) = soak_without(rule) {
        assert!(judge.violation.is_some(), "never two without {rule}");
    }
}

#[cfg(feature = "break-rules")]
fn soak_without(rule: &str) -> Option<Judge> {
    if !require_etcd() {
        return None;
    }
    let settings = Settings {
        seed: number("LEADERRUN_SOAK_SEED").unwrap_or_else(from_the_clock),
        // It takes seconds, as a rule.
        time: Duration::from_secs(number("LEADERRUN_SOAK_SECONDS").unwrap_or(180)),
        spinners: 0,
        single: false,
        broken: vec![rule.to_owned()],
    };
    let (arena, judge) = soak(settings)?;
    println!("{}", report::summary(&arena, &judge));
    println!("without {rule}: {:?}", arena.record().violations);
    Some(judge)
}

#[cfg(feature = "break-rules")]
#[test]
fn without_record_two_are_seen_many_times() {
    two_at_once_without("record");
}

#[cfg(feature = "break-rules")]
#[test]
fn without_take_over_wait_two_are_seen_many_times() {
    two_at_once_without("take-over-wait");
}

#[cfg(feature = "break-rules")]
#[test]
#[ignore = "it may take minutes"]
fn without_fence_two_are_seen_many_times() {
    two_at_once_without("fence");
}

#[cfg(feature = "break-rules")]
#[test]
fn without_sweep_two_are_seen_many_times() {
    two_at_once_without("sweep");
}

#[cfg(feature = "break-rules")]
#[test]
fn without_release_order_a_record_goes_too_soon_many_times() {
    if let Some(judge) = soak_without("release-order") {
        assert!(judge.premature.is_some(), "no record went too soon");
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok().filter(|v| !v.is_empty())?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}: {value:?} is no number")))
}

fn from_the_clock() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}

/// Lets it happen; `None` where there can be no network.
fn soak(settings: Settings) -> Option<(Arena, Judge)> {
    println!("seed {}", settings.seed);
    let arena = Arena::new(settings)?;
    let mut judge = Judge::new(&arena.stamps());
    thread::scope(|scope| {
        let streams = [
            nemesis::network,
            nemesis::members,
            nemesis::processes,
            nemesis::keys,
            nemesis::load,
            nemesis::foreigners,
            administrator::deeds,
            historian::read,
        ];
        let arena = &arena;
        let streams = streams.map(|stream| scope.spawn(move || stream(arena)));
        let slots = [0, 1, 2, 3].map(|slot| scope.spawn(move || slot::fill(arena, slot)));
        let _end = EndOnPanic(arena);
        let faults_end = Instant::now() + arena.settings.time;
        while Instant::now() < faults_end && arena.phase() < Phase::Over {
            thread::sleep(Duration::from_millis(100));
            read_on(arena, &mut judge);
        }
        arena.note("the faults stop");
        arena.enter(Phase::Finale);
        let end = Instant::now() + FINALE;
        while arena.phase() < Phase::Over && !slots.iter().all(ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(100));
            read_on(arena, &mut judge);
            if Instant::now() > end && arena.phase() < Phase::Over {
                let missing: Vec<usize> = (0..SLOTS.len())
                    .filter(|&slot| !slots[slot].is_finished())
                    .collect();
                arena.violation(format!("slots {missing:?} have not led within {FINALE:?}"));
            }
        }
        if arena.phase() < Phase::Over {
            left::find_nothing(arena);
            read_on(arena, &mut judge);
            if judge.ended.is_empty() {
                arena.violation("no record was seen to go".to_owned());
            }
        }
        read_on(arena, &mut judge);
        arena.enter(Phase::Over);
        for stream in streams {
            stream.join().expect("a stream of faults");
        }
    });
    // Whoever was still there ended with the judgement.
    for slot in 0..SLOTS.len() {
        let family = arena.family(slot).take();
        if let Some(family) = family {
            slot::harvest(&arena, &family);
        }
    }
    Some((arena, judge))
}

fn read_on(arena: &Arena, judge: &mut Judge) {
    judge.read_on();
    for ending in std::mem::take(&mut *arena.endings()) {
        judge.hear_of(ending);
    }
    if !arena.record().violations.is_empty() {
        return;
    }
    // With a rule off, it goes on until that shows which the rule is about.
    let broken = arena.settings.broken.first().map(String::as_str);
    let ends_with_two = broken != Some("release-order");
    let ends_with_record = broken.is_none_or(|rule| rule == "release-order");
    if let Some((older, newer, how)) = judge.violation.as_ref().filter(|_| ends_with_two) {
        arena.violation(format!("tokens {older} and {newer} at once: {how}"));
    } else if let Some((token, how)) = judge.premature.as_ref().filter(|_| ends_with_record) {
        arena.violation(format!("token {token} outlived its record: {how}"));
    }
}
