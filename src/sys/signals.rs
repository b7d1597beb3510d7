//! Signal numbers, masks, dispositions and signalfd.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io, mem, ptr};

use nix::libc;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A signal by its number; real-time signals have no name in nix's `Signal`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignalNumber(pub i32);

/// SIGKILL.
pub const KILL: SignalNumber = SignalNumber(libc::SIGKILL);

impl From<Signal> for SignalNumber {
    fn from(signal: Signal) -> Self {
        Self(signal as i32)
    }
}

impl fmt::Display for SignalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (libc::SIGRTMIN(), libc::SIGRTMAX());
        match Signal::try_from(self.0) {
            Ok(known) => f.write_str(known.as_str()),
            Err(_) if self.0 == min => f.write_str("SIGRTMIN"),
            Err(_) if (min..=max).contains(&self.0) => write!(f, "SIGRTMIN+{}", self.0 - min),
            Err(_) => write!(f, "signal {}", self.0),
        }
    }
}

/// Signals that a program raises against itself by a fault. In the supervisor they keep their default action:
/// whoever sends one wants to see a crash.
const FAULTS: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set it is given and cannot fail on a valid one.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn all_but_faults() -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: `set` is an initialised sigset_t, and every number is a valid signal.
    unsafe {
        libc::sigfillset(&raw mut set);
        for fault in FAULTS {
            libc::sigdelset(&raw mut set, fault);
        }
    }
    set
}

fn set_mask(set: &libc::sigset_t) {
    // SAFETY: `set` is initialised; the old mask is not asked for. pthread_sigmask fails only for
    // an unknown `how`.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, set, ptr::null_mut());
    }
}

/// Blocks every signal that can be blocked, but for faults, in this thread and those it starts.
pub fn block_all_signals() {
    set_mask(&all_but_faults());
}

/// Blocks faults as well, for a process that nothing from outside is to end but SIGKILL: those that a
/// program raises itself get through all the same (signal(7), "forced" signals in the kernel).
pub fn block_faults_too() {
    // Past the C library, which keeps the two signals below SIGRTMIN for its threads, and lets nobody
    // block them.
    let all = u64::MAX;
    // SAFETY: the kernel reads a set of 64 signals, whose size is given, and the old one is not asked for.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            ptr::null_mut::<u64>(),
            mem::size_of_val(&all),
        );
    }
}

/// Whether SIGPIPE was ignored before Rust's runtime, which always ignores it, began.
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_sigpipe() {
    SIGPIPE_WAS_IGNORED.store(is_ignored(libc::SIGPIPE), Ordering::Relaxed);
}

// SAFETY: a function in .init_array runs once, before main, on the only thread; this one makes a
// single system call and stores to an atomic, so it needs no part of the runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_SIGPIPE: extern "C" fn() = note_sigpipe;

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null new action, sigaction only writes the old one; it is read on success.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn set_disposition(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: an all-zero sigaction is valid (no flags, empty mask); the handler is SIG_DFL or
    // SIG_IGN. Failure means an uncatchable or reserved number, which has no disposition to set.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        libc::sigaction(signal, &raw const action, ptr::null_mut());
    }
}

/// Which signals this process was told to ignore by whoever started it (`nohup`, a shell's `&`).
#[derive(Clone, Debug, Default)]
pub struct Dispositions {
    ignored: Vec<i32>,
}

impl Dispositions {
    /// Reads the inherited dispositions. To be called before anything here changes them.
    pub fn inherited() -> Self {
        let ignored = (1..=libc::SIGRTMAX())
            .filter(|&s| match s {
                // Ignoring SIGCHLD means that the kernel reaps; that is never passed on.
                libc::SIGCHLD => false,
                libc::SIGPIPE => SIGPIPE_WAS_IGNORED.load(Ordering::Relaxed),
                _ => is_ignored(s),
            })
            .collect();
        Self { ignored }
    }

    /// Whether `signal` was ignored at the start.
    pub fn ignores(&self, signal: SignalNumber) -> bool {
        self.ignored.contains(&signal.0)
    }
}

/// Gives a child about to exec an empty mask and the dispositions that our starter meant for it.
pub fn restore_child_signals(dispositions: &Dispositions) {
    for signal in 1..=libc::SIGRTMAX() {
        let ignore = dispositions.ignores(SignalNumber(signal));
        set_disposition(signal, if ignore { libc::SIG_IGN } else { libc::SIG_DFL });
    }
    set_mask(&empty_set());
}

/// Sets one signal to its default action and unblocks it.
pub(super) fn default_and_unblock(signal: SignalNumber) {
    set_disposition(signal.0, libc::SIG_DFL);
    let mut set = empty_set();
    // SAFETY: `set` is initialised; a bad number leaves it as it is.
    unsafe {
        libc::sigaddset(&raw mut set, signal.0);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
    }
}

/// SIGCHLD to its default: an inherited `SIG_IGN` would make the kernel reap and lose statuses.
pub(super) fn default_sigchld() {
    set_disposition(libc::SIGCHLD, libc::SIG_DFL);
}

/// What signalfd(2) tells of one signal.
#[derive(Clone, Copy, Debug)]
pub struct SignalInfo {
    /// Its number.
    pub signal: SignalNumber,
    /// `si_code`: above zero if the kernel sent it (a terminal, say), else a process did.
    pub code: i32,
}

/// A signalfd, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// For SIGCHLD alone.
    pub fn for_sigchld() -> io::Result<Self> {
        let mut set = empty_set();
        // SAFETY: `set` is initialised and SIGCHLD is a valid signal.
        unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
        Self::new(&set)
    }

    /// For every signal that [`block_all_signals`] blocks, but SIGCHLD and SIGPIPE.
    pub fn for_all_others() -> io::Result<Self> {
        let mut set = all_but_faults();
        // SAFETY: `set` is initialised and both are valid signals.
        unsafe {
            libc::sigdelset(&raw mut set, libc::SIGCHLD);
            libc::sigdelset(&raw mut set, libc::SIGPIPE);
        }
        Self::new(&set)
    }

    fn new(set: &libc::sigset_t) -> io::Result<Self> {
        // SAFETY: -1 asks for a new descriptor, which nobody else owns.
        unsafe {
            let fd = libc::signalfd(-1, set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next pending signal, if there is one.
    pub fn read(&self) -> io::Result<Option<SignalInfo>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = mem::size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is `size` bytes; the kernel fills it whole or returns an error.
        let n = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(n) == Ok(size) {
            // SAFETY: all `size` bytes were written, and every bit pattern is valid.
            let info = unsafe { info.assume_init() };
            return Ok(Some(SignalInfo {
                signal: SignalNumber(info.ssi_signo.cast_signed()),
                code: info.ssi_code,
            }));
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            e => Err(e),
        }
    }

    /// The same, as the runtime can wait for it. Must be called within a runtime.
    pub fn into_async(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor that as_raw_fd returns is owned by `self`, which the AsyncFd owns, and
        // nothing here ever closes or replaces it before the drop.
        unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }
            .map_err(io::Error::from)
    }

    /// Reads until nothing is pending; for a descriptor that only wakes a loop.
    pub fn drain(&self) {
        while let Ok(Some(_)) = self.read() {}
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
