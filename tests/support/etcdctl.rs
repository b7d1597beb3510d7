//! Questions to etcd, asked by etcdctl: by other code than the one under test.

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::etcd::{Etcd, Member};
use super::place::run_by;
use super::{LIMIT, Running, Scratch, etcdctl_path, within};

/// A key as etcd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The revision that created it: the fencing token, of a candidate's key.
    pub create_revision: u64,
    /// The revision that wrote it last.
    pub mod_revision: u64,
    /// The lease it is attached to, in lower-case hex; empty if none.
    pub lease: String,
}

impl Etcd {
    /// Runs etcdctl against the members that are up; panics with its message if it fails.
    #[track_caller]
    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        match self.try_etcdctl(arguments) {
            Ok(output) => output,
            Err(message) => panic!("etcdctl {arguments:?}: {message}"),
        }
    }

    /// Runs etcdctl against the members that are up: standard output, or its message.
    pub fn try_etcdctl(&self, arguments: &[&str]) -> Result<String, String> {
        let up: Vec<String> = self
            .members()
            .iter()
            .filter(|m| m.is_running())
            .map(Member::endpoint)
            .collect();
        self.ask(&up.join(","), arguments)
    }

    /// Has etcd ask for users from now on. etcdctl is `root` then, and may do everything.
    #[track_caller]
    pub fn ask_for_users(&self) {
        self.etcdctl(&["user", "add", "root:root"]);
        self.etcdctl(&["user", "grant-role", "root", "root"]);
        self.etcdctl(&["auth", "enable"]);
        self.asks_for_users.store(true, Ordering::SeqCst);
    }

    /// Starts an etcdctl that stays, such as `lock NAME COMMAND` or `elect NAME PROPOSAL`.
    #[track_caller]
    pub fn spawn_etcdctl(&self, arguments: &[&str]) -> Running {
        self.spawn_etcdctl_with(arguments, Stdio::null())
    }

    /// The same, with that standard input.
    #[track_caller]
    pub fn spawn_etcdctl_with(&self, arguments: &[&str], stdin: Stdio) -> Running {
        self.spawn_etcdctl_under(&self.asked_from, arguments, stdin)
    }

    /// The same at another place, such as a node of a network.
    #[track_caller]
    pub fn spawn_etcdctl_under(
        &self,
        wrapper: &[String],
        arguments: &[&str],
        stdin: Stdio,
    ) -> Running {
        Self::spawn_etcdctl_in(wrapper, &self.endpoints(), arguments, stdin)
    }

    /// The same, of these endpoints alone.
    #[track_caller]
    pub(super) fn spawn_etcdctl_at(
        &self,
        endpoints: &str,
        arguments: &[&str],
        stdin: Stdio,
    ) -> Running {
        Self::spawn_etcdctl_in(&self.asked_from, endpoints, arguments, stdin)
    }

    #[track_caller]
    fn spawn_etcdctl_in(
        wrapper: &[String],
        endpoints: &str,
        arguments: &[&str],
        stdin: Stdio,
    ) -> Running {
        let mut command = etcdctl(wrapper, endpoints);
        command.args(arguments);
        let streams = [Some(stdin), None, None];
        Running::spawn_in(Scratch::new("etcdctl"), "etcdctl", command, streams, None)
    }

    /// The key, if it is there.
    #[track_caller]
    pub fn entry(&self, key: &str) -> Option<Entry> {
        self.entries(&[key]).pop()
    }

    /// The keys with that prefix, in the order of their creation.
    #[track_caller]
    pub fn entries_under(&self, prefix: &str) -> Vec<Entry> {
        let mut all = self.entries(&["--prefix", prefix]);
        all.sort_by_key(|e| e.create_revision);
        all
    }

    fn entries(&self, what: &[&str]) -> Vec<Entry> {
        let json = self.etcdctl(&[&["get", "-w", "json"], what].concat());
        let answer: Value = serde_json::from_str(&json).expect("JSON from etcdctl");
        // etcd leaves out what is zero or empty.
        let number = |v: &Value| v.as_u64().unwrap_or(0);
        let text = |v: &Value| decode_base64(v.as_str().unwrap_or_default());
        let Some(kvs) = answer["kvs"].as_array() else {
            return Vec::new();
        };
        kvs.iter()
            .map(|kv| Entry {
                key: text(&kv["key"]),
                value: text(&kv["value"]),
                create_revision: number(&kv["create_revision"]),
                mod_revision: number(&kv["mod_revision"]),
                lease: match kv["lease"].as_i64() {
                    None | Some(0) => String::new(),
                    Some(id) => format!("{id:x}"),
                },
            })
            .collect()
    }

    /// The value of the key, if it is there.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<String> {
        self.entry(key).map(|e| e.value)
    }

    /// The names of the keys with that prefix, in the order of their creation.
    #[track_caller]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.entries_under(prefix)
            .into_iter()
            .map(|e| e.key)
            .collect()
    }

    /// Writes the key, attached to no lease.
    #[track_caller]
    pub fn put(&self, key: &str, value: &str) {
        self.etcdctl(&["put", "--", key, value]);
    }

    /// Deletes the key: whether it was there.
    #[track_caller]
    pub fn del(&self, key: &str) -> bool {
        self.etcdctl(&["del", key]).trim() == "1"
    }

    /// The ids of all leases, in lower-case hex.
    #[track_caller]
    pub fn leases(&self) -> Vec<String> {
        self.etcdctl(&["lease", "list"])
            .lines()
            .filter(|line| !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit()))
            .map(|line| line.trim_start_matches('0').to_owned())
            .collect()
    }

    /// Revokes a lease, by its id in hex.
    #[track_caller]
    pub fn revoke(&self, lease: &str) {
        self.etcdctl(&["lease", "revoke", lease]);
    }

    /// The TTL in seconds that a lease was granted for, while it lives.
    #[track_caller]
    pub fn granted(&self, lease: &str) -> Option<u64> {
        let told = self.etcdctl(&["lease", "timetolive", lease]);
        // "lease 2be7… granted with TTL(60s), remaining(59s)"
        let ttl = told.split_once("granted with TTL(")?.1.split_once("s)")?.0;
        Some(ttl.parse().expect("seconds"))
    }

    /// The member id of that name, as far as a member tells.
    pub fn member_id(&self, name: &str) -> Option<String> {
        // "8e9e05c52164694d, started, m0, http://…, http://…, false"
        let list = self.try_etcdctl(&["member", "list"]).ok()?;
        let lines = list
            .lines()
            .map(|line| line.split(", ").collect::<Vec<_>>());
        let line = lines.into_iter().find(|fields| fields[2] == name)?;
        Some(line[0].to_owned())
    }

    /// The index of the raft leader, as the members that are up say; waits until they agree on one.
    #[track_caller]
    pub fn leader_index(&self) -> usize {
        within(LIMIT, || {
            self.members()
                .iter()
                .position(|m| m.is_running() && self.says_that_it_leads(m))
        })
        .unwrap_or_else(|| panic!("no raft leader:\n{}", self.logs()))
    }

    /// The raft leader.
    #[track_caller]
    pub fn leader(&self) -> &Member {
        self.member(self.leader_index())
    }

    /// Hands the raft leadership over to the member of that index.
    #[track_caller]
    pub fn move_leader(&self, target: usize) {
        let moved = within(LIMIT, || {
            // Another election may come in between.
            if self.leader_index() == target {
                return true;
            }
            if let Some(id) = self.member_id(self.member(target).name()) {
                let _ = self.try_etcdctl(&["move-leader", &id]);
            }
            false
        });
        assert!(moved.is_some(), "it does not lead:\n{}", self.logs());
        self.wait_ready();
    }

    /// Whether `member` answers a linearizable read, and belongs to this cluster.
    pub(super) fn answers_at(&self, member: &Member) -> bool {
        let at = |arguments: &[&str]| self.ask(&member.endpoint(), arguments);
        at(&["get", "--consistency=l", "none"]).is_ok()
            && at(&["member", "list"])
                .is_ok_and(|list| self.members().iter().all(|m| list.contains(m.name())))
    }

    fn says_that_it_leads(&self, member: &Member) -> bool {
        let Ok(json) = self.ask(&member.endpoint(), &["endpoint", "status", "-w", "json"]) else {
            return false;
        };
        let answer: Value = serde_json::from_str(&json).unwrap_or_default();
        let status = &answer[0]["Status"];
        let itself = &status["header"]["member_id"];
        !itself.is_null() && *itself == status["leader"]
    }

    fn ask(&self, endpoints: &str, arguments: &[&str]) -> Result<String, String> {
        let output = etcdctl(&self.asked_from, endpoints)
            .args(["--dial-timeout=2s", "--command-timeout=5s"])
            .args(
                self.asks_for_users
                    .load(Ordering::SeqCst)
                    .then_some("--user=root:root"),
            )
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }
}

fn etcdctl(wrapper: &[String], endpoints: &str) -> Command {
    let mut command = run_by(wrapper, etcdctl_path());
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"ETCDCTL_") {
            command.env_remove(name);
        }
    }
    // The API that etcdctl before 3.4 does not speak by default.
    command.env("ETCDCTL_API", "3");
    command.arg(format!("--endpoints={endpoints}"));
    command
}

/// Decodes what etcdctl writes in JSON for keys and values.
pub(super) fn decode_base64(text: &str) -> String {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for symbol in text.bytes() {
        let six = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
