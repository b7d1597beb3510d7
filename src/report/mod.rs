//! What leaderrun tells people and programs about itself: the log.
//!
//! An [`LogEvent`] is a fact with typed fields. It is worded once for people ([`text`](LogEvent))
//! and once for machines (JSON), and goes through [`Log`], which never makes its caller wait:
//! renewals must not depend on who reads standard error.

mod escape;
mod event;
mod json;
mod log;
mod sink;
mod text;
mod trouble;

pub use escape::escape;
pub use event::{Ending, KillReason, Level, LogEvent, LossReason, StopReason, WaitReason};
pub use log::{Format, Log, LogError, LogOptions};
pub use trouble::TroubleReporter;
