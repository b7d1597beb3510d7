//! Good and bad values, each from the command line and from the environment.

use super::*;

/// The message for an option's value, from the flag and from the variable.
fn complaints(option: &str, value: &str) -> [String; 2] {
    let flag = format!("--{option}={value}");
    let variable = environment::variable(option);
    let key: &[&str] = if option == "key" {
        &[]
    } else {
        &["--key", "k"]
    };
    let from_flag = parse_with(
        &[key, &[&flag, "true"]].concat(),
        &[(&variable, "overruled")],
    );
    let from_env = parse_with(&[key, &["true"]].concat(), &[(&variable, value)]);
    [(from_flag, format!("--{option}")), (from_env, variable)].map(|(result, source)| {
        let message = result
            .expect_err(&format!("{source}={value:?} is accepted"))
            .to_string();
        message
            .strip_prefix(&format!("{source}: "))
            .unwrap_or_else(|| panic!("{source} is not named first: {message}"))
            .to_owned()
    })
}

#[track_caller]
fn refused(option: &str, value: &str, because: &str) {
    for message in complaints(option, value) {
        assert!(message.contains(because), "{option}={value:?}: {message}");
        assert!(
            !message.lines().next().unwrap().contains(char::is_control),
            "{message:?}"
        );
    }
}

#[test]
fn bad_keys_are_refused() {
    refused("key", "", "the key is empty");
    refused("key", "/election/x/", "use '/election/x'");
    refused("key", "//", "names no election");
    refused("key", "a\nb", "control character");
    refused("key", "a\0", "control character");
    let twice = usage(&["--key", "a", "-k", "b", "true"]);
    assert!(
        twice.contains("more than once") && twice.contains("the TLS key is --cert-key"),
        "{twice}"
    );
}

#[test]
fn bad_identities_are_refused() {
    refused("id", "", "the identity is empty");
    refused("id", "a\u{1b}[2J", "control character");
    refused("id", &"x".repeat(1025), "1025 bytes long");
    assert_eq!(
        run(&["-k", "k", "--id", &"x".repeat(1024), "true"], &[])
            .id
            .len(),
        1024
    );
}

#[test]
fn bad_durations_are_refused() {
    refused("ttl", "15", "use 15s");
    refused("ttl", "2.5", "use 2.5s");
    refused("ttl", "", "the duration is empty");
    refused("ttl", "-5s", "is negative");
    refused("ttl", "soon", "is no duration");
    refused("ttl", "15 parsecs", "is no duration");
    refused("ttl", "0", "too short: use 2s or more");
    refused("ttl", "0s", "too short: use 2s or more");
    refused("ttl", "1s", "too short: use 2s or more");
    refused("ttl", "1.5s", "not a whole number of seconds: use 2s");
    refused("ttl", "2.5s", "not a whole number of seconds: use 2s or 3s");
    refused(
        "ttl",
        "2500ms",
        "not a whole number of seconds: use 2s or 3s",
    );
    refused(
        "ttl",
        "1us",
        "a TTL of 1us is not a whole number of seconds: use 2s",
    );
    refused("ttl", "2s 1ns", "a TTL of 2s 1ns is not");
    refused("margin", "10us", "a margin of 10us is too short");
    refused("renew-interval", "10ns", "interval of 10ns is too short");
    refused("ttl", "9000000001s", "above etcd's maximum");
    refused("grace", "30s", "use --ttl ");
    refused("grace", "-1s", "is negative");
    refused("margin", "1ms", "use 200ms or more");
    refused("margin", "1h", "use --ttl ");
    refused("renew-interval", "10ms", "use 100ms or more");
    refused("renew-interval", "14s", "use --ttl ");
    refused("wait", "5", "use 5s");
    refused("wait", "-5s", "is negative");
    refused("wait", "500years", "is too long");
    refused("stop-timeout", "never", "is no duration");
    assert!(usage(&["-k", "k", "--ttl", "-5s", "true"]).starts_with("--ttl: '-5s' is negative"));
}

#[test]
fn what_does_not_fit_together_names_all_that_was_given() {
    let both = parse_with(
        &["-k", "k", "--ttl", "10s", "true"],
        &[("LEADERRUN_GRACE", "9s")],
    );
    let message = both.unwrap_err().to_string();
    assert!(
        message.starts_with("--ttl, LEADERRUN_GRACE: a TTL of 10s less"),
        "{message}"
    );
}

