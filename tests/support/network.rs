//! A network of the test's own: every node in a network namespace, with faults on the ways between them.
//!
//! A router namespace stands between all nodes: node N is 10.77.N.2, its only neighbour the router's
//! 10.77.N.1. So all that nodes say to each other is forwarded by the router, and a policy rule
//! there (`ip rule … blackhole`) makes one way between two nodes swallow everything: no reset and
//! no ICMP message tells, as it is when a host is lost or a cable pulled out. Rules act on each
//! packet, also on those of connections that are there already. The router itself reaches every node,
//! whatever the nodes' ways are, so it is where the test asks from.
//!
//! Where root is not there, all of it lies in a user namespace. Nothing outlives the test: a namespace
//! is held open by a process that ends with the pipe to its standard input.
//!
//! Where the kernel has time namespaces, each node is in one of its own, with a BOOTTIME of its
//! own: to candidates, two nodes are then two hosts.
//!
//! A slow link is slow by its rate. What is left out is loss and reordering, for which not every kernel
//! has the means (`tc netem`); TCP makes pauses of both, and pauses there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::process::spawn_mortal;

/// Nodes that reach each other through a router, unless the test says otherwise.
#[derive(Debug)]
pub struct Network {
    router: Holder,
    nodes: Vec<Node>,
    dropped: Mutex<BTreeSet<Way>>,
}

/// One direction between two nodes: from, to.
pub type Way = (usize, usize);

/// A host of the network.
#[derive(Debug)]
pub struct Node {
    address: String,
    holder: Holder,
}

