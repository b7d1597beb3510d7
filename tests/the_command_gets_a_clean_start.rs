//! What the command inherits: what its user meant for it, and nothing of ours.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use support::{Candidate, Etcd, KEY, LIMIT, Running, Signal, death_of, eventually, require_etcd};

/// The variables that a run of `env -0` as the command shows.
fn environment(candidate: Candidate) -> (BTreeMap<String, String>, Running) {
    let run = candidate.command(&["env", "-0"]).spawn();
    assert_eq!(run.wait().code(), Some(0), "{}", run.stderr());
    let variables = run
        .stdout()
        .split_terminator('\0')
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    (variables, run)
}

#[test]
fn the_environment_is_the_users_without_ours_and_with_the_term() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let candidate = Candidate::new(&etcd)
        .id("me")
        .env("PLAIN", "a=b c")
        .env("MY_LEADERRUN_X", "kept")
        .env("LEADERRUN_TTL", "5s")
        .env("LEADERRUN_USER", "root")
        .env("LEADERRUN_PASSWORD", "secret")
        .env("LEADERRUN_TOKEN", "stale")
        .env("LEADERRUN_WHATEVER", "x")
        .env("ETCD_LOCK_REV", "stale")
        .env("ETCDCTL_ENDPOINTS", "ignored:1");
    let (all, run) = environment(candidate);
    assert_eq!(all.get("PLAIN").map(String::as_str), Some("a=b c"));
    assert_eq!(all.get("MY_LEADERRUN_X").map(String::as_str), Some("kept"));
    assert_eq!(
        all.get("ETCDCTL_ENDPOINTS").map(String::as_str),
        Some("ignored:1")
    );
    let ours: BTreeMap<&str, &str> = all
        .iter()
        .filter(|(name, _)| name.starts_with("LEADERRUN_") || name.starts_with("ETCD_LOCK_"))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let (token, lease) = (
        run.wait_elected().to_string(),
        run.wait_event("elected")["lease"]
            .as_str()
            .expect("hex")
            .to_owned(),
    );
    let leader_key = format!("{KEY}/{lease}");
    let endpoints = etcd.endpoints();
    let expected = BTreeMap::from([
        ("LEADERRUN_KEY", KEY),
        ("LEADERRUN_LEADER_KEY", &leader_key),
        ("LEADERRUN_TOKEN", &token),
        ("LEADERRUN_LEASE_ID", &lease),
        ("LEADERRUN_ID", "me"),
        ("LEADERRUN_ENDPOINTS", &endpoints),
        // And never the password.
        ("ETCD_LOCK_KEY", &leader_key),
        ("ETCD_LOCK_REV", &token),
    ]);
    assert_eq!(ours, expected);
}

#[test]
fn the_term_in_the_environment_is_the_one_in_etcd() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .sh("echo $LEADERRUN_LEADER_KEY $LEADERRUN_TOKEN $LEADERRUN_LEASE_ID; exec sleep 600")
        .spawn();
    eventually(LIMIT, || run.stdout().ends_with('\n'));
    let candidate = &etcd.entries_under(&format!("{KEY}/"))[0];
    let expected = format!(
        "{} {} {}\n",
        candidate.key, candidate.create_revision, candidate.lease
    );
    assert_eq!(run.stdout(), expected);
}

#[test]
fn variables_serve_where_flags_are_absent() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = |variable: &str, value: &str| {
        Candidate::bare()
            .text_log()
            .command(&["env", "-0"])
            .env("LEADERRUN_KEY", KEY)
            .env(variable, value)
    };
    let (all, _run) =
        environment(run("LEADERRUN_ENDPOINTS", &etcd.endpoints()).env("LEADERRUN_ID", "me"));
    assert_eq!(all["LEADERRUN_ID"], "me");
    assert_eq!(all["LEADERRUN_KEY"], KEY);
    // etcdctl's own, and ours before it.
    environment(run("ETCDCTL_ENDPOINTS", &etcd.endpoints()));
    let both =
        run("LEADERRUN_ENDPOINTS", &etcd.endpoints()).env("ETCDCTL_ENDPOINTS", "x.invalid:1");
    environment(both);
    // A flag wins over the variable.
    let flag = run("LEADERRUN_ENDPOINTS", "x.invalid:1")
        .endpoints(etcd.endpoints())
        .key("/other");
    assert_eq!(environment(flag).0["LEADERRUN_KEY"], "/other");
    etcd.assert_nothing_left();
}

#[test]
fn arguments_that_are_not_utf_8_arrive_unharmed() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let words: [&OsStr; 7] = [
        OsStr::new("printf"),
        OsStr::new("[%s]"),
        OsStr::from_bytes(b"\xff\xfe\x80"),
        OsStr::new(""),
        OsStr::new("--key"),
        OsStr::new("a\n b"),
        OsStr::new("--"),
    ];
    let run = Candidate::new(&etcd).command(&words).spawn();
    assert_eq!(run.wait().code(), Some(0));
    let written = fs::read(run.dir().path("stdout")).expect("own file");
    assert_eq!(written, b"[\xff\xfe\x80][][--key][a\n b][--]");
}

