//! Random sequences of lies to the election itself, played without a guardian: whatever comes, no deadline lies later
//! than the last truthfully confirmed renewal allows, and the truth brings it back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leaderrun::clock::BootInstant;
use leaderrun::election::{Command, Config, Event, Handle, Layout, spawn};
use leaderrun::etcd::{Access, Endpoint, sleep_until};
use leaderrun::timing::{Deadline, Settings, Timeline};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use crate::hostile::liar::{Call, Liar, Lie, truth};
use crate::hostile::lies::{self, Named};
use crate::support::{Etcd, LIMIT, require_etcd};

/// Nobody but the etcd below the liar is told of it, so the shortest will do.
const TTL: Duration = Duration::from_secs(2);

/// For so long, these lies stand together.
#[derive(Clone)]
struct Step {
    of_leases: Named,
    of_transactions: Named,
    of_watches: Named,
    lasts: Duration,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (leases, transactions) = (self.of_leases.0, self.of_transactions.0);
        let (watches, lasts) = (self.of_watches.0, self.lasts);
        write!(f, "[{leases} | {transactions} | {watches}] for {lasts:?}")
    }
}

impl Step {
    fn lie(&self) -> Lie {
        let (leases, transactions, watches) = (
            self.of_leases.1.clone(),
            self.of_transactions.1.clone(),
            self.of_watches.1.clone(),
        );
        Lie::new(move |call, nth, message| match call {
            Call::Grant | Call::KeepAlive | Call::Revoke | Call::TimeToLive => {
                leases.about(call, nth, message)
            }
            Call::Txn | Call::Other => transactions.about(call, nth, message),
            Call::Watch => watches.about(call, nth, message),
        })
    }
}

/// One of these, or the truth, which half of them tell.
fn one_of(lies: Vec<Named>) -> impl Strategy<Value = Named> {
    let lie = (0..lies.len()).prop_map(move |i| lies[i].clone());
    prop_oneof![Just(("truth", truth())), lie]
}

fn step() -> impl Strategy<Value = Step> {
    let mut all = lies::of_no_proof();
    all.extend(lies::of_no_matter());
    all.extend([
        ("a grant of another lease", lies::grant_of_another()),
        ("granted for 0s", lies::grants_of(0)),
        ("granted for 3s", lies::grants_of(3)),
        ("granted for ever", lies::grants_of(i64::MAX)),
    ]);
    let (of_leases, of_transactions) = (one_of(all.clone()), one_of(all));
    (
        of_leases,
        of_transactions,
        one_of(lies::of_watches()),
        50..700_u64,
    )
        .prop_map(|(of_leases, of_transactions, of_watches, lasts)| Step {
            of_leases,
            of_transactions,
            of_watches,
            lasts: Duration::from_millis(lasts),
        })
}

/// A candidate, and the part of its supervisor and guardian.
struct Player {
    liar: Liar,
    handle: Handle,
    /// Of the term that runs.
    term: Option<(Timeline, Deadline)>,
    told: Vec<String>,
}

impl Player {
    fn new(etcd: &Etcd) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let liar = Liar::new(etcd);
        let config = Config {
            layout: Layout::Queue,
            key: format!("/hostile/{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            id: "player".into(),
            settings: Settings {
                ttl: TTL,
                ..Settings::default()
            },
            endpoints: Endpoint::parse_list(&liar.endpoint(), false).expect("an address"),
            access: Access::default(),
            ancestor: None,
        };
        Self {
            liar,
            handle: spawn(config, Box::new(|_| {})),
            term: None,
            told: Vec::new(),
        }
    }

    /// No deadline is later than the relay's account of the truth allows.
    fn check(&mut self, timeline: Timeline, deadline: Deadline) {
        let sent = self.liar.seen().confirmed.unwrap_or(0.0);
        let latest = sent + timeline.ttl().as_secs_f64() - timeline.margin().as_secs_f64();
        let deadline_at = deadline.0.since_boot().as_secs_f64();
        assert!(deadline_at <= latest, "{deadline_at} > {latest}: {self:#?}");
        if let Some((_, before)) = self.term {
            assert!(deadline >= before, "back from {before:?}: {self:#?}");
        }
        self.term = Some((timeline, deadline));
    }

    fn end(&mut self) {
        self.term = None;
        let end = Command::End {
            campaign_again: true,
        };
        self.handle.commands.send(end).expect("the task lives");
    }

    /// Plays until that instant, or until a renewal is confirmed.
    async fn play(&mut self, until: BootInstant, until_renewed: bool) -> bool {
        loop {
            let deadline = self.term.map_or(until, |(_, deadline)| deadline.0);
            let event = tokio::select! {
                biased;
                event = self.handle.events.recv() => event,
                () = sleep_until(deadline.min(until)) => {
                    if BootInstant::now() >= until {
                        return false;
                    }
                    self.told.push("(fenced)".into());
                    self.end();
                    continue;
                }
            };
            let Some(event) = event else {
                panic!("the task has ended: {self:#?}");
            };
            self.told.push(format!("{event:?}"));
            match event {
                Event::Elected(term) => self.check(term.timeline, term.deadline),
                Event::Extended(deadline) => {
                    // One that comes on the heels of the fence changes nothing.
                    let Some((timeline, _)) = self.term else {
                        continue;
                    };
                    self.check(timeline, deadline);
                    if until_renewed {
                        return true;
                    }
                }
                Event::Lost(_) if self.term.is_some() => self.end(),
                Event::Failed(error) => panic!("{error}: {self:#?}"),
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = &self.told[self.told.len().saturating_sub(40)..];
        write!(f, "{:#?}\n{told:#?}", self.liar.seen())
    }
}

async fn withstands(etcd: &Etcd, steps: Vec<Step>) {
    let mut player = Player::new(etcd);
    for step in steps {
        player.told.push(format!("{step:?}"));
        player.liar.tell(step.lie());
        player.play(BootInstant::now() + step.lasts, false).await;
    }
    player.told.push("the truth".into());
    player.liar.tell(truth());
    let renewed = player.play(BootInstant::now() + LIMIT, true).await;
    assert!(renewed, "nothing is renewed: {player:#?}");
}

#[test]
fn no_sequence_of_lies_moves_the_deadline_wrongly() {
    if !require_etcd() {
        return;
    }
    let etcd = Arc::new(Etcd::start());
    let cases = Cases {
        cases: 3,
        // Each try takes seconds.
        max_shrink_iters: 16,
        failure_persistence: None,
        ..Cases::default()
    };
    // So many at once cost no more time than one.
    let sequences = prop::collection::vec(prop::collection::vec(step(), 1..8), 16);
    let played = TestRunner::new(cases).run(&sequences, |sequences| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        let etcd = Arc::clone(&etcd);
        runtime.block_on(async move {
            let mut all = tokio::task::JoinSet::new();
            for steps in sequences {
                let etcd = Arc::clone(&etcd);
                all.spawn(async move { withstands(&etcd, steps).await });
            }
            while let Some(played) = all.join_next().await {
                if let Err(e) = played {
                    std::panic::resume_unwind(e.into_panic());
                }
            }
        });
        Ok(())
    });
    if let Err(e) = played {
        panic!("{e}");
    }
}
