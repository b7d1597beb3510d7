//! The shipped container files, as far as they can be read and run without an engine.

mod support;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use leaderrun::cli::{Parsed, RunOptions, parse};
use support::{Candidate, Etcd, LIMIT, Root, Signal, eventually, pid_1, require_etcd};

/// For SIGKILL and the farewell to etcd.
const FAREWELL: Duration = Duration::from_secs(10);

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts/container")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(shipped(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[track_caller]
fn options(environment: &HashMap<String, String>) -> RunOptions {
    let words = ["leaderrun", "--", "true"].map(OsString::from);
    let lookup = |name: &str| environment.get(name).map(OsString::from);
    match parse(words, lookup, |list, tls| {
        let parsed = leaderrun::etcd::Endpoint::parse_list(list, tls);
        parsed.map(drop).map_err(|e| e.to_string())
    }) {
        Ok(Parsed::Run(options)) => *options,
        other => panic!("{other:?}"),
    }
}

/// The instructions of one stage of the Dockerfile.
fn stage(name: &str) -> Vec<(String, String)> {
    let text = read("Dockerfile");
    let instructions = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(word, rest)| (word.to_owned(), rest.to_owned()));
    let mut stage = Vec::new();
    let mut inside = false;
    for (word, rest) in instructions {
        if word == "FROM" {
            inside = rest.ends_with(&format!(" AS {name}"));
        }
        if inside {
            stage.push((word, rest));
        }
    }
    assert!(!stage.is_empty(), "no stage {name}");
    stage
}

#[test]
fn no_shell_and_no_root_stand_before_leaderrun_in_the_images() {
    for (name, entrypoint) in [
        ("leaderrun", "/usr/local/bin/leaderrun"),
        ("scheduler", "/usr/local/bin/entrypoint"),
    ] {
        let stage = stage(name);
        let one = |wanted: &str| {
            let found: Vec<_> = stage.iter().filter(|(word, _)| word == wanted).collect();
            assert_eq!(found.len(), 1, "{name}: {wanted}");
            found[0].1.clone()
        };
        let words: Vec<String> =
            serde_json::from_str(&one("ENTRYPOINT")).expect("exec form, which is JSON");
        assert_eq!(words, [entrypoint]);
        assert_eq!(one("USER"), "65532:65532");
    }
    let scheduler = stage("scheduler");
    let has = |line: (&str, &str)| scheduler.contains(&(line.0.to_owned(), line.1.to_owned()));
    assert!(has(("STOPSIGNAL", "SIGTERM")) && has(("HEALTHCHECK", "NONE")));
    let command = scheduler
        .iter()
        .find(|(word, _)| word == "CMD")
        .expect("a CMD");
    serde_json::from_str::<Vec<String>>(&command.1).expect("exec form");
}

#[test]
fn the_entrypoint_is_replaced_by_leaderrun_as_pid_1() {
    let (true, Some(root)) = (require_etcd(), Root::new()) else {
        return;
    };
    let mode = fs::metadata(shipped("entrypoint"))
        .expect("there")
        .permissions();
    assert_eq!(mode.mode() & 0o111, 0o111);
    root.copy(&shipped("entrypoint"), "/bin/entrypoint");
    let etcd = Etcd::start();
    let entrypoint = |candidate: Candidate| {
        candidate
            .env("LEADERRUN_ENDPOINTS", etcd.endpoints())
            .env("LEADERRUN_KEY", "/election/test")
    };
    let candidate =
        entrypoint(Candidate::bare()).args(["sh", "-c", "echo $LEADERRUN_KEY; sleep 600"]);
    let container = root.run_program("/bin/entrypoint", candidate, "65532");
    eventually(LIMIT, || container.stdout() == "/election/test\n");
    nix::sys::signal::kill(pid_1(&container), Signal::SIGTERM).expect("alive");
    assert_eq!(container.wait().code(), Some(143));
    // A command that begins with a dash is a command.
    let container = root.run_program(
        "/bin/entrypoint",
        entrypoint(Candidate::bare()).arg("--version"),
        "65532",
    );
    assert_eq!(container.wait().code(), Some(127));
}

