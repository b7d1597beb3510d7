//! The JSON log of a candidate, read while it is written.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

/// A log file and what has been read of it.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    read: Mutex<ReadSoFar>,
}

#[derive(Debug, Default)]
struct ReadSoFar {
    offset: u64,
    partial: Vec<u8>,
    events: Vec<Value>,
}

impl Log {
    /// The log that will be written to `path`.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: Mutex::default(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All events written so far, in order, but for warnings about what the tests are run with.
    pub fn events(&self) -> Vec<Value> {
        let mut events = self.all();
        events.retain(|event| !is_of_the_setup(event));
        events
    }

    /// All events written so far, in order. A line that is no JSON object fails the test.
    pub fn all(&self) -> Vec<Value> {
        let mut read = self.read.lock().expect("one thread");
        if let Ok(mut file) = File::open(&self.path) {
            let mut new = Vec::new();
            file.seek(SeekFrom::Start(read.offset)).expect("seek");
            file.read_to_end(&mut new).expect("readable log");
            read.offset += u64::try_from(new.len()).expect("u64");
            read.partial.extend(new);
        }
        // The last line may be half written.
        if let Some(end) = read.partial.iter().rposition(|&b| b == b'\n') {
            let rest = read.partial.split_off(end + 1);
            let lines = std::mem::replace(&mut read.partial, rest);
            for line in lines.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
                let event: Value = serde_json::from_slice(line).unwrap_or_else(|e| {
                    panic!("not JSON: {:?}: {e}", String::from_utf8_lossy(line))
                });
                assert!(event.is_object(), "not an object: {event}");
                read.events.push(event);
            }
        }
        read.events.clone()
    }
}

/// Whether it is a warning about what the tests are run with: an etcd without the fixes of its leases, a timeline
/// that is short to save time, or what another test has left in the cgroup that all of them share. Only the tests
/// of these warnings want to see them.
pub fn is_of_the_setup(event: &Value) -> bool {
    let message = event["message"].as_str().unwrap_or_default();
    event["event"] == "warning"
        && (message.contains("leases can end there")
            || message.contains("alive in this cgroup")
            || message.contains("rides out an etcd outage"))
}