impl Node {
    /// What runs a program there, for [`super::Candidate::under`].
    pub fn entering(&self) -> Vec<String> {
        self.holder.entering()
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Network {
    /// A network of `size` nodes in which everything passes.
    ///
    /// Returns `None`, and says loudly that the test was skipped, where namespaces are forbidden.
    #[track_caller]
    pub fn new(size: usize) -> Option<Self> {
        if !(root_may() || user_may()) {
            super::lacks("neither network nor user namespaces can be made here");
            return None;
        }
        for program in ["ip", "tc", "ss"] {
            if !super::starts(program.as_ref()) {
                super::lacks(&format!(
                    "{program} is missing: scripts/setup installs iproute2"
                ));
                return None;
            }
        }
        let router = Holder::start(&[], &["--net"]);
        let nodes = (0..size)
            .map(|n| Node {
                address: format!("10.77.{n}.2"),
                holder: Holder::below(&router, n),
            })
            .collect();
        let network = Self {
            router,
            nodes,
            dropped: Mutex::default(),
        };
        network.connect();
        Some(network)
    }

    fn connect(&self) {
        let own = |holder: &Holder, commands: &str| holder.run(&["ip", "-batch", "-"], commands);
        let mut links = String::from("link set lo up\n");
        for (n, node) in self.nodes.iter().enumerate() {
            let pid = node.holder.child.id();
            let _ = write!(
                links,
                "link add r{n} type veth peer name eth0 netns {pid}\n\
                 addr add 10.77.{n}.1/24 dev r{n}\nlink set r{n} up\n"
            );
        }
        own(&self.router, &links);
        let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward";
        self.router.run(&["sh", "-c", forward], "");
        for (n, node) in self.nodes.iter().enumerate() {
            let commands = format!(
                "link set lo up\naddr add 10.77.{n}.2/24 dev eth0\nlink set eth0 up\n\
                 route add default via 10.77.{n}.1\n"
            );
            own(&node.holder, &commands);
        }
    }

    /// The node of that number.
    pub fn node(&self, n: usize) -> &Node {
        &self.nodes[n]
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// What runs a program in the router, which reaches every node at all times.
    pub fn entering(&self) -> Vec<String> {
        self.router.entering()
    }

    /// Swallows what goes these ways and nothing else: what was swallowed before passes again.
    pub fn drop_only(&self, ways: impl IntoIterator<Item = Way>) {
        let wanted: BTreeSet<Way> = ways.into_iter().filter(|(a, b)| a != b).collect();
        let mut dropped = self.dropped();
        let rule = |action: &str, &(from, to): &Way| {
            let (from, to) = (self.nodes[from].address(), self.nodes[to].address());
            format!("rule {action} from {from} to {to} blackhole\n")
        };
        let gone = dropped.difference(&wanted).map(|way| rule("del", way));
        let new = wanted.difference(&dropped).map(|way| rule("add", way));
        let commands: String = gone.chain(new).collect();
        if !commands.is_empty() {
            self.router.run(&["ip", "-batch", "-"], &commands);
        }
        *dropped = wanted;
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.drop_only([]);
    }

    /// Both ways between the node and all others.
    pub fn around(&self, node: usize) -> Vec<Way> {
        [self.ways_to(node), self.ways_from(node)].concat()
    }

    /// The ways that lead to the node.
    pub fn ways_to(&self, node: usize) -> Vec<Way> {
        (0..self.size()).map(|other| (other, node)).collect()
    }

    /// The ways that lead out of the node.
    pub fn ways_from(&self, node: usize) -> Vec<Way> {
        (0..self.size()).map(|other| (node, other)).collect()
    }

    /// What the router sends to the node goes at this many kilobit a second, until [`Self::speed_up`].
    pub fn slow_down(&self, node: usize, kilobits: u32) {
        let (link, rate) = (format!("r{node}"), format!("{kilobits}kbit"));
        let start = ["tc", "qdisc", "replace", "dev", &link, "root", "tbf"];
        let limits = ["rate", &rate, "burst", "3000", "latency", "2s"];
        self.router.run(&[&start[..], &limits[..]].concat(), "");
    }

    /// At full speed again.
    pub fn speed_up(&self, node: usize) {
        let link = format!("r{node}");
        // It may be fast already.
        let _ = self
            .router
            .try_run(&["tc", "qdisc", "del", "dev", &link, "root"], "");
    }

    /// Breaks every connection that the node has, with a reset to the other side. Says whether the
    /// kernel can (`CONFIG_INET_DIAG_DESTROY`).
    pub fn reset(&self, node: usize) -> bool {
        let holder = &self.nodes[node].holder;
        let killed = holder.try_run(&["ss", "-K", "-t", "-n", "dst", "10.77.0.0/16"], "");
        // Its answer is a table with a line for each that it has killed.
        killed.is_ok_and(|table| table.lines().count() > 1)
    }

    fn dropped(&self) -> MutexGuard<'_, BTreeSet<Way>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both ways between each of the one and each of the other.
pub fn between(some: &[usize], others: &[usize]) -> Vec<Way> {
    let pairs = some
        .iter()
        .flat_map(|&a| others.iter().map(move |&b| (a, b)));
    pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

/// A process that keeps namespaces open.
#[derive(Debug)]
struct Holder {
    child: Child,
    user: Option<u32>,
    time: bool,
}

impl Holder {
    /// In new namespaces, made from within those that `wrapper` enters.
    fn start(wrapper: &[String], namespaces: &[&str]) -> Self {
        let mut words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        words.push("unshare");
        let user = wrapper.is_empty() && !root_may();
        if user {
            words.extend(["--user", "--map-root-user"]);
        }
        words.extend(namespaces);
        words.extend(["sh", "-c", "echo up; exec cat"]);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_mortal(&mut command).expect("unshare, which has worked before");
        let mut said = String::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        let read = BufReader::new(stdout).read_line(&mut said);
        assert!(read.is_ok() && said == "up\n", "no namespace: {words:?}");
        Self {
            user: user.then(|| child.id()),
            time: namespaces.contains(&"--time"),
            child,
        }
    }

    fn below(router: &Self, n: usize) -> Self {
        let mut entering = router.entering();
        // A node starts from outside of the router's network, not of its user namespace.
        entering.retain(|word| !word.starts_with("--net"));
        // Clocks that are days apart, so that no two instants can be taken for each other.
        let boottime = format!("{}", 86_400 * (n + 1));
        let mut holder = if time_may() {
            let namespaces = ["--net", "--time", "--boottime", &boottime];
            Self::start(&entering, &namespaces)
        } else {
            Self::start(&entering, &["--net"])
        };
        holder.user = router.user;
        holder
    }

    fn entering(&self) -> Vec<String> {
        let pid = self.child.id();
        let mut words = vec!["nsenter".to_owned()];
        if let Some(user) = self.user {
            words.push(format!("--user=/proc/{user}/ns/user"));
            words.push("--preserve-credentials".to_owned());
        }
        words.push(format!("--net=/proc/{pid}/ns/net"));
        if self.time {
            words.push(format!("--time=/proc/{pid}/ns/time"));
        }
        if self.user.is_some() {
            // The kernel forgets who dies with whom when credentials change.
            words.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
        }
        words
    }

    #[track_caller]
    fn run(&self, program: &[&str], input: &str) -> String {
        match self.try_run(program, input) {
            Ok(output) => output,
            Err(message) => panic!("{program:?}: {message}\n{input}"),
        }
    }

    fn try_run(&self, program: &[&str], input: &str) -> Result<String, String> {
        let words = self.entering();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut stdin = child.stdin.take().expect("a pipe");
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unshare_works(arguments: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    command.args(arguments).arg("true");
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether namespaces can be made as we are.
fn root_may() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| unshare_works(&["--net"]))
}

/// Whether a user namespace can be made, and all others in it.
fn user_may() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| unshare_works(&["--user", "--map-root-user", "--net"]))
}

/// Whether there are time namespaces, and exec(2) enters a new one.
fn time_may() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let own = fs::read_link("/proc/self/ns/time");
        let mut words = vec!["--time", "--boottime", "1", "readlink", "/proc/self/ns/time"];
        if !root_may() {
            words.splice(0..0, ["--user", "--map-root-user"]);
        }
        let new = Command::new("unshare").args(&words).output();
        let new = new.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        matches!((own, new), (Ok(own), Ok(new)) if new.starts_with("time:") && own.as_os_str() != new.as_str())
    })
}