/// The signal sets in /proc/self/status of a command under leaderrun, started with `wrapper`.
fn signals(etcd: &Etcd, wrapper: &[&str]) -> BTreeMap<String, u64> {
    let run = Candidate::new(etcd)
        .under(wrapper)
        .command(&["grep", "^Sig", "/proc/self/status"])
        .spawn();
    assert_eq!(run.wait().code(), Some(0), "{}", run.stderr());
    run.stdout()
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .filter_map(|(name, set)| Some((name.to_owned(), u64::from_str_radix(set, 16).ok()?)))
        // Signals 32 and 33 are the C library's own, and no program can change what becomes of them.
        .map(|(name, set)| (name, set & !(0b11 << 31)))
        .collect()
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

#[test]
fn no_signal_is_blocked_or_ignored_that_the_starter_did_not_ignore() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // Whatever the test runner does; then SIGCHLD, which must not be ignored for our own sake.
    let default = ["env", "--default-signal"];
    let clean = signals(&etcd, &default);
    assert_eq!((clean["SigBlk"], clean["SigIgn"]), (0, 0), "{clean:x?}");

    let ignoring = [
        "env",
        "--default-signal",
        "--ignore-signal=HUP,INT,USR1,PIPE,CHLD",
    ];
    let ignored = signals(&etcd, &ignoring);
    let wanted = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGPIPE,
    ];
    let wanted = wanted.into_iter().map(bit).sum();
    assert_eq!(
        (ignored["SigBlk"], ignored["SigIgn"]),
        (0, wanted),
        "{ignored:x?}"
    );

    let blocking = ["env", "--default-signal", "--block-signal=TERM,CHLD,USR2"];
    let blocked = signals(&etcd, &blocking);
    assert_eq!(
        (blocked["SigBlk"], blocked["SigIgn"]),
        (0, 0),
        "{blocked:x?}"
    );
    etcd.assert_nothing_left();
}

#[test]
fn under_nohup_a_hangup_ends_neither_leader_nor_command() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .under(&["nohup"])
        .sh("trap 'echo got USR1' USR1; echo ready; while :; do sleep 0.01; done")
        .spawn();
    eventually(LIMIT, || run.stdout().contains("ready"));
    run.signal(Signal::SIGHUP);
    // Signals come in order, so the hangup is behind us then.
    run.signal(Signal::SIGUSR1);
    eventually(LIMIT, || run.stdout().contains("got USR1"));
    assert!(run.try_wait().is_none());
    run.signal(Signal::SIGTERM);
    assert_eq!(death_of(run.wait()), 15);
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn an_ignored_interrupt_is_passed_on_and_stops_nothing() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    // As a shell without job control starts what ends in `&`.
    let run = Candidate::new(&etcd)
        .under(&["env", "--ignore-signal=INT"])
        .sh("trap 'echo got USR1' USR1; echo ready; while :; do sleep 0.01; done")
        .spawn();
    eventually(LIMIT, || run.stdout().contains("ready"));
    run.signal(Signal::SIGINT);
    run.signal(Signal::SIGUSR1);
    eventually(LIMIT, || run.stdout().contains("got USR1"));
    assert!(run.events_named("stopping").is_empty() && run.try_wait().is_none());
    run.signal(Signal::SIGTERM);
    assert_eq!(death_of(run.wait()), 15);
    run.wait_gone();
}

#[test]
fn the_command_leads_a_process_group_of_its_own_in_our_session() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd).command(&["sleep", "600"]).spawn();
    let command = run.command_pid();
    let of = |pid| {
        (
            nix::unistd::getpgid(Some(pid)).expect("alive"),
            nix::unistd::getsid(Some(pid)).expect("alive"),
        )
    };
    let (ours, guardians) = (of(run.pid()), of(run.guardian_pid()));
    assert_eq!(of(command), (command, ours.1));
    assert_eq!(guardians.1, ours.1);
    assert_ne!(guardians.0, ours.0);
    assert_ne!(guardians.0, command);
}

