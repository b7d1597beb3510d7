//! Runs a command only while it is the leader of an etcd election, and proves the command's process
//! tree dead before another leaderrun starts its own.
//!
//! # The promise
//!
//! For one key in one etcd cluster, the lifetimes of two leaderrun commands' process trees never
//! overlap, from the first instruction of one to the death of its last descendant. It rests on two
//! things: etcd's transactions are linearizable, and clocks tick at about the same rate.
//!
//! # A tour of the house
//!
//! Three processes share the work. The [`supervisor`] is the one that the user started; whatever may
//! block or fail is its task. It forks the [`guardian`] before any thread exists: parent and only
//! killer of the command, with the one timer that everything depends on. The command is the user's.
//!
//! - [`timing`] is the arithmetic of a term, [`clock`] the one clock that counts.
//! - [`election`] decides who leads, over [`etcd`]; it knows no process.
//! - [`guardian`] starts, stops, kills and reaps; it knows no etcd.
//! - [`hooks`] tells a user's command of each change, in a process of its own, out of the fence's way.
//! - [`supervisor`] brings both together: the states of a run, and every event in each of them.
//! - [`query`] is what asks about an election, and asks its leader to step down.
//! - [`cli`], [`report`], [`exit_status`] and [`lookup`] are what users meet.
//! - [`sys`] holds every unsafe line; [`rules`] lets the tests switch a rule off.
//!
//! Imports point downwards in this list's spirit: `sys` knows nobody, the supervisor knows all.

pub mod cli;
pub mod clock;
pub mod election;
pub mod etcd;
pub mod exit_status;
pub mod guardian;
pub mod hooks;
pub mod lookup;
pub mod query;
pub mod report;
pub mod rules;
pub mod runtime;
pub mod supervisor;
pub mod sys;
pub mod timing;

use std::io::Write;
use std::process::ExitCode;

use cli::Parsed;
use report::{Level, complain, complaint};

/// The program: reads the command line, and does what it says.
///
/// Must be called on the only thread of the process.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        sys::say_last_words(&complaint(Level::Error, &panic.to_string()));
    }));
    let check = |list: &str, tls: bool| {
        let parsed = etcd::Endpoint::parse_list(list, tls);
        parsed.map(drop).map_err(|e| e.to_string())
    };
    match cli::parse(std::env::args_os(), |name| std::env::var_os(name), check) {
        Ok(Parsed::Run(options)) => supervisor::run(*options),
        Ok(Parsed::Query(query)) => query::run(*query),
        Ok(Parsed::Print(text)) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            // A reader that has seen enough (`| head`) is no failure.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(e) => {
                let message = format!("cannot write to standard output: {e}");
                complain(Level::Error, &message);
                exit_status::ExitStatus::Failed.into()
            }
        },
        Err(error) => {
            complain(Level::Error, &error.to_string());
            error.status.into()
        }
    }
}
