//! Job control: the command is to behave on a terminal as if leaderrun were not there.
//!
//! Alone in the foreground, leaderrun hands the foreground to the command's own process group, and takes
//! it back when that stops or ends. As one of a pipeline (`leaderrun … | tee`), or within a script, the
//! command joins leaderrun's group instead, and is one job with the others for the shell and for Ctrl-C.
//! When the command stops, leaderrun stops too, so that the shell gives its prompt; the guardian, which no
//! terminal and no shell knows, goes on, and so does the fence. See credentials(7), setpgid(2), and "Job Control Signals"
//! in the GNU C library's manual.

use nix::libc;
use nix::sys::termios::Termios;
use nix::unistd::{Pid, getpgrp};

use crate::guardian::message::Placement;
use crate::sys::{self, SignalInfo, SignalNumber, Terminal};

/// The terminal's side of a run.
pub struct Job {
    terminal: Option<Terminal>,
    /// Its modes before the command had it.
    modes: Option<Termios>,
    /// Where the command runs, once it does.
    placement: Placement,
    command: Option<Pid>,
}

/// What a stopped command asks of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterStop {
    /// Nothing: no shell waits for us.
    Nothing,
    /// To continue it: without us, the kernel would not have stopped it.
    Continue,
    /// To stop as well.
    StopToo(SignalNumber),
}

impl Job {
    /// Looks at the terminal, if there is one.
    pub fn new() -> Self {
        Self {
            terminal: Terminal::open(),
            modes: None,
            placement: Placement::OwnGroup,
            command: None,
        }
    }

    /// Whether this process belongs to a session with a terminal.
    pub fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Where the command that is to start now belongs.
    pub fn place(&mut self) -> Placement {
        self.command = None;
        let ours = self.terminal.as_ref().filter(|terminal| terminal.is_ours());
        self.modes = ours.and_then(Terminal::modes);
        self.placement = match &self.terminal {
            Some(_) if sys::is_part_of_a_pipeline() => Placement::Job(getpgrp().as_raw()),
            Some(_) if ours.is_some() => Placement::Foreground,
            Some(_) | None => Placement::OwnGroup,
        };
        self.placement
    }

    /// The command runs.
    pub fn started(&mut self, pid: i32) {
        self.command = Some(Pid::from_raw(pid));
    }

    /// Whether the command had this signal from the kernel already, as the terminal's group had it.
    pub fn command_had(&self, info: SignalInfo) -> bool {
        let from_the_kernel = info.code > 0;
        from_the_kernel
            && match self.placement {
                // A terminal that is gone is told to the leader of the session alone, and to its foreground only
                // when that leader ends.
                Placement::Job(_) => info.signal.0 != libc::SIGHUP || !sys::leads_session(),
                Placement::Foreground | Placement::OwnGroup => false,
            }
    }

    /// The command was stopped by `signal`.
    pub fn command_stopped(&self, signal: SignalNumber) -> AfterStop {
        // The news may be older than a continuation, as after a stop of the whole job.
        let still = self.command.is_some_and(sys::is_stopped);
        if !still || self.terminal.is_none() {
            return AfterStop::Nothing;
        }
        if !sys::group_is_orphaned() {
            return AfterStop::StopToo(signal);
        }
        match signal.0 {
            libc::SIGTSTP => AfterStop::Continue,
            _ => AfterStop::Nothing,
        }
    }

    /// Stops this process, so that the shell goes on. Returns once the shell continues us, or at once
    /// if there is no shell to do that.
    pub fn stop(&self, signal: SignalNumber) {
        if sys::group_is_orphaned() {
            return;
        }
        self.take_terminal_back();
        sys::stop_by_signal(signal);
    }

    /// We were continued: if that was into the foreground, the command gets it.
    pub fn continued(&mut self) {
        if let (Some(terminal), Some(command), Placement::OwnGroup | Placement::Foreground) =
            (&self.terminal, self.command, self.placement)
            && terminal.is_ours()
        {
            if self.modes.is_none() {
                self.modes = terminal.modes();
            }
            terminal.give_to(command);
        }
    }

    /// The main process has ended. If it was killed, it may have left the terminal in a state that no
    /// person can use.
    pub fn ended(&mut self, killed: bool) {
        let had_terminal = self.take_terminal_back();
        if let (true, true, Some(terminal), Some(modes)) =
            (killed, had_terminal, &self.terminal, &self.modes)
        {
            terminal.restore(modes);
        }
        self.command = None;
    }

    /// Returns whether the command had it.
    fn take_terminal_back(&self) -> bool {
        let (Some(terminal), Some(command)) = (&self.terminal, self.command) else {
            return false;
        };
        match self.placement {
            Placement::Job(_) => terminal.is_ours(),
            Placement::OwnGroup | Placement::Foreground => {
                // An interactive shell as the command, for one, moves its own jobs in and out; what it leaves
                // in the foreground when it is killed is gone as well.
                let foreground = terminal.foreground();
                let theirs = foreground == Some(command)
                    || foreground.is_some_and(|group| !sys::group_exists(group));
                if theirs {
                    terminal.give_to(getpgrp());
                }
                theirs
            }
        }
    }
}
