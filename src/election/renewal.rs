//! One attempt at a renewal: keepalive, then the transaction that proves it.
//!
//! A keepalive alone proves nothing: a stalled leader acknowledges renewals that the real leader
//! never saw (etcd issue 15247). The transaction that follows goes through the quorum, and if it
//! was answered in the same raft term, the member that renewed the lease was still the leader's.
//! The transaction also rewrites the record, on which other leaderruns rely instead of the lease.

use etcd_client::{Compare, CompareOp, KeyValue, Txn, TxnOp};

use super::Loss;
use super::campaign::Campaign;
use super::candidate::Candidate;
use super::record::Record;
use crate::clock::BootInstant;
use crate::etcd::{Answer, Connection, Error, Kind, Proof, Pulse};
use crate::rules::Rule;
use crate::timing::Timeline;

/// The record as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Absent,
    /// Its mod revision.
    At(i64),
}

/// A term from the transaction that wrote its record, until everything of it is removed.
#[derive(Debug)]
pub(super) struct Tenure {
    pub candidate: Candidate,
    pub version: Version,
    /// When it began, in Unix seconds.
    pub since: u64,
    /// Whether the supervisor knows of it.
    pub announced: bool,
    /// Whether its holder is asked to step down.
    pub resign: bool,
    pub lost: Option<Loss>,
    /// Whether the record is known to be ours no longer.
    pub record_gone: bool,
}

impl Tenure {
    /// Takes note of the record as it was found. Returns whether it may be written anew as ours: also one
    /// that was deleted by hand, or scribbled on, which nobody but us takes over. Only another's record
    /// shows that ours is out of force.
    fn found(&mut self, found: &Found) -> bool {
        let version = match &found.record {
            None => Some(Version::Absent),
            Some(kv) if Record::parse(kv.value()).is_none() => Some(Version::At(kv.mod_revision())),
            Some(_) => found.our_record(&self.candidate),
        };
        match version {
            Some(version) => self.version = version,
            None => self.record_gone = true,
        }
        version.is_some()
    }
}

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// The deadline may move.
    Confirmed {
        /// The instant before the keepalive was sent.
        sent: BootInstant,
        /// Our key was ours at this revision of the store.
        revision: i64,
    },
    /// Something was written, but it proves nothing.
    Unconfirmed(String),
    Lost(Loss),
}

/// What the transaction did.
pub(super) enum Written {
    Yes(Answer),
    /// A comparison failed; this is how things are.
    No(Found),
}

/// Our key and the record, read in one transaction.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub own: Option<KeyValue>,
    pub record: Option<KeyValue>,
}

impl Found {
    pub fn read(answer: Answer) -> Self {
        let mut gets = answer.ops.into_iter();
        let mut next = || gets.next().unwrap_or_default().pop();
        Self {
            own: next(),
            record: next(),
        }
    }

    pub fn key_is_ours(&self, candidate: &Candidate) -> bool {
        self.own.as_ref().is_some_and(|kv| {
            kv.create_revision() == candidate.token.0 && kv.lease() == candidate.lease().0
        })
    }

    /// The version of the record if it is that of our term.
    pub fn our_record(&self, candidate: &Candidate) -> Option<Version> {
        let kv = self.record.as_ref()?;
        let record = Record::parse(kv.value())?;
        record
            .is_of(candidate.token, candidate.lease())
            .then(|| Version::At(kv.mod_revision()))
    }
}

