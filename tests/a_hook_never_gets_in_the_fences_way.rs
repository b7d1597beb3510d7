//! A hook that hangs, daemonizes or ignores signals delays neither the start nor the fence, and outlives neither its time,
//! nor its term's SIGKILL instant, nor the supervisor.

mod support;

use std::fs;
use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, LIMIT, Pid, Root, Running, Scratch, Signal, assert_no_overlap,
    eventually, in_namespace_of, is_alive, now, pid_1, require_etcd,
};

const GRACE: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_secs(1);
/// How late a busy machine may run us.
const SLACK: f64 = 0.8;

/// Where a hook that hangs leaves its process ids: its own, and that of a daemon.
struct Hanging {
    dir: Scratch,
}

impl Hanging {
    fn new() -> Self {
        let dir = Scratch::new("hanging");
        Self { dir }
    }

    /// Gives the candidate a hook that hangs for `event`, together with a daemon.
    fn at(&self, event: &str, candidate: Candidate) -> Candidate {
        let hook = format!(
            r#"
            echo "$LEADERRUN_HOOK_EVENT" >>"$PIDS/told"
            [ "$LEADERRUN_HOOK_EVENT" = {event} ] || exit 0
            trap '' TERM INT HUP
            setsid sh -c 'trap "" TERM HUP; echo $$ >"$PIDS/daemon"; exec sleep 900' </dev/null >/dev/null 2>&1 &
            until [ -s "$PIDS/daemon" ]; do sleep 0.01; done
            echo $$ >"$PIDS/hook.new" && mv "$PIDS/hook.new" "$PIDS/hook"
            sleep 900
            sleep 900"#
        );
        candidate
            .arg("--hook")
            .arg(hook)
            .env("PIDS", self.dir.dir())
    }

    fn pid(&self, name: &str) -> Pid {
        eventually(LIMIT, || {
            let text = fs::read_to_string(self.dir.path(name)).ok()?;
            text.trim().parse().ok().map(Pid::from_raw)
        })
    }

