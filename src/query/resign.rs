//! Asks the leader, wherever it runs, to step down; and waits, if told to, for what follows.

use std::time::Duration;

use tokio::time::Instant;

use super::remains::Remains;
use super::{Answer, Place, Trouble, Wait, YES, anywhere, look, no, output, show};
use crate::election::{Seat, Standing, View, ask_to_resign};
use crate::etcd::Pool;

/// How often the outcome is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn resign(place: &Place, wait: Wait) -> Answer {
    let give_up = match wait {
        Wait::No | Wait::ForEver => None,
        Wait::For(limit) => Some(Instant::now() + limit),
    };
    let mut pool = place.pool();
    let key = place.key.as_str();
    let asking = ask(&mut pool, key);
    let asked = match give_up {
        Some(at) => tokio::time::timeout_at(at, asking).await.map_err(|_| {
            Trouble::Late(
                "etcd has not answered in time: whether the leader has been asked is not known"
                    .to_owned(),
            )
        })?,
        None => asking.await,
    };
    let Some(leader) = asked? else {
        return Ok(no());
    };
    let who = format!("{} (token {})", show::name(&leader), leader.token);
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
        match view {
            Some(Ok(view)) => {
                if let Some(outcome) = outcome(&mut remains, &view, &leader) {
                    output::answer(&format!("{who} has resigned: {outcome}"))?;
                    return Ok(YES);
                }
            }
            Some(Err(error)) if error.kind.is_refusal() => return Err(error.into()),
            // A member that fails meanwhile is no reason to give up.
            Some(Err(_)) | None => {}
        }
        if give_up.is_some_and(|at| Instant::now() >= at) {
            return Err(Trouble::Late(format!(
                "{who} was asked to resign, and has not in time"
            )));
        }
        let next = Instant::now() + LOOK;
        tokio::time::sleep_until(give_up.map_or(next, |at| next.min(at))).await;
    }
}

/// Asks the leader; yields its seat, or nothing, which has been said, if there is none.
async fn ask(pool: &mut Pool, key: &str) -> Result<Option<Seat>, Trouble> {
    let view = look(pool, key).await?;
    let mut seats = view.seats();
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
            return Ok(None);
        }
    };
    let asked = anywhere(pool, async |c, until| {
        ask_to_resign(c, key, leader, until).await
    });
    if !asked.await? {
        output::answer("the leader has just changed: nobody was asked")?;
        return Ok(None);
    }
    Ok(Some(seats.swap_remove(0)))
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
