//! On a terminal, a command under leaderrun behaves as if it had been started directly.
//!
//! | complaint known from another tool | where | our test |
//! | --- | --- | --- |
//! | the command gets Ctrl-C twice (wrapper and terminal) | astral-sh/uv#11009 | `ctrl_c_reaches_the_command_once` |
//! | an interactive shell has no job control | Yelp/dumb-init#51, Yelp/dumb-init#78, krallin/tini#21 | `a_shell_within_has_its_own_jobs` |
//! | the wrapper is the foreground, and not the command | trifectatechfoundation/sudo-rs#360, trifectatechfoundation/sudo-rs#594 | `a_shell_within_has_its_own_jobs` |
//! | Ctrl-Z leaves the wrapper running and the prompt away | trifectatechfoundation/sudo-rs#245 | `ctrl_z_and_fg` |
//! | Ctrl-Z does nothing, as the command's group is an orphaned one | Yelp/dumb-init#25 | `ctrl_z_and_fg` |
//! | a suspended leader goes on after its lease has expired | none: they know no leases | `suspended_for_longer_than_the_lease` |
//! | a background job that reads the terminal hangs, or is stopped for ever | trifectatechfoundation/sudo-rs#1598, uutils/coreutils#12979, sosreport/sos#559 | `in_the_background_it_stops_when_it_reads` |
//! | in a pipeline the pager loses the terminal | trifectatechfoundation/sudo-rs#1263 | `in_a_pipeline_it_is_one_job_with_the_others`, `less_at_the_end_of_a_pipeline` |
//! | the window's size is stale | magicant/pseudo-terminal-wrapper#3 | `the_window_size_arrives` |
//! | afterwards the terminal stays raw | sudo-project/sudo#402, sudo-project/sudo#552 | `the_modes_come_back_after_a_crash` |
//! | closing the window leaves the command running | sudo-project/sudo#367 | `a_hang_up_ends_it`, `a_hang_up_ends_it_that_leads_the_session`, `a_hang_up_ends_a_standby` |

mod support;

use support::pty::{CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z};
use support::{
    Beat, Candidate, Etcd, LIMIT, Pid, Pty, Signal, assert_no_overlap, children_of, eventually,
    kill, require_etcd,
};

#[test]
fn ctrl_c_reaches_the_command_once() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    pty.line(r#"$L -q -- sh -c 'n=0; trap "n=\$((n+1)); echo got \$n" INT; trap "exit 7" QUIT; echo u''p; while :; do sleep 0.05; done'"#);
    pty.expect("up\r\n");
    pty.keys(CTRL_C);
    pty.expect("got 1");
    pty.keys(CTRL_C);
    pty.expect("got 2");
    pty.keys(CTRL_BACKSLASH);
    let rest = pty.prompt(7);
    assert!(!rest.contains("got"), "{rest}");
    assert!(etcd.keys("").is_empty());
}

#[test]
fn a_signal_from_the_keyboard_is_the_status() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    pty.line("$L -- sleep 600");
    pty.expect("command started");
    pty.keys(CTRL_C);
    pty.prompt(130);
    pty.line("$L -- sleep 600");
    pty.expect("command started");
    pty.keys(CTRL_BACKSLASH);
    pty.prompt(131);
}

#[test]
fn ctrl_c_in_standby_leaves_the_queue() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).spawn();
    leader.wait_event("started");
    let mut pty = Pty::shell(&etcd);
    pty.line("$L -- sleep 600");
    eventually(LIMIT, || etcd.keys("/election/test/").len() == 2);
    pty.keys(CTRL_C);
    pty.prompt(130);
    assert_eq!(etcd.keys("/election/test/").len(), 1);
}

