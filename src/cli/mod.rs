//! The command line and the environment, checked: what is returned can be run.
//!
//! clap knows which options there are (`flags`), `environment` finds what clap did not, and
//! `checks` and `settings` decide what values mean. So a bad value gets the same message from a
//! flag and from a variable, with the culprit's name in front.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use nix::libc;

use crate::election::Layout;
use crate::etcd::Access;
use crate::exit_status::ExitStatus;
use crate::query::Query;
use crate::report::{Address, LogOptions};
use crate::sys::SignalNumber;
use crate::timing::{Settings, Timeline};
use environment::Environment;
use flags::Flags;

mod access;
mod checks;
mod completions;
mod environment;
mod flags;
mod queries;
mod settings;
mod words;

#[cfg(test)]
mod tests;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Campaign, and run the command.
    Run(Box<RunOptions>),
    /// Ask about an election.
    Query(Box<Query>),
    /// Print this to standard output and exit with 0: the help, the version, or the timeline.
    Print(String),
}

/// Everything that a run needs to know, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The election's name.
    pub key: String,
    /// How candidates stand.
    pub layout: Layout,
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
    pub stop_signal: SignalNumber,
    /// From a planned stop to SIGKILL; `None` for no limit.
    pub stop_timeout: Option<Duration>,
    /// How long leadership is kept at least, counted from the election.
    pub min_hold: Duration,
    /// What the shell runs for each change, if anything.
    pub hook: Option<String>,
    /// Whether the command gets a cgroup.
    pub cgroup: Cgroup,
    /// Whether setuid programs below the command gain nothing.
    pub no_new_privs: bool,
    /// When systemd is told that the service has started.
    pub sd_ready: SdReady,
    /// Whether the command gets systemd's socket.
    pub sd_pass: bool,
    /// Where etcd is, as given: a list that the checker passed to [`parse`] has accepted.
    pub endpoints: String,
    /// What lets us in there.
    pub access: Access,
    /// Where health and metrics can be asked for.
    pub listen: Option<Address>,
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

/// Whether the command gets a cgroup of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// If one can be made.
    Auto,
    /// If none can be made, leaderrun fails.
    Require,
    /// None.
    Off,
}

/// When a `Type=notify` service counts as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdReady {
    /// Once it stands for election.
    Standby,
    /// Once the command runs.
    Leading,
}

/// Wrong usage: a message for standard error, to be shown after `leaderrun: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    message: String,
    /// What leaderrun exits with.
    pub status: ExitStatus,
}

impl UsageError {
    fn new(message: impl fmt::Display) -> Self {
        Self {
            message: format!("{message}\nFor more information, try 'leaderrun --help'."),
            status: ExitStatus::Usage,
        }
    }

    /// The same of a question whose terms came from the environment: it is not the asker's words that are
    /// wrong, it cannot be told.
    fn no_answer(self) -> Self {
        Self {
            status: ExitStatus::Failed,
            ..self
        }
    }

    fn at(source: &str, complaint: &str) -> Self {
        Self::new(format_args!("{source}: {complaint}"))
    }
}

/// Reads `args` (the program's name first) and the `environment`. The list of endpoints is judged
/// by `check_endpoints`, which is told whether there is a setting for TLS; its complaint becomes the
/// message.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
    check_endpoints: impl Fn(&str, bool) -> Result<(), String>,
) -> Result<Parsed, UsageError> {
    let args = words::without_help(args.into_iter().collect())?;
    let env = Environment::new(&environment);
    if let Some(name) = words::query(&args) {
        return queries::parse(name, &args[1..], &env, check_endpoints);
    }
    if words::completions(&args) {
        return match completions::CompletionsFlags::try_parse_from(&args[1..]) {
            Ok(flags) => Ok(Parsed::Print(completions::script(flags.shell))),
            Err(error) => from_clap(&error),
        };
    }
    let of_run = words::without_run(args.clone());
    let mut flags = match Flags::try_parse_from(&of_run) {
        Ok(flags) => flags,
        Err(error) => return from_clap(&error),
    };
    words::refuse_late_subcommand(&of_run, &flags.command)?;

    let key = settings::key(&env, std::mem::take(&mut flags.key))?;
    let layout = env
        .parsed("layout", flags.layout.take(), checks::layout)?
        .unwrap_or_default();
    if let (Layout::Single, Some(key)) = (layout, &key) {
        checks::single_key(key).map_err(|complaint| UsageError::at("--key", &complaint))?;
    }
    let (settings, timeline) = settings::timeline(&env, &mut flags)?;
    let id = settings::id(&env, flags.id.take())?;
    let (endpoints, access) = settings::etcd(&env, &mut flags.etcd, check_endpoints)?;
    let wait = settings::patience(&env, &mut flags)?;
    let conflict_exit_code = env.parsed(
        "conflict-exit-code",
        flags.conflict_exit_code.take(),
        checks::exit_code,
    )?;
    let on_loss = env.parsed("on-loss", flags.on_loss.take(), checks::on_loss)?;
    let stop_signal = env.parsed("stop-signal", flags.stop_signal.take(), checks::stop_signal)?;
    let stop_timeout = env.parsed(
        "stop-timeout",
        flags.stop_timeout.take(),
        checks::stop_timeout,
    )?;
    let min_hold = env.parsed("min-hold", flags.min_hold.take(), checks::timeout)?;
    let hook = env.parsed("hook", flags.hook.take(), checks::hook)?;
    let cgroup = env.parsed("cgroup", flags.cgroup.take(), checks::cgroup)?;
    let sd_ready = env.parsed("sd-ready", flags.sd_ready.take(), checks::sd_ready)?;
    let no_new_privs = flags.no_new_privs || env.switch("no-new-privs")?;
    let sd_pass = flags.sd_pass || env.switch("sd-pass")?;
    let listen = env.parsed("listen", flags.listen.take(), Address::parse)?;
    let log = settings::log(&env, &mut flags)?;

    if flags.explain || env.switch("explain")? {
        return Ok(Parsed::Print(timeline.explain()));
    }
    Ok(Parsed::Run(Box::new(RunOptions {
        key: key.ok_or_else(|| words::no_election(&args))?,
        layout,
        id,
        settings,
        timeline,
        wait,
        conflict_exit_code: conflict_exit_code.unwrap_or(ExitStatus::NOT_ELECTED),
        on_loss: on_loss.unwrap_or(OnLoss::Exit),
        stop_signal: stop_signal.unwrap_or(SignalNumber(libc::SIGTERM)),
        stop_timeout: stop_timeout.flatten(),
        min_hold: min_hold.unwrap_or(Duration::ZERO),
        hook,
        cgroup: cgroup.unwrap_or(Cgroup::Auto),
        no_new_privs,
        sd_ready: sd_ready.unwrap_or(SdReady::Standby),
        sd_pass,
        endpoints,
        access,
        listen,
        log,
        command: words::command(flags.command)?,
    })))
}

/// Help and version are no errors; the rest is shown as clap words it, under our name.
fn from_clap(error: &clap::Error) -> Result<Parsed, UsageError> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Parsed::Print(text)),
        _ => Err(UsageError {
            message: text
                .strip_prefix("error: ")
                .unwrap_or(&text)
                .trim_end()
                .to_owned(),
            status: ExitStatus::Usage,
        }),
    }
}