impl Campaign {
    /// One attempt, on the present endpoint, within the timeline's attempt length.
    pub async fn renew(&mut self, tenure: &mut Tenure) -> Result<Renewal, Error> {
        let until = BootInstant::now() + tenure.candidate.timeline().attempt();
        let lease = tenure.candidate.lease();
        // An answer that was lost, or a record deleted by hand, is judged and made good within
        // the attempt; whoever keeps at it will not keep us busy.
        for _ in 0..3 {
            let sent = BootInstant::now();
            let pulse = self
                .pool
                .connect(until)
                .await?
                .keep_alive(lease.0, until)
                .await?;
            if pulse.ttl <= 0 {
                return self.lease_denied(&tenure.candidate, until).await;
            }
            let written = self.write_record(tenure, sent, until).await;
            if Rule::Confirmation.is_off() {
                if let Ok(Written::Yes(answer)) = written {
                    tenure.version = Version::At(answer.revision);
                }
                return Ok(Renewal::Confirmed { sent, revision: 0 });
            }
            match written? {
                Written::Yes(mut answer) => {
                    tenure.version = Version::At(answer.revision);
                    let asked = answer.ops.pop().unwrap_or_default();
                    let token = tenure.candidate.token.to_string();
                    // Another's token is a request to another, from before our term.
                    tenure.resign |= asked.iter().any(|kv| kv.value() == token.as_bytes());
                    return Ok(judge(&pulse, &answer, sent, tenure.candidate.timeline()));
                }
                Written::No(found) if found.key_is_ours(&tenure.candidate) => {
                    if !tenure.found(&found) {
                        return Ok(Renewal::Lost(Loss::KeyLost));
                    }
                }
                Written::No(found) => {
                    tenure.found(&found);
                    return Ok(Renewal::Lost(
                        self.kind_of_loss(&tenure.candidate, until).await,
                    ));
                }
            }
        }
        Ok(Renewal::Unconfirmed(
            "the term record keeps changing under our hands".into(),
        ))
    }

    /// Writes the record of a renewal sent at `sent`, if key and record are as they should be.
    pub async fn write_record(
        &mut self,
        tenure: &Tenure,
        sent: BootInstant,
        until: BootInstant,
    ) -> Result<Written, Error> {
        let candidate = &tenure.candidate;
        let mut compares = vec![
            Compare::create_revision(candidate.key.as_str(), CompareOp::Equal, candidate.token.0),
            Compare::lease(
                candidate.key.as_str(),
                CompareOp::Equal,
                candidate.lease().0,
            ),
        ];
        let mut write = Vec::new();
        if !Rule::Record.is_off() {
            compares.push(tenure.version.compare(&self.names.record));
            write.push(TxnOp::put(
                self.names.record.as_str(),
                self.record(tenure, sent).to_json(),
                None,
            ));
        }
        write.push(TxnOp::get(self.names.resign.as_str(), None));
        let operations = write.len();
        let txn = Txn::new()
            .when(compares)
            .and_then(write)
            .or_else(reads(&candidate.key, &self.names.record));
        let answer = self
            .pool
            .connect(until)
            .await?
            .txn("write the term record", txn, operations, until)
            .await?;
        Ok(if answer.succeeded {
            Written::Yes(answer)
        } else {
            Written::No(Found::read(answer))
        })
    }

    /// After the loss, while the process tree may still live: keeps what can be kept, so that
    /// other leaderruns go on waiting. Returns until when they do, as far as this attempt goes.
    pub async fn hold_on(&mut self, tenure: &mut Tenure) -> Result<Option<BootInstant>, Error> {
        let until = BootInstant::now() + tenure.candidate.timeline().attempt();
        let held = self.hold_record(tenure, until).await?;
        if tenure.lost == Some(Loss::KeyLost) {
            // A key that was only attached elsewhere stands for as long as the lease in its name.
            let lease = tenure.candidate.lease().0;
            self.pool
                .connect(until)
                .await?
                .keep_alive(lease, until)
                .await?;
        }
        Ok(held)
    }

    async fn hold_record(
        &mut self,
        tenure: &mut Tenure,
        until: BootInstant,
    ) -> Result<Option<BootInstant>, Error> {
        // A record deleted by hand is written anew at once: nothing else in etcd says that the
        // process tree may be alive.
        for _ in 0..2 {
            if tenure.record_gone {
                break;
            }
            let sent = BootInstant::now();
            let record = self.record(tenure, sent).to_json();
            let txn = Txn::new()
                .when([tenure.version.compare(&self.names.record)])
                .and_then([TxnOp::put(self.names.record.as_str(), record, None)])
                .or_else(reads(&tenure.candidate.key, &self.names.record));
            let answer = self
                .pool
                .connect(until)
                .await?
                .txn("write the term record", txn, 1, until)
                .await?;
            if answer.succeeded {
                tenure.version = Version::At(answer.revision);
                return Ok(Some(sent + tenure.candidate.timeline().ttl()));
            }
            tenure.found(&Found::read(answer));
        }
        Ok(None)
    }

    fn record(&self, tenure: &Tenure, sent: BootInstant) -> Record {
        let timeline = tenure.candidate.timeline();
        Record {
            token: tenure.candidate.token,
            lease: tenure.candidate.lease(),
            ttl: timeline.ttl(),
            since: tenure.since,
            clock: self.clock.clone(),
            deadline: timeline.deadline(sent),
            margin: timeline.margin(),
            over: false,
        }
    }

