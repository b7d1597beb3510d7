//! `--hook`: what it is told, in which order, with which environment, and what comes of one that fails.

mod support;

use std::fs;
use std::path::PathBuf;

use support::{Candidate, Etcd, KEY, LIMIT, Running, Scratch, Signal, eventually, require_etcd};

/// Notes what it was told in the file `$TOLD`.
const NOTE: &str = r#"
    echo "$LEADERRUN_HOOK_EVENT leader=$LEADERRUN_HOOK_LEADER token=$LEADERRUN_TOKEN reason=$LEADERRUN_HOOK_REASON" >>"$TOLD"
"#;

/// What a hook has noted.
struct Told {
    dir: Scratch,
}

impl Told {
    fn new() -> Self {
        let dir = Scratch::new("told");
        Self { dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path("told")
    }

    fn by(&self, candidate: Candidate, hook: &str) -> Candidate {
        candidate.arg("--hook").arg(hook).env("TOLD", self.file())
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn wait(&self, start: &str) {
        eventually(LIMIT, || self.lines().iter().any(|l| l.starts_with(start)));
    }
}

fn warnings(run: &Running) -> Vec<String> {
    let text = |event: &support::Value| event["message"].as_str().unwrap_or_default().to_owned();
    run.events_named("warning").iter().map(text).collect()
}

#[test]
fn a_command_that_ends_by_itself() {
    if !require_etcd() {
        return;
    }
    let (etcd, told) = (Etcd::start(), Told::new());
    let run = told
        .by(Candidate::new(&etcd).id("one").sh("exit 3"), NOTE)
        .spawn();
    assert_eq!(run.wait().code(), Some(3));
    let token = run.wait_elected();
    let ours = format!("leader=one token={token}");
    assert_eq!(
        told.lines(),
        [
            "standby leader= token= reason=".to_owned(),
            format!("new-leader {ours} reason="),
            format!("elected {ours} reason="),
            format!("started {ours} reason="),
            format!("stopped {ours} reason=command-exited"),
            format!("released {ours} reason=command-exited"),
        ]
    );
    assert_eq!(warnings(&run), Vec::<String>::new());
}

#[test]
fn a_leader_that_is_told_to_stop_and_one_that_waits_for_it() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let (first, second) = (Told::new(), Told::new());
    let leader = first.by(Candidate::new(&etcd).id("one"), NOTE).spawn();
    first.wait("started");
    let waits = second.by(Candidate::new(&etcd).id("two"), NOTE).spawn();
    second.wait("new-leader leader=one");
    leader.signal(Signal::SIGTERM);
    second.wait("started");
    leader.wait();
    let (one, two) = (leader.wait_elected(), waits.wait_elected());
    assert_eq!(
        first.lines()[4..],
        [
            format!("stopping leader=one token={one} reason=signal"),
            format!("stopped leader=one token={one} reason=signal"),
            format!("released leader=one token={one} reason=signal"),
        ]
    );
    assert_eq!(
        second.lines(),
        [
            "standby leader= token= reason=".to_owned(),
            format!("new-leader leader=one token={one} reason="),
            format!("new-leader leader=two token={two} reason="),
            format!("elected leader=two token={two} reason="),
            format!("started leader=two token={two} reason="),
        ]
    );
}

#[test]
fn a_leadership_that_is_lost_and_another_campaign() {
    if !require_etcd() {
        return;
    }
    let (etcd, told) = (Etcd::start(), Told::new());
    let candidate = Candidate::new(&etcd)
        .id("one")
        .args(["--on-loss", "campaign"]);
    let run = told.by(candidate, NOTE).spawn();
    told.wait("started");
    let token = run.wait_elected();
    let lease = run.wait_event("elected")["lease"]
        .as_str()
        .unwrap()
        .to_owned();
    etcd.etcdctl(&["lease", "revoke", &lease]);
    run.wait_nth_event("started", 2);
    eventually(LIMIT, || told.lines().len() >= 12);
    let ours = format!("leader=one token={token}");
    assert_eq!(
        told.lines()[4..9],
        [
            format!("stopping {ours} reason=lease-lost"),
            format!("stopped {ours} reason=lease-lost"),
            format!("lost {ours} reason=lease-lost"),
            format!("released {ours} reason=lease-lost"),
            "standby leader= token= reason=".to_owned(),
        ]
    );
    assert!(told.lines()[11].starts_with("elected") || told.lines()[10].starts_with("elected"));
}

/// The texts of the log are escaped; what a script compares is not.
#[test]
fn a_leader_has_the_same_name_in_each_event() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let hook = r#"
        [ "$LEADERRUN_HOOK_LEADER" = "$LEADERRUN_ID" ] && whose=ours || whose=anothers
        printf '%s %s %s\n' "$LEADERRUN_HOOK_EVENT" $whose "$LEADERRUN_HOOK_LEADER" >>"$TOLD"
    "#;
    let name = r"a\u{202e}".to_owned() + "\u{202e}b\u{2028}";
    let (first, second) = (Told::new(), Told::new());
    let leader = first.by(Candidate::new(&etcd).id(&name), hook).spawn();
    first.wait("started");
    for (line, event) in first.lines()[1..].iter().zip(["new-leader", "elected"]) {
        assert_eq!(*line, format!("{event} ours {name}"));
    }
    let _waits = second.by(Candidate::new(&etcd).id("two"), hook).spawn();
    second.wait("new-leader");
    assert_eq!(second.lines()[1], format!("new-leader anothers {name}"));
    drop(leader);
}

