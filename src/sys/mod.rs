//! Every unsafe line and raw system call, each wrapped once, with its contract.
//!
//! nix serves where it can; what is here is what it leaves unsafe (`fork`), cannot express
//! (real-time signals, whose numbers its `Signal` does not know) or does not have (pidfd).
#![allow(unsafe_code)]

mod process;
mod signals;
mod socket;
mod tree;
mod wait;

pub use process::{
    Fork, adopt_orphans, die_by_signal, die_with_parent, exec, fork, has_controlling_terminal,
    point_standard_streams_at_null, say_last_words, set_name, set_standard_streams,
    standard_streams,
};
pub use signals::{
    Dispositions, KILL, SignalFd, SignalInfo, SignalNumber, block_all_signals,
    restore_child_signals,
};
pub use socket::{MAX_MESSAGE, Received, SeqPacket};
pub use tree::{Process, children_of, descendants_of, kill, kill_group, kill_verified};
pub use wait::{End, NoChildren, Reaped, StopOrExit, poll_child, reap_all_but, reap_any};
