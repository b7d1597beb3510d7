//! The settings that take more than one look: several sources, several options, a default that
//! has to be made.

use std::ffi::OsString;
use std::path::PathBuf;

use super::environment::{Environment, Given};
use super::flags::{EtcdFlags, Flags};
use super::{Patience, UsageError, access, checks};
use crate::etcd::Access;
use crate::report::{Format, Level, LogOptions};
use crate::timing::{DEFAULT_TTL, Settings, Timeline, TimelineError};

/// Where etcd is, if nothing says so.
const DEFAULT_ENDPOINTS: &str = "127.0.0.1:2379";

pub(super) fn key(
    env: &Environment,
    mut flags: Vec<OsString>,
) -> Result<Option<String>, UsageError> {
    if flags.len() > 1 {
        return Err(UsageError::at(
            "--key",
            "given more than once, but a run has one election (the TLS key is --cert-key)",
        ));
    }
    env.value("key", flags.pop())
        .map(|given| given.parse(checks::key))
        .transpose()
}

pub(super) fn id(env: &Environment, flag: Option<OsString>) -> Result<String, UsageError> {
    match env.value("id", flag) {
        Some(given) => given.parse(checks::id),
        None => checks::id(&default_id())
            .map_err(|complaint| UsageError::at("--id, by default host:pid", &complaint)),
    }
}

fn default_id() -> String {
    let host = nix::unistd::gethostname().unwrap_or_else(|_| "localhost".into());
    format!("{}:{}", host.to_string_lossy(), std::process::id())
}

/// The longest list of endpoints, in bytes: it becomes a variable of the command.
const MAX_ENDPOINTS: usize = 16 * 1024;

/// Where etcd is, and what it wants to see of us.
pub(super) fn etcd(
    env: &Environment,
    flags: &mut EtcdFlags,
    check: impl Fn(&str, bool) -> Result<(), String>,
) -> Result<(String, Access), UsageError> {
    let mut access = access::access(env, flags)?;
    let given = env
        .value("endpoints", flags.endpoints.take())
        .or_else(|| env.of_etcdctl("ETCDCTL_ENDPOINTS"));
    let Some(given) = given else {
        return Ok((DEFAULT_ENDPOINTS.to_owned(), access));
    };
    let endpoints = given.parse(|list| {
        if list.len() > MAX_ENDPOINTS {
            return Err(format!(
                "the list is {} bytes long: use {MAX_ENDPOINTS} bytes or less",
                list.len()
            ));
        }
        check(list, access.tls.is_set()).map(|()| list.to_owned())
    })?;
    access.place = Some(given.source);
    Ok((endpoints, access))
}

pub(super) fn timeline(
    env: &Environment,
    flags: &mut Flags,
) -> Result<(Settings, Timeline), UsageError> {
    let ttl = env.value("ttl", flags.ttl.take());
    let grace = env.value("grace", flags.grace.take());
    let margin = env.value("margin", flags.margin.take());
    let renew_interval = env.value("renew-interval", flags.renew_interval.take());
    let read = |given: &Option<Given>| {
        given
            .as_ref()
            .map(|g| g.parse(checks::duration))
            .transpose()
    };
    let settings = Settings {
        ttl: read(&ttl)?.unwrap_or(DEFAULT_TTL),
        grace: read(&grace)?,
        margin: read(&margin)?,
        renew_interval: read(&renew_interval)?,
    };
    let timeline = Timeline::new(&settings).map_err(|error| {
        let culprits: &[&Option<Given>] = match error {
            TimelineError::FractionalTtl(_)
            | TimelineError::TtlTooShort(_)
            | TimelineError::TtlTooLong(_) => &[&ttl],
            TimelineError::MarginTooShort(_) => &[&margin],
            TimelineError::IntervalTooShort(_) => &[&renew_interval],
            TimelineError::NeverFits { .. } | TimelineError::DoesNotFit { .. } => {
                &[&ttl, &grace, &margin, &renew_interval]
            }
        };
        let sources: Vec<_> = culprits
            .iter()
            .filter_map(|given| Some(given.as_ref()?.source.as_str()))
            .collect();
        UsageError::at(&sources.join(", "), &error.to_string())
    })?;
    Ok((settings, timeline))
}

/// Either flag beats both variables.
pub(super) fn patience(env: &Environment, flags: &mut Flags) -> Result<Patience, UsageError> {
    let try_and_wait = |source: &str, other: &str| {
        Err(UsageError::at(
            source,
            &format!("cannot be used with {other}: --try is a wait of 0s"),
        ))
    };
    if let Some(text) = flags.wait.take() {
        if flags.try_once {
            return try_and_wait("--try", "--wait");
        }
        let source = "--wait".to_owned();
        return Given { source, text }.parse(checks::patience);
    }
    if flags.try_once {
        return Ok(Patience::Try);
    }
    let wait = env.value("wait", None);
    match (env.switch("try")?, wait) {
        (true, Some(given)) => try_and_wait("LEADERRUN_TRY", &given.source),
        (true, None) => Ok(Patience::Try),
        (false, Some(given)) => given.parse(checks::patience),
        (false, None) => Ok(Patience::Forever),
    }
}

pub(super) fn log(env: &Environment, flags: &mut Flags) -> Result<LogOptions, UsageError> {
    let format = env
        .value("log-format", flags.log_format.take())
        .map(|given| given.parse(checks::log_format))
        .transpose()?
        .unwrap_or(Format::Text);
    let file = env.value("log-file", flags.log_file.take());
    // As gpg and gunicorn take it.
    let file = file.filter(|given| given.text != "-");
    if let Some(given) = file.as_ref().filter(|given| given.text.is_empty()) {
        return Err(UsageError::at(
            &given.source,
            "the name is empty: leave it out for standard error",
        ));
    }
    let (quiet, verbose) = if flags.quiet || flags.verbose {
        (flags.quiet, flags.verbose)
    } else {
        (env.switch("quiet")?, env.switch("verbose")?)
    };
    let level = match (quiet, verbose) {
        (false, false) => Level::Info,
        (true, false) => Level::Error,
        (false, true) => Level::Debug,
        (true, true) => {
            return Err(UsageError::at(
                "LEADERRUN_QUIET",
                "cannot be used with LEADERRUN_VERBOSE",
            ));
        }
    };
    Ok(LogOptions {
        format,
        file: file.map(|given| PathBuf::from(given.text)),
        level,
    })
}
