//! A real etcd, of one member or several, on loopback or in a network of the test's own.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::network::Network;
use super::place::Place;
use super::ports::Port;
use super::process::{MARK, spawn_mortal};
use super::scratch::{Scratch, tail};
use super::{LIMIT, etcd_path, is_stopped, unique_id, within};

/// A cluster that ends with its handle. How to ask it is in `etcdctl.rs`.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    /// What etcdctl is run by, to reach every member.
    pub(super) asked_from: Vec<String>,
    dir: Scratch,
    also_at: Vec<Port>,
    /// Whether etcdctl has to log in.
    pub(super) asks_for_users: AtomicBool,
}

/// One member: it can be frozen, thawed, killed and started again on its data.
#[derive(Debug)]
pub struct Member {
    name: String,
    place: Place,
    client: Port,
    peer: Port,
    arguments: Vec<String>,
    log: std::path::PathBuf,
    process: Mutex<Process>,
}

#[derive(Debug)]
enum Process {
    Running(Child),
    Frozen(Child),
    Dead,
}

impl Etcd {
    /// One member that answers.
    #[track_caller]
    pub fn start() -> Self {
        Self::cluster(1)
    }

    /// `size` members that answer.
    #[track_caller]
    pub fn cluster(size: usize) -> Self {
        Self::start_with(size, &[])
    }

    /// `size` members that answer, each with further arguments.
    #[track_caller]
    pub fn start_with(size: usize, arguments: &[&str]) -> Self {
        Self::start_at(&vec![Place::loopback(); size], &[], &[], arguments)
    }

    /// One member that can be reached at `url` (scheme and host) too, at [`Self::port`]. Plain http on
    /// loopback stays, for etcdctl.
    #[track_caller]
    pub fn start_also_at(url: &str, arguments: &[String]) -> Self {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::start_at(&[Place::loopback()], &[], &[url], &arguments)
    }

    /// `size` members that answer, on the first nodes of the network, a node for each.
    #[track_caller]
    pub fn start_on(network: &Network, size: usize) -> Self {
        let places: Vec<Place> = (0..size).map(|n| Place::node(network, n)).collect();
        Self::start_at(&places, &network.entering(), &[], &[])
    }

    #[track_caller]
    fn start_at(
        places: &[Place],
        asked_from: &[String],
        urls: &[&str],
        arguments: &[&str],
    ) -> Self {
        // Reserved ports are free unless a stranger took one meanwhile; then take others.
        for _ in 0..5 {
            let etcd = Self::prepare(places, asked_from, urls, arguments);
            for member in &etcd.members {
                member.spawn();
            }
            if etcd.answers_within(LIMIT) {
                return etcd;
            }
            let logs = etcd.logs();
            assert!(
                logs.contains("address already in use"),
                "etcd does not answer:\n{logs}"
            );
        }
        panic!("no free ports for etcd");
    }

