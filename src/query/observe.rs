//! One line for each change of the leader, until stopped.
//!
//! Every candidate's coming and going is taken in its order, so that no term is missed, however short. What etcd has
//! compacted before it could be read is reported as a gap.

use std::io::{self, ErrorKind};
use std::time::Duration;

use etcd_client::{Event, EventType, KeyValue};

use super::teller::Teller;
use super::{Answer, CALL, Place, Trouble, look, output};
use crate::clock::BootInstant;
use crate::election::{Outage, View};
use crate::etcd::{Backoff, Connection, Kind, Pool, deed};
use crate::report::{Level, LogEvent, TroubleReporter, complain, escape_sentence};

/// How often an endpoint has to show that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// How long is waited for more, when something has happened: things happen together.
const GATHER: Duration = Duration::from_millis(50);

/// How long a watch may be silent about what has happened.
const PATIENCE: Duration = Duration::from_secs(1);

struct Observer<'a> {
    key: &'a str,
    view: View,
    teller: Teller,
    trouble: TroubleReporter,
}

pub(super) async fn observe(place: &Place, json: bool) -> Answer {
    tokio::select! {
        end = observe_for_ever(place, json) => end,
        () = output::reader_left() => Err(io::Error::from(ErrorKind::BrokenPipe).into()),
    }
}

async fn observe_for_ever(place: &Place, json: bool) -> Answer {
    let mut pool = place.pool();
    let key = place.key.as_str();
    // Who asks for nonsense is to know at once; later, everything may heal.
    let view = look(&mut pool, key).await?;
    let mut observer = Observer {
        key,
        view,
        teller: Teller::new(json),
        trouble: TroubleReporter::new(),
    };
    observer.tell()?;
    let mut backoff = Backoff::new();
    let mut refused = false;
    loop {
        let begun = BootInstant::now();
        let end = observer.follow(&mut pool).await;
        let now = BootInstant::now();
        if now.saturating_since(begun) >= SIGN_OF_LIFE {
            backoff.reset();
            refused = false;
        }
        match end {
            Ok(()) => backoff.reset(),
            // Without permission, there is nothing to wait for. But etcd refuses a watch also to those whose token
            // has ended, where a look at the same keys gets another.
            Err(Trouble::Etcd(error)) if error.kind.is_refusal() => {
                if std::mem::replace(&mut refused, true) {
                    return Err(error.into());
                }
                match look(&mut pool, key).await {
                    Err(error) if error.kind.is_refusal() => return Err(error.into()),
                    _ => {}
                }
            }
            Err(trouble @ (Trouble::Etcd(_) | Trouble::Silent(_))) => {
                let reason = trouble.to_string();
                warn(observer.trouble.failed(Outage::Silent, &reason, now));
                pool.failed();
                tokio::time::sleep(backoff.pause(CALL)).await;
            }
            Err(other) => return Err(other),
        }
    }
}

fn warn(event: Option<LogEvent>) {
    if let Some(LogEvent::Warning { message }) = event {
        complain(Level::Warn, &escape_sentence(&message));
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
                warn(self.trouble.answered(BootInstant::now()));
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
        self.teller.due().map_or(alive, |due| alive.min(due))
    }

    fn tell(&mut self) -> Result<(), Trouble> {
        self.teller.tell(&self.view)
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
        self.teller.tell_gap(from, view.revision)?;
        self.view = view;
        self.tell()
    }
}

/// When it happened.
fn revision(event: &Event) -> i64 {
    event.kv().map_or(0, KeyValue::mod_revision)
}
