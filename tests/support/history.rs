//! What etcd has been through below a prefix, change by change: what keys there are now does not tell when one went,
//! nor by whose transaction.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::Stdio;

use serde_json::Value;

use super::Running;
use super::etcd::Etcd;
use super::etcdctl::decode_base64;

/// A watch by etcdctl, of one member or of any, that stays while members come and go.
#[derive(Debug)]
pub struct History {
    watch: Running,
    offset: u64,
    partial: Vec<u8>,
}

/// A key was written or deleted. Those of one transaction have the same revision, and are told together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The store's revision since.
    pub revision: u64,
    /// Its name.
    pub key: String,
    /// The new value; none where it was deleted.
    pub value: Option<String>,
    /// The revision that created it; 0 where it was deleted.
    pub create_revision: u64,
}

impl Etcd {
    /// What happens to the keys with that prefix, from that revision on.
    #[track_caller]
    pub fn history(&self, prefix: &str, revision: u64) -> History {
        self.history_at(&self.endpoints(), prefix, revision)
    }

    /// The same, as these endpoints know it: a member that is cut off learns of it late.
    #[track_caller]
    pub fn history_at(&self, endpoints: &str, prefix: &str, revision: u64) -> History {
        let from = format!("--rev={revision}");
        let arguments = ["watch", "--prefix", &from, "-w", "json", prefix];
        History {
            watch: self.spawn_etcdctl_at(endpoints, &arguments, Stdio::null()),
            offset: 0,
            partial: Vec::new(),
        }
    }
}

impl History {
    /// What was told since this was last asked.
    #[track_caller]
    pub fn read_on(&mut self) -> Vec<Change> {
        if let Ok(mut file) = File::open(self.watch.dir().path("stdout")) {
            file.seek(SeekFrom::Start(self.offset)).expect("seek");
            let read = file.read_to_end(&mut self.partial).expect("own file");
            self.offset += u64::try_from(read).expect("a length");
        }
        let Some(end) = self.partial.iter().rposition(|&b| b == b'\n') else {
            return Vec::new();
        };
        let rest = self.partial.split_off(end + 1);
        let lines = std::mem::replace(&mut self.partial, rest);
        let lines = lines.split(|&b| b == b'\n');
        lines.flat_map(changes).collect()
    }

    /// Whether it has ended, as it does when what it is to tell next is compacted.
    pub fn is_over(&self) -> bool {
        self.watch.try_wait().is_some()
    }
}

/// Those of a line, which is an answer of etcd.
fn changes(line: &[u8]) -> Vec<Change> {
    let Ok(answer) = serde_json::from_slice::<Value>(line) else {
        return Vec::new();
    };
    let text = |v: &Value| decode_base64(v.as_str().unwrap_or_default());
    let number = |v: &Value| v.as_u64().unwrap_or_default();
    let events = answer["Events"].as_array().into_iter().flatten();
    let change = |event: &Value| {
        let kv = &event["kv"];
        Change {
            revision: number(&kv["mod_revision"]),
            key: text(&kv["key"]),
            // etcd leaves out what is zero or empty, a PUT too.
            value: event["type"].is_null().then(|| text(&kv["value"])),
            create_revision: number(&kv["create_revision"]),
        }
    };
    events.map(change).collect()
}
