//! What leaderrun tells people and programs about itself: the log, systemd, health and metrics.
//!
//! A [`LogEvent`] is a fact with typed fields. It is worded once for people and once for machines
//! (JSON), and goes through [`Log`], which never makes its caller wait: renewals must not depend
//! on who reads standard error. [`Systemd`] is told on its own socket. [`Health`] is what is noted for those
//! who ask, over the sockets that a [`Listener`] serves.

mod complaint;
mod escape;
mod event;
mod health;
mod json;
mod listener;
mod live;
mod log;
mod reason;
mod sink;
mod style;
mod systemd;
mod text;
mod trouble;
mod writer;

pub use complaint::{complain, complaint};
pub use escape::{cut, escape, escape_json, escape_sentence};
pub use event::{Level, LogEvent};
pub use health::{BEAT, Claim, Health, Role, Stage, Standing};
pub use listener::{Address, BindError, Bound, Listener};
pub use log::{Log, LogError, LogOptions};
pub use reason::{Ending, KillReason, LossReason, StopReason, WaitReason};
pub use systemd::Systemd;
pub use trouble::TroubleReporter;
pub use writer::Format;
