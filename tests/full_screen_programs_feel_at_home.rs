//! An editor, a pager and a monitor under leaderrun: keys, redrawing, suspending, and the terminal as it was before.
//! Each scene is played by the program itself first, which shows what there is to expect.

mod support;

use std::fs;

use support::pty::CTRL_Z;
use support::{Etcd, LIMIT, Pty, Scratch, eventually, require_etcd, require_program, rests};

const ESCAPE: &str = "\x1b";
/// How such a program of an xterm begins and ends.
const TAKES_THE_SCREEN: &str = "\x1b[?1049h";
const GIVES_IT_BACK: &str = "\x1b[?1049l";

/// Plays a scene directly and under leaderrun: the second argument comes before the program.
#[track_caller]
fn as_if_started_directly(program: &'static str, scene: impl Fn(&mut Desk, &str)) {
    if !require_etcd() || !require_program(program) {
        return;
    }
    scene(&mut Desk::new(program), "");
    scene(&mut Desk::new(program), "$L -q -- ");
}

/// A shell in a directory of its own, on a terminal whose modes are known.
struct Desk {
    pty: Pty,
    program: &'static str,
    dir: Scratch,
    _etcd: Etcd,
}

impl Desk {
    fn new(program: &'static str) -> Self {
        let etcd = Etcd::start();
        let dir = Scratch::new("desk");
        let mut pty = Pty::shell(&etcd);
        // Longer than anybody is suspended here.
        pty.line("export TERM=xterm LEADERRUN_TTL=60s");
        pty.prompt(0);
        pty.line(&format!("cd '{}'; stty -a >before", dir.dir().display()));
        pty.prompt(0);
        pty.line("seq -f 'line %g' 500 >lines");
        pty.prompt(0);
        Self {
            pty,
            program,
            dir,
            _etcd: etcd,
        }
    }

    /// Suspends the program, looks at the terminal that the shell has meanwhile, and goes on.
    #[track_caller]
    fn suspend_and_go_on(&mut self, status: i32) {
        self.suspend(status);
        self.pty.line("fg");
        self.pty.expect(TAKES_THE_SCREEN);
    }

    /// Waits until the program waits for keys. A signal would otherwise find less about to read the next key first,
    /// or cut short what top is writing, which top takes for a failure.
    #[track_caller]
    fn rest(&self) {
        eventually(LIMIT, || {
            let mut processes = self.pty.processes().into_iter();
            processes.any(|pid| rests(pid, self.program))
        });
    }

    #[track_caller]
    fn suspend(&mut self, status: i32) {
        self.rest();
        self.pty.keys(CTRL_Z);
        self.pty.expect("Stopped");
        self.pty.prompt(status);
        self.assert_modes();
    }

    /// The program is over.
    #[track_caller]
    fn ends_with(&mut self, status: i32) {
        self.pty.expect(GIVES_IT_BACK);
        self.pty.prompt(status);
        self.assert_modes();
    }

    #[track_caller]
    fn assert_modes(&mut self) {
        self.pty.line("stty -a >after; cmp before after");
        self.pty.prompt(0);
    }
}

#[test]
fn vim() {
    as_if_started_directly("vim", |desk, prefix| {
        desk.pty
            .line(&format!("{prefix}vim -u NONE -i NONE -n -X notes"));
        desk.pty.expect(TAKES_THE_SCREEN);
        desk.pty.keys("ione two");
        desk.pty.expect("one two");
        desk.pty.keys(ESCAPE);
        desk.suspend_and_go_on(148);
        desk.pty.expect("one two");
        desk.pty.keys("A three");
        desk.pty.keys(ESCAPE);
        // Its way to leave with a status.
        desk.pty.line(":w");
        desk.pty.expect("written");
        desk.pty.line(":cquit");
        desk.ends_with(1);
        let text = fs::read_to_string(desk.dir.path("notes")).expect("what was written");
        assert_eq!(text, "one two three\n");
    });
}

/// Reads all lines, with a pause that the shell shows with that status.
#[track_caller]
fn read_with_less(desk: &mut Desk, command: &str, stopped: i32) {
    desk.pty.line(command);
    desk.pty.expect(TAKES_THE_SCREEN);
    desk.pty.expect("line 23");
    desk.pty.keys("G");
    desk.pty.expect("line 500");
    desk.suspend_and_go_on(stopped);
    desk.pty.expect("line 500");
    desk.pty.keys("g");
    desk.pty.expect("line 1\r\n");
    desk.pty.keys("q");
    desk.ends_with(0);
}

#[test]
fn less() {
    as_if_started_directly("less", |desk, prefix| {
        read_with_less(desk, &format!("{prefix}less lines"), 148);
    });
}

#[test]
fn less_at_the_end_of_a_pipeline() {
    as_if_started_directly("less", |desk, prefix| {
        // It takes its text from the pipe, and its keys from the terminal.
        read_with_less(desk, &format!("cat lines | {prefix}less"), 128);
    });
}

#[test]
fn top() {
    as_if_started_directly("top", |desk, prefix| {
        // An hour, so that what it draws is drawn for a key or the window.
        desk.pty.line(&format!("{prefix}top -d 3600"));
        desk.pty.expect("load average");
        desk.rest();
        desk.pty.resize(30, 120);
        desk.pty.expect("load average");
        desk.rest();
        desk.pty.keys(" ");
        desk.pty.expect("load average");
        desk.rest();
        desk.pty.resize(24, 200);
        desk.pty.expect("load average");
        // It takes no other screen, and stops itself by SIGSTOP.
        desk.suspend(147);
        desk.pty.line("fg");
        desk.pty.expect("load average");
        desk.rest();
        desk.pty.keys("q");
        desk.pty.prompt(0);
        desk.assert_modes();
    });
}
