//! Joining the queue: a lease with an id of our choice, and a candidate key attached to it.
//!
//! The id is ours, and the guardian learns it before etcd does, so that whatever happens to an
//! answer, what may have come of the request can be found and removed. A grant whose outcome is
//! unknown is not used; a key whose outcome is unknown is asked for again, since the transaction
//! says who holds it.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};

use super::campaign::{CALL, Campaign};
use super::names::Names;
use super::{ElectionError, Event, Layout, LeaseId, Token};
use crate::clock::BootInstant;
use crate::etcd::{Answer, Error, Kind, sleep_until};
use crate::timing::{Settings, Timeline};

/// No two candidacies of one run begin closer together: whoever keeps deleting our key must not
/// make us busy. Doubled for each that was lost at once.
const BETWEEN_JOINS: Duration = Duration::from_millis(200);

/// A lease of ours.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub lease: LeaseId,
    pub timeline: Timeline,
    /// The instant before the last keepalive that was answered, or the grant, was sent.
    pub confirmed: BootInstant,
}

impl Granted {
    /// Whether the lease has outlived what we know of it. It must not be revived then: etcd may
    /// have taken it for dead already.
    pub fn is_over(&self) -> bool {
        BootInstant::now() >= self.confirmed + self.timeline.ttl()
    }
}

/// Our place in the queue.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub granted: Granted,
    pub key: String,
    pub token: Token,
}

impl Candidate {
    pub const fn lease(&self) -> LeaseId {
        self.granted.lease
    }

    pub const fn timeline(&self) -> &Timeline {
        &self.granted.timeline
    }
}

/// Why an attempt at joining did not succeed.
pub(super) enum Setback {
    /// Try again at once, with another lease.
    Again,
    Trouble(Error),
    Hopeless(ElectionError),
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        Self::Trouble(error)
    }
}

impl Campaign {
    /// Joins at the queue's tail, however long it takes.
    pub async fn join(&mut self) -> Result<Candidate, ElectionError> {
        if let Some(last) = self.last_join {
            let doubled = 1 << self.fleeting.min(4);
            sleep_until(last + (BETWEEN_JOINS * doubled).min(CALL)).await;
        }
        loop {
            let begun = BootInstant::now();
            self.last_join = Some(begun);
            match self.try_to_join().await {
                Ok(candidate) => {
                    self.joined_with(candidate.token);
                    self.went_well();
                    if self.names.layout == Layout::Queue {
                        self.tell_campaigning(&candidate.granted).await;
                    }
                    return Ok(candidate);
                }
                Err(Setback::Again) => sleep_until(begun + BETWEEN_JOINS).await,
                Err(Setback::Trouble(error)) => self.trouble(error, CALL).await?,
                Err(Setback::Hopeless(error)) => return Err(error),
            }
        }
    }

    async fn try_to_join(&mut self) -> Result<Candidate, Setback> {
        self.pool.connect(BootInstant::now() + CALL).await?;
        self.revoke_stale().await?;
        self.refuse_ancestor().await?;
        self.ask_for_rights().await?;
        let granted = match self.granted.take() {
            Some(g) if BootInstant::now() < g.confirmed + g.timeline.window() / 2 => g,
            Some(_) => {
                self.held.put_aside();
                return Err(Setback::Again);
            }
            None => self.grant().await?,
        };
        self.granted = Some(granted.clone());
        match self.names.layout {
            Layout::Queue => self.queue_up(granted).await,
            Layout::Single => self.take(granted).await,
        }
    }

    pub(super) async fn tell_campaigning(&mut self, granted: &Granted) {
        self.tell(Event::Campaigning {
            lease: granted.lease,
            ttl: granted.timeline.ttl(),
        });
        self.leads_since = None;
        self.seek_advice().await;
    }

    /// Writes a candidate key into the queue.
    async fn queue_up(&mut self, granted: Granted) -> Result<Candidate, Setback> {
        let key = self.names.candidate(granted.lease);
        let other_layout = TxnOp::get(self.names.key.as_str(), None);
        let txn = Txn::new()
            .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
            .and_then([
                TxnOp::put(
                    key.as_str(),
                    self.config.id.as_str(),
                    Some(PutOptions::new().with_lease(granted.lease.0)),
                ),
                other_layout.clone(),
            ])
            .or_else([TxnOp::get(key.as_str(), None), other_layout]);
        let until = BootInstant::now() + CALL;
        // From here on the key may stand, whatever becomes of the answer.
        self.held.queued = true;
        let answer = self
            .pool
            .connect(until)
            .await?
            .txn("join the queue", txn, 2, until)
            .await;
        let answer = self.unless_lease_is_gone(answer)?;
        self.granted = None;
        let mut gets = answer.ops.into_iter();
        let own = gets.next().unwrap_or_default().pop();
        let token = if answer.succeeded {
            Token(answer.revision)
        } else {
            match own {
                // An earlier attempt, whose answer was lost, did it.
                Some(kv) if kv.lease() == granted.lease.0 => Token(kv.create_revision()),
                _ => {
                    self.held.put_aside();
                    let reason =
                        "etcd has neither written our candidate key nor has it one".to_owned();
                    let endpoint = self.pool.endpoint();
                    return Err(
                        Error::new(Kind::Elsewhere, endpoint, "join the queue", reason).into(),
                    );
                }
            }
        };
        self.held.token = Some(token);
        // A key without a lease is no candidate's.
        if gets
            .next()
            .unwrap_or_default()
            .iter()
            .any(|kv| kv.lease() != 0)
        {
            return Err(self.mixed("a single key", "single"));
        }
        Ok(Candidate {
            granted,
            key,
            token,
        })
    }

