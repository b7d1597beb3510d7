//! What every part of a campaign shares: the connection pool, what is ours in etcd, and the way
//! back from a failure while no term runs.
//!
//! The task cancels a campaign by dropping its future wherever it stands, so everything that may
//! have become ours is noted in [`Held`] *before* the request that makes it ours is sent.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::candidate::Granted;
use super::names::Names;
use super::record::this_clock;
use super::refusal::advise;
use super::take_over::Observer;
use super::{Config, ElectionError, Event, GivenUp, Leader, LeaseId, Outage, Token};
use crate::clock::{BootInstant, ClockIdentity};
use crate::etcd::{Backoff, Error, Kind, Pool};

/// How long one call may take while we are not leading and in no hurry.
pub(super) const CALL: Duration = Duration::from_secs(2);
/// How often a warning that stays true is repeated.
const REMINDER: Duration = Duration::from_secs(60);

/// What may be ours in etcd.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The lease of the candidacy.
    pub lease: Option<LeaseId>,
    /// The create revision of our candidate key, once known.
    pub token: Option<Token>,
    /// Whether a transaction that puts a candidate key may have been sent: others may be waiting for us.
    pub queued: bool,
    /// Whether a transaction that begins a term may have been sent.
    pub begun: bool,
    /// Whether it did: the record is ours, or was.
    pub led: bool,
    /// Whether the record is to stand when the rest is given back.
    pub keep_record: bool,
    /// Leases of ours that are of no use and could not be revoked yet.
    pub stale: Vec<LeaseId>,
}

impl Held {
    /// What is given up with our key, where no record of ours is seen: it may have been removed, but a candidate that
    /// knows its token knows whether it ever began a term.
    pub fn but_record(&self) -> GivenUp {
        if self.begun && self.token.is_some() {
            GivenUp::All
        } else {
            GivenUp::Place
        }
    }

    /// Gives up the present candidacy, but remembers to revoke its lease.
    pub fn put_aside(&mut self) {
        // Leases end by themselves; remembering more than a few would be of no use to anyone.
        if let Some(lease) = self.lease.take()
            && self.stale.len() < 16
        {
            self.stale.push(lease);
        }
        self.token = None;
        self.begun = false;
        self.led = false;
    }
}

/// A warning that is given once, and again when it has stayed true for a while.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    last: Option<(String, BootInstant)>,
}

impl Reminder {
    /// Whether `text` is to be said now.
    pub fn is_due(&mut self, text: &str) -> bool {
        let now = BootInstant::now();
        let due = match &self.last {
            Some((said, at)) => said != text || now.saturating_since(*at) >= REMINDER,
            None => true,
        };
        if due {
            self.last = Some((text.to_owned(), now));
        }
        due
    }
}

/// See the module's head.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Campaign {
    pub config: Config,
    pub names: Names,
    pub clock: ClockIdentity,
    pub pool: Pool,
    pub held: Held,
    pub observer: Observer,
    /// A lease that was granted, while its key may not stand yet.
    pub granted: Option<Granted>,
    pub on_lease: Box<dyn FnMut(LeaseId) + Send>,
    /// Whether we ever stood in the queue in this run.
    pub joined: bool,
    /// When the last attempt at joining began.
    pub last_join: Option<BootInstant>,
    /// How many candidacies in a row were lost at once.
    pub fleeting: u32,
    pub displaced: Reminder,
    /// How often the same lease could not be revoked.
    pub vain_revokes: usize,
    /// The largest token that a candidacy of ours has had.
    pub newest: Option<Token>,
    /// The last leader that the supervisor was told of.
    leader: Option<Token>,
    /// Since when somebody leads, as the supervisor was told last in this candidacy.
    pub leads_since: Option<u64>,
    /// Whether what should be changed about this etcd was looked for.
    pub advised: bool,
    pub warned_namesake: bool,
    pub warned_foreign: bool,
    pub warned_ttl: bool,
    pub warned_unattached: bool,
    pub record_warning: Reminder,
    events: UnboundedSender<Event>,
    backoff: Backoff,
    /// Whether the supervisor believes that etcd is away.
    pub unreachable: bool,
    failures: usize,
    /// How many of them another attempt will hardly heal.
    hopeless: usize,
    refusal: Reminder,
}

