//! Standing in the queue: keepalives, looks, the wait for whoever is before us and then for the
//! record of an earlier term, until the transaction that begins our own.

use std::collections::HashSet;
use std::time::Duration;

use super::campaign::Campaign;
use super::candidate::Candidate;
use super::queue::{BETWEEN_LOOKS, Look, Place};
use super::renewal::{Found, Renewal, Tenure};
use super::turn::tenure;
use super::{ElectionError, Event, Layout, Token, Wait};
use crate::clock::BootInstant;
use crate::etcd::{Change, Error, Kind, sleep_until};
use crate::rules::Rule;

/// How long a watch that ended is left alone.
const AFTER_A_WATCH: Duration = Duration::from_millis(200);
/// How late a busy machine may make one turn of the loop.
const SLOW: Duration = Duration::from_millis(200);

/// How the wait in the queue ended.
pub(super) enum Stood {
    /// Our record is written: we lead as soon as that is confirmed.
    Begun(Tenure, Option<Renewal>),
    /// Our place is lost, for this reason.
    Displaced(&'static str),
}

/// What a look leads to.
pub(super) enum Step {
    Done(Stood),
    /// Wait for a change of this key after this revision, or for an instant.
    Watch(String, i64, Option<BootInstant>),
    /// The transaction that begins the term found something changed.
    LookAgain,
}

/// A place in the queue.
pub(super) struct Standby {
    pub candidate: Candidate,
    /// Leases in the names of detached keys that are known to be gone.
    dead: HashSet<super::LeaseId>,
    told: Option<Wait>,
    /// The term that we, who are next, are waiting for, and since when.
    pub waited_for: Option<(Token, BootInstant)>,
    next_keepalive: BootInstant,
    /// How often in a row etcd refused what a candidate has to do.
    refused: u32,
    /// When the last look began.
    looked: BootInstant,
}

impl Standby {
    /// Whether nothing of this process went on for a while: a turn of the loop takes longer than all its limits
    /// together only then. What has run out meanwhile says nothing about etcd.
    fn stood_still(&self) -> bool {
        let timeline = self.candidate.timeline();
        let turn = (timeline.interval() + timeline.attempt()) * 2;
        BootInstant::now().saturating_since(self.looked) > turn + SLOW
    }

    /// Why our lease ran out.
    fn why_over(&self) -> &'static str {
        if self.stood_still() {
            "our lease ran out while this process, or its machine, stood still"
        } else {
            "our lease ran out while etcd could not be reached"
        }
    }
}