    /// The answer of a transaction that attaches a key to our lease.
    pub(super) fn unless_lease_is_gone(
        &mut self,
        answer: Result<Answer, Error>,
    ) -> Result<Answer, Setback> {
        match answer {
            Err(e) if e.kind == Kind::LeaseNotFound => Err(self.lease_is_gone()),
            other => Ok(other?),
        }
    }

    /// Gives up a lease that has ended, for another one.
    pub(super) fn lease_is_gone(&mut self) -> Setback {
        self.granted = None;
        self.held.put_aside();
        self.tell(Event::Displaced);
        Setback::Again
    }

    /// The refusal to compete with candidates that would not see us.
    pub(super) fn mixed(&self, theirs: &str, layout: &str) -> Setback {
        Setback::Hopeless(ElectionError::Refused(format!(
            "candidates for {} compete for {theirs}, and would lead beside us: \
             use --layout {layout}, or another --key",
            self.names.key
        )))
    }

    async fn grant(&mut self) -> Result<Granted, Setback> {
        let asked = self.config.settings.ttl;
        let lease = LeaseId::random();
        let until = BootInstant::now() + CALL;
        // Nothing of ours is in any cluster now. Were the first answer ever taken for the truth, one lie in it
        // would make lies of all that follow.
        self.pool.forget_cluster();
        let connection = self.pool.connect(until).await?;
        (self.on_lease)(lease);
        self.held.lease = Some(lease);
        let confirmed = BootInstant::now();
        let ttl = i64::try_from(asked.as_secs()).unwrap_or(i64::MAX);
        let granted = match connection.grant(lease.0, ttl, until).await {
            Ok(ttl) => ttl,
            Err(error) if error.kind == Kind::LeaseExists => {
                // Somebody else's: nothing to revoke.
                self.held.lease = None;
                return Err(Setback::Again);
            }
            Err(error) => {
                self.held.put_aside();
                return Err(error.into());
            }
        };
        let settings = Settings {
            ttl: granted,
            ..self.config.settings
        };
        let timeline = Timeline::new(&settings).map_err(|error| {
            Setback::Hopeless(ElectionError::Timeline {
                asked,
                granted,
                error,
            })
        })?;
        if granted != asked && !self.warned_ttl {
            self.warned_ttl = true;
            self.warn(format!(
                "etcd granted a TTL of {} instead of {}: the timeline follows",
                crate::timing::show(granted),
                crate::timing::show(asked)
            ));
        }
        Ok(Granted {
            lease,
            timeline,
            confirmed,
        })
    }

    /// Revokes the leases of earlier attempts, and forgets them: what no endpoint can revoke ends by itself.
    async fn revoke_stale(&mut self) -> Result<(), Error> {
        while let Some(lease) = self.held.stale.last().copied() {
            let until = BootInstant::now() + CALL;
            let connection = self.pool.connect(until).await?;
            if let Err(error) = connection.revoke(lease.0, until).await {
                self.vain_revokes += 1;
                if self.vain_revokes < self.pool.len() * 2 {
                    return Err(error);
                }
            }
            self.vain_revokes = 0;
            self.held.stale.pop();
        }
        Ok(())
    }

    /// Asks etcd for all that a term will need, before others may wait for us: it looks at the permissions for both
    /// ways that a transaction may go.
    async fn ask_for_rights(&mut self) -> Result<(), Error> {
        let Names { record, resign, .. } = &self.names;
        let txn = Txn::new()
            // Never so.
            .when([Compare::create_revision(
                record.as_str(),
                CompareOp::Less,
                0,
            )])
            .and_then([
                TxnOp::get(resign.as_str(), None),
                TxnOp::put(record.as_str(), "", None),
            ]);
        let until = BootInstant::now() + CALL;
        let connection = self.pool.connect(until).await?;
        let asked = connection.txn("ask for the rights of a candidate", txn, 0, until);
        asked.await.map(|_| ())
    }

    /// Refuses to queue behind the very term that this process is a part of.
    async fn refuse_ancestor(&mut self) -> Result<(), Setback> {
        let Some(ancestor) = self.config.ancestor.clone() else {
            return Ok(());
        };
        let until = BootInstant::now() + CALL;
        let txn = Txn::new().and_then([TxnOp::get(ancestor.leader_key.as_str(), None)]);
        let answer = self
            .pool
            .connect(until)
            .await?
            .txn("look for an ancestor", txn, 1, until)
            .await?;
        let mut found = answer.ops.into_iter().flatten();
        if found.any(|kv| kv.create_revision() == ancestor.token.0) {
            return Err(Setback::Hopeless(ElectionError::HeldByAncestor(
                ancestor.leader_key,
            )));
        }
        Ok(())
    }
}
