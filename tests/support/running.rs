//! A process tree that a test has started: its events, its members, its end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::log::{Log, is_of_the_setup};
use super::process::{MARK, children_of, is_alive, kill_all, spawn_mortal, tree_of};
use super::scratch::{Scratch, tail};
use super::stalled::Stalled;
use super::{LIMIT, now, unique_id, within};

/// A started process and all that descends from it. Dropped, it leaves none of them alive.
#[derive(Debug)]
pub struct Running {
    name: String,
    mark: String,
    pid: Pid,
    child: Mutex<Child>,
    log: Option<Log>,
    dir: Scratch,
}

impl Running {
    /// Starts any command: standard input empty, output and error in files.
    #[track_caller]
    pub fn spawn(name: &str, command: Command) -> Self {
        Self::spawn_in(Scratch::new(name), name, command, [None, None, None], None)
    }

    #[track_caller]
    pub(super) fn spawn_in(
        dir: Scratch,
        name: &str,
        mut command: Command,
        streams: [Option<Stdio>; 3],
        log: Option<PathBuf>,
    ) -> Self {
        let file = |name: &str| Stdio::from(File::create(dir.path(name)).expect("own directory"));
        let [stdin, stdout, stderr] = streams;
        let mark = unique_id();
        command
            .env(MARK, &mark)
            .stdin(stdin.unwrap_or_else(Stdio::null))
            .stdout(stdout.unwrap_or_else(|| file("stdout")))
            .stderr(stderr.unwrap_or_else(|| file("stderr")));
        let child = match spawn_mortal(&mut command) {
            Ok(child) => child,
            Err(e) => panic!("cannot start {command:?}: {e}"),
        };
        Self {
            name: name.to_owned(),
            mark,
            pid: Pid::from_raw(i32::try_from(child.id()).expect("a pid")),
            child: Mutex::new(child),
            log: log.map(Log::new),
            dir,
        }
    }

    /// The process that was started: of a [`super::Candidate`], the supervisor.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the first event of that name.
    #[track_caller]
    pub fn wait_event(&self, name: &str) -> Value {
        self.wait_event_within(name, 1, LIMIT)
    }

    /// Waits for the `n`-th event of that name (the first is 1).
    #[track_caller]
    pub fn wait_nth_event(&self, name: &str, n: usize) -> Value {
        self.wait_event_within(name, n, LIMIT)
    }

    /// Waits for the `n`-th event of that name (the first is 1), for at most `limit`.
    #[track_caller]
    pub fn wait_event_within(&self, name: &str, n: usize, limit: Duration) -> Value {
        match self.nth_event(name, n, limit) {
            Some(event) => event,
            None => panic!("no event {name} (number {n})\n{}", self.story()),
        }
    }

    /// Waits for an event of that name that has not been logged yet.
    #[track_caller]
    pub fn wait_another_event(&self, name: &str) -> Value {
        self.wait_nth_event(name, self.events_named(name).len() + 1)
    }

    fn nth_event(&self, name: &str, n: usize, limit: Duration) -> Option<Value> {
        within(limit, || {
            // Whether anybody is left to write has to be known before the log is read.
            let over = self.try_wait().is_some() && self.tree().is_empty();
            match self.events_named(name).into_iter().nth(n - 1) {
                Some(event) => Some(Some(event)),
                None => over.then_some(None),
            }
        })
        .flatten()
    }

    /// Fails if an event of that name is logged before the instant `until` of [`now`].
    #[track_caller]
    pub fn no_event_until(&self, name: &str, until: f64) {
        let left = Duration::try_from_secs_f64(until - now()).unwrap_or_default();
        let before = self.events_named(name).len();
        let found = within(left, || self.events_named(name).get(before).cloned());
        if let Some(event) = found {
            panic!("too early: {event}\n{}", self.story());
        }
    }

