//! What a soak has found, in words.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::arena::{Arena, Settings, Story};
use crate::stamps::Judge;

/// The figures.
pub fn summary(arena: &Arena, judge: &Judge) -> String {
    let record = arena.record();
    let list = |of: &mut dyn Iterator<Item = (String, u32)>| {
        let all: Vec<String> = of.map(|(what, n)| format!("{n} {what}")).collect();
        all.join(", ")
    };
    let mut faults = record.faults.iter().map(|(k, n)| ((*k).to_owned(), *n));
    let total: u32 = record.faults.values().sum();
    let mut ends = record.ends.iter().map(|(k, n)| (k.clone(), *n));
    let headroom = match &record.headroom {
        Some((least, whose)) => format!("{least:.3} s ({whose})"),
        None => "unknown".to_owned(),
    };
    format!(
        "seed {}, {} s of faults, {} spinners, layout {}\n\
         {total} faults: {}\n\
         {} leaderruns, {} terms, of which {} commands stamped {} times; {} hand-overs; \
         {} records seen to go\n\
         terms stopped by: {}\n\
         the smallest headroom: {headroom}\n\
         {} violations",
        arena.settings.seed,
        arena.settings.time.as_secs(),
        arena.settings.spinners,
        arena.settings.layout(),
        list(&mut faults),
        record.families,
        record.terms,
        judge.tokens.len(),
        judge.stamps,
        hand_overs(&judge.tokens, &record.stories),
        judge.ended.len(),
        list(&mut ends),
        record.violations.len(),
    )
}

/// How often another leaderrun followed, among those whose commands have stamped.
fn hand_overs(tokens: &[u64], stories: &[Story]) -> usize {
    let leader = |token: &u64| stories.iter().position(|s| s.tokens.contains(token));
    let leaders: Vec<_> = tokens.iter().map(leader).collect();
    leaders.windows(2).filter(|two| two[0] != two[1]).count()
}

/// How to have the same faults again.
fn again(settings: &Settings) -> String {
    let Settings { seed, spinners, .. } = settings;
    let seconds = settings.time.as_secs();
    if seconds.is_multiple_of(60) {
        let minutes = seconds / 60;
        format!("scripts/soak --minutes {minutes} --seed {seed} --spinners {spinners}")
    } else {
        format!(
            "LEADERRUN_SOAK_SECONDS={seconds} LEADERRUN_SOAK_SEED={seed} LEADERRUN_SOAK_SPINNERS={spinners} \
             cargo test --test soak never_two -- --nocapture"
        )
    }
}

/// What there is to find out how it could happen: the last faults, and the logs of those involved.
pub fn evidence(arena: &Arena, judge: &Judge) -> String {
    let record = arena.record();
    let mut text = format!("{}\n", record.violations.join("\n"));
    let last = &record.diary[record.diary.len().saturating_sub(80)..];
    let _ = writeln!(text, "--- the last events:\n{}", last.join("\n"));
    let mut tokens: BTreeSet<u64> = BTreeSet::new();
    if let Some((older, newer, _)) = &judge.violation {
        tokens.extend([older, newer]);
    }
    tokens.extend(judge.premature.as_ref().map(|(token, _)| token));
    let newest = record.stories.len().saturating_sub(8);
    for (n, story) in record.stories.iter().enumerate() {
        let involved = story.tokens.iter().any(|token| tokens.contains(token));
        let named = record
            .violations
            .iter()
            .any(|v| v.starts_with(&format!("{} ", story.name)));
        if involved || named || (tokens.is_empty() && n >= newest) {
            let _ = writeln!(
                text,
                "--- {}, tokens {:?}:\n{}",
                story.name, story.tokens, story.log
            );
        }
    }
    let _ = write!(text, "again: {}", again(&arena.settings));
    text
}

#[test]
fn a_candidate_that_follows_itself_is_no_hand_over() {
    let story = |name: &str, tokens: &[u64]| Story {
        name: name.to_owned(),
        tokens: tokens.to_vec(),
        log: String::new(),
    };
    let stories = [story("a0", &[1, 2, 7]), story("b0", &[4, 5])];
    assert_eq!(hand_overs(&[1, 2, 4, 5, 7], &stories), 2);
    assert_eq!(hand_overs(&[1], &stories), 0);
}
