//! What the README says is so: its tables are compared with the library, its options and variables
//! with the program, and its examples are run.
//!
//! A block of the README that begins with "```sh runnable" is run by the shell, all of them in one shell
//! and in their order, against an etcd of the test. If a "```text" block follows, it is what the
//! example prints, but for words with a digit in them: tokens, leases, process ids, durations.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use leaderrun::cli::{self, Parsed};
use leaderrun::exit_status::ExitStatus;
use leaderrun::timing::{Timeline, show};
use support::*;

const README: &str = include_str!("../README.md");

/// Options in the README that belong to other programs.
const FOREIGN_OPTIONS: [&str; 16] = [
    // Those of scripts/soak.
    "minutes",
    "seed",
    "spinners",
    "client-cert-auth",
    "locked",
    "path",
    "profile",
    "target",
    "bump-revision",
    "mark-compacted",
    "prefix",
    "sort-by",
    "print-value-only",
    "keys-only",
    "auto-compaction-mode",
    "auto-compaction-retention",
];

/// A fenced block: what stands behind its opening fence, and its text.
struct Block {
    info: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().take_while(|l| *l != "```").collect();
            blocks.push(Block {
                info: info.to_owned(),
                text: text.join("\n"),
            });
        }
    }
    blocks
}

/// The rows of the table whose first column has this heading, without the heading.
fn table(heading: &str) -> Vec<Vec<String>> {
    let head = format!("| {heading} |");
    let rows: Vec<Vec<String>> = README
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table that begins with {heading}");
    rows
}

/// What stands between backticks in some text.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Words of `alphabet` that follow `prefix` in the README.
fn words_after(prefix: &str, alphabet: fn(char) -> bool) -> BTreeSet<String> {
    README
        .split(prefix)
        .skip(1)
        .map(|rest| rest.chars().take_while(|&c| alphabet(c)).collect())
        .filter(|word: &String| !word.is_empty())
        .collect()
}

#[test]
fn the_exit_statuses_are_those_of_the_program() {
    // Exhaustive, so that a status that is added cannot be forgotten here.
    let row = |status: ExitStatus| match status {
        ExitStatus::Command(_) | ExitStatus::Signalled(_) | ExitStatus::ToldToEnd(_) => None,
        ExitStatus::Usage => Some("usage"),
        ExitStatus::NotProven => Some("could not be proven dead"),
        ExitStatus::Lost => Some("Leadership was lost"),
        ExitStatus::NotElected(_) => Some("Not elected in time"),
        ExitStatus::Failed => Some("leaderrun itself failed"),
        ExitStatus::CannotExecute => Some("could not be executed"),
        ExitStatus::NotFound => Some("was not found"),
    };
    let mut table = table("status");
    assert_eq!(table.remove(0)[0], "the command's");
    let of_its_own = [
        ExitStatus::Usage,
        ExitStatus::NotProven,
        ExitStatus::Lost,
        ExitStatus::NotElected(ExitStatus::NOT_ELECTED),
        ExitStatus::Failed,
        ExitStatus::CannotExecute,
        ExitStatus::NotFound,
    ];
    assert_eq!(table.len(), of_its_own.len());
    for (written, status) in table.iter().zip(of_its_own) {
        assert_eq!(written[0], status.code().to_string());
        let words = row(status).unwrap();
        assert!(written[1].contains(words), "{status:?}: {}", written[1]);
    }
}

fn timeline_of(options: &str) -> Timeline {
    let words = format!("leaderrun --key k {options} -- true");
    let args = words.split(' ').map(OsString::from);
    match cli::parse(args, |_| None, |_, _| Ok(())) {
        Ok(Parsed::Run(run)) => run.timeline,
        other => panic!("{words}: {other:?}"),
    }
}

#[test]
fn the_table_of_ttls_is_that_of_the_timeline() {
    for row in table("for") {
        let [_, options, stop, kill, replaced, outage, revisions] = &row[..] else {
            panic!("{row:?}");
        };
        let timeline = timeline_of(options.trim_matches('`'));
        let kill_after = timeline.window() + timeline.grace();
        assert_eq!(*stop, show(timeline.window()), "{options}");
        assert_eq!(*kill, show(kill_after), "{options}");
        assert_eq!(*replaced, show(timeline.ttl()), "{options}");
        assert_eq!(*outage, show(timeline.outage()), "{options}");
        let written: f64 = revisions.replace(',', "").parse().unwrap();
        let renewals = 86_400.0 / timeline.interval().as_secs_f64();
        let ratio = written / renewals;
        assert!((0.99..1.01).contains(&ratio), "{options}: {renewals}");
        let says_so = row[0].contains("may cost the leadership");
        assert_eq!(timeline.warning().is_some(), says_so, "{options}");
    }
}

