//! A term, from its record to its release: renewals at their pace, and the watch on our own key.
//!
//! Nothing here ends a term. After a loss, or when the deadline has passed while etcd was away,
//! the guardian kills the process tree by its own timer; until the supervisor says that the tree
//! is empty, the task goes on holding what it can, and the caller ends it by dropping the future.

use std::time::Duration;

use super::campaign::Campaign;
use super::renewal::{Renewal, Tenure, Version};
use super::{Event, Outage, Term};
use crate::clock::BootInstant;
use crate::etcd::{Change, sleep_until};
use crate::rules::Rule;

/// The least time between the beginnings of two attempts.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

impl Campaign {
    /// Renews. Returns only if the term was over, or given up, before it was announced, so that no
    /// command ever ran in it. `confirmed` is what the begin transaction has earned already.
    pub async fn lead(
        &mut self,
        mut tenure: Tenure,
        campaigning_since: BootInstant,
        confirmed: Option<Renewal>,
    ) {
        let mut outcome = match confirmed {
            Some(renewal) => Ok(renewal),
            None => self.renew(&mut tenure).await,
        };
        let mut started = BootInstant::now();
        let mut failed_in_a_row = 0;
        // A term that cannot be confirmed keeps others waiting for nobody. It is given so long as an etcd that is
        // away might give its lease.
        let give_up = started + tenure.candidate.timeline().ttl();
        loop {
            let timeline = *tenure.candidate.timeline();
            let next = match outcome {
                Ok(Renewal::Confirmed { sent, revision }) => {
                    failed_in_a_row = 0;
                    self.confirm(&mut tenure, sent, campaigning_since);
                    if tenure.announced && std::mem::take(&mut tenure.resign) {
                        self.tell(Event::ResignAsked);
                    }
                    self.watch_own_key(&tenure, revision).await;
                    // A term that could not be announced is worth another attempt at once.
                    if tenure.announced {
                        sent + timeline.interval()
                    } else {
                        started + BETWEEN_ATTEMPTS
                    }
                }
                Ok(Renewal::Unconfirmed(error)) => {
                    failed_in_a_row += 1;
                    self.renewal_failed(&tenure, Outage::Silent, error);
                    // What this member says proves nothing; what another says may.
                    self.pool.failed();
                    started + self.pause(failed_in_a_row, timeline.attempt())
                }
                Ok(Renewal::Lost(_)) if Rule::KeyWatch.is_off() => {
                    self.renewal_failed(&tenure, Outage::Silent, "the key is lost".into());
                    started + timeline.interval()
                }
                Ok(Renewal::Lost(loss)) => {
                    if !tenure.announced {
                        return;
                    }
                    self.tell(Event::Lost(loss));
                    tenure.lost = Some(loss);
                    return self.outlive(tenure).await;
                }
                Err(error) => {
                    failed_in_a_row += 1;
                    self.renewal_failed(&tenure, Outage::of(&error), error.brief());
                    let now = BootInstant::now();
                    let was_quick = now < started + timeline.attempt() * 3 / 4;
                    if was_quick && !error.is_of_connecting() {
                        self.pool.failed();
                    } else {
                        // Who answers meanwhile gets several attempts, while a raft leader is elected.
                        self.pool.was_silent(now + timeline.attempt() * 2);
                    }
                    started + self.pause(failed_in_a_row, timeline.attempt())
                }
            };
            if !tenure.announced && BootInstant::now() >= give_up {
                return;
            }
            self.wait(&tenure, started, next).await;
            started = BootInstant::now();
            outcome = self.renew(&mut tenure).await;
        }
    }

    /// From the beginning of one attempt to that of the next. The other endpoints are tried without delay; after a
    /// whole round that failed, each attempt takes its time.
    fn pause(&self, failed_in_a_row: usize, attempt: Duration) -> Duration {
        if failed_in_a_row < self.pool.len() {
            BETWEEN_ATTEMPTS
        } else {
            BETWEEN_ATTEMPTS.max(attempt / 4)
        }
    }

