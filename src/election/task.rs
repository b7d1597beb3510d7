//! The task: a campaign that goes on for ever, and the commands that interrupt it.
//!
//! A command must be obeyed in bounded time whatever the campaign is waiting for, so the campaign
//! is one future that is dropped when a command comes, at whichever await it stands. What it had
//! asked etcd for until then is noted in what is held, and is released or looked for from there.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::campaign::Campaign;
use super::release::release;
use super::standby::Stood;
use super::{Command, Config, ElectionError, Event, GivenUp, LeaseId};
use crate::clock::BootInstant;

/// How long etcd is told of the end of a term.
const END: Duration = Duration::from_secs(5);
/// How long etcd is told that we leave the queue: leaderrun ends within 2 s of the signal.
const LEAVE: Duration = Duration::from_millis(1800);
/// The same while nobody can be waiting for us: a lease without a key ends by itself.
const LEAVE_NOTHING: Duration = Duration::from_millis(200);
/// How long we tidy up before joining anew, or before giving up.
const TIDY: Duration = Duration::from_secs(2);

/// The two ends of a running election.
#[derive(Debug)]
pub struct Handle {
    /// What the election tells; closed when its task has ended.
    pub events: UnboundedReceiver<Event>,
    /// What the election is told; closing it ends the task without a word to etcd.
    pub commands: UnboundedSender<Command>,
    reload: watch::Sender<()>,
}

impl Handle {
    /// Has the connection made anew, with what the files of certificates and password hold now.
    pub fn reload(&self) {
        self.reload.send_replace(());
    }
}

/// Starts campaigning, in a task on the present tokio runtime.
///
/// `on_lease` is called with each lease id that we choose, before etcd hears of it: whoever is to
/// clean up after us needs nothing else. It must not block.
///
/// # Panics
/// Outside a tokio runtime, or without an endpoint.
pub fn spawn(config: Config, on_lease: Box<dyn FnMut(LeaseId) + Send>) -> Handle {
    let (event_sender, events) = unbounded_channel();
    let (commands, command_receiver) = unbounded_channel();
    let (reload, reloads) = watch::channel(());
    let mut campaign = Campaign::new(config, event_sender, on_lease);
    campaign.pool.reload_on(reloads);
    tokio::spawn(obey(campaign, command_receiver));
    Handle {
        events,
        commands,
        reload,
    }
}

async fn obey(mut campaign: Campaign, mut commands: UnboundedReceiver<Command>) {
    loop {
        let command = tokio::select! {
            biased;
            command = commands.recv() => command,
            failure = campaign.run() => {
                let Err(error) = failure;
                // The failure counts, whatever becomes of the tidying. Where nobody has ever answered, there is
                // nobody to tidy up with.
                if campaign.pool.answered() {
                    let _ = campaign.release(TIDY).await;
                }
                campaign.tell(Event::Failed(error));
                return;
            }
        };
        let (limit, campaign_again) = match command {
            Some(Command::End { campaign_again }) => (END, campaign_again),
            Some(Command::Leave) if campaign.held.queued => (LEAVE, false),
            Some(Command::Leave) => (LEAVE_NOTHING, false),
            Some(Command::LeaveRecord) => {
                campaign.held.keep_record = true;
                (LEAVE, false)
            }
            None => return,
        };
        let queued = campaign.held.queued;
        let answer = match campaign.release(limit).await {
            Err(_) if !queued => Event::Released(GivenUp::Nothing),
            Ok(given_up) => Event::Released(given_up),
            Err(error) => Event::ReleaseFailed(error),
        };
        campaign.tell(answer);
        if !campaign_again {
            return;
        }
    }
}

impl Campaign {
    /// Campaigns and leads, again and again.
    async fn run(&mut self) -> Result<Infallible, ElectionError> {
        let since = BootInstant::now();
        loop {
            let candidate = self.join().await?;
            let soon = BootInstant::now() + candidate.timeline().interval();
            let reason = match self.stand(candidate).await? {
                Stood::Begun(tenure, confirmed) => {
                    self.lead(tenure, since, confirmed).await;
                    "the term was over, or took too long, before it was confirmed"
                }
                Stood::Displaced(reason) => reason,
            };
            let text = format!("{reason}: joining the queue again at its end");
            if self.displaced.is_due(&text) || self.fleeting == 0 {
                self.warn(text);
            }
            if BootInstant::now() < soon {
                self.fleeting += 1;
            } else {
                self.fleeting = 0;
            }
            // Once may be a person's deed; then it may be the member that does not tell the truth.
            if self.fleeting > 1 {
                self.pool.failed();
            }
            self.tell(Event::Displaced);
            // What is left of the lost candidacy would only be in the way. If etcd is away, the
            // lease is revoked later.
            let _ = self.release(TIDY).await;
        }
    }

    async fn release(&mut self, limit: Duration) -> Result<GivenUp, String> {
        let until = BootInstant::now() + limit;
        self.granted = None;
        self.pool.unwatch();
        let released = release(&mut self.pool, &self.names, &self.held, until).await;
        if released.is_ok() {
            self.held.stale.clear();
            self.held.lease = None;
            self.held.queued = false;
        }
        self.held.put_aside();
        released
    }
}