    fn prepare(places: &[Place], asked_from: &[String], urls: &[&str], further: &[&str]) -> Self {
        let dir = Scratch::new("etcd");
        let token = unique_id();
        let ports: Vec<(&Place, Port, Port)> = places
            .iter()
            .map(|place| (place, Port::reserve(), Port::reserve()))
            .collect();
        // The names are unique, so that a foreign etcd on our port cannot pass for ours.
        let name = |i: usize| format!("m{i}-{token}");
        let url =
            |place: &Place, port: &Port| format!("http://{}:{}", place.address, port.number());
        let peers: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(i, (place, _, peer))| format!("{}={}", name(i), url(place, peer)))
            .collect();
        let peers = peers.join(",");
        let also_at: Vec<Port> = urls.iter().map(|_| Port::reserve()).collect();
        let members = ports
            .into_iter()
            .enumerate()
            .map(|(i, (place, client, peer))| {
                let data = dir.path(&format!("m{i}.data")).display().to_string();
                let (client_url, peer_url) = (url(place, &client), url(place, &peer));
                let further_urls = urls.iter().zip(&also_at);
                let listen = further_urls.fold(client_url.clone(), |all, (url, port)| {
                    format!("{all},{url}:{}", port.number())
                });
                let mut arguments: Vec<String> = [
                    ("--name", name(i).as_str()),
                    ("--data-dir", &data),
                    ("--listen-client-urls", &listen),
                    ("--advertise-client-urls", &client_url),
                    ("--listen-peer-urls", &peer_url),
                    ("--initial-advertise-peer-urls", &peer_url),
                    ("--initial-cluster", &peers),
                    ("--initial-cluster-token", &token),
                    ("--logger", "zap"),
                    ("--log-outputs", "stderr"),
                    ("--log-level", "info"),
                ]
                .iter()
                .map(|(flag, value)| format!("{flag}={value}"))
                .collect();
                if can_skip_fsync() {
                    arguments.push("--unsafe-no-fsync".to_owned());
                }
                arguments.extend(further.iter().map(|&s| s.to_owned()));
                Member {
                    name: name(i),
                    place: place.clone(),
                    client,
                    peer,
                    arguments,
                    log: dir.path(&format!("m{i}.log")),
                    process: Mutex::new(Process::Dead),
                }
            })
            .collect();
        Self {
            members,
            asked_from: asked_from.to_vec(),
            dir,
            also_at,
            asks_for_users: AtomicBool::new(false),
        }
    }

    /// The port at which it can be reached besides; see [`Self::start_also_at`].
    pub fn port(&self) -> u16 {
        self.also_at[0].number()
    }

    /// Whether every member that is meant to run answers a linearizable read in time.
    fn answers_within(&self, limit: Duration) -> bool {
        let mut died = false;
        let answered = within(limit, || {
            died = self.members.iter().any(Member::died);
            died || self
                .members
                .iter()
                .filter(|m| m.is_running())
                .all(|m| m.listens() && self.answers_at(m))
        });
        answered.is_some() && !died
    }

    /// The members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that index.
    pub fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// All endpoints, comma-separated.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self.members.iter().map(Member::endpoint).collect();
        all.join(",")
    }

    /// The endpoint of the first member.
    pub fn endpoint(&self) -> String {
        self.members[0].endpoint()
    }

    /// Freezes every member (SIGSTOP).
    pub fn stop(&self) {
        self.members.iter().for_each(Member::stop);
    }

    /// Thaws every member (SIGCONT).
    pub fn cont(&self) {
        self.members.iter().for_each(Member::cont);
    }

    /// Kills every member (SIGKILL).
    pub fn kill(&self) {
        self.members.iter().for_each(Member::kill);
    }

    /// Starts every dead member again on its data and waits until all answer.
    #[track_caller]
    pub fn restart(&self) {
        self.members.iter().for_each(Member::restart);
        self.wait_ready();
    }

    /// Waits until every member that is neither frozen nor dead answers a linearizable read.
    #[track_caller]
    pub fn wait_ready(&self) {
        assert!(
            self.answers_within(LIMIT),
            "etcd does not answer:\n{}",
            self.logs()
        );
    }

    /// The ends of the members' logs.
    pub fn logs(&self) -> String {
        self.members.iter().fold(String::new(), |text, m| {
            format!("{text}--- {}\n{}\n", m.name, tail(&m.log, 40))
        })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

impl Member {
    /// `127.0.0.1:PORT`, or the address of its node.
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.place.address, self.client.number())
    }

    /// The peer port, for those who want to cut members off from each other.
    pub fn peer_port(&self) -> u16 {
        self.peer.number()
    }

    /// The unique name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process, unless it is dead.
    pub fn pid(&self) -> Option<Pid> {
        match &*self.process() {
            Process::Running(child) | Process::Frozen(child) => Some(pid_of(child)),
            Process::Dead => None,
        }
    }

    /// Freezes the member with SIGSTOP, and returns once it stands still.
    pub fn stop(&self) {
        let mut process = self.process();
        *process = match std::mem::replace(&mut *process, Process::Dead) {
            Process::Running(child) => {
                let pid = pid_of(&child);
                kill(pid, Signal::SIGSTOP).expect("own child");
                super::eventually(LIMIT, || is_stopped(pid));
                Process::Frozen(child)
            }
            other @ (Process::Frozen(_) | Process::Dead) => other,
        };
    }

    /// Thaws the member with SIGCONT.
    pub fn cont(&self) {
        let mut process = self.process();
        *process = match std::mem::replace(&mut *process, Process::Dead) {
            Process::Frozen(child) => {
                kill(pid_of(&child), Signal::SIGCONT).expect("own child");
                Process::Running(child)
            }
            other @ (Process::Running(_) | Process::Dead) => other,
        };
    }

    /// Kills the member with SIGKILL, which reaches a frozen one too, and reaps it.
    pub fn kill(&self) {
        let mut process = self.process();
        match std::mem::replace(&mut *process, Process::Dead) {
            Process::Running(mut child) | Process::Frozen(mut child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Process::Dead => {}
        }
    }

    /// Starts a dead member again on its data; returns once it listens.
    #[track_caller]
    pub fn restart(&self) {
        if self.pid().is_none() {
            self.spawn();
            assert!(
                within(LIMIT, || self.listens() || self.died()).is_some() && !self.died(),
                "{} does not come back:\n{}",
                self.name,
                tail(&self.log, 40)
            );
        }
    }

    /// Starts a dead member again without its data, as if on a new disk.
    #[track_caller]
    pub fn restart_empty(&self) {
        assert!(self.pid().is_none(), "it is to be dead");
        std::fs::remove_dir_all(self.log.with_extension("data")).expect("own directory");
        self.restart();
    }

    /// Whether it is neither frozen nor dead.
    pub fn is_running(&self) -> bool {
        matches!(*self.process(), Process::Running(_))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn spawn(&self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("log file");
        let mut command = self.place.command(etcd_path());
        command
            .args(&self.arguments)
            .env(MARK, &self.name)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("descriptor"))
            .stderr(log);
        // The environment of a developer who configures etcd by ETCD_… must not configure ours.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"ETCD") {
                command.env_remove(name);
            }
        }
        let child = spawn_mortal(&mut command).expect("etcd, which require_etcd has seen");
        *self.process() = Process::Running(child);
    }

    fn listens(&self) -> bool {
        self.place.listens(self.pid(), self.client.number())
    }

    /// Whether the process ended although nobody killed it.
    pub fn died(&self) -> bool {
        match &mut *self.process() {
            Process::Running(child) => !matches!(child.try_wait(), Ok(None)),
            Process::Frozen(_) | Process::Dead => false,
        }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A panic elsewhere must not keep Drop from killing.
        self.process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

/// Whether this etcd knows `--unsafe-no-fsync` (3.4.21, 3.5.0): disks differ, tests should not.
fn can_skip_fsync() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        Command::new(etcd_path())
            .args(["--unsafe-no-fsync", "--version"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}