/// The values of `key:` in the manifest, as they stand there.
fn values(manifest: &str, key: &str) -> Vec<String> {
    let lines = manifest
        .lines()
        .map(|line| line.trim_start_matches([' ', '-']));
    lines
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_pod_is_given_more_time_than_the_command_and_no_update_can_wait_for_ever() {
    let manifest = read("deployment.yaml");
    let environment: HashMap<String, String> = manifest
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- {name: ")?.strip_suffix('}'))
        .filter_map(|pair| pair.split_once(", value: "))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect();
    let options = options(&environment);
    assert_eq!(options.key, "/election/scheduler");
    let one = |key: &str| match &values(&manifest, key)[..] {
        [one] => one.clone(),
        many => panic!("{key}: {many:?}"),
    };
    let grace = Duration::from_secs(
        one("terminationGracePeriodSeconds")
            .parse()
            .expect("seconds"),
    );
    assert!(options.stop_timeout.expect("a limit") + FAREWELL <= grace);

    assert_eq!(one("replicas"), "2");
    assert_eq!(one("maxSurge"), "0");
    assert_eq!(values(&manifest, "maxUnavailable"), ["1", "1"]);
    // Neither leadership nor etcd may decide over a pod's life or readiness.
    let health = |path: &str| format!("{{httpGet: {{path: {path}, port: health}}, ");
    assert!(one("livenessProbe").starts_with(&health("/livez")));
    assert!(one("readinessProbe").starts_with(&health("/readyz")));
    assert!(!manifest.contains("path: /leaderz"));
    let listen = options.listen.expect("an address").to_string();
    assert_eq!(listen, ":8080");
    assert!(manifest.contains("- {name: health, containerPort: 8080}"));
    assert_eq!(one("shareProcessNamespace"), "false");
    assert_eq!(one("hostPID"), "false");
    assert_eq!(one("restartPolicy"), "Always");
    assert_eq!(one("runAsNonRoot"), "true");
    assert_eq!(one("readOnlyRootFilesystem"), "true");
    assert_eq!(one("allowPrivilegeEscalation"), "false");
}

/// `docker stop` takes 10 s by default; the image asks for more, and its file says so.
#[test]
fn the_images_stop_timeout_is_one_that_leaderrun_knows() {
    let environment = stage("scheduler")
        .into_iter()
        .filter(|(word, _)| word == "ENV")
        .filter_map(|(_, pair)| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .chain([("LEADERRUN_KEY".to_owned(), "/k".to_owned())])
        .collect();
    assert_eq!(
        options(&environment).stop_timeout,
        Some(Duration::from_secs(30))
    );
}

/// Only where the target is installed: `rustup target add x86_64-unknown-linux-musl`, and Debian's
/// musl-tools, since the cryptography is partly in C.
#[test]
fn a_static_musl_build_needs_no_library() {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let target = sysroot.ok().map(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&sysroot).join("lib/rustlib/x86_64-unknown-linux-musl")
    });
    if !target.is_some_and(|target| target.exists()) {
        support::skip("no Rust target x86_64-unknown-linux-musl (rustup target add brings it)");
        return;
    }
    if !support::require_program("musl-gcc") {
        return;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("musl");
    let status = Command::new("cargo")
        .args([
            "build",
            "--locked",
            "--offline",
            "--target",
            "x86_64-unknown-linux-musl",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", &dir)
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    let program = dir.join("x86_64-unknown-linux-musl/debug/leaderrun");
    let libraries = Command::new("ldd").arg(&program).output().expect("ldd");
    assert!(!String::from_utf8_lossy(&libraries.stdout).contains("=>"));
    let version = Command::new(&program).arg("--version").status();
    assert!(version.is_ok_and(|status| status.success()));
}
