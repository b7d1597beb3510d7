//! leaderrun
pub mod cli;
pub mod clock;
pub mod election;
pub mod etcd;
pub mod exit_status;
pub mod guardian;
pub mod lookup;
pub mod report;
pub mod rules;
pub mod supervisor;
pub mod sys;
pub mod timing;

use std::io::Write;
use std::process::ExitCode;

use cli::{Parsed, UsageError};

/// The program: reads the command line, and does what it says.
///
/// Must be called on the only thread of the process.
pub fn main() -> ExitCode {
    let check = |list: &str| {
        let parsed = etcd::Endpoint::parse_list(list);
        parsed.map(drop).map_err(|e| e.to_string())
    };
    match cli::parse(std::env::args_os(), |name| std::env::var_os(name), check) {
        Ok(Parsed::Run(options)) => supervisor::run(*options),
        Ok(Parsed::Print(text)) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            // A reader that has seen enough (`| head`) is no failure.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("leaderrun: cannot write to standard output: {e}");
                exit_status::ExitStatus::Failed.into()
            }
        },
        Err(error) => {
            eprintln!("leaderrun: {error}");
            UsageError::STATUS.into()
        }
    }
}
