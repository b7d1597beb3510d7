//! The subcommands that ask about an election.

use std::ffi::OsString;

use clap::{ArgAction, Args, CommandFactory, Parser};

use super::environment::{Environment, Given, quoted};
use super::flags::EtcdFlags;
use super::{Parsed, UsageError, checks, from_clap, settings};
use crate::election::Token;
use crate::query::{Ask, Query, Wait};

/// The election, and where etcd is.
#[derive(Debug, Args)]
struct Where {
    /// The election
    #[arg(short, long, value_name = "KEY", action = ArgAction::Append)]
    key: Vec<OsString>,

    #[command(flatten)]
    etcd: EtcdFlags,
}

/// Show who leads an election, and who waits.
///
/// Exit status: 0 if somebody leads, 1 if nobody does, 125 if that cannot be told.
#[derive(Debug, Parser)]
#[command(name = "leaderrun status", bin_name = "leaderrun status")]
struct StatusFlags {
    #[command(flatten)]
    place: Where,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Print a line for each change of an election's leader, until stopped.
///
/// It ends by SIGPIPE when nobody reads its output any more. Exit status: 125 if etcd does not answer at the start, or
/// refuses permission or the login.
#[derive(Debug, Parser)]
#[command(name = "leaderrun observe", bin_name = "leaderrun observe")]
struct ObserveFlags {
    #[command(flatten)]
    place: Where,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Ask an election's leader, wherever it runs, to step down as planned.
///
/// Exit status: 0 if it was asked (with --wait: once its term is over), 1 if nobody leads, 124 if the
/// term is not over in time, 125 if the leader cannot be asked or that cannot be told.
#[derive(Debug, Parser)]
#[command(name = "leaderrun resign", bin_name = "leaderrun resign")]
struct ResignFlags {
    #[command(flatten)]
    place: Where,

    /// Wait until the term is over, for DURATION at most [default: for ever]
    ///
    /// It alone of all options has no variable: the one of its name says how long to stand for election, and
    /// may be set where resign is called too.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "")]
    wait: Option<OsString>,
}

/// Tell whether the term that this command was started in is still the leader's.
///
/// Everything is taken from the environment that leaderrun gives to its command. Exit status: 0 if it
/// is, 1 if it is not, 125 if that cannot be told, which a script has to take for no.
#[derive(Debug, Parser)]
#[command(name = "leaderrun verify", bin_name = "leaderrun verify")]
struct VerifyFlags {}

/// The subcommands that are here.
pub(super) const NAMES: [&str; 4] = ["status", "observe", "resign", "verify"];

/// Their command lines, with their names.
pub(super) fn commands() -> impl Iterator<Item = (&'static str, clap::Command)> {
    let commands = [
        StatusFlags::command(),
        ObserveFlags::command(),
        ResignFlags::command(),
        VerifyFlags::command(),
    ];
    NAMES.into_iter().zip(commands)
}

/// Reads the arguments that follow the subcommand `name`, one of [`NAMES`].
pub(super) fn parse(
    name: &str,
    args: &[OsString],
    env: &Environment,
    check_endpoints: impl Fn(&str, bool) -> Result<(), String>,
) -> Result<Parsed, UsageError> {
    macro_rules! flags {
        ($kind:ty) => {
            // The first argument stands for the program's name.
            match <$kind>::try_parse_from(args) {
                Ok(flags) => flags,
                Err(error) => return from_clap(&error),
            }
        };
    }
    let (place, ask) = match name {
        "status" => {
            let StatusFlags { place, json } = flags!(StatusFlags);
            let json = json || env.switch("json")?;
            (place, Ask::Status { json })
        }
        "observe" => {
            let ObserveFlags { place, json } = flags!(ObserveFlags);
            let json = json || env.switch("json")?;
            (place, Ask::Observe { json })
        }
        "resign" => {
            let ResignFlags { place, wait } = flags!(ResignFlags);
            let wait = wait.map_or(Ok(Wait::No), patience)?;
            (place, Ask::Resign { wait })
        }
        _ => {
            let VerifyFlags {} = flags!(VerifyFlags);
            let place = Where {
                key: Vec::new(),
                etcd: EtcdFlags::default(),
            };
            let term = verify(env).map_err(UsageError::no_answer)?;
            let query = query(name, env, place, term, check_endpoints);
            return query.map_err(UsageError::no_answer);
        }
    };
    query(name, env, place, ask, check_endpoints)
}

fn query(
    name: &str,
    env: &Environment,
    mut place: Where,
    ask: Ask,
    check_endpoints: impl Fn(&str, bool) -> Result<(), String>,
) -> Result<Parsed, UsageError> {
    let key = settings::key(env, place.key)?.ok_or_else(|| {
        UsageError::new(format_args!(
            "an election is needed: leaderrun {name} --key KEY"
        ))
    })?;
    let (endpoints, access) = settings::etcd(env, &mut place.etcd, check_endpoints)?;
    Ok(Parsed::Query(Box::new(Query {
        key,
        endpoints,
        access,
        ask,
    })))
}

fn patience(text: OsString) -> Result<Wait, UsageError> {
    if text.is_empty() {
        return Ok(Wait::ForEver);
    }
    let source = "--wait".to_owned();
    Given { source, text }.parse(checks::timeout).map(Wait::For)
}

fn verify(env: &Environment) -> Result<Ask, UsageError> {
    let given = |option: &str| {
        env.value(option, None).ok_or_else(|| {
            UsageError::new(format_args!(
                "{} is not set: verify works inside of a command that leaderrun has started",
                super::environment::variable(option)
            ))
        })
    };
    let token = |text: &str| match text.parse() {
        Ok(revision) if revision > 0 => Ok(Token(revision)),
        _ => Err(format!("{} is no token", quoted(text))),
    };
    let ask = Ask::Verify {
        leader_key: given("leader-key")?.parse(|text| Ok(text.to_owned()))?,
        token: given("token")?.parse(token)?,
    };
    // What every command is given, too. Another etcd than the term's would answer as well.
    given("key")?;
    given("endpoints")?;
    Ok(ask)
}
