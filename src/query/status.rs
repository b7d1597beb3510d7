//! Who leads, who waits, and does the record agree? Every endpoint is asked at once, each for itself.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use super::show::{self, SeatJson};
use super::{Answer, Place, Trouble, YES, anywhere, no, output};
use crate::election::{LeaseId, Seat, Standing, Token, View};
use crate::etcd::{Error, Kind, Pool};
use crate::report::escape;

/// What `status --json` prints. Fields may be added, none will go or change.
#[derive(Debug, Serialize)]
struct Report {
    key: String,
    layout: Option<&'static str>,
    leader: Option<SeatJson>,
    /// `agrees`, `absent`, `take-over`, `over`, `unreadable`.
    record: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    take_over: Option<TakeOver>,
    queue: Vec<SeatJson>,
    revision: i64,
    endpoints: Vec<Probe>,
}

/// An earlier term that whoever is first has to wait out.
#[derive(Debug, Serialize)]
struct TakeOver {
    token: Token,
    /// Seconds until it has run out, at the most.
    remaining: f64,
}

#[derive(Debug, Serialize)]
struct Probe {
    endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What one endpoint knows: the election, and the seconds that each candidate's lease has left.
type Seen = (View, HashMap<LeaseId, i64>);

pub(super) async fn status(place: &Place, json: bool) -> Answer {
    let (mut asked, here) = (JoinSet::new(), LocalSet::new());
    let (key, endpoints) = (place.key.as_str(), &place.endpoints);
    for (i, endpoint) in endpoints.iter().cloned().enumerate() {
        let (key, access) = (key.to_owned(), place.access.clone());
        let look = async move { (i, look(&key, Pool::new(vec![endpoint], access)).await) };
        asked.spawn_local_on(look, &here);
    }
    let mut answers: Vec<_> = here.run_until(asked.join_all()).await;
    answers.sort_by_key(|(i, _)| *i);
    let mut newest: Option<Seen> = None;
    let mut failed = None;
    let mut probes = Vec::new();
    for ((_, answer), endpoint) in answers.into_iter().zip(endpoints) {
        let endpoint = endpoint.to_string();
        let error = match answer {
            Ok(seen) => {
                if newest
                    .as_ref()
                    .is_none_or(|(view, _)| view.revision < seen.0.revision)
                {
                    newest = Some(seen);
                }
                None
            }
            Err(error) => {
                let brief = error.brief();
                failed.get_or_insert(error);
                Some(brief)
            }
        };
        probes.push(Probe { endpoint, error });
    }
    let Some((view, ttls)) = newest else {
        // What is wrong with us is the same everywhere, and there is a way to mend it.
        if let Some(error) = failed
            && (probes.len() == 1 || error.kind != Kind::Elsewhere)
        {
            return Err(error.into());
        }
        let each = |probe: &Probe| {
            format!(
                "{}: {}",
                probe.endpoint,
                probe.error.as_deref().unwrap_or_default()
            )
        };
        let all: Vec<String> = probes.iter().map(each).collect();
        return Err(Trouble::Silent(format!(
            "no endpoint tells: {}",
            all.join("; ")
        )));
    };
    let seats = view.seats();
    let standing = view.standing(seats.first());
    if json {
        let report = report(key, &view, &seats, &standing, &ttls, probes);
        output::answer(&output::json(&report))?;
    } else {
        output::answer(text(key, &view, &seats, &standing, &ttls, &probes).trim_end())?;
    }
    Ok(if !seats.is_empty() && standing.is_led() {
        YES
    } else {
        no()
    })
}

async fn look(key: &str, mut pool: Pool) -> Result<Seen, Error> {
    anywhere(&mut pool, async |connection, until| {
        let view = View::read(connection, key, until).await?;
        let mut ttls = HashMap::new();
        for seat in view.seats().into_iter().filter(Seat::has_lease) {
            if let Some(ttl) = connection.time_to_live(seat.lease.0, until).await? {
                ttls.insert(seat.lease, ttl);
            }
        }
        Ok((view, ttls))
    })
    .await
}

/// What an earlier term has left at the most; nothing if there is none.
fn time_left(standing: &Standing) -> Duration {
    match standing {
        Standing::TakeOver(record) => record.time_left(),
        _ => Duration::ZERO,
    }
}

fn report(
    key: &str,
    view: &View,
    seats: &[Seat],
    standing: &Standing,
    ttls: &HashMap<LeaseId, i64>,
    endpoints: Vec<Probe>,
) -> Report {
    let one = |seat: &Seat, since| SeatJson::new(seat, ttls.get(&seat.lease).copied(), since);
    let leader = seats.first().filter(|_| standing.is_led());
    let since = match standing {
        Standing::Leads(since) => Some(*since),
        _ => None,
    };
    let waiting = if leader.is_some() { &seats[1..] } else { seats };
    Report {
        key: key.to_owned(),
        layout: view.layout().map(show::layout),
        leader: leader.map(|seat| one(seat, since)),
        record: show::record(standing, time_left(standing)),
        take_over: match standing {
            Standing::TakeOver(record) => Some(TakeOver {
                token: record.token,
                remaining: record.time_left().as_secs_f64(),
            }),
            _ => None,
        },
        queue: waiting.iter().map(|seat| one(seat, None)).collect(),
        revision: view.revision,
        endpoints,
    }
}

fn text(
    key: &str,
    view: &View,
    seats: &[Seat],
    standing: &Standing,
    ttls: &HashMap<LeaseId, i64>,
    probes: &[Probe],
) -> String {
    let lease = |seat: &Seat| match ttls.get(&seat.lease) {
        _ if !seat.has_lease() => "no lease, all wait for its removal".to_owned(),
        None => format!("lease {}", seat.lease),
        Some(ttl) if *ttl > 0 => format!("lease {}, {ttl}s left", seat.lease),
        Some(_) => format!("lease {}, expired", seat.lease),
    };
    let mut text = String::new();
    let mut line = |label: &str, rest: String| {
        let _ = writeln!(text, "{label:<10} {rest}");
    };
    line("election", escape(key));
    let led = |seat: &Seat, since: String| {
        format!(
            "{}, token {}, {since}; {}",
            show::name(seat),
            seat.token,
            lease(seat)
        )
    };
    let waiting = match (seats.first(), standing) {
        (Some(first), Standing::Leads(since)) => {
            line("leader", led(first, show::since(*since)));
            &seats[1..]
        }
        (Some(first), Standing::Unrecorded) => {
            let unknown = "since when is unknown (no leaderrun, or just elected)";
            line("leader", led(first, unknown.to_owned()));
            &seats[1..]
        }
        _ => {
            let none = "none".to_owned();
            line(
                "leader",
                show::reason(standing, time_left(standing))
                    .map_or(none, |reason| format!("none: {reason}")),
            );
            seats
        }
    };
    for (i, seat) in waiting.iter().enumerate() {
        let label = if i == 0 { "waiting" } else { "" };
        line(
            label,
            format!("{}. {}, {}", i + 1, show::name(seat), lease(seat)),
        );
    }
    match view.layout() {
        Some(layout) => line("layout", show::layout(layout).to_owned()),
        None if !seats.is_empty() => {
            let warning = "mixed: candidates of both layouts stand, and do not see each other";
            line("layout", warning.to_owned());
        }
        None => {}
    }
    for (i, probe) in probes.iter().enumerate() {
        let label = if i == 0 { "endpoints" } else { "" };
        let state = probe
            .error
            .as_deref()
            .map_or_else(|| "answers".to_owned(), escape);
        line(label, format!("{}: {state}", probe.endpoint));
    }
    text
}