    /// The hook and its daemon, once they hang.
    fn wait(&self) -> [Pid; 2] {
        [self.pid("hook"), self.pid("daemon")]
    }

    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn dead(pids: [Pid; 2]) -> bool {
    !pids.into_iter().any(is_alive)
}

fn warned(run: &Running, of: &str) -> bool {
    let warnings = run.events_named("warning");
    warnings
        .iter()
        .any(|w| w["message"].as_str().is_some_and(|m| m.contains(of)))
}

#[test]
fn a_hook_that_hangs_delays_no_start_and_is_killed_with_all_that_it_started_when_its_time_is_over()
{
    if !require_etcd() {
        return;
    }
    let (etcd, hanging) = (Etcd::start(), Hanging::new());
    let run = hanging.at("standby", Candidate::new(&etcd)).spawn();
    let pids = hanging.wait();
    run.wait_event("started");
    assert!(!dead(pids), "it was over before the start");
    assert_eq!(hanging.told(), ["standby"]);
    // Then the others, in their order.
    eventually(LIMIT, || hanging.told().len() == 4);
    assert!(dead(pids));
    assert_eq!(
        hanging.told(),
        ["standby", "new-leader", "elected", "started"]
    );
    assert!(warned(
        &run,
        "the hook for standby was killed: it took longer than 5s"
    ));
    run.signal(Signal::SIGTERM);
    run.wait();
}

/// Something keeps the leader from renewing while its hook hangs. The command and the hook die at the instant of the
/// SIGKILL, which comes before the hook's own limit.
fn fenced(harm: impl FnOnce(&Etcd, &Running)) {
    let (etcd, beat, hanging) = (Etcd::start(), Beat::new(), Hanging::new());
    let candidate = Candidate::new(&etcd)
        .id("leader")
        .ttl("4s")
        .args(["--grace", "1s", "--margin", "1s", "-v"])
        .life(beat.life().ignores_term());
    let leader = hanging.at("started", candidate).spawn();
    let token = leader.wait_elected();
    let pids = hanging.wait();
    let hung = now();
    leader.wait_event("renewed");
    harm(&etcd, &leader);
    let (hook_died, killed) = {
        eventually(LIMIT, || dead(pids));
        (now(), leader.instants(GRACE, MARGIN).kill)
    };
    assert!(hook_died < killed + SLACK, "{hook_died} {killed}");
    assert!(
        hook_died > killed - SLACK && hook_died - hung < 4.5,
        "not by its own limit"
    );
    eventually(LIMIT, || !is_alive(leader.command_pid()));
    let last = beat.last_stamp(token).at;
    assert!(last < killed + SLACK, "{last} {killed}");
    etcd.cont();
    let _ = nix::sys::signal::kill(leader.pid(), Signal::SIGCONT);
    assert_eq!(leader.wait().code(), Some(75));
    assert!(warned(
        &leader,
        "the hook for started was killed: its term has to be dead by now"
    ));
    // What tells of the end of the term is run after it.
    let told = hanging.told();
    assert!(
        told.ends_with(&["stopped".into(), "lost".into(), "released".into()]),
        "{told:?}"
    );
    assert_no_overlap(&beat);
}

#[test]
fn it_dies_at_the_fence_when_etcd_is_frozen() {
    if require_etcd() {
        fenced(|etcd, _| etcd.stop());
    }
}

#[test]
fn it_dies_at_the_fence_when_the_supervisor_is_stopped() {
    if require_etcd() {
        fenced(|_, leader| leader.signal(Signal::SIGSTOP));
    }
}

#[test]
fn it_dies_with_the_supervisor() {
    if !require_etcd() {
        return;
    }
    let (etcd, hanging) = (Etcd::start(), Hanging::new());
    let run = hanging.at("started", Candidate::new(&etcd)).spawn();
    let pids = hanging.wait();
    let began = now();
    run.signal(Signal::SIGKILL);
    run.wait_gone();
    assert!(dead(pids));
    let took = now() - began;
    assert!(took < 4.0, "{took}: by its own limit, perhaps");
}

#[test]
fn it_dies_with_the_process_that_runs_it_and_the_run_goes_on_without() {
    if !require_etcd() {
        return;
    }
    let (etcd, hanging) = (Etcd::start(), Hanging::new());
    let run = hanging
        .at("started", Candidate::new(&etcd).sh("exec sleep 600"))
        .spawn();
    let [hook, _] = hanging.wait();
    support::kill(run.hooks_pid(), Signal::SIGKILL);
    eventually(LIMIT, || !is_alive(hook));
    eventually(LIMIT, || warned(&run, "no more of them are run"));
    run.signal(Signal::SIGTERM);
    assert_eq!(support::death_of(run.wait()), Signal::SIGTERM as i32);
    assert!(run.events_named("lost").is_empty());
    etcd.assert_nothing_left();
}

#[test]
fn it_dies_although_the_process_that_runs_it_is_stopped() {
    if !require_etcd() {
        return;
    }
    let (etcd, hanging) = (Etcd::start(), Hanging::new());
    let run = hanging.at("started", Candidate::new(&etcd)).spawn();
    let pids = hanging.wait();
    let hooks = run.hooks_pid();
    support::kill(hooks, Signal::SIGSTOP);
    eventually(LIMIT, || dead(pids) && !is_alive(hooks));
    eventually(LIMIT, || warned(&run, "no more of them are run"));
    run.signal(Signal::SIGTERM);
    assert_eq!(support::death_of(run.wait()), Signal::SIGTERM as i32);
    assert!(run.events_named("lost").is_empty());
}

/// The supervisor is the parent of orphans then, and of the process that runs the hooks.
#[test]
fn the_sweep_of_a_supervisor_without_a_guardian_spares_it() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat, hanging) = (Etcd::start(), Beat::new(), Hanging::new());
    let candidate = Candidate::new(&etcd).life(beat.life().ignores_term().with_daemon());
    let run = hanging.at("started", candidate).spawn();
    let token = run.wait_elected();
    let daemon = Pid::from_raw(beat.wait_stamp(token, "daemon").pid);
    let pids = hanging.wait();
    support::kill(run.guardian_pid(), Signal::SIGKILL);
    run.wait_event("released");
    assert!(!is_alive(daemon));
    assert!(pids.into_iter().all(is_alive), "the hook was swept");
    assert_eq!(run.wait().code(), Some(75));
    assert!(dead(pids), "it outlived leaderrun");
    assert!(!warned(&run, "no more of them are run"));
    let told = hanging.told();
    assert!(
        told.contains(&"lost".to_owned()) || warned(&run, "leaderrun ends"),
        "{told:?}"
    );
}

#[test]
fn a_second_signal_ends_the_wait_for_the_last_hooks() {
    if !require_etcd() {
        return;
    }
    let (etcd, hanging) = (Etcd::start(), Hanging::new());
    let run = hanging.at("released", Candidate::new(&etcd)).spawn();
    run.wait_event("started");
    run.signal(Signal::SIGTERM);
    let pids = hanging.wait();
    assert!(run.try_wait().is_none(), "the hook was not waited for");
    let asked = now();
    run.signal(Signal::SIGTERM);
    assert_eq!(support::death_of(run.wait()), Signal::SIGTERM as i32);
    let took = now() - asked;
    assert!(took < 3.0, "{took}: the rest of 5 s, perhaps");
    assert!(dead(pids));
    assert!(warned(
        &run,
        "the hook for released was killed, and those that waited"
    ));
}

#[test]
fn as_process_1_no_zombie_is_left() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let etcd = Etcd::start();
    // Orphans of a hook that has ended: killed, and reaped.
    let hook = "i=0; while [ $i -lt 20 ]; do (sleep 600 &) ; (true &); i=$((i+1)); done; echo $LEADERRUN_HOOK_EVENT";
    let candidate = Candidate::new(&etcd).arg("--hook").arg(hook);
    let container = root.run(candidate, "0");
    container.wait_event("started");
    let init = pid_1(&container);
    eventually(LIMIT, || container.stderr().lines().any(|l| l == "started"));
    // leaderrun, guardian, command, and who runs the hooks.
    eventually(LIMIT, || in_namespace_of(init).len() == 4);
    let state = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    for (pid, _) in in_namespace_of(init) {
        assert!(!state(pid).contains(") Z "), "{}", state(pid));
    }
    assert!(container.events_named("warning").is_empty());
    nix::sys::signal::kill(init, Signal::SIGTERM).expect("alive");
    assert_eq!(container.wait().code(), Some(143));
}
