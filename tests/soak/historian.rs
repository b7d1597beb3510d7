//! Who knows what became of the record, revision by revision, from every member that tells.
//!
//! When a record of a term has gone, nothing of that term may live: its leader deletes it after the tree is empty, and
//! another writes its own in its place when the term has run out. Whoever reads of it here is late by an instant, so a
//! stamp that is written after that is written too late for certain.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::arena::{Arena, EndOnPanic, Phase};
use crate::support::{Change, History, Value};

const LOOK: Duration = Duration::from_millis(5);
/// A watch that ends at once is not begun anew all the time.
const AGAIN: Duration = Duration::from_secs(1);

/// The record of a term has gone.
#[derive(Clone, Debug)]
pub struct Ending {
    pub token: u64,
    /// How long the file of the stamps was when it was known.
    pub offset: u64,
    pub how: String,
}

/// What was read last.
#[derive(Debug, Default)]
struct Reading {
    /// The newest revision.
    newest: u64,
    /// The token of the last record that was one.
    holder: Option<u64>,
}

/// Reads on until all is over.
pub fn read(arena: &Arena) {
    let _end = EndOnPanic(arena);
    let members = arena.etcd.members().iter();
    let watch = |endpoint: &str, from: u64| -> (History, Instant) {
        let history = arena.etcd.history_at(endpoint, &arena.key, from);
        (history, Instant::now())
    };
    let mut watches: Vec<_> = members
        .map(|m| (m.endpoint(), watch(&m.endpoint(), 1)))
        .collect();
    let mut reading = Reading::default();
    while arena.pause_until(Phase::Over, LOOK) {
        for (endpoint, (history, begun)) in &mut watches {
            let mut new = history.read_on();
            // Another member may have told it before.
            new.retain(|change| change.revision > reading.newest);
            for one in new.chunk_by(|a, b| a.revision == b.revision) {
                if let Some((token, how)) = reading.take(one, arena) {
                    let offset = fs::metadata(arena.stamps()).expect("the file").len();
                    arena.endings().push(Ending { token, offset, how });
                }
            }
            arena.known.store(reading.newest, Ordering::SeqCst);
            if history.is_over() && begun.elapsed() > AGAIN {
                (*history, *begun) = watch(endpoint, reading.newest + 1);
            }
        }
    }
}

impl Reading {
    /// Takes note of the changes of one revision: the token whose record they have ended, and how.
    fn take(&mut self, changes: &[Change], arena: &Arena) -> Option<(u64, String)> {
        self.newest = changes.first()?.revision;
        let written = |key: String| changes.iter().any(|c| c.key == key && c.value.is_some());
        // Whoever does that says so in the same transaction.
        if written(arena.mark_of_deletion()) {
            return None;
        }
        let record = arena.key_of_record();
        let change = changes.iter().find(|c| c.key == record)?;
        let revision = self.newest;
        match &change.value {
            None => {
                let token = self.holder.take()?;
                Some((token, format!("was deleted at revision {revision}")))
            }
            Some(value) => {
                // Garbage says nothing about the holder.
                let token = token_of(value)?;
                let before = self.holder.replace(token).filter(|&old| old != token)?;
                let how = format!("was replaced by that of {token} at revision {revision}");
                Some((before, how))
            }
        }
    }
}

fn token_of(record: &str) -> Option<u64> {
    let record: Value = serde_json::from_str(record).ok()?;
    record["token"].as_u64()
}
