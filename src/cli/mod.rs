//! The command line and the environment, checked: what is returned can be run.
//!
//! clap knows which options there are ([`flags`]), [`environment`] finds what clap did not, and
//! [`checks`] decides what values mean. So a bad value gets the same message from a flag and from
//! a variable, with the culprit's name in front.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use nix::sys::signal::Signal;

use crate::exit_status::ExitStatus;
use crate::report::{Format, Level, LogOptions};
use crate::timing::{DEFAULT_TTL, Settings, Timeline, TimelineError};
use environment::{Environment, Given};
use flags::Flags;

mod checks;
mod environment;
mod flags;
mod words;

#[cfg(test)]
mod tests;

/// Where etcd is, if nothing says so.
const DEFAULT_ENDPOINTS: &str = "127.0.0.1:2379";

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Campaign, and run the command.
    Run(Box<RunOptions>),
    /// Print this to standard output and exit with 0: the help, the version, or the timeline.
    Print(String),
}

/// Everything that a run needs to know, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The election's name.
    pub key: String,
    /// The identity that others see.
    pub id: String,
    /// The timeline as asked for; what the server grants may change what follows from it.
    pub settings: Settings,
    /// The timeline with the TTL that was asked for.
    pub timeline: Timeline,
    /// How long to stand for election.
    pub wait: Patience,
    /// The status if not elected in that time.
    pub conflict_exit_code: u8,
    /// What follows a lost leadership.
    pub on_loss: OnLoss,
    /// What asks the command to stop.
    pub stop_signal: Signal,
    /// From a planned stop to SIGKILL; `None` for no limit.
    pub stop_timeout: Option<Duration>,
    /// Where etcd is, as given: a list that the checker passed to [`parse`] has accepted.
    pub endpoints: String,
    /// leaderrun's own log.
    pub log: LogOptions,
    /// The command and its arguments; never empty.
    pub command: Vec<OsString>,
}

/// How long to stand for election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until elected.
    Forever,
    /// Not at all if another leads.
    Try,
    /// So long, never zero.
    For(Duration),
}

/// What follows once a fenced command is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Exit with [`ExitStatus::Lost`].
    Exit,
    /// Stand for election again.
    Campaign,
}

/// Wrong usage: a message for standard error, to be shown after `leaderrun: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// What leaderrun exits with.
    pub const STATUS: ExitStatus = ExitStatus::Usage;

    fn new(message: impl fmt::Display) -> Self {
        Self(format!(
            "{message}\nFor more information, try 'leaderrun --help'."
        ))
    }

    fn at(source: &str, complaint: &str) -> Self {
        Self::new(format_args!("{source}: {complaint}"))
    }
}

/// Reads `args` (the program's name first) and the `environment`. The list of endpoints is judged
/// by `check_endpoints`, whose complaint becomes the message.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
    check_endpoints: impl Fn(&str) -> Result<(), String>,
) -> Result<Parsed, UsageError> {
    let args = words::without_run(args.into_iter().collect())?;
    let mut flags = match Flags::try_parse_from(&args) {
        Ok(flags) => flags,
        Err(error) => return from_clap(&error),
    };
    words::refuse_late_subcommand(&args, &flags.command)?;
    let env = Environment::new(&environment);

    let key = key(&env, std::mem::take(&mut flags.key))?;
    let (settings, timeline) = timeline(&env, &mut flags)?;
    let id = match env.value("id", flags.id.take()) {
        Some(given) => given.parse(checks::id)?,
        None => checks::id(&default_id())
            .map_err(|complaint| UsageError::at("the default of --id, host:pid", &complaint))?,
    };
    let endpoints = env
        .value("endpoints", flags.endpoints.take())
        .or_else(|| env.of_etcdctl("ETCDCTL_ENDPOINTS"))
        .map(|given| given.parse(|list| check_endpoints(list).map(|()| list.to_owned())))
        .transpose()?
        .unwrap_or_else(|| DEFAULT_ENDPOINTS.to_owned());
    let wait = patience(&env, &mut flags)?;
    let value = |option, flag: &mut Option<OsString>| env.value(option, flag.take());
    let conflict_exit_code = value("conflict-exit-code", &mut flags.conflict_exit_code)
        .map(|given| given.parse(checks::exit_code))
        .transpose()?
        .unwrap_or(ExitStatus::NOT_ELECTED);
    let on_loss = value("on-loss", &mut flags.on_loss)
        .map(|given| given.parse(checks::on_loss))
        .transpose()?
        .unwrap_or(OnLoss::Exit);
    let stop_signal = value("stop-signal", &mut flags.stop_signal)
        .map(|given| given.parse(checks::stop_signal))
        .transpose()?
        .unwrap_or(Signal::SIGTERM);
    let stop_timeout = value("stop-timeout", &mut flags.stop_timeout)
        .map(|given| given.parse(checks::stop_timeout))
        .transpose()?
        .flatten();
    let log = log(&env, &mut flags)?;

    if flags.explain || env.switch("explain")? {
        return Ok(Parsed::Print(timeline.explain()));
    }
    Ok(Parsed::Run(Box::new(RunOptions {
        key: key.ok_or_else(|| {
            UsageError::new("an election is needed: leaderrun --key KEY -- COMMAND")
        })?,
        id,
        settings,
        timeline,
        wait,
        conflict_exit_code,
        on_loss,
        stop_signal,
        stop_timeout,
        endpoints,
        log,
        command: words::command(flags.command)?,
    })))
}

/// Help and version are no errors; the rest is shown as clap words it, under our name.
fn from_clap(error: &clap::Error) -> Result<Parsed, UsageError> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Parsed::Print(text)),
        _ => Err(UsageError(
            text.strip_prefix("error: ")
                .unwrap_or(&text)
                .trim_end()
                .to_owned(),
        )),
    }
}

fn key(env: &Environment, mut flags: Vec<OsString>) -> Result<Option<String>, UsageError> {
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

fn timeline(env: &Environment, flags: &mut Flags) -> Result<(Settings, Timeline), UsageError> {
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
fn patience(env: &Environment, flags: &mut Flags) -> Result<Patience, UsageError> {
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

fn log(env: &Environment, flags: &mut Flags) -> Result<LogOptions, UsageError> {
    let format = env
        .value("log-format", flags.log_format.take())
        .map(|given| given.parse(checks::log_format))
        .transpose()?
        .unwrap_or(Format::Text);
    let file = env.value("log-file", flags.log_file.take());
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

fn default_id() -> String {
    let host = nix::unistd::gethostname().unwrap_or_else(|_| "localhost".into());
    format!("{}:{}", host.to_string_lossy(), std::process::id())
}
