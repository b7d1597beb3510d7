//! What the value of each option has to be. Every complaint says what to change.

use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;

use super::environment::quoted;
use super::{Cgroup, OnLoss, Patience, SdReady};
use crate::election::Layout;
use crate::exit_status::signal_name;
use crate::report::Format;
use crate::sys::SignalNumber;
use crate::timing::MAX_TTL;

/// The longest key, in bytes; long enough for any path.
const MAX_KEY: usize = 4096;
/// The longest identity, in bytes: it is read by every candidate.
const MAX_ID: usize = 1024;

pub(super) fn key(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the key is empty: name an election, such as /election/scheduler".to_owned());
    }
    if text.len() > MAX_KEY {
        return Err(format!(
            "the key is {} bytes long: use {MAX_KEY} bytes or less",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!(
            "the key {} contains a control character",
            quoted(text)
        ));
    }
    if text.ends_with('/') {
        let meant = text.trim_end_matches('/');
        return Err(if meant.is_empty() {
            format!(
                "the key {} names no election: use one such as /election/scheduler",
                quoted(text)
            )
        } else {
            format!(
                "the key {} ends in a slash, which leaderrun adds by itself: use {}",
                quoted(text),
                quoted(meant)
            )
        });
    }
    Ok(text.to_owned())
}

pub(super) fn id(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the identity is empty: give one, or leave it out for host:pid".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err(format!(
            "the identity {} contains a control character",
            quoted(text)
        ));
    }
    if text.len() > MAX_ID {
        return Err(format!(
            "the identity is {} bytes long: use {MAX_ID} bytes or less",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// A user of etcd. The text is not repeated in the complaint: it may hold a password.
pub(super) fn user(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the user is empty: give one, or leave it out".to_owned());
    }
    if text.contains(':') {
        return Err(
            "the user contains a colon: a password does not belong here, where others may see it; use --password-file or \
             LEADERRUN_PASSWORD"
                .to_owned(),
        );
    }
    if text.chars().any(char::is_control) {
        return Err("the user contains a control character".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(format!(
            "{} is negative: use a duration such as 15s",
            quoted(text)
        ));
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!(
            "{} has no unit: use {text}s if you mean seconds",
            quoted(text)
        ));
    }
    humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::Empty => "the duration is empty: use one such as 15s".to_owned(),
        _ => format!(
            "{} is no duration ({error}): write it like 15s, 1m 30s or 500ms",
            quoted(text)
        ),
    })
}

/// A duration that timers are set to. What exceeds etcd's longest lease, 285 years, is a mistake.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration > MAX_TTL {
        return Err(format!(
            "{} is too long: leave it out for no limit",
            quoted(text)
        ));
    }
    Ok(duration)
}

pub(super) fn stop_timeout(text: &str) -> Result<Option<Duration>, String> {
    if text == "none" {
        return Ok(None);
    }
    timeout(text).map(Some)
}

pub(super) fn patience(text: &str) -> Result<Patience, String> {
    timeout(text).map(|d| {
        if d.is_zero() {
            Patience::Try
        } else {
            Patience::For(d)
        }
    })
}

pub(super) fn exit_code(text: &str) -> Result<u8, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is no exit status: use a number from 0 to 255",
            quoted(text)
        )
    })
}

pub(super) fn on_loss(text: &str) -> Result<OnLoss, String> {
    match text {
        "exit" => Ok(OnLoss::Exit),
        "campaign" => Ok(OnLoss::Campaign),
        _ => Err(format!("{} is unknown: use exit or campaign", quoted(text))),
    }
}

pub(super) fn layout(text: &str) -> Result<Layout, String> {
    match text {
        "queue" => Ok(Layout::Queue),
        "single" => Ok(Layout::Single),
        _ => Err(format!("{} is unknown: use queue or single", quoted(text))),
    }
}

/// With the single layout, `key` itself is written, so it must not be one that another election writes.
pub(super) fn single_key(key: &str) -> Result<(), String> {
    let other = [".term", ".resign"]
        .iter()
        .find_map(|suffix| key.strip_suffix(suffix));
    other.map_or(Ok(()), |other| {
        Err(format!(
            "the key {} is one that the election {} uses itself: use another, or --layout queue",
            quoted(key),
            quoted(other)
        ))
    })
}

pub(super) fn hook(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("the command is empty: leave it out for none".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn cgroup(text: &str) -> Result<Cgroup, String> {
    match text {
        "auto" => Ok(Cgroup::Auto),
        "require" => Ok(Cgroup::Require),
        "off" => Ok(Cgroup::Off),
        _ => Err(format!(
            "{} is unknown: use auto, require or off",
            quoted(text)
        )),
    }
}

pub(super) fn sd_ready(text: &str) -> Result<SdReady, String> {
    match text {
        "standby" => Ok(SdReady::Standby),
        "leading" => Ok(SdReady::Leading),
        _ => Err(format!(
            "{} is unknown: use standby or leading",
            quoted(text)
        )),
    }
}

pub(super) fn log_format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err(format!("{} is unknown: use text or json", quoted(text))),
    }
}

/// `TERM`, `SIGTERM`, `term` or `15`, and `RTMIN+3` or `RTMAX-1`. Refused are those that cannot ask a process to end.
pub(super) fn stop_signal(text: &str) -> Result<SignalNumber, String> {
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let signal = match text.parse::<i32>() {
        Ok(number) => Some(number),
        Err(_) => real_time(name).or_else(|| {
            let named: Result<Signal, _> = format!("SIG{name}").parse();
            named.ok().map(|signal| signal as i32)
        }),
    };
    let known = |number: &i32| {
        Signal::try_from(*number).is_ok() || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(number)
    };
    match signal.filter(known) {
        None => Err(format!(
            "{} is no signal that can be used here: use a name such as TERM, INT, USR1 or RTMIN+3",
            quoted(text)
        )),
        Some(libc::SIGKILL) => Err(
            "SIGKILL asks nothing: for no time to shut down, use --grace 0s and --stop-timeout 0s"
                .to_owned(),
        ),
        Some(
            stop @ (libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGCONT),
        ) => Err(format!(
            "{} stops or continues a process and does not end it: use TERM, INT or another",
            signal_name(stop)
        )),
        // SIGWINCH is ignored by default as well, but httpd ends by it.
        Some(nothing @ (libc::SIGCHLD | libc::SIGURG)) => Err(format!(
            "{} is ignored by default and ends nothing: use TERM, INT or another",
            signal_name(nothing)
        )),
        Some(number) => Ok(SignalNumber(number)),
    }
}

/// The number of `RTMIN+3` and the like, as timeout(1) and systemd have them.
fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char| {
        if rest.is_empty() {
            return Some(0);
        }
        let digits = rest.strip_prefix(sign)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse::<u8>().ok().filter(|_| plain)?;
        Some(i32::from(number))
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => libc::SIGRTMIN() + offset(rest, '+')?,
        (_, Some(rest)) => libc::SIGRTMAX() - offset(rest, '-')?,
        (None, None) => return None,
    };
    Some(number)
}
