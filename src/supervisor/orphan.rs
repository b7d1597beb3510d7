//! What a guardian does whose supervisor is gone: the tree is empty, so it gives back the lease, that
//! nobody has to wait for the TTL.

use std::io;
use std::process::ExitCode;

use crate::cli::RunOptions;
use crate::clock::BootInstant;
use crate::election::{self, Config, LeaseId};
use crate::exit_status::ExitStatus;
use crate::guardian::Farewell;
use crate::report::{Log, LogEvent};
use crate::rules::Rule;
use crate::runtime;
use crate::supervisor::caretaker::Caretaker;
use crate::supervisor::words;

/// The end of the guardian's process. Its status tells nobody anything: its parent is gone, or knows.
pub fn end(
    options: &RunOptions,
    config: &Config,
    caretaker: &mut Caretaker,
    farewell: io::Result<Farewell>,
) -> ExitCode {
    caretaker.end();
    let log = Log::direct(&options.log);
    match farewell {
        Ok(Farewell::Dismissed) => return ExitCode::SUCCESS,
        Ok(Farewell::Orphaned { lease, led, untold }) => {
            for event in untold
                .iter()
                .filter_map(|word| words::of_orphan(word, None))
            {
                log.event(event);
            }
            match lease {
                Some(lease) if !Rule::OrphanRelease.is_off() => {
                    if let Some(event) = release(options, config, lease, led) {
                        log.event(event);
                    }
                }
                _ => {}
            }
        }
        Err(e) => log.event(LogEvent::error(format!("the guardian failed: {e}"))),
    }
    ExitStatus::Failed.into()
}

fn release(options: &RunOptions, config: &Config, lease: LeaseId, led: bool) -> Option<LogEvent> {
    // Whatever is left after the TTL has run out by itself.
    let until = BootInstant::now() + options.settings.ttl;
    let released = runtime::single_threaded()
        .map_err(|e| e.to_string())
        .and_then(|runtime| {
            let result = runtime.block_on(election::release_orphan(config, lease, led, until));
            runtime.shutdown_background();
            result
        });
    match released {
        Ok(given_up) => LogEvent::released(given_up),
        Err(e) => Some(LogEvent::warning(format!(
            "the supervisor is gone, and its place could not be given up: {e}"
        ))),
    }
}
