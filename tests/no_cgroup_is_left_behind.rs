//! The cgroups that leaderrun makes for its commands end with it, or with the next one.

mod support;

use std::fs;

use nix::unistd::Uid;
use support::{
    Beat, Candidate, Etcd, Freezer, LIMIT, NOBODY, Pid, Running, Signal, assert_no_overlap,
    death_of, eventually, is_alive, kill, now, require_etcd,
};

/// A place of our own in the hierarchy, where no other test leaves anything. The freezing is not used.
struct Place(Freezer);

impl Place {
    fn new() -> Option<Self> {
        require_etcd().then(Freezer::mortal)?.map(Self)
    }

    fn candidate(&self, etcd: &Etcd) -> Candidate {
        self.without_option(etcd).args(["--cgroup", "require"])
    }

    fn without_option(&self, etcd: &Etcd) -> Candidate {
        let entering = self.0.entering();
        let entering: Vec<&str> = entering.iter().map(String::as_str).collect();
        Candidate::new(etcd).ttl("3s").under(&entering)
    }

    fn leaves(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.dir()).expect("own cgroup").flatten();
        entries
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// A leader whose command runs in its leaf.
    #[track_caller]
    fn leader(&self, etcd: &Etcd) -> Running {
        let leader = self.candidate(etcd).spawn();
        leader.wait_event("started");
        let membership = format!("/proc/{}/cgroup", leader.command_pid());
        let membership = fs::read_to_string(membership).expect("it lives");
        let leaves = self.leaves();
        assert!(
            leaves.len() == 1 && membership.contains(&leaves[0]),
            "{leaves:?} {membership}"
        );
        assert!(leaves[0].starts_with("leaderrun-"), "{leaves:?}");
        leader
    }

    /// A leader whose command has a daemon, with its token and the daemon's process.
    #[track_caller]
    fn leader_with_daemon(&self, etcd: &Etcd, beat: &Beat) -> (Running, u64, Pid) {
        let life = beat.life().with_daemon();
        let leader = self.candidate(etcd).life(life).spawn();
        let token = leader.wait_elected();
        let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
        (leader, token, daemon)
    }
}

#[test]
fn none_after_a_run() {
    let Some(place) = Place::new() else { return };
    let etcd = Etcd::start();
    let run = place.candidate(&etcd).command(&["true"]).spawn();
    assert_eq!(run.wait().code(), Some(0));
    run.wait_gone();
    assert!(place.leaves().is_empty(), "{:?}", place.leaves());
    // Also not of one that made cgroups of its own.
    let script = "own=$(sed -n 's/^0:://p' /proc/self/cgroup); mkdir -p \"$0$own/a/b\"; exit 4";
    let root = fs::canonicalize(place.0.dir().join("..")).expect("the root");
    let root = root.display().to_string();
    let run = place
        .candidate(&etcd)
        .command(&["sh", "-c", script, &root])
        .spawn();
    assert_eq!(run.wait().code(), Some(4), "{}", run.stderr());
    run.wait_gone();
    assert!(place.leaves().is_empty(), "{:?}", place.leaves());
}

#[test]
fn none_after_a_signal() {
    let Some(place) = Place::new() else { return };
    let etcd = Etcd::start();
    let leader = place.leader(&etcd);
    let standby = place.candidate(&etcd).spawn();
    standby.wait_event("waiting");
    for run in [&standby, &leader] {
        run.signal(Signal::SIGTERM);
        assert_eq!(death_of(run.wait()), 15);
        run.wait_gone();
    }
    assert!(place.leaves().is_empty(), "{:?}", place.leaves());
}

#[test]
fn none_after_the_command_was_killed() {
    let Some(place) = Place::new() else { return };
    let etcd = Etcd::start();
    let leader = place.leader(&etcd);
    kill(leader.command_pid(), Signal::SIGKILL);
    assert_eq!(death_of(leader.wait()), 9);
    leader.wait_gone();
    assert!(place.leaves().is_empty(), "{:?}", place.leaves());
}

#[test]
fn none_after_the_supervisor_or_the_guardian_was_killed() {
    let Some(place) = Place::new() else { return };
    let etcd = Etcd::start();
    let leader = place.leader(&etcd);
    leader.signal(Signal::SIGKILL);
    leader.wait_gone();
    assert!(place.leaves().is_empty(), "{:?}", place.leaves());

    let leader = place.leader(&etcd);
    kill(leader.guardian_pid(), Signal::SIGKILL);
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
    assert!(place.leaves().is_empty(), "{:?}", place.leaves());
}

/// Waits until it has said so of what others have left.
#[track_caller]
fn wait_warning(run: &Running, text: &str) {
    eventually(LIMIT, || {
        run.warnings_at_start().iter().any(|w| w.contains(text))
    });
}