    /// A confirmed renewal: tells of the term if that is still to be done, and of the deadline.
    fn confirm(&mut self, tenure: &mut Tenure, sent: BootInstant, campaigning_since: BootInstant) {
        let candidate = &tenure.candidate;
        let timeline = *candidate.timeline();
        let deadline = timeline.deadline(sent);
        let now = BootInstant::now();
        if tenure.announced {
            self.tell(Event::Extended(deadline));
        } else if now < deadline.stop_at(timeline.grace()) {
            self.tell(Event::Elected(Term {
                token: candidate.token,
                lease: candidate.lease(),
                leader_key: candidate.key.clone(),
                timeline,
                deadline,
                since: tenure.since,
                waited: now.saturating_since(campaigning_since),
            }));
            tenure.announced = true;
        }
    }

    /// Watches our key, and the one by which we are asked to resign, from the instant on at which it was known to be ours.
    async fn watch_own_key(&mut self, tenure: &Tenure, revision: i64) {
        if Rule::KeyWatch.is_off() {
            return;
        }
        let until = BootInstant::now() + tenure.candidate.timeline().attempt();
        let watched = match self.pool.connect(until).await {
            Ok(connection) => {
                connection
                    .watch(
                        &[&tenure.candidate.key, &self.names.resign],
                        revision,
                        until,
                    )
                    .await
            }
            Err(error) => Err(error),
        };
        // The next renewal looks at the key as well, and tries to watch it again, elsewhere.
        if watched.is_err() {
            self.pool.failed();
        }
    }

    /// Waits for the next attempt's time, or for something to happen to our key.
    async fn wait(&mut self, tenure: &Tenure, started: BootInstant, next: BootInstant) {
        let ours = tenure.candidate.lease().0;
        let change = loop {
            tokio::select! {
                () = sleep_until(next) => return,
                change = self.pool.change() => match change {
                    // Its value was written anew, which is of no consequence.
                    Change::Put { lease } if lease == ours => {}
                    other => break other,
                },
            }
        };
        // The renewal finds out what has happened, by a transaction.
        let soon = match change {
            Change::Deleted | Change::Put { .. } | Change::Beside | Change::Reloaded => {
                started + BETWEEN_ATTEMPTS
            }
            Change::Ended(_) => {
                self.pool.failed();
                started + tenure.candidate.timeline().attempt()
            }
        };
        sleep_until(soon.min(next)).await;
    }

    /// After the loss, of leadership or of the supervisor: holds the record, until the caller drops this.
    pub async fn outlive(&mut self, mut tenure: Tenure) {
        self.pool.unwatch();
        loop {
            let started = BootInstant::now();
            let timeline = *tenure.candidate.timeline();
            let mut next = started + timeline.interval();
            if !Rule::HoldWhileAlive.is_off() {
                match self.hold_on(&mut tenure).await {
                    Ok(Some(until)) => self.tell(Event::Held(until)),
                    Ok(None) => {}
                    Err(error) => {
                        self.renewal_failed(&tenure, Outage::of(&error), error.brief());
                        self.pool.failed();
                        next = started + timeline.attempt();
                    }
                }
            }
            self.guard_the_record(&tenure, started, next).await;
        }
    }

    /// Waits until `next`, or until the record is deleted, which is all that keeps others waiting.
    async fn guard_the_record(&mut self, tenure: &Tenure, started: BootInstant, next: BootInstant) {
        let Version::At(revision) = tenure.version else {
            return sleep_until(next).await;
        };
        let until = BootInstant::now() + tenure.candidate.timeline().attempt();
        let watched = match self.pool.connect(until).await {
            Ok(connection) => {
                let record = [self.names.record.as_str()];
                connection.watch(&record, revision, until).await
            }
            Err(error) => Err(error),
        };
        if watched.is_err() {
            self.pool.failed();
        }
        loop {
            tokio::select! {
                () = sleep_until(next) => return,
                change = self.pool.change() => match change {
                    Change::Put { .. } => {}
                    Change::Ended(_) => {
                        self.pool.failed();
                        return sleep_until(next).await;
                    }
                    Change::Deleted | Change::Beside | Change::Reloaded => break,
                },
            }
        }
        sleep_until(next.min(started + BETWEEN_ATTEMPTS)).await;
    }

    fn renewal_failed(&mut self, tenure: &Tenure, outage: Outage, error: String) {
        let endpoint = self.pool.endpoint().to_string();
        // To the supervisor, a term that is not announced is still a wait.
        if tenure.announced {
            self.tell(Event::RenewalFailed {
                endpoint,
                outage,
                error,
            });
        } else {
            self.unreachable = true;
            self.tell(Event::Unreachable {
                outage,
                answered_before: true,
                error: format!("{endpoint}: {error}"),
            });
        }
    }
}
