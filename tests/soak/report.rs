//! What a soak has found, in words.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::arena::Arena;
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
        "seed {}, {} s of faults, {} spinners\n\
         {total} faults: {}\n\
         {} leaderruns, {} terms, of which {} commands stamped {} times; {} hand-overs\n\
         terms stopped by: {}\n\
         the smallest headroom: {headroom}\n\
         {} violations",
        arena.settings.seed,
        arena.settings.time.as_secs(),
        arena.settings.spinners,
        list(&mut faults),
        record.families,
        record.terms,
        judge.tokens,
        judge.stamps,
        judge.tokens.saturating_sub(1),
        list(&mut ends),
        record.violations.len(),
    )
}

/// What there is to find out how it could happen: the last faults, and the logs of those involved.
pub fn evidence(arena: &Arena, judge: &Judge) -> String {
    let record = arena.record();
    let mut text = format!("{}\n", record.violations.join("\n"));
    let last = &record.diary[record.diary.len().saturating_sub(80)..];
    let _ = writeln!(text, "--- the last events:\n{}", last.join("\n"));
    let tokens: BTreeSet<u64> = match &judge.violation {
        Some((older, newer, _)) => [*older, *newer].into(),
        None => BTreeSet::new(),
    };
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
    let _ = write!(text, "again: scripts/soak --seed {}", arena.settings.seed);
    text
}
