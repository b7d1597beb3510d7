//! leaderrun
pub mod clock;
pub mod election;
pub mod rules;
pub mod timing;
pub fn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