#[test]
fn no_descriptor_of_ours_is_open_in_the_command_and_the_users_are() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let list = "ls /proc/$$/fd";
    let of = |wrapper: &str, arguments: &[&str]| {
        // What the test runner has left open passes through both.
        let direct = ["sh", "-c", wrapper, "sh", "sh", "-c", list];
        let mut command = std::process::Command::new(direct[0]);
        command.args(&direct[1..]);
        let direct = Running::spawn("direct", command);
        direct.wait_gone();
        let run = Candidate::new(&etcd)
            .under(&["sh", "-c", wrapper, "sh"])
            .args(arguments.iter().copied())
            .sh(list)
            .spawn();
        run.wait_gone();
        assert_eq!(run.stdout(), direct.stdout());
        run.stdout()
    };
    of("exec \"$@\"", &["-v"]);
    assert!(of("exec \"$@\" 7</dev/null", &["--on-loss=campaign"]).contains("\n7\n"));
    // With standard streams closed, ours may not take their numbers: what is closed, the command
    // finds open on nothing.
    let run = Candidate::new(&etcd)
        .under(&["sh", "-c", "exec \"$@\" <&- 2>&-", "sh"])
        .sh("readlink /proc/$$/fd/0 /proc/$$/fd/2")
        .spawn();
    run.wait_gone();
    assert_eq!(run.stdout(), "/dev/null\n/dev/null\n");
}

/// Whoever is named by `LISTEN_PID`, and nobody else, may take what systemd has opened (`sd_listen_fds(3)`).
#[test]
fn sockets_that_were_opened_for_leaderrun_are_the_commands() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let given = |pid: &str| {
        let open =
            format!("LISTEN_FDS=1 LISTEN_PID={pid} LISTEN_PIDFDID=7 exec \"$@\" 3</dev/zero");
        let show = "test $LISTEN_PID = $$ && echo mine; echo $LISTEN_FDS ${LISTEN_PIDFDID-none}";
        let run = Candidate::new(&etcd)
            .under(&["sh", "-c", &open, "sh"])
            .sh(&format!("{show}; readlink /proc/$$/fd/3"))
            .output();
        run.stdout
    };
    assert_eq!(given("$$"), "mine\n1 none\n/dev/zero\n");
    assert_eq!(given("1"), "1 7\n/dev/zero\n");
}

#[test]
fn binary_data_passes_through_pipes_untouched_to_its_end() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .sh("cat; echo done >&2")
        .stdin(Stdio::piped())
        .spawn();
    let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut stdin = run.take_stdin().expect("a pipe");
    stdin.write_all(&data).expect("cat reads");
    assert!(run.try_wait().is_none(), "it waits for more");
    // The command sees the end at once: nobody else holds the writing end.
    drop(stdin);
    assert_eq!(run.wait().code(), Some(0));
    let written = fs::read(run.dir().path("stdout")).expect("own file");
    assert!(written == data, "{} of {} bytes", written.len(), data.len());
    assert_eq!(run.stderr(), "done\n");
}

#[test]
fn a_file_as_standard_input_is_the_commands_own() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let dir = support::Scratch::new("stdin");
    let path = dir.path("input");
    fs::write(&path, "first\nsecond\n").expect("own directory");
    // The very file: the command may seek in it, and reads from its beginning.
    let run = Candidate::new(&etcd)
        .sh("readlink /proc/self/fd/0; cat")
        .stdin(File::open(&path).expect("own file"))
        .spawn();
    assert_eq!(run.wait().code(), Some(0));
    assert_eq!(run.stdout(), format!("{}\nfirst\nsecond\n", path.display()));
}

#[test]
fn whoever_feeds_a_command_that_closes_its_input_learns_of_it() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let run = Candidate::new(&etcd)
        .sh("exec <&-; exec sleep 600")
        .stdin(Stdio::piped())
        .spawn();
    let mut stdin = run.take_stdin().expect("a pipe");
    // As long as anybody could read it, a line goes in: far fewer than fill the pipe until the limit.
    let error = eventually(LIMIT, || stdin.write(b"\n").err());
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(run.try_wait().is_none());
    run.signal(Signal::SIGTERM);
    run.wait_gone();
}

#[test]
fn the_directory_and_the_umask_are_the_starters() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let dir = support::Scratch::new("cwd");
    let wrapper = format!("cd {} && umask 0137 && exec \"$@\"", dir.dir().display());
    let run = Candidate::new(&etcd)
        .under(&["sh", "-c", &wrapper, "sh"])
        .sh("pwd; umask")
        .spawn();
    run.wait_gone();
    assert_eq!(run.stdout(), format!("{}\n0137\n", dir.dir().display()));
}

/// Where it may, the guardian runs before others, so that it is on time; the command has no part in that.
#[test]
fn the_niceness_is_the_starters_and_the_guardian_comes_first() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let ours = Command::new("nice").output().expect("coreutils").stdout;
    let ours: i32 = String::from_utf8_lossy(&ours)
        .trim()
        .parse()
        .expect("a number");
    for more in [0, 7] {
        let run = Candidate::new(&etcd)
            .under(&["nice", "-n", &more.to_string()])
            .sh("nice; awk '{ print $2, $19 }' /proc/$PPID/stat")
            .spawn();
        assert_eq!(run.wait().code(), Some(0), "{}", run.stderr());
        let first = if nix::unistd::Uid::effective().is_root() {
            -20
        } else {
            ours + more
        };
        let expected = format!("{}\n(lr-guardian) {first}\n", ours + more);
        assert_eq!(run.stdout(), expected);
    }
}
