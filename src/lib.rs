//! leaderrun
pub mod clock;

pub mod election;
pub mod etcd;
pub mod guardian;
pub mod rules;
pub mod sys;
pub mod timing;
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
