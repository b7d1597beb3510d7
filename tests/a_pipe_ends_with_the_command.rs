//! `leaderrun … | reader` ends when the command ends: no process of ours keeps a pipe open.

mod support;

use std::ffi::OsString;
use std::io::{Read, Write, pipe};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use support::{
    Beat, Candidate, Etcd, KEY, LIMIT, Signal, death_of, eventually, is_alive, kill, now,
    require_etcd,
};

/// Reads to the end in a thread; yields the text and the instant of the end.
fn read_to_end(mut from: impl Read + Send + 'static) -> Receiver<(String, f64)> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = from.read_to_string(&mut text).map(|_| (text, now()));
        let _ = sender.send(read.expect("text"));
    });
    receiver
}

#[test]
fn the_reader_of_standard_output_sees_the_end_while_leadership_is_still_given_up() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .ttl("10s")
        .sh("echo one; echo ready >&2; exec sleep 600")
        .stdout(Stdio::piped())
        .spawn();
    let end = read_to_end(run.take_stdout().expect("a pipe"));
    eventually(LIMIT, || run.stderr().contains("ready"));
    // A silent etcd makes leaderrun stay for seconds after the command's death.
    etcd.stop();
    run.signal(Signal::SIGUSR1);
    run.wait_event("tree-empty");
    let (text, _) = end.recv_timeout(LIMIT).expect("an end");
    assert_eq!(text, "one\n");
    assert!(
        run.try_wait().is_none() && is_alive(run.guardian_pid()),
        "the test has to look while both live on"
    );
    etcd.cont();
    assert_eq!(death_of(run.wait()), Signal::SIGUSR1 as i32);
}

#[test]
fn a_reader_of_both_streams_sees_the_end_when_leaderrun_ends() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let (reader, writer) = pipe().expect("a pipe");
    let run = Candidate::new(&etcd)
        .text_log()
        .sh("echo one; echo two >&2")
        .stdout(writer.try_clone().expect("descriptor"))
        .stderr(writer)
        .spawn();
    let end = read_to_end(reader);
    assert_eq!(run.wait().code(), Some(0));
    let (text, _) = end.recv_timeout(LIMIT).expect("an end");
    assert!(text.contains("one\n") && text.contains("two\n"), "{text}");
    assert!(text.contains("leaderrun: exiting with status 0"), "{text}");
}

#[test]
fn after_the_supervisors_death_the_reader_sees_the_end_with_the_last_of_the_tree() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (reader, writer) = pipe().expect("a pipe");
    let run = Candidate::new(&etcd)
        .ttl("20s")
        .grace("500ms")
        .text_log()
        .life(beat.life().ignores_term().with_daemon())
        .stdout(writer.try_clone().expect("descriptor"))
        .stderr(writer)
        .spawn();
    let end = read_to_end(reader);
    let token = beat.wait_tokens(1);
    beat.wait_stamp(token, "daemon");
    let guardian = run.guardian_pid();
    // The orphaned guardian will try to release for as long as the TTL, in vain.
    etcd.stop();
    kill(run.pid(), Signal::SIGKILL);
    let (_, at) = end.recv_timeout(LIMIT).expect("an end");
    assert!(is_alive(guardian), "the test has to look while it lives on");
    // Stamps are rounded down to 10 ms.
    assert!(at > beat.last_stamp(token).at - 0.02);
    etcd.cont();
    run.wait_gone();
    etcd.wait_ready();
    etcd.assert_nothing_left();
}

#[test]
fn a_log_that_nobody_reads_stalls_no_renewal() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    // `2>&1 | sleep`, with the pipe full to the last byte.
    let (mut reader, mut writer) = pipe().expect("a pipe");
    let full = fill(&mut writer);
    // The command itself would wait for the reader if it wrote a word.
    let mute = ["sh", "-c", "exec \"$@\" 2>/dev/null", "sh"].map(OsString::from);
    let life: Vec<OsString> = mute
        .into_iter()
        .chain(beat.life().exits_on_term(0))
        .collect();
    let life: Vec<&OsString> = life.iter().collect();
    let run = Candidate::new(&etcd)
        .ttl("3s")
        .grace("300ms")
        .args(["-v", "--renew-interval=100ms"])
        .text_log()
        .command(&life)
        .stderr(writer)
        .spawn();
    let token = beat.wait_tokens(1);
    let record = || etcd.entry(&format!("{KEY}.term")).map(|r| r.mod_revision);
    let first = record().expect("a record");
    // Two TTLs and more: had a renewal waited for the log, the command would be dead.
    let until = now() + 6.5;
    eventually(LIMIT, || now() > until);
    let last = record().expect("a record");
    assert!(last > first + 10, "{first} to {last}");
    assert_eq!(beat.tokens(), [token]);
    assert!(beat.stamps().iter().all(|s| s.kind != "term"));
    // Nor does it stall a stop, or the end.
    run.signal(Signal::SIGTERM);
    assert_eq!(run.wait().code(), Some(0));
    run.wait_gone();
    etcd.assert_nothing_left();
    // Nothing was pressed into the full pipe.
    let mut text = Vec::new();
    reader.read_to_end(&mut text).expect("a pipe");
    assert!(text == vec![b'x'; full], "{} of {full} bytes", text.len());
}

/// Writes until nothing more goes in; how many bytes went.
fn fill(pipe: &mut (impl Write + std::os::fd::AsFd)) -> usize {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = |flags| fcntl(&*pipe, FcntlArg::F_SETFL(flags)).expect("fcntl(2)");
    flags(OFlag::O_NONBLOCK);
    let mut full = 0;
    while let Ok(n) = nix::unistd::write(&*pipe, b"x") {
        full += n;
    }
    flags(OFlag::empty());
    full
}

#[test]
fn a_log_reader_that_is_gone_ends_nothing() {
    if !require_etcd() {
        return;
    }
    let (etcd, beat) = (Etcd::start(), Beat::new());
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let soon = Duration::from_millis(300);
    let run = Candidate::new(&etcd)
        .text_log()
        .arg("-v")
        .life(beat.life().exits(3, soon))
        .stderr(writer)
        .spawn();
    assert_eq!(run.wait().code(), Some(3));
    run.wait_gone();
    etcd.assert_nothing_left();
}