#[test]
fn a_shell_within_has_its_own_jobs() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    pty.line("PS1='inner<$?> ' $L -- bash --norc --noprofile -i");
    pty.expect("inner<0> ");
    // It says when it goes on: a key that is typed sooner goes to the shell. And it starts no processes:
    // one that is stopped between vfork and exec keeps its parent from stopping.
    let job = r#"sh -c 'trap "echo o""n" CONT; echo u''p; while :; do read x; done'"#;
    pty.line(job);
    pty.expect("up\r\n");
    pty.keys(CTRL_C);
    pty.expect("inner<130> ");
    pty.line(job);
    pty.expect("up\r\n");
    pty.keys(CTRL_Z);
    pty.expect("Stopped");
    pty.expect("inner<148> ");
    pty.line("fg");
    pty.expect("on\r\n");
    pty.keys(CTRL_C);
    pty.expect("inner<130> ");
    pty.line("exit 5");
    pty.prompt(5);
}

#[test]
fn ctrl_z_and_fg() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    pty.line(r"$L --ttl 30s -- sh -c 'echo u''p; read x; echo got $x'");
    pty.expect("up\r\n");
    pty.keys(CTRL_Z);
    pty.expect("Stopped");
    pty.prompt(148);
    pty.line("fg");
    pty.expect("fg\r\n");
    pty.line("hello");
    pty.expect("got hello");
    pty.prompt(0);
}

#[test]
fn suspended_for_longer_than_the_lease() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    let beat = Beat::new();
    let words: Vec<String> = beat
        .life()
        .argv()
        .iter()
        .map(|w| format!("'{}'", w.to_str().expect("text").replace('\'', r"'\''")))
        .collect();
    // Not by a shell that uses vfork: a child that is stopped before its exec keeps its parent from stopping.
    pty.line(&format!("$L -- bash {}", words[1..].join(" ")));
    pty.expect("command started");
    beat.wait_tokens(1);
    let rival = Candidate::new(&etcd).ttl("5s").life(beat.life()).spawn();
    rival.wait_event("waiting");
    pty.keys(CTRL_Z);
    pty.expect("Stopped");
    pty.prompt(148);
    rival.wait_event("started");
    beat.wait_tokens(2);
    pty.line("fg");
    pty.expect("no renewal was confirmed in time");
    pty.prompt(75);
    assert_eq!(assert_no_overlap(&beat).len(), 2);
}

#[test]
fn in_the_background_it_stops_when_it_reads() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    pty.line("$L --ttl 30s -- cat &");
    pty.expect("command started");
    // The shell tells of jobs at its prompt.
    eventually(LIMIT, || {
        pty.line("jobs");
        pty.prompt(0).contains("Stopped")
    });
    pty.line("fg");
    pty.expect("cat\r\n");
    pty.line("hello");
    pty.expect("hello\r\nhello\r\n");
    pty.keys(CTRL_D);
    pty.prompt(0);
}

#[test]
fn in_a_pipeline_it_is_one_job_with_the_others() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    // It may read the terminal, and the reader of its output keeps it.
    pty.line(r#"$L --ttl 30s -- sh -c 'trap "echo o""n" CONT; echo u''p; read x < /dev/tty; echo got $x; while :; do read x < /dev/tty; done' | cat"#);
    pty.expect("up\r\n");
    pty.line("this");
    pty.expect("got this");
    pty.keys(CTRL_Z);
    pty.expect("Stopped");
    pty.prompt(148);
    pty.line("fg");
    pty.expect("on\r\n");
    pty.keys(CTRL_C);
    pty.prompt(130);
    eventually(LIMIT, || etcd.keys("").is_empty());
}

#[test]
fn a_command_of_a_pipeline_may_take_ctrl_z_for_itself() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    pty.line(r#"true | $L -- bash -c 'trap "echo n""o" TSTP; trap "exit 3" INT; echo u''p; while :; do read x < /dev/tty; echo got $x; done'"#);
    pty.expect("up\r\n");
    pty.keys(CTRL_Z);
    // A signal that comes just before it reads is noticed when it has read.
    pty.line("this");
    pty.expect("no\r\n");
    pty.expect("got this");
    pty.keys(CTRL_C);
    pty.line("");
    let rest = pty.prompt(3);
    assert!(!rest.contains("Stopped"), "{rest}");
}

#[test]
fn the_window_size_arrives() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    pty.line(r#"$L -q -- sh -c 'trap "stty size; exit 0" WINCH; stty size; while :; do sleep 0.05; done'"#);
    pty.expect("24 200");
    pty.resize(50, 132);
    pty.expect("50 132");
    pty.prompt(0);
}

