//! One line for each change of the leader, until stopped.
//!
//! Every event is taken in its order, so that no term is missed, however short. What etcd has compacted
//! before it could be read is reported as a gap.

use std::time::{Duration, SystemTime};

use etcd_client::EventType;
use serde::Serialize;

use super::show::{self, SeatJson};
use super::{Answer, CALL, Place, Trouble, look, say};
use crate::clock::BootInstant;
use crate::election::{Seat, Standing, Token, View};
use crate::etcd::{Backoff, Connection, Kind, Pool, deed};
use crate::report::{Level, complain, escape_sentence};

/// How often an endpoint has to show that it is alive: a watch alone would hang on a frozen one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// How long a leader without a record is taken for a leaderrun that is about to write it.
const SETTLING: Duration = Duration::from_millis(500);

/// What `observe --json` prints for each change.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    /// Somebody leads.
    Leader(SeatJson),
    /// Nobody leads; with a token, an earlier term's command may still be running.
    NoLeader {
        #[serde(skip_serializing_if = "Option::is_none")]
        take_over: Option<Token>,
    },
    /// What happened between these revisions of the store is not known.
    Gap { from: i64, to: i64 },
}

impl Line {
    /// Whether the leader is the same, whatever else is known of it.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leader(a), Self::Leader(b)) => a.is_same(b),
            _ => self == other,
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

struct Observer<'a> {
    key: &'a str,
    json: bool,
    told: Option<Line>,
    /// A leader without a record, which may be about to write it, and the revision.
    pending: Option<(Line, i64)>,
    view: View,
}

pub(super) async fn observe(place: &Place, json: bool) -> Answer {
    let mut pool = place.pool();
    let key = place.key.as_str();
    // Who asks for nonsense is to know at once; later, everything may heal.
    let view = look(&mut pool, key).await?;
    let mut observer = Observer {
        key,
        json,
        told: None,
        pending: None,
        view,
    };
    observer.tell()?;
    let mut backoff = Backoff::new();
    loop {
        match observer.follow(&mut pool).await {
            Ok(()) => backoff.reset(),
            Err(trouble @ (Trouble::Etcd(_) | Trouble::Silent(_))) => {
                complain(Level::Warn, &escape_sentence(&trouble.to_string()));
                pool.failed();
                tokio::time::sleep(backoff.pause(CALL)).await;
            }
            Err(other) => return Err(other),
        }
    }
}

impl Observer<'_> {
    /// Follows the events on one connection; `Ok` after a gap.
    async fn follow(&mut self, pool: &mut Pool) -> Result<(), Trouble> {
        let until = BootInstant::now() + CALL;
        let connection = pool.connect(until).await?;
        let (range, seen) = (self.view.range(), self.view.revision);
        let mut follow = connection.follow(range, seen, until).await?;
        let mut behind = false;
        loop {
            let limit = if self.pending.is_some() || behind {
                SETTLING
            } else {
                SIGN_OF_LIFE
            };
            match tokio::time::timeout(limit, follow.next()).await {
                Err(_) if self.pending.is_some() => self.settle()?,
                // Nothing was heard for a while: the endpoint has to answer, and to have told of all that has
                // happened, or another is asked.
                Err(_) => {
                    let until = BootInstant::now() + CALL;
                    let now = View::read(connection, self.key, until).await?;
                    if now.shows_the_same_as(&self.view) {
                        behind = false;
                    } else if std::mem::replace(&mut behind, true) {
                        let reason = format!("the watch at {} misses events", pool.endpoint());
                        return Err(Trouble::Silent(reason));
                    }
                }
                Ok(Ok(events)) => {
                    behind = false;
                    self.apply(&events)?;
                }
                Ok(Err(error)) if error.kind == Kind::Compacted => {
                    return self.skip(connection).await;
                }
                Ok(Err(error)) => return Err(error.into()),
            }
        }
    }

    fn apply(&mut self, events: &[etcd_client::Event]) -> Result<(), Trouble> {
        let mut events = events.iter().peekable();
        while let Some(event) = events.next() {
            let Some(kv) = event.kv() else { continue };
            let revision = kv.mod_revision();
            match deed(event) {
                Some(EventType::Put) => self.view.put(kv.clone()),
                Some(EventType::Delete) => self.view.delete(kv.key(), revision),
                None => {}
            }
            // What a transaction has done together is looked at together.
            let more = events.peek().and_then(|next| next.kv());
            if more.is_none_or(|next| next.mod_revision() != revision) {
                self.tell()?;
            }
        }
        Ok(())
    }

    /// Some events are gone for good.
    async fn skip(&mut self, connection: &mut Connection) -> Result<(), Trouble> {
        let until = BootInstant::now() + CALL;
        let view = View::read(connection, self.key, until).await?;
        let from = self.view.revision.saturating_add(1);
        let gap = Line::Gap {
            from,
            to: view.revision,
        };
        self.print(&gap, view.revision)?;
        self.view = view;
        self.tell()
    }

    /// Looks at who leads now.
    fn tell(&mut self) -> Result<(), Trouble> {
        let seats = self.view.seats();
        let line = line(&seats, &self.view.standing(seats.first()));
        let revision = self.view.revision;
        if self.told.as_ref().is_some_and(|told| told.is_same(&line)) {
            self.pending = None;
            return Ok(());
        }
        if let Some((pending, _)) = &self.pending
            && !pending.is_same(&line)
        {
            self.settle()?;
        }
        if matches!(&line, Line::Leader(seat) if !seat.is_recorded()) {
            self.pending.get_or_insert((line, revision));
            return Ok(());
        }
        self.pending = None;
        self.print(&line, revision)?;
        self.told = Some(line);
        Ok(())
    }

    /// Whoever leads without a record goes on without: it is no leaderrun.
    fn settle(&mut self) -> Result<(), Trouble> {
        if let Some((line, revision)) = self.pending.take() {
            self.print(&line, revision)?;
            self.told = Some(line);
        }
        Ok(())
    }

    fn print(&self, line: &Line, revision: i64) -> Result<(), Trouble> {
        let now = SystemTime::now();
        if self.json {
            let ts = humantime::format_rfc3339_millis(now).to_string();
            let dated = Dated { ts, revision, line };
            return say(&serde_json::to_string(&dated).expect("strings and numbers"));
        }
        let text = match line {
            Line::Leader(seat) => seat.to_string(),
            Line::NoLeader { take_over: None } => "nobody leads".to_owned(),
            Line::NoLeader {
                take_over: Some(token),
            } => format!(
                "nobody leads; the command of the term with token {token} may still be running"
            ),
            Line::Gap { from, to } => {
                format!("a gap: etcd has compacted what happened from revision {from} to {to}")
            }
        };
        say(&format!("{}  {text}", show::date(now)))
    }
}

fn line(seats: &[Seat], standing: &Standing) -> Line {
    match (seats.first(), standing) {
        (Some(first), Standing::Leads(since)) => {
            Line::Leader(SeatJson::new(first, None, Some(*since)))
        }
        (Some(first), Standing::Unrecorded) => Line::Leader(SeatJson::new(first, None, None)),
        (_, Standing::TakeOver(record)) => Line::NoLeader {
            take_over: Some(record.token),
        },
        _ => Line::NoLeader { take_over: None },
    }
}