    /// All events logged so far, but for warnings about what the tests are run with.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.log.as_ref().map(Log::events).unwrap_or_default()
    }

    /// Those warnings: of the etcd that happens to be here, of timelines that are short to save time, and of what is
    /// left in the cgroup.
    #[track_caller]
    pub fn warnings_at_start(&self) -> Vec<String> {
        let all = self.log.as_ref().map(Log::all).unwrap_or_default();
        let texts = all.iter().filter(|e| is_of_the_setup(e));
        texts
            .filter_map(|e| Some(e["message"].as_str()?.to_owned()))
            .collect()
    }

    /// The events of that name logged so far.
    #[track_caller]
    pub fn events_named(&self, name: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|e| e["event"] == name);
        events
    }

    /// Waits for `elected`, and returns the fencing token.
    #[track_caller]
    pub fn wait_elected(&self) -> u64 {
        let elected = self.wait_event("elected");
        match elected["token"].as_u64() {
            Some(token) => token,
            None => panic!("no token in {elected}"),
        }
    }

    /// Signals the started process alone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("a process that was not waited for");
    }

    /// Signals the process group of the started process, which was given its own.
    #[track_caller]
    pub fn signal_group(&self, signal: Signal) {
        killpg(self.pid, signal).expect("a candidate with own_group()");
    }

    /// Kills supervisor and guardian, so that neither can clean up after the other. They are not stopped for that: the
    /// death of the one would continue the other.
    #[track_caller]
    pub fn kill_both(&self) {
        let guardian = self.guardian_pid();
        let watch = Stalled::thread(self.pid, "watch");
        kill(guardian, Signal::SIGKILL).expect("a guardian whose parent does not reap");
        self.signal(Signal::SIGKILL);
        watch.wait_killed();
    }

    /// Waits for the end of the started process; its tree may live on.
    #[track_caller]
    pub fn wait(&self) -> ExitStatus {
        self.wait_within(LIMIT)
    }

    /// Waits for the end of the started process, for at most `limit`.
    #[track_caller]
    pub fn wait_within(&self, limit: Duration) -> ExitStatus {
        match within(limit, || self.try_wait()) {
            Some(status) => status,
            None => panic!("still running\n{}", self.story()),
        }
    }

    /// How the started process ended, if it has.
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("own child")
    }

    /// The guardian, by the name that it gives itself.
    #[track_caller]
    pub fn guardian_pid(&self) -> Pid {
        match within(LIMIT, || self.guardian()) {
            Some(guardian) => guardian,
            None => panic!("no guardian\n{}", self.story()),
        }
    }

    /// The guardian, if there is one now.
    pub fn guardian(&self) -> Option<Pid> {
        self.child_named("lr-guardian")
    }

    /// The process that runs the hooks.
    #[track_caller]
    pub fn hooks_pid(&self) -> Pid {
        super::eventually(LIMIT, || self.child_named("lr-hooks"))
    }

    fn child_named(&self, name: &str) -> Option<Pid> {
        let comm = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        children_of(self.pid)
            .into_iter()
            .find(|&child| comm(child).trim() == name)
    }

    /// The command's main process, from the newest `started` event.
    #[track_caller]
    pub fn command_pid(&self) -> Pid {
        self.wait_event("started");
        let newest = self.events_named("started").pop();
        let pid = newest.and_then(|event| event["pid"].as_i64());
        Pid::from_raw(pid.and_then(|p| i32::try_from(p).ok()).expect("a pid"))
    }

    /// All living processes of the tree but the started one, wherever they were reparented to.
    pub fn tree(&self) -> BTreeSet<Pid> {
        tree_of(self.pid, &self.mark)
    }

    /// Waits until neither the started process nor anything of its tree is alive.
    #[track_caller]
    pub fn wait_gone(&self) {
        let gone = || self.try_wait().is_some() && self.tree().is_empty();
        assert!(
            within(LIMIT, gone).is_some(),
            "still alive: {:?}\n{}",
            self.tree(),
            self.story()
        );
    }

    /// What was written to standard output so far, where it was captured.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What was written to standard error so far, where it was captured.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Our end of the standard input, if it is a pipe.
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.child().stdin.take()
    }

    /// Our end of the standard output, if it is a pipe.
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        self.child().stdout.take()
    }

    /// Our end of the standard error, if it is a pipe.
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        self.child().stderr.take()
    }

    /// The directory of its files.
    pub fn dir(&self) -> &Scratch {
        &self.dir
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.dir.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All that is known of it, for the output of a failed test.
    fn story(&self) -> String {
        let part = |name: &str| tail(&self.dir.path(name), 200);
        format!(
            "--- {} (pid {}), log:\n{}\n--- stderr:\n{}\n--- stdout:\n{}",
            self.name,
            self.pid,
            part("log"),
            part("stderr"),
            part("stdout")
        )
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // A panic elsewhere must not keep Drop from killing.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.story());
        }
        // Again and again: what is being killed may be forking.
        let gone = within(LIMIT, || {
            let mut left = self.tree();
            if matches!(self.child().try_wait(), Ok(None)) {
                left.insert(self.pid);
            }
            kill_all(&left);
            left.is_empty()
        });
        if gone.is_none() {
            eprintln!("{} cannot be killed: {:?}", self.name, self.tree());
        }
    }
}
