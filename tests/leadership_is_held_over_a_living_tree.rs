//! Leadership is released only once the process tree is proven empty. Until then it is renewed, the
//! killing goes on, and the log is loud about it.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Uid;
use support::{
    Beat, Candidate, Etcd, Freezer, KEY, LIMIT, NOBODY, Pid, Running, Scratch, Signal,
    assert_no_overlap, eventually, is_alive, now, require_etcd,
};

const TTL: f64 = 3.0;
const GRACE: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_millis(300);
/// From the instant at which another may start to the verdict that the tree is not proven dead, as section
/// "exit status" of the manual says.
const UNPROVEN: f64 = 5.0;

fn leader(etcd: &Etcd, beat: &Beat) -> Candidate {
    Candidate::new(etcd)
        .id("leader")
        .ttl("3s")
        .grace("1s")
        .margin("300ms")
        .arg("-v")
        .life(beat.life().with_daemon())
}

fn another(etcd: &Etcd, beat: &Beat) -> Running {
    let another = Candidate::new(etcd)
        .id("another")
        .ttl("3s")
        .life(beat.life())
        .spawn();
    another.wait_event("waiting");
    another
}

fn own_key(etcd: &Etcd) -> String {
    etcd.keys(&format!("{KEY}/")).remove(0)
}

/// For longer than the TTL the record is written anew, and nobody else is elected.
#[track_caller]
fn assert_held(etcd: &Etcd, leader: &Running, another: &Running, token: u64) {
    assert_held_for(TTL + 1.0, etcd, leader, another, token);
    assert!(leader.try_wait().is_none());
}

/// For so many seconds the record is written anew, and nobody else is elected.
#[track_caller]
fn assert_held_for(seconds: f64, etcd: &Etcd, leader: &Running, another: &Running, token: u64) {
    // Loudly: not only that it happens, but what has to be done about it.
    let error = leader.wait_event("error");
    assert_eq!(error["level"], "error");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("survive SIGKILL"), "{message}");

    let end = now() + seconds;
    let mut revisions = vec![];
    while now() < end {
        let record = etcd.entry(&format!("{KEY}.term")).expect("the record");
        assert!(record.value.contains(&format!("\"token\":{token},")));
        if revisions.last() != Some(&record.mod_revision) {
            revisions.push(record.mod_revision);
        }
        another.no_event_until("elected", now() + 0.05);
    }
    println!("the record was renewed {} times", revisions.len() - 1);
    assert!(revisions.len() > 2, "{revisions:?}");
    assert!(leader.events_named("released").is_empty());
}

/// What was unkillable is dead: leadership is released as ever, and the next one starts.
#[track_caller]
fn assert_released(leader: &Running, another: &Running, beat: &Beat, dead: f64) {
    // Whatever was renewed, if only the record, has kept others waiting until then.
    let headroom = leader.wait_event("tree-empty")["headroom"].as_f64();
    assert!(
        headroom.is_some_and(|s| s > 0.0 && s <= TTL),
        "{headroom:?}"
    );
    leader.wait_event("released");
    let next = another.wait_elected();
    let first = beat.wait_stamp(next, "start").at;
    println!("next start {:.3}s after the tree's end", first - dead);
    assert!(first < dead + 2.0, "{dead} {first}");
    assert_eq!(assert_no_overlap(beat).len(), 2);
    leader.wait_gone();
}

/// A leader whose daemon has been frozen so that SIGKILL waits for its thaw.
fn frozen_daemon(etcd: &Etcd, beat: &Beat, freezer: &Freezer) -> (Running, u64, Pid) {
    let leader = leader(etcd, beat).spawn();
    let token = leader.wait_elected();
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    leader.wait_event("renewed");
    freezer.freeze(daemon);
    (leader, token, daemon)
}

#[test]
fn a_frozen_descendant_after_a_planned_stop() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::immortal() else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, token, daemon) = frozen_daemon(&etcd, &beat, &freezer);
    let another = another(&etcd, &beat);
    leader.signal(Signal::SIGTERM);
    assert_held(&etcd, &leader, &another, token);
    assert!(is_alive(daemon));
    let thawed = now();
    freezer.thaw();
    assert_released(&leader, &another, &beat, thawed);
    let status = leader.wait();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(15), "as the command ended: {status:?}");
}

#[test]
fn a_frozen_descendant_after_the_key_was_deleted() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::immortal() else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, token, daemon) = frozen_daemon(&etcd, &beat, &freezer);
    assert!(etcd.del(&own_key(&etcd)));
    // Only the record is left to hold it off.
    let another = another(&etcd, &beat);
    assert_held(&etcd, &leader, &another, token);
    // Nothing else would tell whoever looks here why nobody leads.
    eventually(LIMIT, || {
        let warnings = another.events_named("warning");
        warnings.iter().any(|w| {
            w["message"]
                .as_str()
                .is_some_and(|m| m.contains("goes on being renewed"))
        })
    });
    assert!(is_alive(daemon));
    let thawed = now();
    freezer.thaw();
    assert_released(&leader, &another, &beat, thawed);
    assert_eq!(leader.wait().code(), Some(75));
}

#[test]
fn a_frozen_descendant_after_the_guardian_was_killed() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::immortal() else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, token, daemon) = frozen_daemon(&etcd, &beat, &freezer);
    let another = another(&etcd, &beat);
    kill(leader.guardian_pid(), Signal::SIGKILL).expect("it lives");
    assert_held(&etcd, &leader, &another, token);
    assert!(is_alive(daemon));
    let thawed = now();
    freezer.thaw();
    assert_released(&leader, &another, &beat, thawed);
    assert_eq!(leader.wait().code(), Some(75));
}

