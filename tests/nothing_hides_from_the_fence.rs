//! No way of forking, and nothing that /proc shows or does not show, keeps a descendant from the stop signal
//! and from SIGKILL, or makes leaderrun believe that it is dead.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Life, Pid, Running, Scratch, Signal, assert_no_overlap,
    death_of, eventually, helper, is_alive, kill, leave_without_first_thread, now, require_etcd,
};

fn candidate(etcd: &Etcd, id: &str, ttl: &str) -> Candidate {
    Candidate::new(etcd).id(id).ttl(ttl).arg("-v")
}

fn own_key(etcd: &Etcd) -> String {
    etcd.keys(&format!("{KEY}/")).remove(0)
}

fn standby(etcd: &Etcd, beat: &Beat, ttl: &str) -> Running {
    let standby = candidate(etcd, "standby", ttl).life(beat.life()).spawn();
    standby.wait_event("waiting");
    standby
}

/// The next one has started, and goes on: nothing of the first has stamped since.
#[track_caller]
fn assert_dead_before_the_next(beat: &Beat) -> u64 {
    let next = beat.wait_tokens(2);
    eventually(LIMIT, || {
        let stamps = beat.stamps();
        stamps.iter().filter(|s| s.token == next).count() > 40
    });
    assert_no_overlap(beat);
    next
}

// --- a first thread that has ended ---------------------------------------------------------------

/// Stamps like a daemon of [`Beat`], of kind `headless`, from a process whose first thread has ended.
#[test]
fn headless() {
    if helper::asked().is_some() {
        leave_without_first_thread(stamp_headless);
    }
}

fn stamp_headless() {
    let file = helper::asked().expect("the file of the stamps");
    let token = std::env::var("LEADERRUN_TOKEN").expect("a term");
    let mut stamps = OpenOptions::new()
        .append(true)
        .open(file)
        .expect("the file");
    let born = Instant::now();
    while born.elapsed() < Duration::from_secs(120) {
        let line = format!("{:.2} {token} {} headless\n", now(), std::process::id());
        stamps.write_all(line.as_bytes()).expect("the file");
        thread::sleep(Duration::from_millis(10));
    }
    std::process::exit(0);
}

/// A command with such a descendant.
fn with_headless(beat: &Beat, life: Life) -> Vec<OsString> {
    let helper = helper::argv("headless", beat.file());
    let script = "n=$1; shift; \"${@:1:n}\" >/dev/null; shift \"$n\"; exec \"$@\"";
    // The first argument says how many words the helper's command line has.
    let words = helper.len().to_string();
    let mut argv: Vec<OsString> = ["bash", "-c", script, "bash", &words]
        .map(Into::into)
        .into();
    argv.extend(helper);
    argv.extend(life);
    argv
}

/// Something happens to a leader with such a descendant.
fn a_first_thread_that_has_ended(deed: impl FnOnce(&Etcd, &Running)) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "4s")
        .args(["--grace", "500ms"])
        .argv(with_headless(&beat, beat.life()))
        .spawn();
    let token = leader.wait_elected();
    let pid = Pid::from_raw(beat.wait_stamp(token, "headless").pid);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    assert!(stat.contains(") Z "), "{stat}");
    beat.wait_stamp(token, "beat");
    let _standby = standby(&etcd, &beat, "4s");
    deed(&etcd, &leader);
    assert_dead_before_the_next(&beat);
    assert!(!is_alive(pid));
    leader.wait_gone();
    leader.wait_event("tree-empty");
}

#[test]
fn a_first_thread_that_has_ended_and_a_killed_supervisor() {
    a_first_thread_that_has_ended(|_, leader| leader.signal(Signal::SIGKILL));
}

#[test]
fn a_first_thread_that_has_ended_and_a_killed_guardian() {
    a_first_thread_that_has_ended(|_, leader| kill(leader.guardian_pid(), Signal::SIGKILL));
}

