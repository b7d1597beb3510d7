//! Bad input: a clear message on standard error, status 2 or 125, nothing in etcd, no process left.

mod support;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use support::{Candidate, Etcd, KEY, Scratch, require_etcd};

/// Options with a value that is refused, and what the message says.
fn bad_values() -> Vec<(&'static str, String, &'static str)> {
    let bad: &[(&str, &str, &str)] = &[
        ("layout", "both", "use queue or single"),
        ("key", "", "the key is empty"),
        ("key", "/election/x/", "use '/election/x'"),
        ("key", "/", "names no election"),
        ("id", "", "the identity is empty"),
        ("id", "a\tb", "control character"),
        ("ttl", "0s", "use 2s or more"),
        ("ttl", "-5s", "negative"),
        ("ttl", "2.5s", "use 2s or 3s"),
        ("ttl", "1s", "use 2s or more"),
        ("ttl", "9000000001s", "etcd's maximum"),
        ("ttl", "15", "use 15s"),
        ("ttl", "", "is empty"),
        ("ttl", "soon", "is no duration"),
        ("grace", "30s", "use --ttl"),
        ("grace", "5", "use 5s"),
        ("margin", "1ms", "use 200ms or more"),
        ("margin", "14s", "use --ttl"),
        ("renew-interval", "1ms", "use 100ms or more"),
        ("renew-interval", "9s", "use --ttl"),
        ("wait", "5", "use 5s"),
        ("stop-timeout", "5", "use 5s"),
        ("conflict-exit-code", "256", "from 0 to 255"),
        ("on-loss", "restart", "use exit or campaign"),
        ("stop-signal", "KILL", "--stop-timeout 0s"),
        ("stop-signal", "TREM", "is no signal"),
        ("endpoints", "", "list of endpoints is empty"),
        ("endpoints", " ", "list of endpoints is empty"),
        ("endpoints", "127.0.0.1:2379,,", "comma"),
        ("endpoints", "http://127.0.0.1:2379/v3", "path"),
        ("endpoints", "127.0.0.1:0", "bad port"),
        ("endpoints", "127.0.0.1:65536", "bad port"),
        ("endpoints", "127.0.0.1:etcd", "bad port"),
        ("endpoints", "http://a:1,https://b:1", "mix http and https"),
        ("endpoints", "ftp://127.0.0.1:2379", "scheme"),
        ("endpoints", "::1:2379", "brackets"),
        ("listen", "", "the address is empty"),
        ("listen", "8080", "no port"),
        ("listen", "127.0.0.1:65536", "bad port"),
        ("listen", "::1:8080", "in brackets"),
        ("listen", "http://127.0.0.1:8080", "no address to listen at"),
        ("listen", "unix:", "names no file"),
        ("log-format", "xml", "use text or json"),
        ("log-file", "", "the name is empty"),
    ];
    let mut all: Vec<_> = bad
        .iter()
        .map(|&(option, value, says)| (option, value.to_owned(), says))
        .collect();
    all.push(("id", "x".repeat(1025), "1024 bytes or less"));
    all.push(("key", "x".repeat(4097), "4096 bytes or less"));
    all.push(("key", "x".repeat(5000), "4096 bytes or less"));
    let many = "127.0.0.1:2379,".repeat(1100) + "127.0.0.1:2379";
    all.push(("endpoints", many, "16384 bytes or less"));
    all
}

/// A run that would be all right but for `option`, which is left out.
fn all_but(etcd: &Etcd, option: &str) -> Candidate {
    let mut run = Candidate::bare().command(&["true"]);
    if option != "key" {
        run = run.key(KEY);
    }
    if option != "endpoints" {
        run = run.endpoints(etcd.endpoints());
    }
    run.text_log()
}

/// Runs it: it is refused with that status, and the message begins with `culprit`.
#[track_caller]
fn refused(run: Candidate, code: i32, culprit: &str, says: &str) {
    let running = run.spawn();
    let status = running.wait();
    let (stdout, stderr) = (running.stdout(), running.stderr());
    assert_eq!(status.code(), Some(code), "{culprit}: {stderr}");
    assert!(
        stderr.starts_with(&format!("leaderrun: {culprit}")) && stderr.contains(says),
        "{culprit}, {says}: {stderr}"
    );
    assert_eq!(stdout, "");
    running.wait_gone();
}

#[test]
fn bad_values_of_options() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let revision = etcd.revision();
    for (option, value, says) in bad_values() {
        let run = all_but(&etcd, option).arg(format!("--{option}={value}"));
        refused(run, 2, &format!("--{option}: "), says);
    }
    assert_eq!(etcd.revision(), revision, "etcd was written to");
    etcd.assert_nothing_left();
}

