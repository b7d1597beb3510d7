//! The shipped units under a real systemd: what a stop, a crash of the supervisor and a cron job come to.
//!
//! Numbers are printed (`--no-capture` shows them) and stand, rounded, in `leaderrun@.service`.

mod support;

use support::{
    Beat, Candidate, Etcd, LIMIT, Life, Pid, Running, Signal, Systemd, assert_no_overlap,
    eventually, is_alive, now, require_etcd,
};

const UNIT: &str = "leaderrun@job.service";
const CRON: &str = "leaderrun-cron@job.service";

fn environment(etcd: &Etcd, life: &Life, more: &str) -> String {
    let words: Vec<_> = life
        .argv()
        .into_iter()
        .map(|word| word.into_string().expect("UTF-8"))
        .collect();
    format!(
        "LEADERRUN_KEY=/election/test\nLEADERRUN_ENDPOINTS={}\nLEADERRUN_ID=unit\nCOMMAND={}\n{more}\n",
        etcd.endpoints(),
        words.join(" ")
    )
}

/// The stamps lie in a directory that `PrivateTmp=` would hide.
fn drop_in(beat: &Beat, more: &str) -> String {
    let file = beat.file();
    let dir = file.parent().expect("a directory").display();
    format!("[Service]\nBindPaths={dir}\n{more}")
}

struct Scene {
    systemd: Systemd,
    beat: Beat,
    etcd: Etcd,
}

impl Scene {
    fn set(kill_mode: &str, options: &str, life: impl Fn(&Beat) -> Life) -> Option<Self> {
        let (etcd, beat) = (Etcd::start(), Beat::new());
        let file = environment(&etcd, &life(&beat), options);
        let more = drop_in(&beat, &format!("KillMode={kill_mode}\nRestart=no"));
        let systemd = Systemd::start(&[("job", &file)], &[(UNIT, &more)])?;
        systemd.ask(&["start", UNIT]);
        beat.wait_tokens(1);
        Some(Self {
            systemd,
            beat,
            etcd,
        })
    }

    fn rival(&self) -> Running {
        let rival = Candidate::new(&self.etcd)
            .id("rival")
            .life(self.beat.life());
        let rival = rival.spawn();
        rival.wait_event("waiting");
        rival
    }

    fn guardian(&self) -> Pid {
        let named = |pid: &Pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "lr-guardian")
        };
        let processes = self.systemd.processes(UNIT);
        processes.into_iter().find(named).expect("a guardian")
    }

    fn terms(&self, token: u64) -> usize {
        let stamps = self.beat.stamps();
        let of = stamps
            .iter()
            .filter(|s| s.token == token && s.kind == "term");
        of.count()
    }
}

#[test]
fn the_service_is_ready_in_standby_and_says_who_leads() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let leader = Candidate::new(&etcd).id("elder").spawn();
    leader.wait_event("started");
    let file = environment(&etcd, &beat.life().with_daemon(), "");
    let more = drop_in(&beat, "");
    let Some(systemd) = Systemd::start(&[("job", &file)], &[(UNIT, &more)]) else {
        return;
    };
    // Type=notify: it returns once the service is ready.
    systemd.ask(&["start", UNIT]);
    assert_eq!(systemd.property(UNIT, "ActiveState"), "active");
    systemd.wait_property(UNIT, "StatusText", |s| s == "standby behind 1, elder leads");
    leader.signal(Signal::SIGTERM);
    let token = beat.wait_tokens(1);
    beat.wait_stamp(token, "daemon");
    let leads = format!("leading as unit with token {token}");
    systemd.wait_property(UNIT, "StatusText", |s| s == leads);

    // The delegated cgroup holds a leaf for the command, hardening notwithstanding.
    let command = Pid::from_raw(beat.first_stamp(token).pid);
    let (command, _) = support::in_namespace_of(systemd.main_pid(UNIT))
        .into_iter()
        .find(|(_, inner)| *inner == command.to_string())
        .expect("the command");
    let cgroup = std::fs::read_to_string(format!("/proc/{command}/cgroup")).expect("alive");
    assert!(
        cgroup.contains("job.service/leaderrun-"),
        "no leaf: {cgroup}"
    );

    // An outage of etcd is a status.
    etcd.stop();
    systemd.wait_property(UNIT, "StatusText", |s| {
        s.contains("the last renewal failed")
    });
    etcd.cont();
    systemd.wait_property(UNIT, "StatusText", |s| s == leads);

    systemd.ask(&["stop", UNIT]);
    assert_eq!(systemd.property(UNIT, "ActiveState"), "inactive");
    assert!(systemd.processes(UNIT).is_empty());
    assert_eq!(etcd.keys("/election/test"), Vec::<String>::new());
    assert_no_overlap(&beat);
}

#[test]
fn a_stop_hands_over_at_once() {
    if !require_etcd() {
        return;
    }
    for mode in ["mixed", "control-group", "process"] {
        let Some(scene) = Scene::set(mode, "", |beat| beat.life().exits_on_term(0)) else {
            return;
        };
        let rival = scene.rival();
        let began = now();
        scene.systemd.ask(&["stop", UNIT]);
        let next = scene.beat.wait_tokens(2);
        let took = scene.beat.first_stamp(next).at - began;
        println!("KillMode={mode}: after a stop the next command starts in {took:.2} s");
        assert_eq!(scene.systemd.property(UNIT, "ActiveState"), "inactive");
        assert_no_overlap(&scene.beat);
        drop(rival);
    }
}