impl Campaign {
    /// Stands in the queue until a term has begun or the place is lost.
    pub async fn stand(&mut self, candidate: Candidate) -> Result<Stood, ElectionError> {
        let mut standby = Standby {
            next_keepalive: candidate.granted.confirmed + candidate.timeline().interval(),
            candidate,
            dead: HashSet::new(),
            told: None,
            waited_for: None,
            refused: 0,
            looked: BootInstant::now(),
        };
        loop {
            // Looked at first, since a revived lease might already have been taken for dead.
            if standby.candidate.granted.is_over() {
                return Ok(Stood::Displaced(standby.why_over()));
            }
            let looked = BootInstant::now();
            standby.looked = looked;
            let failed = match self.step(&mut standby).await {
                Ok(Step::Done(stood)) => {
                    if matches!(stood, Stood::Begun(..)) {
                        self.held.led = true;
                        self.observer.forget();
                    }
                    return Ok(stood);
                }
                Ok(Step::LookAgain) => None,
                Ok(Step::Watch(key, revision, until)) => {
                    let waited = self.wait_for(&standby, &key, revision, until).await;
                    // Not before: looks that succeed and watches that fail are no progress.
                    if waited.is_ok() {
                        self.went_well();
                        standby.refused = 0;
                    }
                    waited.err()
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed
                && !standby.stood_still()
            {
                let longest = standby.candidate.timeline().interval();
                // A file of ours may be replaced in a moment.
                let refused = error.kind.is_refusal() && error.kind != Kind::Settings;
                standby.refused += u32::from(refused);
                self.trouble(error, longest).await?;
                // Others must not wait for somebody who may not lead.
                if standby.refused > 1 {
                    return Ok(Stood::Displaced(
                        "etcd refuses us what a candidate has to do",
                    ));
                }
            }
            sleep_until(looked + BETWEEN_LOOKS).await;
        }
    }

    async fn step(&mut self, standby: &mut Standby) -> Result<Step, Error> {
        let timeline = *standby.candidate.timeline();
        let until = BootInstant::now() + timeline.attempt();
        let mut denied = false;
        if BootInstant::now() >= standby.next_keepalive {
            let sent = BootInstant::now();
            let lease = standby.candidate.lease();
            let pulse = self
                .pool
                .connect(until)
                .await?
                .keep_alive(lease.0, until)
                .await?;
            // A lease that is said to be gone may not be: the look below asks the quorum about
            // our key, and without a keepalive the lease's own deadline decides.
            denied = pulse.ttl <= 0;
            if !denied {
                standby.candidate.granted.confirmed = sent;
                standby.next_keepalive = sent + timeline.interval();
            }
        }
        let until = BootInstant::now() + timeline.attempt();
        let look = Look::take(self.pool.connect(until).await?, &self.names, until).await?;
        for lease in look.doubtful(standby.candidate.token) {
            // A lease that is gone does not come back.
            if !standby.dead.contains(&lease)
                && !self
                    .pool
                    .connect(until)
                    .await?
                    .lives(lease.0, until)
                    .await?
            {
                standby.dead.insert(lease);
            }
        }
        if let Some(foreign) = &look.foreign
            && !self.warned_foreign
        {
            self.warned_foreign = true;
            self.warn(format!(
                "the key {foreign:?} under {} is not a candidate's and is ignored; no other such key will be named",
                self.names.prefix
            ));
        }
        let seats = look.queue.iter();
        self.warn_of_namesake(seats.map(|s| (s.id.as_str(), s.lease, s.key.as_str())));
        // An answer that was lost may have begun our term.
        let found = Found {
            own: None,
            record: look.record.clone(),
        };
        if let Some(version) = found.our_record(&standby.candidate) {
            return Ok(Step::Done(Stood::Begun(
                tenure(&standby.candidate, version),
                None,
            )));
        }
        let token = standby.candidate.token;
        let first_seen = look.record.as_ref().map(|kv| {
            self.observer
                .saw(kv.mod_revision(), kv.value(), look.arrived, token)
        });
        if look.record.is_none() {
            let (revision, arrived) = (look.revision, look.arrived);
            let stood = self.stood_since_the_record(&look, token);
            self.found_no_record(revision, arrived, stood, timeline.attempt())
                .await?;
        }
        let place = look.place(
            standby.candidate.lease(),
            standby.candidate.token,
            &standby.dead,
        );
        if denied && place != Place::Gone {
            return Err(self.denied_wrongly());
        }
        match place {
            Place::Gone => Ok(Step::Done(Stood::Displaced(
                "our candidate key was deleted or attached to another lease",
            ))),
            Place::Behind {
                nearest,
                leader,
                ahead,
            } => {
                self.tell_wait(standby, Wait::Queue { leader, ahead });
                self.tell_leader(look.leader(token, &standby.dead));
                Ok(Step::Watch(nearest, look.revision, None))
            }
            Place::Next => match look.record.as_ref().zip(first_seen) {
                Some((kv, first)) if !Rule::Record.is_off() => {
                    self.next_in_line(standby, kv, first, &look).await
                }
                _ => self.nobody_before(standby, &look).await,
            },
        }
    }

    /// Whether our key has stood since the record was seen. Who has no place of its own while it waits cannot tell.
    fn stood_since_the_record(&self, look: &Look, token: Token) -> bool {
        let seen_now = |candidacy| candidacy == token && look.stands(token);
        let seen = self.observer.seen().map(|seen| seen.candidacy);
        self.names.layout == Layout::Single || seen.is_some_and(seen_now)
    }

    /// Waits for a change, an instant, or the next keepalive's time.
    async fn wait_for(
        &mut self,
        standby: &Standby,
        key: &str,
        revision: i64,
        until: Option<BootInstant>,
    ) -> Result<(), Error> {
        let limit = BootInstant::now() + standby.candidate.timeline().attempt();
        let wake = until.map_or(standby.next_keepalive, |at| at.min(standby.next_keepalive));
        // Go's elections proclaim by writing the value anew; the place stays.
        let predecessor = self.names.lease_in(key.as_bytes());
        let same = predecessor.map(|lease| lease.0);
        self.wait_for_change(key, revision, same, limit, wake).await
    }

    /// Waits until `key` changes after `revision`, or for the instant `wake`. The watch has to stand by
    /// `limit`. Values that are written anew on the lease `same` are no change.
    pub(super) async fn wait_for_change(
        &mut self,
        key: &str,
        revision: i64,
        same: Option<i64>,
        limit: BootInstant,
        wake: BootInstant,
    ) -> Result<(), Error> {
        let connection = self.pool.connect(limit).await?;
        connection.watch(&[key], revision, limit).await?;
        loop {
            tokio::select! {
                () = sleep_until(wake) => return Ok(()),
                change = self.pool.change() => match change {
                    Change::Put { lease } if same == Some(lease) => {}
                    Change::Put { .. } | Change::Deleted | Change::Beside | Change::Reloaded => return Ok(()),
                    Change::Ended(error) if error.kind == Kind::Elsewhere => return Err(error),
                    // Compacted, say: the next look begins a new watch.
                    Change::Ended(_) => {
                        tokio::time::sleep(AFTER_A_WATCH).await;
                        return Ok(());
                    }
                },
            }
        }
    }

    /// Tells what we are waiting for, once for each change; a record's renewals are none.
    pub(super) fn tell_wait(&self, standby: &mut Standby, wait: Wait) {
        let same = match (&standby.told, &wait) {
            (Some(Wait::Record { holder: told, .. }), Wait::Record { holder, .. }) => {
                told == holder
            }
            (Some(told), wait) => told == wait,
            (None, _) => false,
        };
        if !same {
            standby.told = Some(wait.clone());
            self.tell(Event::Waiting(wait));
        }
    }
}