fn help(words: &[&str]) -> String {
    let words = ["leaderrun"].iter().chain(words).chain(&["--help"]);
    let args: Vec<OsString> = words.map(OsString::from).collect();
    match cli::parse(args, |_| None, |_, _| Ok(())) {
        Ok(Parsed::Print(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// The long options that `--help` lists, of leaderrun and of its subcommands.
fn options() -> BTreeSet<String> {
    let subcommands = [&["status"][..], &["observe"], &["resign"], &["verify"], &[]];
    subcommands
        .map(help)
        .join("\n")
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| Some(line.split_once("--")?.1))
        .map(|rest| rest.split([' ', '\n']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_option_that_is_named_exists() {
    let known = options();
    assert!(
        known.contains("min-hold") && known.contains("key"),
        "{known:?}"
    );
    let named = words_after("--", |c| c.is_ascii_lowercase() || c == '-');
    for option in named {
        // The table's rules, and the placeholder for all of them.
        if option.trim_matches('-').is_empty() || option == "foo-bar" {
            continue;
        }
        let foreign = FOREIGN_OPTIONS.contains(&option.as_str());
        assert!(known.contains(&option) || foreign, "--{option}");
    }
}

#[test]
fn every_file_that_is_linked_to_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let targets: Vec<_> = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .collect();
    assert!(!targets.is_empty());
    let anchors: Vec<String> = README
        .lines()
        .filter_map(|line| line.strip_prefix("## ").or(line.strip_prefix("### ")))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    for target in targets {
        if let Some(anchor) = target.strip_prefix('#') {
            assert!(anchors.iter().any(|a| a == anchor), "#{anchor}");
        } else if !target.contains("://") {
            assert!(here.join(target).exists(), "{target}");
        }
    }
}

#[test]
fn the_command_gets_the_variables_that_are_listed() {
    let listed: BTreeSet<String> = table("variable")
        .iter()
        .flat_map(|row| code(&row[0]).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let of_hooks = table("variable of a hook");
    let of_hooks: Vec<&str> = of_hooks.iter().flat_map(|row| code(&row[0])).collect();
    let named = words_after("LEADERRUN_", |c| c.is_ascii_uppercase() || c == '_');
    for name in named {
        let option = name.to_lowercase().replace('_', "-");
        let variable = format!("LEADERRUN_{name}");
        // The first stands for all options, the second is deliberately none.
        let known = ["foo-bar", "password"].contains(&&*option) || options().contains(&option);
        let for_others = listed.contains(&variable) || of_hooks.contains(&&*variable);
        assert!(known || for_others, "{variable}");
    }
    if !require_etcd() {
        return;
    }
    // All that can be given is given.
    let pki = Pki::new();
    let etcd = Etcd::start_also_at("https://127.0.0.1", &pki.etcd_arguments(false));
    let run = Candidate::new(&etcd)
        .endpoints(format!("127.0.0.1:{}", etcd.port()))
        .arg("--cacert")
        .arg(pki.cert("ca"))
        .arg("--cert")
        .arg(pki.cert("server"))
        .arg("--cert-key")
        .arg(pki.key("server"))
        .args(["--user=anybody", "--password-file=/etc/hostname"])
        .env("LEADERRUN_STALE", "x")
        .env("LEADERRUN_PASSWORD", "x")
        .command(&["env"])
        .output();
    let given: BTreeSet<String> = run
        .stdout
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("LEADERRUN_") || name.starts_with("ETCD_LOCK"))
        .collect();
    assert_eq!(given, listed, "{}", run.stderr);
}

/// The output with every word that has a digit in it made equal, and without the shell's own remarks
/// on a job that was killed and ours on an old etcd.
fn masked(output: &str) -> Vec<String> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let mask = |line: &str| {
        let mut masked = String::new();
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end.max(c.len_utf8()));
            let has_digit = word.contains(|c: char| c.is_ascii_digit());
            masked.push_str(if has_digit { "#" } else { word });
            rest = after;
        }
        // Columns of numbers are aligned by their width.
        masked.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    output
        .lines()
        .filter(|line| !line.contains("Killed") && !line.contains("leases can end there"))
        .map(mask)
        .collect()
}

#[test]
fn the_examples_do_what_is_shown() {
    if !require_etcd() {
        return;
    }
    let blocks = blocks();
    let runnable: Vec<usize> = (0..blocks.len())
        .filter(|&i| blocks[i].info == "sh runnable")
        .collect();
    assert!(runnable.len() >= 5);
    let etcd = Etcd::start();
    let dir = Scratch::new("readme");
    let captured = |&i: &usize| {
        let out = dir.path(&format!("out{i}"));
        format!("{{\n{}\n}} >{} 2>&1\n", blocks[i].text, out.display())
    };
    let mut script = String::from("set -eu\n");
    script.extend(runnable.iter().map(captured));
    let work = dir.path("work");
    fs::create_dir(&work).unwrap();

    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(&work);
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"LEADERRUN_") || bytes.starts_with(b"ETCD") {
            shell.env_remove(name);
        }
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_leaderrun")).parent().unwrap();
    let mut path = vec![bin.to_owned()];
    // An `ETCDCTL` of the caller's is to be found by its name.
    let etcdctl = etcdctl_path();
    path.extend(
        etcdctl
            .parent()
            .filter(|p| p.is_absolute())
            .map(Path::to_owned),
    );
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    shell
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("ETCDCTL_API", "3")
        // Or they would tell of what other tests have left in the cgroup that all share.
        .env("LEADERRUN_CGROUP", "off")
        .env("ETCDCTL_ENDPOINTS", etcd.endpoints());
    let shell = Running::spawn("readme", shell);
    let status = shell.wait();
    let printed = |i: usize| fs::read_to_string(dir.path(&format!("out{i}"))).unwrap_or_default();
    let all: String = runnable.iter().map(|&i| printed(i)).collect();
    assert!(status.success(), "{status}\n{}{all}", shell.stderr());

    for i in runnable {
        let Some(shown) = blocks.get(i + 1).filter(|b| b.info == "text") else {
            continue;
        };
        let (got, shown) = (masked(&printed(i)), masked(&shown.text));
        assert_eq!(got, shown, "{}\n{}", blocks[i].text, printed(i));
    }
}
