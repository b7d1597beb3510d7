//! A person at a terminal, systemd's journal and a file are shown the same lines, each in its own way.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use support::pty::{CTRL_C, CTRL_Z};
use support::{Candidate, Etcd, Pty, Running, Scratch, Signal, require_etcd};

/// Back to the line's beginning, and away with it.
const ERASE: &str = "\r\x1b[K";

fn leader(etcd: &Etcd) -> Running {
    let leader = Candidate::new(etcd).id("web1").spawn();
    leader.wait_event("started");
    leader
}

#[test]
fn on_a_terminal_one_line_tells_what_is_waited_for() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = leader(&etcd);
    let mut pty = Pty::shell(&etcd);
    pty.line("TERM=xterm $L -- sh -c 'echo u''p'");
    pty.expect(&format!(
        "{ERASE}leaderrun: waiting behind one candidate, 'web1'"
    ));
    pty.expect("waiting for 1s behind one candidate, 'web1', leading for ");
    let between = pty.expect("waiting for 2s behind");
    assert!(!between.contains('\n'), "{between:?}");
    leader.signal(Signal::SIGTERM);
    // It goes without a trace.
    pty.expect(&format!("{ERASE}leaderrun: elected leader"));
    pty.expect("up\r\n");
    pty.prompt(0);
}

#[test]
fn it_is_cut_to_the_width_of_the_terminal() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = leader(&etcd);
    let mut pty = Pty::shell(&etcd);
    pty.resize(24, 40);
    pty.line("TERM=xterm $L -- true");
    pty.expect(&format!("{ERASE}1 ahead, 'web1' leads for "));
    pty.resize(24, 15);
    pty.expect(&format!("{ERASE}1 ahead, 'w..."));
    pty.keys(CTRL_C);
    pty.prompt(130);
    drop(leader);
}

/// What somebody else is using is left alone.
#[test]
fn in_the_background_nothing_is_kept_up_to_date() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = leader(&etcd);
    let mut pty = Pty::shell(&etcd);
    pty.line("TERM=xterm $L -- sh -c 'echo u''p'");
    pty.expect("waiting for 1s");
    pty.keys(CTRL_Z);
    pty.prompt(148);
    pty.line("bg");
    pty.prompt(0);
    // Longer than it takes to be written anew.
    pty.line("sleep 2.5");
    let meanwhile = pty.prompt(0);
    assert!(!meanwhile.contains("waiting"), "{meanwhile:?}");
    leader.signal(Signal::SIGTERM);
    let before = pty.expect("leaderrun: elected leader");
    assert!(!before.contains(ERASE), "{before:?}");
    pty.expect("up\r\n");
}

#[test]
fn what_a_person_has_to_look_at_is_coloured_on_a_terminal_only() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    let wait = "--endpoints 127.0.0.1:1 --wait 200ms -- true";
    pty.line(&format!("TERM=xterm ${{L% --endpoints*}} {wait}"));
    pty.expect("\x1b[33mleaderrun: warning: etcd does not answer");
    pty.expect("\x1b[0m");
    pty.prompt(125);
    for plain in ["TERM=dumb", "TERM=xterm NO_COLOR=1"] {
        pty.line(&format!("{plain} ${{L% --endpoints*}} {wait}"));
        let before = pty.expect("leaderrun: warning: etcd does not answer");
        assert!(!before.contains("\x1b[33m"), "{before:?}");
        pty.prompt(125);
    }
    pty.line(&format!(
        "TERM=xterm ${{L% --endpoints*}} {wait} 2>&1 | cat"
    ));
    let before = pty.expect("leaderrun: warning: etcd does not answer");
    assert!(!before.contains("\x1b[33m"), "{before:?}");
}

/// The journal, as far as it can be told: the file that `JOURNAL_STREAM` names.
#[test]
fn the_journal_is_told_priorities() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("journal"));
    let log = |name: &str, stream: &dyn Fn(&fs::Metadata) -> String| {
        let path = dir.path(name);
        let file = File::create(&path).expect("a new file");
        let stream = stream(&file.metadata().expect("it is there"));
        let run = Candidate::new(&etcd)
            .text_log()
            .env("JOURNAL_STREAM", stream)
            .stderr(file)
            .command(&["true"])
            .spawn();
        assert_eq!(run.wait().code(), Some(0));
        fs::read_to_string(path).expect("text")
    };
    let itself = |meta: &fs::Metadata| format!("{}:{}", meta.dev(), meta.ino());
    let text = log("itself", &itself);
    assert!(text.lines().count() > 3, "{text}");
    let starts = |line: &str| {
        ["<6>leaderrun: ", "<4>leaderrun: warning: "]
            .iter()
            .any(|s| line.starts_with(s))
    };
    assert!(text.lines().all(starts), "{text}");
    // A service that has redirected it.
    let other = |meta: &fs::Metadata| format!("{}:{}", meta.dev(), meta.ino() + 1);
    let text = log("other", &other);
    assert!(text.lines().all(|l| l.starts_with("leaderrun: ")), "{text}");
}