#[test]
fn only_the_kill_modes_that_spare_the_command_leave_its_stop_signal_to_leaderrun() {
    if !require_etcd() {
        return;
    }
    // A stop signal that does nothing, so that a SIGTERM shows.
    let options = "LEADERRUN_STOP_SIGNAL=WINCH\nLEADERRUN_STOP_TIMEOUT=1s";
    for (mode, terms) in [("mixed", 0), ("control-group", 1), ("process", 0)] {
        let Some(scene) = Scene::set(mode, options, |beat| beat.life().notes_term()) else {
            return;
        };
        let token = scene.beat.tokens()[0];
        scene.systemd.ask(&["stop", UNIT]);
        assert_eq!(scene.terms(token), terms, "KillMode={mode}");
    }
}

#[test]
fn a_command_that_takes_all_of_its_stop_timeout_is_not_killed_sooner() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let file = environment(
        &etcd,
        &beat.life().ignores_term(),
        "LEADERRUN_STOP_TIMEOUT=4s",
    );
    let more = drop_in(&beat, "TimeoutStopSec=1\nRestart=no");
    let Some(systemd) = Systemd::start(&[("job", &file)], &[(UNIT, &more)]) else {
        return;
    };
    systemd.ask(&["start", UNIT]);
    let token = beat.wait_tokens(1);
    let began = now();
    systemd.ask(&["stop", UNIT]);
    let lived = beat.last_stamp(token).at - began;
    assert!(lived > 3.5, "killed after {lived:.2} s");
    assert_eq!(
        systemd.property(UNIT, "Result"),
        "signal",
        "{}",
        systemd.log()
    );
    assert_eq!(etcd.keys("/election/test"), Vec::<String>::new());
}

#[test]
fn a_crash_of_the_supervisor_costs_what_the_unit_file_says() {
    if !require_etcd() {
        return;
    }
    for (mode, within_s) in [("mixed", 20.0), ("control-group", 5.0), ("process", 5.0)] {
        let Some(scene) = Scene::set(mode, "", |beat| beat.life().with_daemon()) else {
            return;
        };
        let rival = scene.rival();
        let guardian = scene.guardian();
        let began = now();
        nix::sys::signal::kill(scene.systemd.main_pid(UNIT), Signal::SIGKILL).expect("alive");
        let next = scene.beat.wait_tokens(2);
        let took = scene.beat.first_stamp(next).at - began;
        println!("KillMode={mode}: after a crash the next command starts in {took:.2} s");
        assert!(took < within_s, "KillMode={mode}: {took}");
        eventually(LIMIT, || !is_alive(guardian));
        assert_no_overlap(&scene.beat);
        drop(rival);
    }
}

#[test]
fn with_both_killed_systemd_leaves_nothing_alive() {
    if !require_etcd() {
        return;
    }
    let Some(scene) = Scene::set("mixed", "", |beat| beat.life().ignores_term().with_daemon())
    else {
        return;
    };
    let token = scene.beat.tokens()[0];
    scene.beat.wait_stamp(token, "daemon");
    let rival = scene.rival();
    for pid in [scene.guardian(), scene.systemd.main_pid(UNIT)] {
        // The death of either may bring the other's, by systemd's hand, before our signal.
        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    }
    eventually(LIMIT, || scene.systemd.processes(UNIT).is_empty());
    let next = scene.beat.wait_tokens(2);
    // What had survived would stamp every 10 ms as well.
    let of_next = || {
        scene
            .beat
            .stamps()
            .iter()
            .filter(|s| s.token == next)
            .count()
    };
    eventually(LIMIT, || of_next() > 50);
    assert_no_overlap(&scene.beat);
    drop(rival);
}

#[test]
fn of_two_hosts_cron_jobs_one_runs_and_both_succeed() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let life = beat.life().exits(0, std::time::Duration::from_millis(100));
    let file = environment(&etcd, &life, "LEADERRUN_MIN_HOLD=4s");
    // systemd forgets what an inactive unit came to.
    let more = drop_in(&beat, "RemainAfterExit=yes");
    let other = CRON.replace("job", "other");
    let Some(systemd) = Systemd::start(
        &[("job", &file), ("other", &file)],
        &[(CRON, &more), (&other, &more)],
    ) else {
        return;
    };
    systemd.ask(&["start", "--no-block", CRON]);
    let held = systemd.wait_property(CRON, "StatusText", |s| s.contains("--min-hold"));
    assert!(held.starts_with("leading as unit with token "), "{held}");
    // The second is done while the first still holds the leadership.
    systemd.ask(&["start", &other]);
    assert_eq!(systemd.property(&other, "ExecMainStatus"), "124");
    assert_eq!(systemd.property(CRON, "ActiveState"), "activating");
    systemd.wait_property(CRON, "ActiveState", |s| s == "active");
    for unit in [CRON, &other] {
        assert_eq!(systemd.property(unit, "Result"), "success");
    }
    assert_eq!(beat.tokens().len(), 1);
    assert_eq!(etcd.keys("/election/test"), Vec::<String>::new());
}