/// The kernel kills the command itself then; what that has started is nobody's, until another leaderrun comes
/// to the same cgroup: before it campaigns.
#[test]
fn nothing_alive_is_left_in_it_by_a_killed_family() {
    let Some(place) = Place::new() else { return };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (killed, _, daemon) = place.leader_with_daemon(&etcd, &beat);
    let other = Beat::new();
    // Somebody else's, whose supervisor alone is dead: the guardian is still at work in the grace period.
    let orphaned = place
        .candidate(&etcd)
        .key("/election/orphaned")
        .args(["--grace", "1s"])
        .life(other.life().ignores_term())
        .spawn();
    orphaned.wait_event("started");
    other.wait_stamp(orphaned.wait_elected(), "start");
    let spared = orphaned.command_pid();

    let command = killed.command_pid();
    killed.kill_both();
    killed.wait();
    eventually(LIMIT, || !is_alive(command));
    assert!(is_alive(daemon), "or this test shows nothing");
    orphaned.signal(Signal::SIGKILL);
    let next = place.candidate(&etcd).life(beat.life()).spawn();
    wait_warning(&next, "killed what an earlier run");
    assert!(!is_alive(daemon));
    assert!(is_alive(spared), "it has its grace period");
    next.wait_elected();
    next.signal(Signal::SIGTERM);
    next.wait_gone();
    assert_no_overlap(&beat);
    orphaned.wait_gone();
}

/// Whoever waits in the same cgroup, behind the very family that is killed, comes too late to do so at its start.
#[test]
fn a_standby_ends_what_a_killed_leader_has_left() {
    let Some(place) = Place::new() else { return };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, token, daemon) = place.leader_with_daemon(&etcd, &beat);
    let standby = place.candidate(&etcd).life(beat.life()).spawn();
    standby.wait_event("waiting");
    leader.kill_both();
    let second = standby.wait_elected();
    wait_warning(&standby, "killed what an earlier run");
    beat.wait_stamp(second, "start");
    assert!(!is_alive(daemon));
    assert_eq!(assert_no_overlap(&beat), [token, second]);
}

/// An ordinary user may not kill what root has left: it is told so, and loses no time.
#[test]
fn what_may_not_be_killed_is_told() {
    if !Uid::effective().is_root() {
        support::skip("only root can leave something that others may not kill");
        return;
    }
    let Some(place) = Place::new() else { return };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (killed, _, daemon) = place.leader_with_daemon(&etcd, &beat);
    killed.kill_both();
    killed.wait();
    let begun = now();
    let other = place
        .without_option(&etcd)
        .key("/election/other")
        .user_within_wrapper(NOBODY)
        .command(&["true"])
        .spawn();
    wait_warning(&other, "cannot be killed from here");
    let took = now() - begun;
    assert!(took < 0.9, "{took}");
    assert_eq!(other.wait().code(), Some(0));
    assert!(is_alive(daemon));
    // The next one of root's ends it.
    let next = place
        .candidate(&etcd)
        .key("/election/next")
        .command(&["true"])
        .spawn();
    assert_eq!(next.wait().code(), Some(0));
    assert!(!is_alive(daemon));
}

#[test]
fn without_the_right_to_make_one_it_is_refused_where_it_is_required() {
    if !Uid::effective().is_root() {
        support::skip("only root can lock others out");
        return;
    }
    let Some(place) = Place::new() else { return };
    let etcd = Etcd::start();
    let run = place
        .candidate(&etcd)
        .user_within_wrapper(NOBODY)
        .text_log()
        .command(&["true"])
        .output();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("--cgroup require: cannot make a cgroup"),
        "{}",
        run.stderr
    );
    assert!(etcd.keys("").is_empty());
}

#[test]
fn those_of_killed_families_are_removed_by_later_ones() {
    let Some(place) = Place::new() else { return };
    let etcd = Etcd::start();
    let killed = place.leader(&etcd);
    killed.kill_both();
    killed.wait_gone();
    let left = place.leaves();
    assert_eq!(left.len(), 1, "or this test shows nothing");

    let living = place.candidate(&etcd).spawn();
    living.wait_event("campaigning");
    eventually(LIMIT, || !place.leaves().contains(&left[0]));
    // One that is in use stays, whoever comes.
    living.wait_event("started");
    let in_use = place.leaves();
    let standby = place.candidate(&etcd).spawn();
    standby.wait_event("waiting");
    assert!(in_use.iter().all(|leaf| place.leaves().contains(leaf)));
    for run in [&standby, &living] {
        run.signal(Signal::SIGTERM);
        run.wait_gone();
    }
    assert!(place.leaves().is_empty(), "{:?}", place.leaves());
}
