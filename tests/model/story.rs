//! A way to a violation, in words.

use stateright::Path;

use super::rules::{Promise, Setting};
use super::state::{Phase, State, Who};
use super::steps::{Act, Step};

/// One line for each step, and a last one for what has gone wrong.
pub fn tell(setting: Setting, path: Path<State, Step>, broken: Promise) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut time, mut told) = (0, 0);
    let steps = path.into_vec();
    for window in steps.windows(2) {
        let [(before, Some(step)), (after, _)] = window else {
            continue;
        };
        match step {
            Step::Tick => time += 1,
            Step::By(who, act) => {
                if time > told + 1 {
                    lines.push(format!("     ... {} ticks go by ...", time - told));
                }
                told = time;
                lines.push(format!("t={time:<2} {}", words(*who, *act, before, after)));
            }
        }
    }
    if time > told {
        lines.push(format!("     ... {} ticks go by ...", time - told));
    }
    lines.push(format!("t={time:<2} {}", end(setting, broken)));
    lines
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

fn words(who: Who, act: Act, before: &State, after: &State) -> String {
    let (was, is) = (&before[who], &after[who]);
    let other = who.other();
    let started = was.run.is_none() && is.run.is_some();
    let what = match act {
        Act::LoseKey if was.phase == Phase::Out => "the key it has left is gone with its lease",
        Act::LoseKey => return format!("etcd revokes {who:?}'s lease, and its key is gone"),
        Act::Apply | Act::ApplyLate => {
            let late = if act == Act::ApplyLate {
                "a write long given up"
            } else if was.phase == Phase::Standby {
                "the beginning"
            } else {
                "a renewal"
            };
            let what = if after.record != before.record
                || is.flight.is_some_and(|f| f.written == Some(true))
            {
                "etcd carries out"
            } else {
                "etcd refuses"
            };
            return format!("{what} {late} of {who:?}'s term");
        }
        Act::Join => "joins the queue at its tail",
        Act::KeepAlive => "keeps its lease alive in the queue",
        Act::Look => return format!("{who:?} sees the term record, and begins to wait"),
        Act::Adopt => "finds the record of its own term, whose answer was lost",
        Act::Send { .. } if is.flight.is_some_and(|f| f.written.is_some()) => {
            "sends a renewal: the keepalive succeeds, and the transaction is refused"
        }
        Act::Send { stalled } if was.phase == Phase::Standby => match (&before.record, stalled) {
            (None, false) => "sees no record, and asks to begin its term",
            (Some(_), false) => "has waited long enough for the record, and asks to begin its term",
            (_, true) => "asks to begin its term; a stalled etcd leader acknowledges its keepalive",
        },
        Act::Send { stalled: false } => "sends a renewal",
        Act::Send { stalled: true } => {
            "sends a renewal; a stalled etcd leader acknowledges its keepalive, which the quorum never sees"
        }
        Act::TakeAnswer if started => "hears that its term has begun: its command starts",
        Act::TakeAnswer if was.phase == Phase::Standby && is.phase == Phase::Standby => {
            "hears that its term has not begun"
        }
        Act::TakeAnswer if is.phase == Phase::Lost => {
            "hears that its leadership is lost: its command is told to stop"
        }
        Act::TakeAnswer
            if was.flight.is_some_and(|f| f.written == Some(true))
                || is.run.map(|r| r.deadline) > was.run.map(|r| r.deadline) =>
        {
            if is.run.map(|r| r.deadline) > was.run.map(|r| r.deadline) {
                "takes its renewal for confirmed: the deadline moves"
            } else {
                "hears that it is written; the deadline does not move"
            }
        }
        Act::TakeAnswer => "hears that nothing was written",
        Act::GiveUp => "gives up waiting for the answer",
        Act::Forget => "gives up waiting for the answer, and etcd never saw the request",
        Act::AskToStop => "is sent SIGTERM, and asks its command to stop",
        Act::Notice => "notices that its key is gone: its command is told to stop",
        Act::Hold => "holds the record over its living tree",
        Act::Release if was.is_alive() => "gives up key and record while a part of its tree lives",
        Act::Release if was.phase == Phase::Orphan => {
            "'s guardian gives back what its supervisor held"
        }
        Act::Release
            if before.record.is_some() && after.record.is_none() && !before.record_is_of(who) =>
        {
            "gives up its key, and a record that is not its own"
        }
        Act::Release if was.phase == Phase::Standby => {
            "removes the record of a term that was over before it began"
        }
        Act::Release => "gives back what it holds, and exits",
        Act::FailToRelease => "exits, and etcd hears nothing of it",
        Act::Die => "'s supervisor is killed",
        Act::ObeyTheClock if was.is_alive() && !is.is_alive() => "'s guardian kills its command",
        Act::ObeyTheClock => "'s guardian tells its command to stop: no renewal came",
        Act::KillInVain => "'s guardian kills its command in vain: it hangs in the kernel",
        Act::MainExits => "'s main process exits, and leaves a descendant",
        Act::AllExit => "'s command exits",
        Act::StartForeign => {
            return format!(
                "{who:?}, a client that trusts leases, finds {other:?}'s key gone and starts its command"
            );
        }
    };
    let space = if what.starts_with('\'') { "" } else { " " };
    format!("{who:?}{space}{what}")
}
