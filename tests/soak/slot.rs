//! One candidate after another in the same place, and what their logs tell.

use std::ffi::OsString;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::arena::{Arena, EndOnPanic, Phase, SLOTS, Story};
use crate::random::Random;
use crate::support::{Candidate, Running, Signal, helper};

/// A leaderrun, its guardian and its command.
#[derive(Debug)]
pub struct Family {
    pub running: Running,
    pub name: String,
    /// What the nemesis has done to it.
    pub harm: Harm,
}

/// The promise excludes that supervisor and guardian of one family are both killed or frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    None,
    SupervisorPaused,
    /// Nothing else may come.
    Done,
}

/// How long an asked family may take to be gone: planned stop, farewell, and a busy machine.
const END: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Timelines: TTL, grace, margin. The margins cover a busy machine.
pub const TIMELINES: [[&str; 3]; 4] = [
    ["3s", "700ms", "600ms"],
    ["2s", "200ms", "600ms"],
    ["4s", "1s", "600ms"],
    ["3s", "300ms", "500ms"],
];

/// That of the finale, in seconds and far from all others: a lease that its holder leaves behind is there to be found.
pub const FINALE_TTL: &str = "75s";

/// Lives of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Plain,
    IgnoresTerm,
    Daemonizes,
    DaemonizesIgnoringTerm,
    Short,
    ShortLeavingDaemon,
}

/// Fills the slot until the finale, in which its candidate leads once more.
pub fn fill(arena: &Arena, slot: usize) {
    let _end = EndOnPanic(arena);
    let mut random = Random::new(arena.settings.seed, "slot", slot);
    for generation in 0.. {
        let finale = arena.phase() >= Phase::Finale;
        let name = format!("{}{generation}", ["a", "b", "c", "d"][slot]);
        let (candidate, words) = candidate(arena, slot, &name, &mut random, finale);
        let asked_to_end_after = random.millis(3000, 25_000);
        if !arena.pause_until(Phase::Over, Duration::ZERO) {
            return;
        }
        *arena.family(slot) = Some(Family {
            running: candidate.spawn(),
            name: name.clone(),
            harm: Harm::None,
        });
        arena.note(&format!("{name} joins: {words}"));
        let ask_after = (!finale).then_some(asked_to_end_after);
        let has_led = accompany(arena, slot, ask_after);
        let family = arena.family(slot).take();
        if let Some(family) = family {
            arena.note(&format!("{name} is gone"));
            harvest(arena, &family);
        }
        if has_led || !arena.pause_until(Phase::Over, random.millis(50, 1000)) {
            return;
        }
    }
}

fn candidate(
    arena: &Arena,
    slot: usize,
    name: &str,
    random: &mut Random,
    finale: bool,
) -> (Candidate, String) {
    let all = [
        Life::Plain,
        Life::IgnoresTerm,
        Life::Daemonizes,
        Life::DaemonizesIgnoringTerm,
        Life::Short,
        Life::ShortLeavingDaemon,
    ];
    let chosen = random.one_of(&all);
    let life = if finale { Life::Plain } else { chosen };
    let ends_after = random.millis(100, 3000);
    let command = command(&arena.stamps(), life, ends_after);
    let on_loss = random.one_of(&["exit", "campaign"]);
    let [ttl, grace, margin] = TIMELINES[slot];
    let ttl = if finale { FINALE_TTL } else { ttl };
    let extras = [
        (["--min-hold", "2s"], random.percent(15)),
        (["--hook", "sleep 0.2"], random.percent(15)),
    ];
    let extras = extras.into_iter().filter(|(_, chosen)| *chosen && !finale);
    let extras: Vec<&str> = extras.flat_map(|(words, _)| words).collect();
    let first = random.below(3);
    let endpoints = [0, 1, 2].map(|i| arena.etcd.member((first + i) % 3).endpoint());
    let mut candidate = Candidate::new(&arena.etcd)
        .id(name)
        .key(&*arena.key)
        .endpoints(endpoints.join(","))
        .ttl(ttl)
        .grace(grace)
        .margin(margin)
        .args(["-v", "--on-loss", on_loss, "--stop-timeout", "2s"])
        .args(extras.iter().copied())
        .args(["--layout", arena.settings.layout()])
        .argv(command)
        .under(&arena.entering(SLOTS[slot]).iter().collect::<Vec<_>>());
    for rule in &arena.settings.broken {
        candidate = candidate.break_rule(rule);
    }
    (
        candidate,
        format!("{life:?} {on_loss} {}", extras.join(" ")),
    )
}

