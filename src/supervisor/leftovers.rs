//! What runs that were killed together with their guardians have left alive in our cgroup.

use crate::cli::Cgroup;
use crate::guardian::cgroup;
use crate::report::LogEvent;

/// Ends it: at the start, and again before the command starts, since such a run may have been the leader that we
/// have waited for. Takes a second at the most, and hardly any time where there is nothing. Returns what is to
/// be said of it.
pub fn end(cgroup: Cgroup) -> Vec<LogEvent> {
    let ended = match cgroup {
        Cgroup::Off => cgroup::Ended::default(),
        Cgroup::Auto | Cgroup::Require => cgroup::end_stale(),
    };
    let runs = |n: usize| match n {
        1 => "an earlier run of leaderrun, killed with its guardian, has".to_owned(),
        n => format!("{n} earlier runs of leaderrun, killed with their guardians, have"),
    };
    let mut events = Vec::new();
    if ended.killed > 0 {
        events.push(LogEvent::warning(format!(
            "killed what {} left alive in this cgroup",
            runs(ended.killed)
        )));
    }
    if ended.alive > 0 {
        events.push(LogEvent::warning(format!(
            "{} left processes alive in this cgroup that cannot be killed from here: they are another user's, \
             or in the kernel; the command may run beside them",
            runs(ended.alive)
        )));
    }
    events
}
