//! Being next: an earlier term that is recorded, or was, is waited out, and then our own begins.

use std::time::{SystemTime, UNIX_EPOCH};

use etcd_client::KeyValue;

use super::Wait;
use super::campaign::Campaign;
use super::candidate::Candidate;
use super::queue::Look;
use super::record::Record;
use super::renewal::{Tenure, Version, Written};
use super::standby::{Standby, Step, Stood};
use crate::clock::BootInstant;
use crate::etcd::Error;
use crate::rules::Rule;

impl Campaign {
    /// We are next, and no term is recorded; but one may have been until somebody deleted it.
    pub(super) async fn nobody_before(
        &mut self,
        standby: &mut Standby,
        look: &Look,
    ) -> Result<Step, Error> {
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
    pub(super) async fn next_in_line(
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
}

/// A term that is to begin, or has just begun.
pub(super) fn tenure(candidate: &Candidate, version: Version) -> Tenure {
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