fn command(stamps: &Path, life: Life, ends_after: Duration) -> Vec<OsString> {
    let argument = |life: &str| {
        let mut argument = stamps.as_os_str().to_owned();
        argument.push(life);
        helper::argv("stamps_its_life", argument)
    };
    let seconds = ends_after.as_secs_f64();
    let leaving = format!(r#"trap "" TERM; (setsid "$@" &); sleep {seconds}"#);
    let script = match life {
        Life::Plain | Life::Short => r#"exec "$@""#,
        Life::ShortLeavingDaemon => &leaving,
        Life::IgnoresTerm => r#"trap "" TERM; exec "$@""#,
        Life::Daemonizes => r#"(setsid "$@" &); exec "$@""#,
        Life::DaemonizesIgnoringTerm => r#"trap "" TERM; (setsid "$@" &); exec "$@""#,
    };
    let mut words: Vec<OsString> = ["sh", "-c", script, "sh"].map(Into::into).into();
    words.extend(match life {
        Life::Short => argument(&format!("?{}", ends_after.as_millis())),
        _ => argument(""),
    });
    words
}

/// Until the family is gone, which is asked for after that time, or, where there is none, once it has led. Says
/// whether it has done so.
fn accompany(arena: &Arena, slot: usize, ask_after: Option<Duration>) -> bool {
    let begun = Instant::now();
    let mut asked: Option<Instant> = None;
    let mut has_led = false;
    loop {
        thread::sleep(LOOK);
        if arena.phase() == Phase::Over {
            return false;
        }
        let guard = arena.family(slot);
        let Some(family) = guard.as_ref() else {
            return has_led;
        };
        let Family { running, name, .. } = family;
        if running.try_wait().is_some() {
            if running.tree().is_empty() {
                return has_led;
            }
            // What is left of it ends by itself, or by nobody.
            asked.get_or_insert_with(Instant::now);
        } else if asked.is_none() {
            let ask = if let Some(time) = ask_after {
                begun.elapsed() >= time || arena.phase() == Phase::Finale
            } else {
                has_led |= stands(running) == "started";
                has_led
            };
            if ask {
                running.signal(Signal::SIGTERM);
                asked = Some(Instant::now());
            }
        }
        if asked.is_some_and(|asked| asked.elapsed() > END) {
            let left = running.tree();
            let what = format!("{name} does not end: {left:?}, {}", stands(running));
            drop(guard);
            arena.violation(what);
        }
    }
}

/// The last event that tells where it stands.
pub fn stands(running: &Running) -> String {
    const TELLING: [&str; 7] = [
        "campaigning",
        "waiting",
        "elected",
        "started",
        "stopping",
        "lost",
        "released",
    ];
    let names = running.events().into_iter().rev();
    let mut names = names.filter_map(|event| event["event"].as_str().map(str::to_owned));
    let last = names.find(|name| TELLING.contains(&name.as_str()));
    last.unwrap_or_default()
}

/// What the log of a family tells, which is over or about to be.
pub fn harvest(arena: &Arena, family: &Family) {
    let events = family.running.events();
    let name = &family.name;
    let (mut tokens, mut tree) = (Vec::new(), false);
    let mut violations = Vec::new();
    let mut record = arena.record();
    record.families += 1;
    for event in &events {
        match event["event"].as_str().unwrap_or_default() {
            "elected" => {
                record.terms += 1;
                tokens.extend(event["token"].as_u64());
            }
            "started" => tree = true,
            "stopping" => {
                let reason = event["reason"].as_str().unwrap_or_default();
                *record.ends.entry(reason.to_owned()).or_default() += 1;
            }
            "tree-empty" => {
                tree = false;
                let headroom = event["headroom"].as_f64().unwrap_or_default();
                if record.headroom.as_ref().is_none_or(|(h, _)| headroom < *h) {
                    record.headroom = Some((headroom, format!("{name}: {event}")));
                }
            }
            "released" if tree => violations.push(format!("{name} released over a living tree")),
            _ => {}
        }
    }
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    record.stories.push(Story {
        name: name.clone(),
        tokens,
        log: format!("{}\n{}", lines.join("\n"), family.running.stderr()),
    });
    drop(record);
    for violation in violations {
        // With a rule off, the judge is to see it for himself.
        if arena.settings.broken.is_empty() {
            arena.violation(violation);
        }
    }
}