#[test]
fn a_single_key_has_leaders_too() {
    if !require_etcd() {
        return;
    }
    let (etcd, told) = (Etcd::start(), Told::new());
    let single = |id: &str| Candidate::new(&etcd).id(id).args(["--layout", "single"]);
    let leader = single("one").spawn();
    let token = leader.wait_elected();
    leader.wait_event("started");
    let _waits = told.by(single("two"), NOTE).spawn();
    told.wait(&format!("new-leader leader=one token={token}"));
}

#[test]
fn a_standby_that_leaves_has_released_nothing() {
    if !require_etcd() {
        return;
    }
    let (etcd, told) = (Etcd::start(), Told::new());
    let leader = Candidate::new(&etcd).id("one").spawn();
    leader.wait_event("started");
    let waits = told.by(Candidate::new(&etcd).id("two"), NOTE).spawn();
    told.wait("new-leader");
    waits.signal(Signal::SIGTERM);
    waits.wait();
    assert_eq!(told.lines().len(), 2, "{:?}", told.lines());
}

#[test]
fn it_gets_a_clean_start() {
    if !require_etcd() {
        return;
    }
    let (etcd, told) = (Etcd::start(), Told::new());
    // The shell's own mask says nothing: it blocks all signals while it waits.
    let hook = r#"
        [ "$LEADERRUN_HOOK_EVENT" = elected ] || exit 0
        { env; pwd; ls -l /proc/$$/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status; } >"$TOLD"
        echo out; echo err >&2
        cat
    "#;
    // A descriptor that leaderrun has inherited itself is none of the hook's, and what it was told to ignore is told to
    // the command alone.
    let candidate = told
        .by(Candidate::new(&etcd).id("one").sh("exec sleep 600"), hook)
        .under(&[
            "sh",
            "-c",
            "trap '' HUP USR1; exec 7</dev/zero; exec \"$@\"",
            "sh",
        ])
        .env("LEADERRUN_PASSWORD", "secret")
        .env("LEADERRUN_USER", "anybody")
        .env("NOTIFY_SOCKET", "/nonexistent");
    let run = candidate.spawn();
    run.wait_event("started");
    eventually(LIMIT, || run.stderr().contains("err"));
    run.signal(Signal::SIGTERM);
    run.wait();
    let got = told.lines();
    let has = |line: &str| got.iter().any(|l| l == line);
    let token = run.wait_elected();
    for line in [
        format!("LEADERRUN_KEY={KEY}"),
        "LEADERRUN_ID=one".to_owned(),
        format!("LEADERRUN_TOKEN={token}"),
        format!("LEADERRUN_ENDPOINTS={}", etcd.endpoints()),
        "LEADERRUN_HOOK_EVENT=elected".to_owned(),
        std::env::current_dir().unwrap().display().to_string(),
        "SigBlk:\t0000000000000000".to_owned(),
    ] {
        assert!(has(&line), "no {line:?} in {got:#?}");
    }
    for name in [
        "LEADERRUN_PASSWORD",
        "LEADERRUN_HOOK=",
        "NOTIFY_SOCKET",
        "/dev/zero",
    ] {
        assert!(!got.iter().any(|l| l.contains(name)), "{name}: {got:#?}");
    }
    assert!(
        got.iter().any(|l| l.ends_with("0 -> /dev/null")),
        "{got:#?}"
    );
    let ours = |l: &&String| l.contains("socket:") || l.contains("anon_inode");
    assert_eq!(got.iter().find(ours), None, "{got:#?}");
    let ignored = got.iter().find_map(|l| l.strip_prefix("SigIgn:\t"));
    let ignored = u64::from_str_radix(ignored.expect("a line"), 16).expect("hex");
    // The two that the C library keeps for itself cannot be set.
    assert_eq!(ignored & !(0b11 << 31), 0, "{got:#?}");
    assert_eq!(
        (run.stdout(), run.stderr()),
        (String::new(), "out\nerr\n".to_owned())
    );
}

#[test]
fn one_that_fails_is_warned_about_and_changes_nothing() {
    if !require_etcd() {
        return;
    }
    let (etcd, told) = (Etcd::start(), Told::new());
    let hook = format!(
        "{NOTE}
        case $LEADERRUN_HOOK_EVENT in
            standby) exit 3 ;;
            elected) kill -SEGV $$ ;;
            started) no-such-command ;;
        esac 2>/dev/null"
    );
    let run = told
        .by(Candidate::new(&etcd).id("one").sh("exit 5"), &hook)
        .spawn();
    assert_eq!(run.wait().code(), Some(5));
    assert_eq!(
        warnings(&run),
        [
            "the hook for standby exited with status 3",
            "the hook for elected was killed by SIGSEGV",
            "the hook for started exited with status 127",
        ]
    );
    assert_eq!(told.lines().len(), 6, "{:?}", told.lines());
}

#[test]
fn one_at_a_time() {
    if !require_etcd() {
        return;
    }
    let (etcd, told) = (Etcd::start(), Told::new());
    let hook = "echo begin >>\"$TOLD\"; sleep 0.05; echo end >>\"$TOLD\"";
    let run = told.by(Candidate::new(&etcd).sh("exit 0"), hook).spawn();
    assert_eq!(run.wait().code(), Some(0));
    let lines = told.lines();
    assert_eq!(lines.len(), 12);
    for pair in lines.chunks(2) {
        assert_eq!(pair, ["begin", "end"]);
    }
}

#[test]
fn an_empty_one_is_refused() {
    let run = Candidate::bare()
        .args(["--key", "k", "--hook", "", "true"])
        .output();
    assert_eq!(run.code(), 2);
    assert!(
        run.stderr.contains("--hook: the command is empty"),
        "{}",
        run.stderr
    );
}