    /// A member says that the lease is gone. A stalled one may be wrong, so the quorum is asked
    /// about the key before anything is believed.
    pub async fn lease_denied(
        &mut self,
        candidate: &Candidate,
        until: BootInstant,
    ) -> Result<Renewal, Error> {
        let connection = self.pool.connect(until).await?;
        let found = find(connection, &candidate.key, &self.names.record, until).await?;
        if found.key_is_ours(candidate) {
            return Err(self.denied_wrongly());
        }
        Ok(Renewal::Lost(Loss::LeaseLost))
    }

    /// A member says that the lease is gone, and the quorum that the key stands which is attached to it: another
    /// member may know better.
    pub fn denied_wrongly(&self) -> Error {
        let reason = "the lease is said to be gone, but the candidate key stands".to_owned();
        Error::new(
            Kind::Elsewhere,
            self.pool.endpoint(),
            "renew the lease",
            reason,
        )
    }

    /// Whether the key went alone or with its lease; for the message only.
    async fn kind_of_loss(&mut self, candidate: &Candidate, until: BootInstant) -> Loss {
        let Ok(connection) = self.pool.connect(until).await else {
            return Loss::KeyLost;
        };
        match connection.lives(candidate.lease().0, until).await {
            Ok(false) => Loss::LeaseLost,
            Ok(true) | Err(_) => Loss::KeyLost,
        }
    }
}

impl Version {
    pub fn compare(self, record: &str) -> Compare {
        match self {
            Self::Absent => Compare::create_revision(record, CompareOp::Equal, 0),
            Self::At(revision) => Compare::mod_revision(record, CompareOp::Equal, revision),
        }
    }
}

/// Reads our key and the record, linearizably.
pub(super) async fn find(
    connection: &mut Connection,
    key: &str,
    record: &str,
    until: BootInstant,
) -> Result<Found, Error> {
    let txn = Txn::new().and_then(reads(key, record));
    let looked = connection.txn("look at our own key", txn, 2, until);
    Ok(Found::read(looked.await?))
}

fn reads(key: &str, record: &str) -> [TxnOp; 2] {
    [TxnOp::get(key, None), TxnOp::get(record, None)]
}

/// Whether a keepalive sent at `sent` and the transaction after it make a confirmed renewal.
pub(super) fn judge(
    pulse: &Pulse,
    answer: &Answer,
    sent: BootInstant,
    timeline: &Timeline,
) -> Renewal {
    let sent = if Rule::SentInstant.is_off() {
        answer.arrived
    } else {
        sent
    };
    match unproven(
        pulse.proof,
        answer.proof,
        pulse.ttl,
        timeline.ttl().as_secs(),
    ) {
        Some(reason) => Renewal::Unconfirmed(reason),
        None => Renewal::Confirmed {
            sent,
            revision: answer.revision,
        },
    }
}

/// Why a keepalive and the transaction after it do not prove that the lease was renewed.
fn unproven(keepalive: Option<Proof>, txn: Proof, ttl: i64, granted: u64) -> Option<String> {
    let Some(keepalive) = keepalive else {
        return Some("the keepalive's answer has no header".into());
    };
    if keepalive != txn {
        return Some(format!(
            "the keepalive was answered in raft term {}, the transaction in {}",
            keepalive.raft_term, txn.raft_term
        ));
    }
    if u64::try_from(ttl).is_ok_and(|ttl| ttl >= granted) {
        None
    } else {
        Some(format!(
            "the lease was renewed for {ttl}s only, not for {granted}s"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_term_of_the_same_cluster_proves_a_renewal() {
        let proof = |cluster, raft_term| Proof { cluster, raft_term };
        assert_eq!(unproven(Some(proof(1, 5)), proof(1, 5), 15, 15), None);
        assert!(unproven(Some(proof(1, 4)), proof(1, 5), 15, 15).is_some());
        assert!(unproven(Some(proof(2, 5)), proof(1, 5), 15, 15).is_some());
        assert!(unproven(None, proof(1, 5), 15, 15).is_some());
        assert!(unproven(Some(proof(1, 5)), proof(1, 5), 14, 15).is_some());
        assert!(unproven(Some(proof(1, 5)), proof(1, 5), -1, 15).is_some());
    }
}
