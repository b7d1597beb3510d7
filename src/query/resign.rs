//! Asks the leader, wherever it runs, to step down; and waits, if told to, for what follows.

use std::time::Duration;

use tokio::time::Instant;

use super::remains::Remains;
use super::{Answer, Place, Trouble, Wait, YES, anywhere, look, no, output, show};
use crate::election::{Seat, Standing, View, ask_to_resign};

/// How often the outcome is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn resign(place: &Place, wait: Wait) -> Answer {
    let give_up = match wait {
        Wait::No | Wait::ForEver => None,
        Wait::For(limit) => Some(Instant::now() + limit),
    };
    let mut pool = place.pool();
    let key = place.key.as_str();
    let view = look(&mut pool, key).await?;
    let seats = view.seats();
    let leader = match (seats.first(), view.standing(seats.first())) {
        (Some(first), Standing::Leads(_)) => first,
        (Some(first), Standing::Unrecorded) => {
            return Err(Trouble::Impossible(format!(
                "{} holds the election, but no term of a leaderrun is recorded: it cannot be asked to resign ({})",
                show::name(first),
                way_out(first)
            )));
        }
        _ => {
            output::answer("nobody leads")?;
            return Ok(no());
        }
    };
    let asked = anywhere(&mut pool, async |c, until| {
        ask_to_resign(c, key, leader, until).await
    });
    if !asked.await? {
        output::answer("the leader has just changed: nobody was asked")?;
        return Ok(no());
    }
    let who = format!("{} (token {})", show::name(leader), leader.token);
    if wait == Wait::No {
        output::answer(&format!("asked {who} to resign"))?;
        return Ok(YES);
    }
    let mut remains = Remains::default();
    loop {
        let view = look(&mut pool, key);
        let view = match give_up {
            // However long etcd may take to answer.
            Some(at) => tokio::time::timeout_at(at, view).await.ok(),
            None => Some(view.await),
        };
        // A member that fails meanwhile is no reason to give up.
        if let Some(Ok(view)) = view
            && let Some(outcome) = outcome(&mut remains, &view, leader)
        {
            output::answer(&format!("{who} has resigned: {outcome}"))?;
            return Ok(YES);
        }
        if give_up.is_some_and(|at| Instant::now() >= at) {
            return Err(Trouble::Late(format!(
                "{who} was asked to resign, and has not in time"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How a leader goes that is no leaderrun.
fn way_out(leader: &Seat) -> String {
    if leader.has_lease() {
        return format!("end that program, or revoke its lease {}", leader.lease);
    }
    format!(
        "the key {} is attached to no lease: delete it by hand once you are sure that no command of this election is running",
        leader.key
    )
}

/// What has followed the term, once it is over.
fn outcome(remains: &mut Remains, view: &View, before: &Seat) -> Option<String> {
    let seats = view.seats();
    let first = seats.first();
    match view.standing(first) {
        Standing::Leads(_) => first
            .filter(|first| first.token != before.token)
            .map(|first| format!("{} leads (token {})", show::name(first), first.token)),
        Standing::Unrecorded => first
            .filter(|first| first.token != before.token)
            .map(|first| format!("{} is next", show::name(first))),
        Standing::Vacant => Some("nobody stands for election".to_owned()),
        // The tree may still be alive.
        Standing::TakeOver(record) => remains
            .have_run_out(&record)
            .then(|| "its time has run out, and nobody has taken over".to_owned()),
        Standing::Unreadable => None,
    }
}