#[test]
fn the_modes_come_back_after_a_crash() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    // Within a script, whose shell does not mend them itself.
    pty.line(
        r#"sh -c "$L -q -- sh -c 'stty raw -echo; kill -9 \$\$'; stty -a | tr -d '\n'; echo""#,
    );
    let modes = pty.expect(" echoke");
    assert!(
        modes.contains(" icanon") && modes.contains(" echo "),
        "{modes}"
    );
    // And alone.
    pty.prompt(0);
    pty.line(r"$L -q -- sh -c 'stty raw -echo; kill -9 $$'");
    pty.prompt(137);
    pty.line("stty -a | tr -d '\n'; echo");
    let modes = pty.expect(" echoke");
    assert!(
        modes.contains(" icanon") && modes.contains(" echo "),
        "{modes}"
    );
}

#[test]
fn a_hang_up_ends_it() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    let beat = Beat::new();
    let file = beat.file();
    pty.line(&format!(
        r#"$L -- sh -c 'trap "echo hup >> {0}.hup; exit 1" HUP; echo u''p; while :; do sleep 0.05; done'"#,
        file.display()
    ));
    pty.expect("up\r\n");
    pty.hang_up();
    eventually(LIMIT, || {
        etcd.keys("").is_empty() && pty.processes().is_empty()
    });
    let hups = std::fs::read_to_string(format!("{}.hup", file.display())).expect("a hang-up");
    let _ = std::fs::remove_file(format!("{}.hup", file.display()));
    // Twice if it is that quick, as without leaderrun: the shell sends one to its jobs, and the kernel one to
    // the foreground when the shell, which leads the session, exits.
    assert!(["hup\n", "hup\nhup\n"].contains(&&*hups), "{hups:?}");
}

/// As with `ssh -t host leaderrun ...` or a terminal window of its own: no shell is there to pass it on, and the kernel tells
/// only the leader of the session.
#[test]
fn a_hang_up_ends_it_that_leads_the_session() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    let beat = Beat::new();
    let file = format!("{}.hup", beat.file().display());
    pty.line(&format!(
        r#"exec $L -- sh -c 'trap "echo hup >> {file}; exit 1" HUP; echo u''p; while :; do sleep 0.05; done'"#
    ));
    pty.expect("up\r\n");
    pty.hang_up();
    eventually(LIMIT, || {
        etcd.keys("").is_empty() && pty.processes().is_empty()
    });
    let hups = std::fs::read_to_string(&file).expect("a hang-up");
    let _ = std::fs::remove_file(&file);
    assert_eq!(hups, "hup\n");
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let mut pty = Pty::shell(&etcd);
    // From the terminal itself, as ssh and sudo do it.
    pty.line(r#"$L -q -- bash -c 'read -rsp "Pass""word: " word </dev/tty 2>/dev/tty; echo; echo "${#word} letters"'"#);
    pty.expect("Password: ");
    pty.line("secret");
    let between = pty.expect("6 letters");
    assert!(!between.contains("secret"), "{between}");
    pty.prompt(0);
}

/// Without a terminal a standby goes on (`a_standby_ignores_what_does_not_end_it`).
#[test]
fn a_hang_up_ends_a_standby() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let leader = Candidate::new(&etcd).spawn();
    leader.wait_event("started");
    let mut pty = Pty::shell(&etcd);
    // The shell, which lives on, tells of its death: 128 + 1.
    pty.line("$L -- sleep 600");
    eventually(LIMIT, || etcd.keys("/election/test/").len() == 2);
    let standby = pty
        .processes()
        .into_iter()
        .find(|&pid| {
            children_of(pid)
                .iter()
                .any(|&child| same_program(pid, child))
        })
        .expect("a supervisor with its guardian");
    kill(standby, Signal::SIGHUP);
    pty.prompt(129);
    assert_eq!(etcd.keys("/election/test/").len(), 1);
}

fn same_program(one: Pid, other: Pid) -> bool {
    let program = |pid: Pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    program(one).is_some() && program(one) == program(other)
}