#[test]
fn good_durations_are_understood() {
    let args = "-k k --ttl=1m --grace 0 --margin 1.5s --renew-interval 500ms --wait=1h --stop-timeout 0s true";
    let options = run(&args.split(' ').collect::<Vec<_>>(), &[]);
    assert_eq!(options.timeline.ttl(), Duration::from_secs(60));
    assert_eq!(options.timeline.grace(), Duration::ZERO);
    assert_eq!(options.timeline.margin(), Duration::from_millis(1500));
    assert_eq!(options.timeline.interval(), Duration::from_millis(500));
    assert_eq!(options.wait, Patience::For(Duration::from_secs(3600)));
    assert_eq!(options.stop_timeout, Some(Duration::ZERO));
    assert_eq!(
        run(&["-k", "k", "--ttl", "1m 30s", "true"], &[])
            .timeline
            .ttl(),
        Duration::from_secs(90)
    );
}

#[test]
fn the_other_bad_values_are_refused() {
    refused("endpoints", "", "is no endpoint");
    refused("endpoints", "a,bad", "is no endpoint");
    refused("conflict-exit-code", "256", "from 0 to 255");
    refused("conflict-exit-code", "-1", "from 0 to 255");
    refused("conflict-exit-code", "", "from 0 to 255");
    refused("on-loss", "restart", "use exit or campaign");
    refused("log-format", "xml", "use text or json");
    refused("log-file", "", "the name is empty");
    let log_file = |args: &[&str]| {
        let args = [&["-k", "k"], args, &["true"]].concat();
        run(&args, &[("LEADERRUN_LOG_FILE", "log")]).log.file
    };
    assert_eq!(log_file(&[]), Some("log".into()));
    assert_eq!(log_file(&["--log-file=-"]), None, "standard error");
    assert_eq!(log_file(&["--log-file=./-"]), Some("./-".into()));
    refused("stop-signal", "KILL", "--grace 0s");
    refused("stop-signal", "9", "--grace 0s");
    refused("stop-signal", "sigstop", "does not end it");
    refused("stop-signal", "CONT", "does not end it");
    refused("stop-signal", "CHLD", "ends nothing");
    refused("stop-signal", "urg", "ends nothing");
    refused("stop-signal", "0", "is no signal");
    refused("stop-signal", "SIGSIGTERM", "is no signal");
    for text in [
        "RTMIN-1", "RTMAX+1", "RTMIN+99", "RTMIN+", "RTMIN++1", "32", "65", "RTMIN+-1",
    ] {
        refused("stop-signal", text, "is no signal");
    }
    refused("stop-signal", "-TERM", "is no signal");
    assert!(
        usage(&["-k", "k", "--keey", "x", "true"]).contains("'--key'"),
        "clap suggests"
    );
    assert!(usage(&["-k", "k", "-qv", "true"]).contains("cannot be used with"));
    assert!(usage(&["-k", "k", "--ttl", "9s", "--ttl", "9s", "true"]).contains("multiple times"));
}

#[test]
fn addresses_to_listen_at_that_cannot_be_are_refused() {
    refused("listen", "", "the address is empty");
    refused(
        "listen",
        "8080",
        "has no port: use one such as 127.0.0.1:8080",
    );
    refused("listen", "localhost", "has no port");
    refused("listen", "a\nb:1", "control character");
    for port in ["", "x", "65536", "+1", "-1", " 1"] {
        refused("listen", &format!("127.0.0.1:{port}"), "bad port");
    }
    for address in [
        "::1:8080",
        "[::1:8080",
        "[nothing]:8080",
        "[127.0.0.1]:80",
        "[::1]x:1",
    ] {
        refused("listen", address, "in brackets");
    }
    for host in ["*", "a b", "me@host", "höst"] {
        refused("listen", &format!("{host}:8080"), "no name or address");
    }
    refused("listen", "http://127.0.0.1:8080", "no address to listen at");
    refused("listen", "/run/sock", "unix:/run/leaderrun.sock");
    refused("listen", "unix:", "names no file");
    refused(
        "listen",
        &format!("unix:/{}", "x".repeat(107)),
        "107 bytes or less",
    );
    let explain = usage(&["--explain", "--listen", "nowhere"]);
    assert!(explain.starts_with("--listen: "), "{explain}");
    assert_eq!(run(&["-k", "k", "true"], &[]).listen, None);
    let listen = run(&["-k", "k", "true"], &[("LEADERRUN_LISTEN", ":8080")]).listen;
    assert_eq!(listen.unwrap().to_string(), ":8080");
}

#[test]
fn signals_are_named_in_any_fashion() {
    let real_time = libc::SIGRTMIN();
    for (text, signal) in [
        ("TERM", libc::SIGTERM),
        ("SIGTERM", libc::SIGTERM),
        ("15", libc::SIGTERM),
        ("sigint", libc::SIGINT),
        ("winch", libc::SIGWINCH),
        ("RTMIN", real_time),
        ("SIGRTMIN+3", real_time + 3),
        ("rtmax-1", libc::SIGRTMAX() - 1),
        (real_time.to_string().as_str(), real_time),
    ] {
        let options = run(&["-k", "k", "--stop-signal", text, "true"], &[]);
        assert_eq!(options.stop_signal, SignalNumber(signal), "{text}");
    }
}
