//! The supervisor: the process that the user started.
//!
//! It brings three parties together: the election (a task), the guardian (a process, heard through a
//! [`Watch`]) and whoever sends it signals. [`state`] says where a run stands, [`events`] what each event
//! means there, this file waits for the events. Nothing here has to act for the
//! command to die in time: it only feeds the deadline.

mod caretaker;
mod environment;
mod events;
mod hooks;
mod job;
mod leftovers;
mod orphan;
mod signals;
mod standing;
mod start;
mod state;
mod status;
mod words;

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

pub use start::run;

use crate::cli::{Patience, RunOptions};
use crate::clock::BootInstant;
use crate::election::{self, Outage};
use crate::exit_status::ExitStatus;
use crate::guardian::Watch;
use crate::report::{BEAT, Health, Log, Systemd, TroubleReporter};
use crate::sys::Dispositions;
use hooks::Teller;
use job::Job;
use signals::Signals;
use state::State;

/// How long leaving the queue, or giving up a term, may take before the supervisor ends without it.
const FAREWELL: Duration = Duration::from_secs(8);
/// The same after a signal in standby: a person or an init system waits.
const QUICK_FAREWELL: Duration = Duration::from_secs(2);
/// How long the hooks that are left at the end may take together.
const HOOKS_FAREWELL: Duration = Duration::from_secs(5);
/// How long after the instant at which another may start the tree is still waited for.
const UNPROVEN: Duration = Duration::from_secs(5);
/// How soon a manager that had no room for a message is tried again.
const SAY_AGAIN: Duration = Duration::from_millis(100);

/// All that one run of leaderrun holds.
struct Supervisor {
    options: RunOptions,
    dispositions: Dispositions,
    log: Log,
    watch: Watch,
    election: election::Handle,
    election_ended: bool,
    state: State,
    trouble: TroubleReporter,
    /// The last renewal failure that was logged, and when.
    last_failure: Option<(String, Instant)>,
    job: Job,
    /// Whether somebody asked leaderrun to end.
    asked_to_end: bool,
    /// When we are to be gone, if we leave.
    gone_by: Option<Instant>,
    hooks: Teller,
    systemd: Systemd,
    /// What those who ask over `--listen` are told.
    health: Health,
    /// In what way etcd is of no use at present, and why.
    outage: Option<(Outage, String)>,
    /// Whether it was said that the timeline rides out little, if it does.
    warned_short: bool,
    /// What has been learnt while standing for election, for the verdict if time runs out.
    campaign: Campaign,
}

/// One candidacy, from its beginning to its term.
struct Campaign {
    give_up_at: Option<Instant>,
    /// Whether it is in the queue, as far as we know.
    stands: bool,
    /// Who stood in our way when we last looked, perhaps from a place that is lost since.
    waiting: Option<election::Wait>,
    /// What was wrong with etcd, if it never answered, or answers but does not write.
    trouble: Option<(Outage, String)>,
}

impl Campaign {
    fn begin(options: &RunOptions) -> Self {
        Self {
            give_up_at: match options.wait {
                Patience::Forever | Patience::Try => None,
                Patience::For(limit) => Some(Instant::now() + limit),
            },
            stands: false,
            waiting: None,
            trouble: None,
        }
    }

    /// Who stands in our way, if we stand anywhere.
    fn waits_for(&self) -> Option<&election::Wait> {
        self.waiting.as_ref().filter(|_| self.stands)
    }
}

impl Supervisor {
    /// Lives until there is a status to exit with. All that was ours in etcd is released by then, or the
    /// time for that is over.
    async fn live(&mut self, signals: &mut Signals) -> ExitStatus {
        let (feeding, mut watchdog) = self.watchdog();
        let listens = self.options.listen.is_some();
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.note_standing();
            let alarm = self.alarm();
            // The guardian's word first: what it says has happened already.
            tokio::select! {
                biased;
                Some(news) = self.watch.news.recv() => self.on_news(news),
                event = self.election.events.recv(), if !self.election_ended => match event {
                    Some(event) => self.on_election(event),
                    None => self.election_ended = true,
                },
                signal = signals.next() => self.on_signal(signal),
                _ = watchdog.tick(), if feeding => self.systemd.feed_watchdog(),
                _ = beat.tick(), if listens => {}
                () = self.hooks.hooks.turn() => {}
                () = sleep(SAY_AGAIN), if self.systemd.owes() => self.systemd.pay(),
                () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => {
                    self.on_alarm();
                }
            }
            self.tell_status();
            if let State::Done(status) = self.state {
                return status;
            }
        }
    }

    /// Whether systemd wants to hear that we live, and when it is time to say so.
    fn watchdog(&self) -> (bool, Interval) {
        let longest = Duration::from_secs(3600);
        let every = self.systemd.watchdog();
        let interval = interval(every.unwrap_or(longest).min(longest));
        (every.is_some(), interval)
    }

    /// All is over but for the hooks that tell of it: they have a little time, and a second signal ends that.
    async fn drain_hooks(&mut self, signals: &mut Signals, status: ExitStatus) {
        let mut until = Instant::now() + HOOKS_FAREWELL;
        if let (ExitStatus::ToldToEnd(_), Some(by)) = (status, self.gone_by) {
            until = until.min(by);
        }
        let (feeding, mut watchdog) = self.watchdog();
        loop {
            tokio::select! {
                () = self.hooks.hooks.drain() => return,
                _ = watchdog.tick(), if feeding => self.systemd.feed_watchdog(),
                () = sleep_until(until) => return,
                info = signals.next() => if self.ends(info) {
                    return;
                },
            }
        }
    }

    /// When to look at the clock although nothing has happened. Tokio's clock stands still in suspend,
    /// so what depends on the lease is looked at once a second.
    fn alarm(&self) -> Option<Instant> {
        match &self.state {
            State::Standby | State::Elected(_) => self.campaign.give_up_at,
            State::Done(_) => None,
            State::Running(run) => {
                let left = run.unproven_at().saturating_since(BootInstant::now());
                Some(Instant::now() + left.clamp(Duration::from_millis(1), Duration::from_secs(1)))
            }
            State::Holding { until, .. }
            | State::Releasing { until, .. }
            | State::Leaving { until, .. } => Some(*until),
        }
    }
}
