//! Every unsafe line and raw system call, each wrapped once, with its contract.
//!
//! nix serves where it can; what is here is what it leaves unsafe (`fork`), cannot express
//! (real-time signals, whose numbers its `Signal` does not know) or does not have (pidfd).
#![allow(unsafe_code)]

mod ancestors;
mod priority;
mod process;
mod signals;
mod socket;
mod terminal;
mod tree;
mod wait;

pub use ancestors::environments_above;
pub use priority::{SessionFirst, hurry, run_first, set_niceness};
pub use process::{
    Fork, adopt_orphans, close_all_but, continue_at_end_of, deny_new_privileges, die_by_signal,
    die_with_parent, exec, exit_at_once, fork, lock_memory, open_null,
    point_standard_streams_at_null, say_last_words, set_name, set_standard_streams, set_title,
    standard_streams, stop_by_signal, volunteer_for_oom,
};
pub use signals::{
    Dispositions, KILL, SignalFd, SignalInfo, SignalNumber, block_all_signals, block_faults_too,
    restore_child_signals,
};
pub use socket::{MAX_MESSAGE, Received, SeqPacket};
pub use terminal::{
    Terminal, columns, group_is_orphaned, is_in_foreground_of, is_part_of_a_pipeline, leads_session,
};
pub use tree::{
    Process, all_children_of, check_proc, children_of, descendants_of, group_exists, is_stopped,
    kill, kill_group, kill_verified,
};
pub use wait::{
    Child, End, NoChildren, StopOrExit, has_children, is_running, next_change, poll_child,
    reap_all_but,
};
