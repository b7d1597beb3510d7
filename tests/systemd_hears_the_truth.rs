//! What a service manager hears on `NOTIFY_SOCKET`: readiness, status, the end, and the watchdog's food.
//!
//! The manager is a datagram socket of the test; the same under a real systemd is in
//! `systemd_runs_the_units`.

mod support;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex};

use support::{
    Beat, Candidate, Etcd, LIMIT, Running, Scratch, Signal, eventually, now, require_etcd,
    unique_id,
};

/// A service manager that only listens.
struct Manager {
    name: String,
    socket: Arc<UnixDatagram>,
    /// Every line, and when it came.
    heard: Arc<Mutex<Vec<(f64, String)>>>,
    _dir: Option<Scratch>,
}

impl Manager {
    fn at_a_path() -> Self {
        Self::deaf().listening()
    }

    /// One that does not read until it is `listening`.
    fn deaf() -> Self {
        let dir = Scratch::new("notify");
        let path = dir.path("notify");
        let socket = UnixDatagram::bind(&path).expect("own directory");
        Self::new(path.display().to_string(), socket, Some(dir))
    }

    fn abstract_one() -> Self {
        let name = format!("leaderrun-{}", unique_id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("a new name");
        Self::new(format!("@{name}"), socket, None).listening()
    }

    fn new(name: String, socket: UnixDatagram, dir: Option<Scratch>) -> Self {
        Self {
            name,
            socket: Arc::new(socket),
            heard: Arc::default(),
            _dir: dir,
        }
    }

    fn listening(self) -> Self {
        let (socket, heard) = (Arc::clone(&self.socket), Arc::clone(&self.heard));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Nothing comes once the socket is shut down.
            while let Ok(n @ 1..) = socket.recv(&mut buffer) {
                let text = std::str::from_utf8(&buffer[..n]).expect("UTF-8");
                let lines = text.lines().map(|line| (now(), line.to_owned()));
                heard.lock().expect("no panic").extend(lines);
            }
        });
        self
    }

    fn timed(&self) -> Vec<(f64, String)> {
        self.heard.lock().expect("no panic").clone()
    }

    fn lines(&self) -> Vec<String> {
        self.timed().into_iter().map(|(_, line)| line).collect()
    }

    #[track_caller]
    fn wait(&self, line: &str) {
        eventually(LIMIT, || self.lines().iter().any(|l| l == line));
    }

    fn heard(&self, prefix: &str) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.starts_with(prefix));
        lines
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Ends the thread's wait.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn candidate(etcd: &Etcd, manager: &Manager) -> Candidate {
    Candidate::new(etcd).env("NOTIFY_SOCKET", &manager.name)
}

fn elder(etcd: &Etcd) -> Running {
    let elder = Candidate::new(etcd).id("elder").spawn();
    elder.wait_event("started");
    elder
}

#[test]
fn ready_in_standby_then_the_role_and_the_token() {
    if !require_etcd() {
        return;
    }
    for manager in [Manager::at_a_path(), Manager::abstract_one()] {
        let etcd = Etcd::start();
        let elder = elder(&etcd);
        let standby = candidate(&etcd, &manager).id("heir").spawn();
        manager.wait("READY=1");
        manager.wait("STATUS=standby behind 1, elder leads");
        assert!(standby.events_named("elected").is_empty());
        elder.signal(Signal::SIGTERM);
        let token = standby.wait_elected();
        manager.wait(&format!("STATUS=leading as heir with token {token}"));
        standby.signal(Signal::SIGTERM);
        standby.wait();
        manager.wait("STATUS=done");
        assert_eq!(manager.heard("READY"), ["READY=1"]);
        assert_eq!(manager.heard("STOPPING"), ["STOPPING=1"]);
        // Without a --stop-timeout, systemd's own limit is the only one.
        assert!(manager.heard("EXTEND").is_empty());
        assert!(manager.heard("MAINPID").is_empty());
    }
}

#[test]
fn ready_only_as_the_leader_if_so_asked() {
    if !require_etcd() {
        return;
    }
    let (etcd, manager) = (Etcd::start(), Manager::at_a_path());
    let elder = elder(&etcd);
    let standby = candidate(&etcd, &manager)
        .args(["--sd-ready", "leading"])
        .spawn();
    manager.wait("STATUS=standby behind 1, elder leads");
    standby.wait_event("waiting");
    assert!(manager.heard("READY").is_empty());
    elder.signal(Signal::SIGTERM);
    manager.wait("READY=1");
    standby.wait_event("started");
}