#[test]
fn bad_values_of_variables() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let revision = etcd.revision();
    for (option, value, says) in bad_values() {
        let variable = format!("LEADERRUN_{}", option.to_uppercase().replace('-', "_"));
        let run = all_but(&etcd, option).env(&variable, &value);
        refused(run, 2, &format!("{variable}: "), says);
    }
    // Those that are no options of their own, or have no value.
    let run = |variable: &str, value: &str| {
        let option = match variable {
            "ETCDCTL_ENDPOINTS" => "endpoints",
            _ => "",
        };
        all_but(&etcd, option).env(variable, value)
    };
    for (variable, value, says) in [
        ("ETCDCTL_ENDPOINTS", "127.0.0.1:99999", "bad port"),
        ("ETCDCTL_ENDPOINTS", "http://a:1,https://b:1", "mix"),
        ("LEADERRUN_TRY", "perhaps", "use 1 or 0"),
        ("LEADERRUN_VERBOSE", "2", "use 1 or 0"),
    ] {
        refused(run(variable, value), 2, &format!("{variable}: "), says);
    }
    assert_eq!(etcd.revision(), revision, "etcd was written to");
    etcd.assert_nothing_left();
}

#[test]
fn bad_command_lines() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let revision = etcd.revision();
    let ready = || all_but(&etcd, "");
    let none: &[&str] = &[];
    let odd = OsString::from_vec(b"--id=\xff".to_vec());
    for (run, culprit, says) in [
        (ready().arg("--key=/b"), "--key: ", "more than once"),
        (ready().command(none), "a command is needed", "COMMAND"),
        (ready().command(&[""]), "the command is empty", ""),
        (all_but(&etcd, "key"), "an election is needed", "--key"),
        (ready().arg("--tlt=5s"), "unexpected argument", "--tlt"),
        (ready().arg("status"), "status is a subcommand", "-- status"),
        (ready().arg("-qv"), "", "cannot be used with"),
        (ready().args(["-n", "-w5s"]), "--try: ", "--wait"),
        (ready().arg(odd), "--id: ", "UTF-8"),
    ] {
        refused(run, 2, culprit, says);
    }
    assert_eq!(etcd.revision(), revision, "etcd was written to");
    etcd.assert_nothing_left();
}

#[test]
fn a_log_that_cannot_be_opened() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let revision = etcd.revision();
    let run = all_but(&etcd, "").arg("--log-file=/nonexistent/log");
    let says = "'/nonexistent/log': No such file or directory (os error 2)\n";
    refused(run, 125, "error: cannot open the log file", says);
    assert_eq!(etcd.revision(), revision, "etcd was written to");
    etcd.assert_nothing_left();
}

#[test]
fn a_ttl_that_the_server_raised_makes_a_new_timeline() {
    if !require_etcd() {
        return;
    }
    // etcd takes no TTL below one and a half election timeouts.
    let slow = ["--election-timeout=5000", "--heartbeat-interval=500"];
    let etcd = Etcd::start_with(1, &slow);
    let run = Candidate::new(&etcd).ttl("2s").command(&["true"]).spawn();
    assert_eq!(run.wait().code(), Some(0));
    assert_eq!(run.wait_event("campaigning")["ttl"], 8.0);
    let warnings = run.events_named("warning");
    let says = "granted a TTL of 8s instead of 2s";
    assert!(
        warnings
            .iter()
            .any(|w| w["message"].to_string().contains(says)),
        "{warnings:?}"
    );
    // The command had the time that the longer lease gives.
    let headroom = run.wait_event("tree-empty")["headroom"].as_f64();
    assert!(headroom.is_some_and(|s| s > 4.0 && s < 8.0), "{headroom:?}");
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn the_longest_key_and_identity_are_good() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let key = format!("/{}", "k".repeat(4095));
    let run = Candidate::new(&etcd)
        .key(&key)
        .args(["--id", &"i".repeat(1024)])
        .sh("test ${#LEADERRUN_KEY} = 4096 && test ${#LEADERRUN_ID} = 1024 && exit 3")
        .spawn();
    assert_eq!(run.wait().code(), Some(3), "{}", run.stderr());
    run.wait_gone();
    etcd.assert_nothing_left();
}

#[test]
fn a_proc_of_another_pid_namespace() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let revision = etcd.revision();
    let ran = Scratch::new("ran");
    let mark = ran.path("mark").display().to_string();
    // Without --mount-proc, whose absence is the mistake.
    let run = all_but(&etcd, "")
        .under(&["unshare", "--pid", "--fork"])
        .command(&["touch", &mark]);
    refused(
        run,
        125,
        "error: /proc shows the processes of another PID namespace",
        "mount",
    );
    assert!(!ran.path("mark").exists());
    assert_eq!(etcd.revision(), revision, "etcd was written to");
    etcd.assert_nothing_left();
}
