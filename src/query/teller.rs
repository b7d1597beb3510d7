//! What an observer prints: a line for each change, whichever way it came to be known.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Trouble;
use super::output::{self, say};
use super::remains::Remains;
use super::show::{self, SeatJson};
use crate::clock::BootInstant;
use crate::election::{Standing, Token, View};

/// How long a leader without a record is taken for a leaderrun that is about to write it.
const SETTLING: Duration = Duration::from_millis(500);

/// What `observe --json` prints for each change.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    /// Somebody leads.
    Leader(SeatJson),
    /// Nobody leads.
    NoLeader {
        /// `absent`, `take-over`, `over`, `unreadable`.
        record: &'static str,
        /// The earlier term that is taken over from.
        #[serde(skip_serializing_if = "Option::is_none")]
        take_over: Option<Token>,
        /// More about it for people.
        #[serde(skip)]
        reason: Option<String>,
    },
    /// What happened between these revisions of the store is not known.
    Gap { from: i64, to: i64 },
}

impl Line {
    fn new(view: &View, remains: &mut Remains) -> Self {
        let seats = view.seats();
        let standing = view.standing(seats.first());
        let since = match &standing {
            Standing::Leads(since) => Some(*since),
            _ => None,
        };
        if let Some(first) = seats.first().filter(|_| standing.is_led()) {
            return Self::Leader(SeatJson::new(first, None, since));
        }
        let (take_over, left) = match &standing {
            Standing::TakeOver(record) => (Some(record.token), remains.time_left(record)),
            _ => (None, Duration::ZERO),
        };
        Self::NoLeader {
            record: show::record(&standing, left),
            take_over,
            reason: show::reason(&standing, left),
        }
    }

    /// Whether a record says so, as far as one is to be expected.
    const fn is_recorded(&self) -> bool {
        match self {
            Self::Leader(seat) => seat.is_recorded(),
            Self::NoLeader { .. } | Self::Gap { .. } => true,
        }
    }

    /// Whether the leader is the same, whatever else is known of it.
    fn is_same(&self, other: &Self) -> bool {
        let absence = |line: &Self| match line {
            Self::NoLeader {
                record, take_over, ..
            } => Some((*record, *take_over)),
            Self::Leader(_) | Self::Gap { .. } => None,
        };
        match (self, other) {
            (Self::Leader(a), Self::Leader(b)) => a.is_same(b),
            _ => absence(self).is_some() && absence(self) == absence(other),
        }
    }
}

#[derive(Serialize)]
struct Dated<'a> {
    ts: String,
    revision: i64,
    #[serde(flatten)]
    line: &'a Line,
}

/// See the module's head.
pub(super) struct Teller {
    json: bool,
    told: Option<Line>,
    pending: Option<Pending>,
    remains: Remains,
    /// When the term that is being waited out has run out.
    runs_out: Option<BootInstant>,
}

/// A leader without a record, which may be about to write it.
struct Pending {
    line: Line,
    revision: i64,
    until: BootInstant,
}

impl Teller {
    pub fn new(json: bool) -> Self {
        Self {
            json,
            told: None,
            pending: None,
            remains: Remains::default(),
            runs_out: None,
        }
    }

    /// When there is something to tell, should nothing happen.
    pub fn due(&self) -> Option<BootInstant> {
        let pending = self.pending.as_ref().map(|pending| pending.until);
        pending.into_iter().chain(self.runs_out).min()
    }

    /// Tells who leads in this view, if that was another before.
    pub fn tell(&mut self, view: &View) -> Result<(), Trouble> {
        let line = Line::new(view, &mut self.remains);
        self.runs_out = match view.standing(view.seats().first()) {
            Standing::TakeOver(record) => {
                let left = self.remains.time_left(&record);
                (!left.is_zero()).then(|| BootInstant::now() + left)
            }
            _ => None,
        };
        let is_told = self.told.as_ref().is_some_and(|told| told.is_same(&line));
        if is_told && self.pending.is_none() {
            return Ok(());
        }
        let now = BootInstant::now();
        match self.pending.take() {
            Some(pending) if !pending.line.is_same(&line) => {
                self.print(pending.line, pending.revision)?;
            }
            Some(pending) if !line.is_recorded() => {
                // Whoever goes on without a record is no leaderrun.
                if now >= pending.until {
                    return self.print(pending.line, pending.revision);
                }
                self.pending = Some(pending);
                return Ok(());
            }
            Some(_) | None => {}
        }
        if line.is_recorded() {
            return self.print(line, view.revision);
        }
        self.pending = Some(Pending {
            line,
            revision: view.revision,
            until: now + SETTLING,
        });
        Ok(())
    }

    /// Tells that nobody knows what happened from one revision to the other.
    pub fn tell_gap(&mut self, from: i64, to: i64) -> Result<(), Trouble> {
        self.print(Line::Gap { from, to }, to)
    }

    fn print(&mut self, line: Line, revision: i64) -> Result<(), Trouble> {
        let now = SystemTime::now();
        if self.json {
            let ts = humantime::format_rfc3339_millis(now).to_string();
            let dated = Dated {
                ts,
                revision,
                line: &line,
            };
            say(&output::json(&dated))?;
        } else {
            say(&format!("{}  {line}", show::date(now)))?;
        }
        if !matches!(line, Line::Gap { .. }) {
            self.told = Some(line);
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader(seat) => seat.fmt(f),
            Self::NoLeader { reason: None, .. } => f.write_str("nobody leads"),
            Self::NoLeader {
                reason: Some(reason),
                ..
            } => write!(f, "nobody leads: {reason}"),
            Self::Gap { from, to } => {
                write!(
                    f,
                    "a gap: etcd has compacted what happened from revision {from} to {to}"
                )
            }
        }
    }
}