#[test]
fn an_outage_of_etcd_is_a_status_and_no_silence() {
    if !require_etcd() {
        return;
    }
    let (etcd, manager) = (Etcd::start(), Manager::abstract_one());
    let limit = 2.0;
    // systemd names the process that it means.
    let leader = candidate(&etcd, &manager)
        .env("WATCHDOG_USEC", "2000000")
        .under(&["sh", "-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"])
        .spawn();
    let token = leader.wait_elected();
    manager.wait(&format!(
        "STATUS=leading as {} with token {token}",
        id(&leader)
    ));
    etcd.stop();
    leader.wait_event("renewal-failed");
    let fed = || manager.heard("WATCHDOG=1").len();
    let before = fed();
    eventually(LIMIT, || fed() >= before + 3);
    let doubt = format!("STATUS=leading as {} with token {token}, but", id(&leader));
    assert!(manager.heard(&doubt)[0].contains("the last renewal failed: "));
    etcd.cont();
    let leads = format!("STATUS=leading as {} with token {token}", id(&leader));
    eventually(LIMIT, || {
        manager.lines().iter().filter(|l| **l == leads).count() == 2
    });
    let meals: Vec<f64> = manager
        .timed()
        .iter()
        .filter(|(_, line)| line == "WATCHDOG=1")
        .map(|(at, _)| *at)
        .collect();
    let longest = meals.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
    assert!(longest < limit, "hungry for {longest:.2} s");

    // In standby as well.
    let orphan = Manager::at_a_path();
    let nowhere = candidate(&etcd, &orphan)
        .endpoints("127.0.0.1:1")
        .env("WATCHDOG_USEC", "200000")
        .spawn();
    eventually(LIMIT, || orphan.heard("WATCHDOG=1").len() > 5);
    assert!(
        orphan
            .heard("STATUS=connecting, but etcd does not answer: ")
            .len()
            == 1
    );
    drop(nowhere);
}

/// Or `systemctl start`, and all that is ordered after the unit, would wait for etcd.
#[test]
fn an_outage_of_etcd_does_not_keep_the_service_from_starting() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    etcd.kill();
    let (standby, leading) = (Manager::at_a_path(), Manager::abstract_one());
    let ready = candidate(&etcd, &standby).spawn();
    let not_yet = candidate(&etcd, &leading)
        .args(["--sd-ready", "leading"])
        .spawn();
    let told = |manager: &Manager| {
        !manager
            .heard("STATUS=connecting, but etcd does not answer: ")
            .is_empty()
    };
    standby.wait("READY=1");
    eventually(LIMIT, || told(&standby) && told(&leading));
    assert!(ready.events_named("campaigning").is_empty());
    assert!(leading.heard("READY").is_empty());
    etcd.restart();
    ready.wait_event("campaigning");
    not_yet.wait_event("campaigning");
    ready.signal(Signal::SIGTERM);
    not_yet.wait_event("started");
    leading.wait("READY=1");
    // It was said once.
    assert_eq!(standby.heard("READY"), ["READY=1"]);
}

#[test]
fn what_waiting_does_not_mend_fails_the_start() {
    if !require_etcd() {
        return;
    }
    let (etcd, manager) = (Etcd::start(), Manager::at_a_path());
    // No label of a name is longer than 63 bytes.
    let nowhere = candidate(&etcd, &manager)
        .endpoints(format!("{}.invalid:2379", "x".repeat(70)))
        .spawn();
    assert_eq!(nowhere.wait().code(), Some(125));
    manager.wait("STATUS=done");
    assert_eq!(manager.heard("STOPPING"), ["STOPPING=1"]);
    etcd.kill();
    let impatient = candidate(&etcd, &manager).arg("--try").spawn();
    assert_eq!(impatient.wait().code(), Some(125));
    manager.wait("STATUS=done");
    assert!(manager.heard("READY").is_empty());
}

fn id(running: &Running) -> String {
    let campaigning = running.wait_event("campaigning");
    campaigning["id"].as_str().expect("an identity").to_owned()
}

