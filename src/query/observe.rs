//! One line for each change of the leader, until stopped.
//!
//! Every candidate's coming and going is taken in its order, so that no term is missed, however short. What etcd has
//! compacted before it could be read is reported as a gap.

use std::time::{Duration, SystemTime};

use etcd_client::{Event, EventType, KeyValue};
use serde::Serialize;

use super::output::{self, say};
use super::show::{self, SeatJson};
use super::{Answer, CALL, Place, Trouble, look};
use crate::clock::BootInstant;
use crate::election::{Seat, Standing, Token, View};
use crate::etcd::{Backoff, Connection, Kind, Pool, deed};
use crate::report::{Level, complain, escape_sentence};

/// How often an endpoint has to show that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// How long is waited for more, when something has happened: things happen together.
const GATHER: Duration = Duration::from_millis(50);

/// How long a watch may be silent about what has happened.
const PATIENCE: Duration = Duration::from_secs(1);

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
    /// A leader without a record, which may be about to write it, the revision, and since when that is known.
    pending: Option<(Line, i64, BootInstant)>,
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
    let mut refused = false;
    loop {
        let begun = BootInstant::now();
        let end = observer.follow(&mut pool).await;
        if BootInstant::now().saturating_since(begun) >= SIGN_OF_LIFE {
            backoff.reset();
            refused = false;
        }
        match end {
            Ok(()) => backoff.reset(),
            // Without permission, there is nothing to wait for. But etcd refuses a watch also to those whose token
            // has ended, where a look at the same keys gets another.
            Err(Trouble::Etcd(error)) if error.kind == Kind::Refused => {
                if std::mem::replace(&mut refused, true) {
                    return Err(error.into());
                }
                look(&mut pool, key).await?;
            }
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
    ///
    /// Each watch tells of its own keys in their order, but nothing says how far one has come while another speaks. So
    /// the watches only tell when something has happened, and how it looked then is read: the candidates' coming and
    /// going divides the time, and between two of these the record can only become that of the first. What was heard
    /// is complete once it leads to the candidates of the present, which are read as well; that also shows that the
    /// endpoint is alive, on which a watch alone would hang if it was frozen.
    async fn follow(&mut self, pool: &mut Pool) -> Result<(), Trouble> {
        let until = BootInstant::now() + CALL;
        let connection = pool.connect(until).await?;
        let (keys, seen) = (self.view.keys(), self.view.revision);
        let mut follow = connection.follow(&keys, seen, until).await?;
        let mut heard: Vec<Event> = Vec::new();
        let mut heard_at = BootInstant::now();
        let mut look_at = heard_at + GATHER;
        loop {
            let left = look_at.saturating_since(BootInstant::now());
            match tokio::time::timeout(left, follow.next()).await {
                Ok(Ok(events)) if events.is_empty() => continue,
                Ok(Ok(events)) => {
                    heard.extend(events.into_iter().filter(|e| self.counts(e)));
                    heard_at = BootInstant::now();
                    look_at = look_at.min(heard_at + GATHER);
                    continue;
                }
                Ok(Err(error)) if error.kind == Kind::Compacted => {
                    return self.skip(connection).await;
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {}
            }
            let now = BootInstant::now();
            let view = View::read(connection, self.key, now + CALL).await?;
            heard.sort_by_key(revision);
            let later = heard.partition_point(|event| revision(event) <= view.revision);
            if self.leads_to(&view, &heard[..later]) {
                let later = heard.split_off(later);
                for event in std::mem::replace(&mut heard, later) {
                    match self.look_back(connection, &event).await {
                        Err(Trouble::Etcd(error)) if error.kind == Kind::Compacted => {
                            return self.skip(connection).await;
                        }
                        told => told?,
                    }
                }
                self.view = view;
                self.tell()?;
                self.settle_if_due()?;
                look_at = self.next_look();
            } else if now.saturating_since(heard_at) > PATIENCE {
                let reason = format!("the watch at {} misses events", pool.endpoint());
                return Err(Trouble::Silent(reason));
            } else {
                look_at = BootInstant::now() + GATHER;
            }
        }
    }

    /// When etcd is asked next, should nothing happen.
    fn next_look(&self) -> BootInstant {
        let alive = BootInstant::now() + SIGN_OF_LIFE;
        let pending = self.pending.as_ref();
        pending.map_or(alive, |(_, _, since)| alive.min(*since + SETTLING))
    }

    /// Whether a candidate has come or gone, or was written anew.
    fn counts(&self, event: &Event) -> bool {
        let candidate = |kv: &KeyValue| kv.mod_revision() > 0 && self.view.may_stand(kv.key());
        event.kv().is_some_and(candidate) && deed(event).is_some()
    }

    /// Whether these events, in their order, lead from the candidates that are known to those of `view`.
    fn leads_to(&self, view: &View, events: &[Event]) -> bool {
        let mut then = self.view.clone();
        for event in events {
            match (event.kv(), deed(event)) {
                (Some(kv), Some(EventType::Put)) => then.put(kv.clone()),
                (Some(kv), Some(EventType::Delete)) => then.delete(kv.key()),
                _ => {}
            }
        }
        then.has_the_candidates_of(view)
    }

    /// Tells how it looked right before the event, and how after it.
    async fn look_back(
        &mut self,
        connection: &mut Connection,
        event: &Event,
    ) -> Result<(), Trouble> {
        let after = revision(event);
        for at in [after - 1, after] {
            let until = BootInstant::now() + CALL;
            self.view = View::read_at(connection, self.key, at, until).await?;
            self.tell()?;
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
        if let Some((pending, ..)) = &self.pending
            && !pending.is_same(&line)
        {
            self.settle()?;
        }
        if matches!(&line, Line::Leader(seat) if !seat.is_recorded()) {
            self.pending
                .get_or_insert_with(|| (line, revision, BootInstant::now()));
            return Ok(());
        }
        self.pending = None;
        self.print(&line, revision)?;
        self.told = Some(line);
        Ok(())
    }

    /// Whoever leads without a record goes on without: it is no leaderrun.
    fn settle(&mut self) -> Result<(), Trouble> {
        if let Some((line, revision, _)) = self.pending.take() {
            self.print(&line, revision)?;
            self.told = Some(line);
        }
        Ok(())
    }

    fn settle_if_due(&mut self) -> Result<(), Trouble> {
        let now = BootInstant::now();
        match &self.pending {
            Some((_, _, since)) if *since + SETTLING <= now => self.settle(),
            _ => Ok(()),
        }
    }

    fn print(&self, line: &Line, revision: i64) -> Result<(), Trouble> {
        let now = SystemTime::now();
        if self.json {
            let ts = humantime::format_rfc3339_millis(now).to_string();
            let dated = Dated { ts, revision, line };
            return say(&output::json(&dated));
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

/// When it happened.
fn revision(event: &Event) -> i64 {
    event.kv().map_or(0, KeyValue::mod_revision)
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