impl Campaign {
    pub fn new(
        config: Config,
        events: UnboundedSender<Event>,
        on_lease: Box<dyn FnMut(LeaseId) + Send>,
    ) -> Self {
        Self {
            names: Names::new(&config.key, config.layout),
            observer: Observer::new(this_clock()),
            clock: this_clock(),
            pool: Pool::new(config.endpoints.clone(), config.access.clone()),
            config,
            held: Held::default(),
            granted: None,
            on_lease,
            joined: false,
            last_join: None,
            fleeting: 0,
            displaced: Reminder::default(),
            vain_revokes: 0,
            newest: None,
            leader: None,
            leads_since: None,
            advised: false,
            warned_namesake: false,
            warned_foreign: false,
            warned_ttl: false,
            warned_unattached: false,
            record_warning: Reminder::default(),
            events,
            backoff: Backoff::new(),
            unreachable: false,
            failures: 0,
            hopeless: 0,
            refusal: Reminder::default(),
        }
    }

    /// Tells the supervisor. One that is gone needs no telling.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// To tell the supervisor from a task of its own.
    pub fn events(&self) -> UnboundedSender<Event> {
        self.events.clone()
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.tell(Event::Warning(text.into()));
    }

    /// Tells who leads, and since when, if that has changed.
    pub fn tell_leader(&mut self, leader: Option<Leader>) {
        let since = leader.as_ref().and_then(|leader| leader.since);
        if std::mem::replace(&mut self.leads_since, since) != since {
            self.tell(Event::LeadsSince(since));
        }
        if let Some(leader) = leader
            && self.leader.replace(leader.token) != Some(leader.token)
        {
            self.tell(Event::Leader(leader));
        }
    }

    /// Takes note of the token of a new candidacy. In one history of etcd each is larger than the last.
    pub fn joined_with(&mut self, token: Token) {
        if let Some(newest) = self.newest
            && token <= newest
        {
            self.warn(format!(
                "etcd's history has gone back: it gives us revision {token}, after {newest} (was its data lost, or restored \
                 without a bump of the revision?). Fencing tokens repeat, so whatever compares them may refuse this term, \
                 and a candidate that was frozen or cut off meanwhile may still be running its command"
            ));
        }
        self.joined = true;
        self.newest = Some(token);
    }

    /// Something worked that shows progress: the next failure begins a new series.
    pub fn went_well(&mut self) {
        if std::mem::take(&mut self.unreachable) {
            self.tell(Event::Reachable);
        }
        self.backoff.reset();
        self.failures = 0;
        self.hopeless = 0;
    }

    /// After a failure while no term runs: moves on to the next endpoint, and when all were tried
    /// pauses, for `longest` at most.
    ///
    /// # Errors
    /// What trying again cannot heal, as long as we never stood in the queue.
    pub async fn trouble(&mut self, error: Error, longest: Duration) -> Result<(), ElectionError> {
        self.pool.failed();
        self.failures += 1;
        let hopeless = matches!(error.kind, Kind::UnknownName | Kind::Untrusted);
        self.hopeless += usize::from(hopeless);
        let refused = error.kind.is_refusal();
        let round = self.pool.len();
        if refused {
            let text = advise(&error, &self.config.key, self.pool.access());
            if !self.joined {
                return Err(ElectionError::Refused(text));
            }
            if self.refusal.is_due(&text) {
                self.warn(text);
            }
        }
        if self.failures < round {
            return Ok(());
        }
        if self.hopeless >= round && !self.joined && !self.pool.answered() {
            let text = advise(&error, &self.config.key, self.pool.access());
            return Err(ElectionError::Refused(text));
        }
        self.failures = 0;
        self.hopeless = 0;
        if !refused {
            self.unreachable = true;
            self.tell(Event::Unreachable {
                outage: Outage::of(&error),
                answered_before: self.pool.answered(),
                error: error.to_string(),
            });
        }
        tokio::time::sleep(self.backoff.pause(longest)).await;
        Ok(())
    }
}
