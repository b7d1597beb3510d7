//! Standing in the queue: keepalives, looks, the wait for whoever is before us and then for the
//! record of an earlier term, until the transaction that begins our own.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etcd_client::KeyValue;

use super::campaign::Campaign;
use super::candidate::Candidate;
use super::queue::{BETWEEN_LOOKS, Look, Place};
use super::record::Record;
use super::renewal::{Found, Renewal, Tenure, Version, Written};
use super::{ElectionError, Event, Token, Wait};
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
enum Step {
    Done(Stood),
    /// Wait for a change of this key after this revision, or for an instant.
    Watch(String, i64, Option<BootInstant>),
    /// The transaction that begins the term found something changed.
    LookAgain,
}

struct Standby {
    candidate: Candidate,
    /// Leases in the names of detached keys that are known to be gone.
    dead: HashSet<super::LeaseId>,
    told: Option<Wait>,
    /// The term that we, who are next, are waiting for, and since when.
    waited_for: Option<(Token, BootInstant)>,
    next_keepalive: BootInstant,
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
                        self.observer.forget();
                    }
                    return Ok(stood);
                }
                Ok(Step::LookAgain) => None,
                Ok(Step::Watch(key, revision, until)) => {
                    let waited = self.wait_for(&standby, &key, revision, until).await;
                    // Not before: looks that succeed and watches that fail are no progress.
                    waited.map(|()| self.went_well()).err()
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed
                && !standby.stood_still()
            {
                let longest = standby.candidate.timeline().interval();
                self.trouble(error, longest).await?;
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
                && self
                    .pool
                    .connect(until)
                    .await?
                    .time_to_live(lease.0, until)
                    .await?
                    <= 0
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
            self.observer
                .saw_none(look.arrived, token, |t| look.stands(t));
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

    /// We are next, and no term is recorded; but one may have been until somebody deleted it.
    async fn nobody_before(&mut self, standby: &mut Standby, look: &Look) -> Result<Step, Error> {
        match self.observer.vanished() {
            Some(gone) if !Rule::Record.is_off() && !Rule::TakeOverWait.is_off() => {
                let wait = Wait::Record {
                    holder: Some(gone.holder),
                    until: Some(gone.until),
                };
                self.tell_wait(standby, wait);
                Ok(Step::Watch(
                    self.names.record.clone(),
                    look.revision,
                    Some(gone.until),
                ))
            }
            _ => self.begin(standby, Version::Absent).await,
        }
    }

    /// We are next, but a term is recorded.
    async fn next_in_line(
        &mut self,
        standby: &mut Standby,
        kv: &KeyValue,
        first_seen: BootInstant,
        look: &Look,
    ) -> Result<Step, Error> {
        let record = Record::parse(kv.value());
        let free_at = record
            .as_ref()
            .map(|r| self.observer.free_at(r, first_seen));
        if Rule::TakeOverWait.is_off() || free_at.is_some_and(|at| BootInstant::now() >= at) {
            return self.begin(standby, Version::At(kv.mod_revision())).await;
        }
        if let Some(record) = &record {
            self.remind_of(standby, record);
        } else {
            let text = format!(
                "the record {} of an earlier term cannot be understood, so nobody can know when its holder is dead: \
                 once you are sure that no command of this election is running, delete that key by hand \
                 (etcdctl del {0})",
                self.names.record
            );
            if self.record_warning.is_due(&text) {
                self.warn(text);
            }
        }
        self.tell_wait(
            standby,
            Wait::Record {
                holder: record.map(|r| r.token),
                until: free_at,
            },
        );
        Ok(Step::Watch(
            self.names.record.clone(),
            look.revision,
            free_at,
        ))
    }

    /// A record that goes on being renewed without its key is the only thing that tells others of a process
    /// tree that cannot be killed.
    fn remind_of(&mut self, standby: &mut Standby, record: &Record) {
        let now = BootInstant::now();
        let since = match standby.waited_for {
            Some((token, since)) if token == record.token => since,
            _ => now,
        };
        standby.waited_for = Some((record.token, since));
        if now.saturating_since(since) < record.ttl * 2 {
            return;
        }
        let text = format!(
            "the term with token {} has lost its candidate key but goes on being renewed: its holder cannot get \
             its command's process tree dead, and says why in its own log; nobody starts before",
            record.token
        );
        if self.record_warning.is_due(&text) {
            self.warn(text);
        }
    }

    /// Begins a term, if the record is still at `version`.
    async fn begin(&mut self, standby: &Standby, version: Version) -> Result<Step, Error> {
        let candidate = &standby.candidate;
        let timeline = *candidate.timeline();
        let until = BootInstant::now() + timeline.attempt();
        let sent = BootInstant::now();
        let pulse = self
            .pool
            .connect(until)
            .await?
            .keep_alive(candidate.lease().0, until)
            .await?;
        if pulse.ttl <= 0 {
            // If the key is gone as well, the next look says so.
            self.lease_denied(candidate, until).await?;
            return Ok(Step::LookAgain);
        }
        let mut tenure = tenure(candidate, version);
        // From here on there may be a record of ours, whatever becomes of the answer.
        self.held.begun = true;
        match self.write_record(&tenure, sent, until).await? {
            Written::Yes(answer) => {
                tenure.version = Version::At(answer.revision);
                let renewal = super::renewal::judge(&pulse, &answer, sent, &timeline);
                Ok(Step::Done(Stood::Begun(tenure, Some(renewal))))
            }
            Written::No(_) => Ok(Step::LookAgain),
        }
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
    fn tell_wait(&self, standby: &mut Standby, wait: Wait) {
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

/// A term that is to begin, or has just begun.
fn tenure(candidate: &Candidate, version: Version) -> Tenure {
    Tenure {
        candidate: candidate.clone(),
        version,
        since: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs()),
        announced: false,
        resign: false,
        lost: None,
        record_gone: false,
    }
}