/// The guardian holds it then, although it knows no etcd while it has a supervisor.
#[test]
fn a_frozen_descendant_after_the_supervisor_was_killed() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::immortal() else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, token, daemon) = frozen_daemon(&etcd, &beat, &freezer);
    let another = another(&etcd, &beat);
    leader.signal(Signal::SIGKILL);
    assert_held_for(TTL + 1.0, &etcd, &leader, &another, token);
    assert!(is_alive(daemon));
    let thawed = now();
    freezer.thaw();
    assert_released(&leader, &another, &beat, thawed);
    let headroom = leader.wait_event("tree-empty")["headroom"].as_f64();
    assert!(headroom.is_some_and(|h| h > 0.0), "{headroom:?}");
}

#[test]
fn when_it_can_be_held_no_longer_the_status_says_so() {
    if !require_etcd() {
        return;
    }
    let Some(freezer) = Freezer::immortal() else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (leader, _, daemon) = frozen_daemon(&etcd, &beat, &freezer);
    etcd.stop();
    let status = leader.wait();
    let after = now() - leader.instants(GRACE, MARGIN).another;
    println!("status {status:?} {after:.3}s after another may start");
    assert_eq!(status.code(), Some(71));
    assert!(after > UNPROVEN - 0.1 && after < UNPROVEN + 3.0, "{after}");
    let errors = leader.events_named("error");
    let loud = |part: &str| {
        errors
            .iter()
            .any(|e| e["message"].as_str().is_some_and(|m| m.contains(part)))
    };
    assert!(
        loud("survive SIGKILL") && loud("not proven dead"),
        "{errors:?}"
    );
    assert_eq!(leader.wait_event("exiting")["status"], 71);
    assert!(leader.events_named("released").is_empty());

    // The guardian has not given up.
    assert!(is_alive(daemon));
    etcd.cont();
    freezer.thaw();
    eventually(support::LIMIT, || !is_alive(daemon));
    leader.wait_gone();
}

/// A user without privileges, and a descendant that runs as root.
fn a_descendant_of_another_user(take: impl FnOnce(&Etcd, &Running), code: Option<i32>) {
    if !require_etcd() {
        return;
    }
    let dir = Scratch::new("setuid");
    let Some(setpriv) = setuid_root(&dir) else {
        return;
    };
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let mut argv = vec![setpriv.as_os_str().to_owned()];
    argv.extend(["--reuid=0", "--clear-groups"].map(Into::into));
    argv.extend(beat.life().notes_term().argv());
    let argv: Vec<&std::ffi::OsStr> = argv.iter().map(AsRef::as_ref).collect();
    let leader = leader(&etcd, &beat)
        .args(["--stop-timeout", "1s"])
        .command(&argv)
        .user(NOBODY)
        .spawn();
    let token = leader.wait_elected();
    let root = Pid::from_raw(beat.wait_stamp(token, "start").pid);
    leader.wait_event("renewed");
    take(&etcd, &leader);
    let another = another(&etcd, &beat);
    // Longer than it takes to give up what can no longer be held: it can be, by the record if by nothing else.
    assert_held_for(TTL + UNPROVEN + 3.0, &etcd, &leader, &another, token);
    let message = leader.wait_event("error")["message"].to_string();
    assert!(message.contains("not permitted"), "{message}");
    // It really lives, and was not even told to stop.
    let beats = beat.stamps().len();
    eventually(support::LIMIT, || beat.stamps().len() > beats + 10);
    assert!(beat.stamps().iter().all(|s| s.kind != "term"));

    let killed = now();
    kill(root, Signal::SIGKILL).expect("we are root");
    assert_released(&leader, &another, &beat, killed);
    let status = leader.wait();
    match code {
        Some(code) => assert_eq!(status.code(), Some(code), "{status:?}"),
        None => assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "{status:?}"
        ),
    }
}

#[test]
fn a_descendant_of_another_user_after_a_planned_stop() {
    a_descendant_of_another_user(|_, leader| leader.signal(Signal::SIGTERM), None);
}

#[test]
fn a_descendant_of_another_user_after_the_key_was_deleted() {
    a_descendant_of_another_user(|etcd, _| assert!(etcd.del(&own_key(etcd))), Some(75));
}

#[test]
fn a_descendant_of_another_user_after_the_supervisor_was_killed() {
    a_descendant_of_another_user(|_, leader| leader.signal(Signal::SIGKILL), None);
}

/// A setpriv(1) that is root whoever runs it. Says loudly that the test was skipped where there can be none.
fn setuid_root(dir: &Scratch) -> Option<std::path::PathBuf> {
    let skip = |why: &str| {
        support::skip(&format!("a setuid program is needed, and {why}"));
        None
    };
    let original = ["/usr/bin/setpriv", "/bin/setpriv"]
        .into_iter()
        .map(Path::new)
        .find(|p| p.exists());
    if !support::require_that(original.is_some(), "setpriv(1)") {
        return None;
    }
    if !Uid::effective().is_root() {
        return skip("only root can make one");
    }
    let file_system = nix::sys::statvfs::statvfs(dir.dir()).expect("own directory");
    if file_system
        .flags()
        .contains(nix::sys::statvfs::FsFlags::ST_NOSUID)
    {
        return skip("the temporary directory is mounted nosuid");
    }
    let copy = dir.path("setpriv");
    fs::copy(original?, &copy).expect("own directory");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).expect("own file");
    Some(copy)
}
