//! What `scripts/package` builds: the Debian package holds what it should, is the same whenever it is built,
//! installs, runs and goes without a trace.
//!
//! The program that is packed is the tests' own; `.ci/run` has lintian look at the result as well.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Scratch, require_program};

/// Runs a command to its end. Yields what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let out = command.output().expect("it can be run");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    );
    assert!(out.status.success(), "{command:?}: {stdout}{stderr}");
    stdout
}

/// The tests' own program without most of its symbols, which would take long to pack.
fn program(dir: &Scratch) -> PathBuf {
    let program = dir.path("program");
    run(Command::new("objcopy")
        .args(["--strip-debug", env!("CARGO_BIN_EXE_leaderrun")])
        .arg(&program));
    program
}

/// Packs it, below `target`. Yields the package and its symbols.
#[track_caller]
fn pack(program: &Path, target: &Path) -> [PathBuf; 2] {
    run(
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/package"))
            .arg("--binary")
            .arg(program)
            .args(["--unchecked", "deb"])
            .env("CARGO_TARGET_DIR", target)
            .env("SOURCE_DATE_EPOCH", "1790000000"),
    );
    let sums = fs::read_to_string(target.join("package/SHA256SUMS")).expect("checksums");
    let names: Vec<&str> = sums
        .lines()
        .filter_map(|l| l.split_whitespace().last())
        .collect();
    let [program, symbols] = names[..] else {
        panic!("{sums}");
    };
    assert!(
        program.starts_with("leaderrun_") && symbols.starts_with("leaderrun-dbgsym_"),
        "{sums}"
    );
    run(Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(target.join("package")));
    [program, symbols].map(|name| target.join("package").join(name))
}

/// All files and directories below a directory.
fn files(dir: &Path) -> BTreeSet<String> {
    let listed = run(Command::new("find")
        .args([".", "!", "-type", "d"])
        .current_dir(dir));
    listed.lines().map(|l| l[1..].to_owned()).collect()
}

#[test]
fn the_debian_package_installs_runs_and_goes() {
    for tool in ["dpkg", "dpkg-deb", "dpkg-shlibdeps", "objcopy"] {
        if !require_program(tool) {
            return;
        }
    }
    let dir = Scratch::new("package");
    let program = program(&dir);
    let [deb, symbols] = pack(&program, &dir.path("one"));

    let fields = run(Command::new("dpkg-deb").arg("--field").arg(&deb));
    let version = format!("Version: {}-1\n", env!("CARGO_PKG_VERSION"));
    assert!(fields.contains(&version), "{fields}");
    assert!(fields.contains("Depends: libc6 (>= "), "{fields}");
    let id = run(Command::new("dpkg-deb")
        .args(["--field"])
        .arg(&symbols)
        .arg("Build-Ids"));
    assert!(id.trim().len() >= 16, "{id}");

    // A system of its own, of nothing but this package.
    let root = dir.path("root");
    for part in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"] {
        fs::create_dir_all(root.join(part)).expect("a new directory");
    }
    for part in ["status", "available"] {
        fs::write(root.join("var/lib/dpkg").join(part), "").expect("a new file");
    }
    let dpkg = |arguments: &[&str], last: &Path| {
        run(Command::new("dpkg")
            .arg("--root")
            .arg(&root)
            .args([
                "--force-depends",
                "--force-not-root",
                "--force-script-chrootless",
            ])
            .args(arguments)
            .arg(last))
    };
    dpkg(&["--install"], &deb);
    let installed = files(&root);
    for file in [
        "/usr/bin/leaderrun",
        "/usr/share/man/man1/leaderrun.1.gz",
        "/usr/share/bash-completion/completions/leaderrun",
        "/usr/share/zsh/vendor-completions/_leaderrun",
        "/usr/share/fish/vendor_completions.d/leaderrun.fish",
        "/usr/share/doc/leaderrun/copyright",
        "/usr/share/doc/leaderrun/changelog.gz",
        "/usr/share/doc/leaderrun/notices.gz",
        "/lib/systemd/system/leaderrun@.service",
        "/lib/systemd/system/leaderrun-cron@.service",
        "/lib/systemd/system/leaderrun-cron@.timer",
    ] {
        assert!(installed.contains(file), "{file}: {installed:#?}");
    }
    let version = run(Command::new(root.join("usr/bin/leaderrun")).arg("--version"));
    assert_eq!(
        version,
        format!("leaderrun {}\n", env!("CARGO_PKG_VERSION"))
    );
    dpkg(&["--purge"], Path::new("leaderrun"));
    let left: Vec<_> = files(&root)
        .into_iter()
        .filter(|f| !f.starts_with("/var/"))
        .collect();
    assert_eq!(left, [""; 0]);

    let again = pack(&program, &dir.path("two"));
    for (one, other) in [&deb, &symbols].into_iter().zip(&again) {
        let same = fs::read(one).expect("it is there") == fs::read(other).expect("it is there");
        assert!(same, "{} differs", one.display());
    }
}

/// What is not static is not to be called so.
#[test]
fn a_tarball_of_a_dynamic_binary_is_refused() {
    if !require_program("readelf") {
        return;
    }
    let dir = Scratch::new("package");
    let out = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/package"))
        .args(["--binary", env!("CARGO_BIN_EXE_leaderrun"), "tarball"])
        .env("CARGO_TARGET_DIR", dir.path("out"))
        .output()
        .expect("it can be run");
    assert!(!out.status.success());
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.contains("no static binary"), "{stderr}");
}