#[test]
fn a_first_thread_that_has_ended_and_a_deleted_key() {
    a_first_thread_that_has_ended(|etcd, _| assert!(etcd.del(&own_key(etcd))));
}

#[test]
fn a_first_thread_that_has_ended_and_a_planned_stop() {
    a_first_thread_that_has_ended(|_, leader| leader.signal(Signal::SIGTERM));
}

// --- a /proc that cannot be read -----------------------------------------------------------------

/// The limit of open files of another process.
#[track_caller]
fn limit_files(pid: Pid, soft: u64) {
    let status = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={soft}:")])
        .status();
    assert!(status.expect("prlimit").success());
}

#[test]
fn a_proc_that_cannot_be_read_proves_nothing() {
    const TTL: f64 = 3.0;
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    // Without a cgroup, which would kill it whatever can be seen.
    let leader = candidate(&etcd, "leader", "3s")
        .args(["--cgroup", "off"])
        .life(beat.life().with_daemon())
        .spawn();
    let token = leader.wait_elected();
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    let standby = standby(&etcd, &beat, "3s");
    leader.wait_another_event("renewed");
    // Of its descriptors none is closed; it cannot open any more.
    limit_files(leader.pid(), 3);
    kill(leader.guardian_pid(), Signal::SIGKILL);
    assert_eq!(leader.wait_event("stopping")["reason"], "guardian-lost");
    standby.no_event_until("elected", now() + TTL + 2.0);
    let error = leader.wait_event("error")["message"].to_string();
    assert!(error.contains("survive SIGKILL"), "{error}");
    assert!(is_alive(daemon), "or this test shows nothing");
    for event in ["tree-empty", "released", "exiting"] {
        assert!(leader.events_named(event).is_empty(), "{event}");
    }
    limit_files(leader.pid(), 1024);
    assert_dead_before_the_next(&beat);
    assert!(!is_alive(daemon));
    leader.wait_event("tree-empty");
    leader.wait_event("released");
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_gone();
}

// --- forty sessions ------------------------------------------------------------------------------

const CHILDREN: usize = 40;

/// Forty sessions, each below a session whose leader dies of the stop signal at once; so those are
/// orphans, and the guardian's, by the time at which it is their turn.
fn forty(dir: &Scratch) -> String {
    let child = dir.path("child.sh");
    let script = "trap 'echo term $2 >>$1' TERM; echo ready $2 >>$1
        n=0; while [ $n -lt 300 ]; do sleep 0.2; n=$((n+1)); done";
    fs::write(&child, script).expect("own directory");
    let notes = dir.path("notes");
    format!(
        "for i in $(seq {CHILDREN}); do
             setsid sh -c 'setsid sh {} {} '$i' & wait' &
         done; exec sleep 600",
        child.display(),
        notes.display()
    )
}

/// Who wrote the word how often.
fn notes(dir: &Scratch, word: &str) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(dir.path("notes")).unwrap_or_default();
    let mut found = BTreeMap::new();
    for who in text.lines().filter_map(|l| l.strip_prefix(word)) {
        *found.entry(who.to_owned()).or_default() += 1;
    }
    found
}

fn each_of_forty_is_told_once(deed: impl FnOnce(&Etcd, &Running)) -> Option<Running> {
    if !require_etcd() {
        return None;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("forty"));
    let leader = candidate(&etcd, "leader", "30s")
        .args(["--grace", "4s"])
        .sh(&forty(&dir))
        .spawn();
    eventually(LIMIT, || notes(&dir, "ready").len() == CHILDREN);
    deed(&etcd, &leader);
    // All of them live on, to be killed when the grace period is over.
    leader.wait_event("killed");
    leader.wait_gone();
    let told = notes(&dir, "term");
    println!("{} of {CHILDREN} were told", told.len());
    assert_eq!(told.len(), CHILDREN, "{told:?}");
    assert!(told.values().all(|&times| times == 1), "{told:?}");
    Some(leader)
}

