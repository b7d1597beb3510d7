//! What is known here about the run, for whoever asks over `--listen`: health, status and metrics.
//!
//! The supervisor notes what it sees; an answer is made from these notes and the clock alone, when it is asked
//! for. So it costs etcd nothing, holds up nobody, and can claim no leadership past the deadline, however
//! long ago the supervisor ran last.

mod answer;
mod metrics;
mod standing;
mod status;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::reason::LossReason;
use super::writer::lock;
use crate::clock::BootInstant;
use crate::timing::Timeline;

pub(super) use answer::{Answer, answer};
pub use standing::{Claim, Role, Stage, Standing};
use tally::Tally;

/// How often the supervisor is to note where it stands, at least.
pub const BEAT: Duration = Duration::from_secs(1);
/// How long it may not do so until it is taken for stuck.
const STUCK: Duration = Duration::from_secs(10);

/// The notes; clones share them. No lock is held for longer than a few words take to copy.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<Notes>>);

/// All that is known.
#[derive(Clone, Debug)]
struct Notes {
    key: String,
    id: String,
    /// The timeline as asked for; a term has its own.
    timeline: Timeline,
    standing: Standing,
    /// Whether it has ever stood for election.
    started: bool,
    /// When the supervisor noted its standing last. On the clock that stops in suspend, as the supervisor does.
    noted: Instant,
    tally: Tally,
}

/// What there is to say at one instant.
#[derive(Clone, Debug)]
pub(super) struct View {
    notes: Notes,
    now: BootInstant,
    /// For how long nothing was noted.
    silence: Duration,
}

impl Health {
    /// Of a run that has just begun.
    pub fn new(key: &str, id: &str, timeline: Timeline) -> Self {
        Self(Arc::new(Mutex::new(Notes {
            key: key.to_owned(),
            id: id.to_owned(),
            timeline,
            standing: Standing::default(),
            started: false,
            noted: Instant::now(),
            tally: Tally::default(),
        })))
    }

    /// This is where the run stands now.
    pub fn note(&self, standing: Standing) {
        let mut notes = lock(&self.0);
        notes.noted = Instant::now();
        let role = standing.stage.role();
        if role != notes.standing.stage.role() {
            notes.tally.transition(role);
        }
        notes.started |= matches!(role, Role::Standby | Role::Leading);
        notes.standing = standing;
    }

    /// A renewal was confirmed so long after it was sent.
    pub fn renewed(&self, latency: Duration) {
        lock(&self.0).tally.renewed(latency);
    }

    /// An attempt at a renewal failed.
    pub fn renewal_failed(&self) {
        lock(&self.0).tally.renewal_failed();
    }

    /// Leadership was lost.
    pub fn lost(&self, reason: LossReason) {
        lock(&self.0).tally.lost(reason);
    }

    /// A fenced command's tree was empty so many seconds before another could have started.
    pub fn fenced(&self, headroom: f64) {
        lock(&self.0).tally.headroom = Some(headroom);
    }

    pub(super) fn view(&self) -> View {
        let notes = lock(&self.0).clone();
        View {
            // Read after the notes were, which may be older but never newer.
            now: BootInstant::now(),
            silence: notes.noted.elapsed(),
            notes,
        }
    }
}

impl View {
    fn role(&self) -> Role {
        self.notes.standing.role_at(self.now)
    }

    /// Whether the supervisor runs, whatever it waits for.
    fn lives(&self) -> bool {
        self.silence < STUCK
    }

    /// Whether it does what it is there for: it leads or stands by. An outage of etcd takes nothing from that,
    /// once it has stood for election.
    fn is_ready(&self) -> bool {
        self.notes.started
            && match self.role() {
                Role::Connecting | Role::Standby | Role::Leading | Role::Holding => true,
                Role::Stopping | Role::Leaving => false,
            }
    }
}