#[test]
fn a_watchdog_that_is_meant_for_another_process_is_not_fed() {
    if !require_etcd() {
        return;
    }
    let (etcd, manager) = (Etcd::start(), Manager::at_a_path());
    let leader = candidate(&etcd, &manager)
        .env("WATCHDOG_USEC", "20000")
        .env("WATCHDOG_PID", "1")
        .spawn();
    leader.wait_event("started");
    leader.signal(Signal::SIGTERM);
    leader.wait();
    manager.wait("STATUS=done");
    assert!(manager.heard("WATCHDOG").is_empty());
}

#[test]
fn more_time_to_stop_is_asked_for_as_far_as_the_command_has_it() {
    if !require_etcd() {
        return;
    }
    // A command may use all of it, and killing it and telling etcd come on top. 75 minutes are more
    // microseconds than 32 bits hold.
    for (timeout, micros) in [("2s", "17000000"), ("75m", "4515000000")] {
        let (etcd, beat, manager) = (Etcd::start(), Beat::new(), Manager::at_a_path());
        let leader = candidate(&etcd, &manager)
            .args(["--stop-timeout", timeout])
            .life(beat.life().exits_on_term(0))
            .spawn();
        beat.wait_tokens(1);
        leader.signal(Signal::SIGTERM);
        leader.wait();
        manager.wait("STATUS=done");
        let extend = format!("EXTEND_TIMEOUT_USEC={micros}");
        let lines = manager.lines();
        let at = |wanted: &str| lines.iter().position(|line| line == wanted);
        assert!(at("STOPPING=1") < at(&extend), "{lines:?}");
        assert!(at("STOPPING=1").is_some());
    }
}

#[test]
fn the_end_of_the_command_is_the_end_of_the_service() {
    if !require_etcd() {
        return;
    }
    let (etcd, manager) = (Etcd::start(), Manager::at_a_path());
    let leader = candidate(&etcd, &manager).sh("exit 3").spawn();
    assert_eq!(leader.wait().code(), Some(3));
    manager.wait("STATUS=done");
    assert_eq!(manager.heard("STOPPING"), ["STOPPING=1"]);
    assert!(manager.heard("EXTEND").is_empty());
}

#[test]
fn the_command_does_not_speak_for_leaderrun_unless_it_is_to() {
    if !require_etcd() {
        return;
    }
    let show = "echo \"${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none} ${WATCHDOG_PID-none}\"";
    for (options, expected) in [(&[][..], None), (&["--sd-pass"][..], Some(()))] {
        let (etcd, manager) = (Etcd::start(), Manager::abstract_one());
        let finished = candidate(&etcd, &manager)
            .env("WATCHDOG_USEC", "30000000")
            .env("WATCHDOG_PID", "1")
            .args(options.iter().copied())
            .sh(show)
            .output();
        let expected = match expected {
            None => "none none none\n".to_owned(),
            Some(()) => format!("{} 30000000 1\n", manager.name),
        };
        assert_eq!(finished.stdout, expected);
    }
}

#[test]
fn nobody_speaks_to_systemd_through_our_status() {
    if !require_etcd() {
        return;
    }
    let (etcd, manager) = (Etcd::start(), Manager::at_a_path());
    let _foreign = etcd.spawn_etcdctl(&["elect", "/election/test", "mallory\nMAINPID=1\nREADY=1"]);
    eventually(LIMIT, || !etcd.keys("/election/test/").is_empty());
    let standby = candidate(&etcd, &manager)
        .args(["--sd-ready", "leading"])
        .spawn();
    standby.wait_event("waiting");
    manager.wait("STATUS=standby behind 1, mallory\\nMAINPID=1\\nREADY=1 leads");
    assert!(manager.heard("MAINPID").is_empty() && manager.heard("READY").is_empty());
}

#[test]
fn a_manager_that_does_not_listen_stalls_no_renewal() {
    if !require_etcd() {
        return;
    }
    let (etcd, manager) = (Etcd::start(), Manager::deaf());
    // More messages than any queue holds, within the TTL.
    let leader = candidate(&etcd, &manager)
        .env("WATCHDOG_USEC", "2000")
        .ttl("4s")
        .arg("-v")
        .spawn();
    leader.wait_nth_event("renewed", 10);
    assert!(leader.events_named("stopping").is_empty());
    // It is told what matters once it listens.
    let manager = manager.listening();
    manager.wait("READY=1");
    leader.signal(Signal::SIGTERM);
    manager.wait("STOPPING=1");
}