#[test]
fn each_of_forty_sessions_is_told_once_at_the_fence() {
    let deed = |etcd: &Etcd, _: &Running| assert!(etcd.del(&own_key(etcd)));
    if let Some(leader) = each_of_forty_is_told_once(deed) {
        assert_eq!(leader.wait().code(), Some(75));
    }
}

#[test]
fn each_of_forty_sessions_is_told_once_in_a_planned_stop() {
    let deed = |_: &Etcd, leader: &Running| leader.signal(Signal::SIGTERM);
    if let Some(leader) = each_of_forty_is_told_once(deed) {
        assert_eq!(death_of(leader.wait()), 15);
    }
}

// --- a fork bomb ---------------------------------------------------------------------------------

/// Chains of daemons of which each forks the next, twice, in a session of its own, and ends; at the end of
/// a chain, and beside it, some stay. At most 500 processes, or two seconds.
const BOMB: &str = r#"
    trap '' TERM
    file=$1 hops=$2 end=$3
    stamp() { read -r now _ </proc/uptime; echo "$now $LEADERRUN_TOKEN $$ $1" >>"$file"; }
    stamp bomb
    if [ "$hops" -gt 0 ] && [ "${now%.*}" -lt "$end" ]; then
        (setsid sh "$0" "$file" $((hops - 1)) "$end" &)
        [ $((hops % 5)) = 0 ] || exit
    fi
    n=0
    while [ $n -lt 300 ]; do sleep 0.3; stamp bomb; n=$((n + 1)); done
"#;

fn a_fork_bomb(cgroup: &str) {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let dir = Scratch::new("bomb");
    let bomb = dir.path("bomb.sh");
    fs::write(&bomb, BOMB).expect("own directory");
    let script = format!(
        "trap '' TERM; read -r now _ </proc/uptime; end=$((${{now%.*}} + 3))
         for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sh {} {} 50 $end &); done; sleep 60",
        bomb.display(),
        beat.file().display()
    );
    let leader = candidate(&etcd, "leader", "5s")
        .args(["--grace", "200ms", "--cgroup", cgroup])
        .sh(&script)
        .spawn();
    let token = leader.wait_elected();
    let _standby = standby(&etcd, &beat, "5s");
    beat.wait_stamp(token, "bomb");
    assert!(etcd.del(&own_key(&etcd)));
    assert_dead_before_the_next(&beat);
    let mut pids: Vec<i32> = beat.stamps().iter().map(|s| s.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    println!(
        "{} processes, the last stamp of the first term at {:.2}",
        pids.len(),
        beat.last_stamp(token).at
    );
    assert_eq!(leader.wait().code(), Some(75));
    leader.wait_event("tree-empty");
    leader.wait_gone();
}

#[test]
fn a_fork_bomb_without_a_cgroup() {
    a_fork_bomb("off");
}

#[test]
fn a_fork_bomb_with_a_cgroup_where_there_is_one() {
    a_fork_bomb("auto");
}

// --- a traced process ------------------------------------------------------------------------------

/// A debugger holds the command, which is stopped in a way that no SIGCONT ends.
#[test]
fn a_command_that_is_traced() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = candidate(&etcd, "leader", "4s").life(beat.life()).spawn();
    let token = leader.wait_elected();
    beat.wait_stamp(token, "start");
    let standby = standby(&etcd, &beat, "4s");
    let command = leader.command_pid();
    ptrace::seize(command, ptrace::Options::empty()).expect("a descendant");
    ptrace::interrupt(command).expect("traced by us");
    assert!(matches!(
        waitpid(command, None),
        Ok(WaitStatus::PtraceEvent(..))
    ));

    assert!(etcd.del(&own_key(&etcd)));
    // The signals are its tracer's to pass on, but for the one that nobody can hold up.
    let killed = loop {
        match waitpid(command, None).expect("traced by us") {
            WaitStatus::Signaled(_, signal, _) => break signal,
            WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(killed, Signal::SIGKILL);
    assert_eq!(leader.wait().code(), Some(75));
    assert_dead_before_the_next(&beat);
    drop(standby);
}
