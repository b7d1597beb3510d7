//! A way to a violation, in words.

use std::borrow::Cow;

use stateright::Path;

use super::rules::{Promise, Setting};
use super::state::{Candidate, Phase, State, Who};
use super::steps::{Act, Step};

/// One line for each step, and a last one for what has gone wrong.
pub fn tell(setting: Setting, path: Path<State, Step>, broken: Promise) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut time, mut told): (u32, u32) = (0, 0);
    let steps = path.into_vec();
    for window in steps.windows(2) {
        let [(before, Some(step)), (after, _)] = window else {
            continue;
        };
        match step {
            Step::Tick => time += 1,
            Step::By(who, act) => {
                if time > told + 1 {
                    lines.push(pass(time - told));
                }
                told = time;
                let words = words(setting, *who, *act, before, after);
                lines.push(format!("t={time:<2} {words}"));
            }
        }
    }
    if time > told {
        lines.push(pass(time - told));
    }
    lines.push(format!("t={time:<2} {}", end(setting, broken)));
    lines
}

fn pass(ticks: u32) -> String {
    match ticks {
        1 => "     ... a tick goes by ...".into(),
        more => format!("     ... {more} ticks go by ..."),
    }
}

fn end(setting: Setting, broken: Promise) -> &'static str {
    match broken {
        Promise::Exclusion if setting == Setting::Foreign => {
            "=> A's command is alive, and so is the foreign holder's"
        }
        Promise::Exclusion => "=> two commands are alive at once",
        Promise::Order => "=> a command runs with a smaller token than one before it",
        Promise::Finality => "=> a command is alive although its grace period is over",
        Promise::Patience => {
            "=> its leadership will run out while the command shuts down, though no fault happens"
        }
        Promise::SomebodyCanLead => "=> nobody will lead again, though no more fault happens",
        Promise::PromptTakeOver => {
            "=> the next one has to wait for longer than the grace period, though nobody was lost"
        }
    }
}

fn words(setting: Setting, who: Who, act: Act, before: &State, after: &State) -> String {
    let (was, is) = (&before[who], &after[who]);
    let other = who.other();
    let what: Cow<'_, str> = match act {
        Act::LoseKey if was.phase == Phase::Out => "'s old key is gone with its lease".into(),
        Act::LoseKey if setting == Setting::Foreign => {
            "'s lease runs out, and its key is gone".into()
        }
        Act::LoseKey => return format!("etcd revokes {who:?}'s lease, and its key is gone"),
        Act::Apply | Act::ApplyLate => return writing(who, act, before, after),
        Act::Join => "joins the queue at its tail".into(),
        Act::KeepAlive => "keeps its lease alive in the queue".into(),
        Act::Look if is.seen.is_some_and(|seen| seen.first > 0) => {
            "sees the record anew, and goes on with its wait".into()
        }
        Act::Look => "sees the record, and begins to wait".into(),
        Act::Gain => "'s clock gains a tick".into(),
        Act::Adopt => "finds that the record is its own, though it never had the answer".into(),
        Act::Send { stalled } => sending(who, stalled, before, after).into(),
        Act::TakeAnswer => answer(was, is),
        Act::GiveUp => "gives up waiting for the answer".into(),
        Act::Forget => "gives up waiting for the answer, and etcd never saw the request".into(),
        Act::AskToStop => "is sent SIGTERM, and asks its command to stop".into(),
        Act::Notice if was.run.is_none() => "notices that its key is gone".into(),
        Act::Notice => "notices that its key is gone: its command is told to stop".into(),
        Act::Hold => "writes the record anew, over its living tree".into(),
        Act::Release => release(who, before, after).into(),
        Act::FailToRelease => "exits, and etcd hears nothing of it".into(),
        Act::Die => "'s supervisor is killed".into(),
        Act::ObeyTheClock if is.is_alive() => {
            "'s guardian tells its command to stop, as no renewal came".into()
        }
        Act::ObeyTheClock => "'s guardian kills its command".into(),
        Act::KillInVain => "'s guardian kills its command in vain: it hangs in the kernel".into(),
        Act::MainExits => "'s main process exits, and leaves a descendant".into(),
        Act::AllExit => "'s command exits".into(),
        Act::StartForeign => {
            format!(", which trusts leases, finds no key of {other:?}'s and starts its command")
                .into()
        }
    };
    let space = if what.starts_with(['\'', ',']) {
        ""
    } else {
        " "
    };
    format!("{who:?}{space}{what}")
}

fn writing(who: Who, act: Act, before: &State, after: &State) -> String {
    let answered = after[who].flight.is_some_and(|f| f.written == Some(true));
    let done = if answered || after.record != before.record {
        "carries out"
    } else {
        "refuses"
    };
    let what = match (act, before[who].phase) {
        (Act::ApplyLate, _) => "a write that was given up",
        (_, Phase::Standby) => "the beginning",
        _ => "a renewal",
    };
    format!("etcd {done} {what} of {who:?}'s term")
}

fn sending(who: Who, stalled: bool, before: &State, after: &State) -> &'static str {
    let refused = after[who].flight.is_some_and(|f| f.written.is_some());
    match (before[who].phase, &before.record) {
        _ if refused => "sends a renewal: the keepalive succeeds, and the transaction is refused",
        (Phase::Standby, _) if stalled => {
            "asks to begin its term; a stalled member acknowledges the keepalive"
        }
        (Phase::Standby, _) if !before.is_next(who) => {
            "asks to begin its term, although another is before it"
        }
        (Phase::Standby, None) => "sees no record, and asks to begin its term",
        (Phase::Standby, Some(_)) if before[who].seen.is_none() => {
            "does not wait for the record, and asks to begin its term"
        }
        (Phase::Standby, Some(_)) => {
            "finds that the record has run out, and asks to begin its term"
        }
        _ if stalled => "sends a renewal; a stalled member acknowledges the keepalive",
        _ => "sends a renewal",
    }
}

fn answer(was: &Candidate, is: &Candidate) -> Cow<'static, str> {
    let written = was.flight.is_some_and(|f| f.written == Some(true));
    let heard = if written {
        "hears that it is written"
    } else {
        "takes the keepalive alone for a renewal"
    };
    match (was.run, is.run) {
        (None, Some(run)) => format!("{heard}: its command starts, {}", until(run.deadline)).into(),
        (Some(before), Some(run)) if run.deadline > before.deadline => {
            format!("{heard}: its command may go on, {}", until(run.deadline)).into()
        }
        (Some(_), Some(_)) if is.phase == Phase::Lost => {
            "hears that its leadership is lost: its command is told to stop".into()
        }
        _ if written => "hears that it is written, which changes nothing".into(),
        _ => "hears that nothing was written".into(),
    }
}

fn until(deadline: i8) -> String {
    match deadline {
        0 => "at its deadline".into(),
        ahead @ 1.. => format!("{ahead} before its deadline"),
        past => format!("{} after its deadline", past.unsigned_abs()),
    }
}

fn release(who: Who, before: &State, after: &State) -> &'static str {
    let others = before.record.is_some() && after.record.is_none() && !before.record_is_of(who);
    match before[who].phase {
        _ if others => "gives back what it holds, and removes a record that is not its own",
        _ if before[who].is_alive() => "gives back what it holds, while a part of its tree lives",
        Phase::Orphan => "'s guardian gives back what its supervisor held",
        Phase::Standby => "removes the record of a term in which no command ran",
        _ => "gives back what it holds, and exits",
    }
}
