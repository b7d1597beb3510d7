//! The log: a handle that never makes its caller wait.
//!
//! Lines go through a bounded queue to one thread that writes them. If whoever reads the log does
//! not keep up, lines are dropped and counted, and the count is logged once lines flow again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};

use super::complaint::complaint;
use super::escape;
use super::event::{Level, LogEvent};
use super::sink::Sink;
use super::style::Style;
use super::writer::{Format, Message, Progress, Writer, lock, lost, message, render};
use crate::sys;

/// How many lines wait for the writer at most.
const QUEUE: usize = 1024;
/// How long the last lines may wait for a disk, which is busy for a while now and then, but does not stay away as a
/// reader may.
const DISK_PATIENCE: Duration = Duration::from_secs(5);
/// How long a line of a log without a thread may wait for a reader.
const DIRECT_PATIENCE: Duration = Duration::from_millis(100);

/// What is logged, how, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The form of a line.
    pub format: Format,
    /// A file to append to; `None` for standard error.
    pub file: Option<PathBuf>,
    /// The least important level that is logged.
    pub level: Level,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file cannot be opened for appending.
    #[error("cannot open the log file '{}'", escape(&path.to_string_lossy()))]
    Open {
        /// Its name.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Standard error cannot be duplicated, or no thread can be started.
    #[error("cannot start the log")]
    Start(#[from] io::Error),
}

/// A handle to the log; clones write to the same one.
#[derive(Clone, Debug)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    format: Format,
    level: Level,
    style: Style,
    /// The file that is written to, if it is not standard error.
    file: Option<PathBuf>,
    route: Route,
}

#[derive(Debug)]
enum Route {
    Queue {
        lines: SyncSender<Message>,
        /// Whether it goes to a file on a disk.
        to_disk: bool,
        accepted: AtomicU64,
        progress: Arc<Progress>,
    },
    Direct(Mutex<Sink>),
    Nowhere,
}

impl Log {
    /// Opens the log and starts the thread that writes it: not before the guardian is forked.
    /// The thread blocks all signals, so it never takes one that is meant for another.
    pub fn start(options: &LogOptions) -> Result<Self, LogError> {
        let (file, style) = if let Some(path) = options.file.clone() {
            let file = Sink::open(&path).map_err(|source| LogError::Open { path, source })?;
            (file, Style::Plain)
        } else {
            let file = Sink::standard_error()?;
            let style = Style::of_standard_error(&file);
            (file, style)
        };
        Ok(Self::start_on(file, style, options)?)
    }

    fn start_on(file: File, style: Style, options: &LogOptions) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        let progress = Arc::new(Progress::default());
        let to_disk = file.metadata().is_ok_and(|meta| meta.is_file());
        let sink = Sink::new(file, None);
        let mut writer = Writer::new(options.format, style, sink, Arc::clone(&progress));
        if let Some(file) = options.file.clone() {
            writer = writer.grieving(move |e| bewail(&file, &format!("lines are lost: {e}")));
        }
        // A new thread inherits the mask: block first, so that there is no instant without.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(&queue));
        mask.thread_set_mask()?;
        thread?;
        let route = Route::Queue {
            lines,
            to_disk,
            accepted: AtomicU64::new(0),
            progress,
        };
        Ok(Self::new(options, style, route))
    }

    /// A log without a thread, for an orphaned guardian: standard error belonged to those who
    /// are gone, so it writes to the log file, if there is one that can be opened, or nowhere.
    pub fn direct(options: &LogOptions) -> Self {
        let route = match options.file.as_deref().map(Sink::open) {
            Some(Ok(file)) => Route::Direct(Mutex::new(Sink::new(file, Some(DIRECT_PATIENCE)))),
            Some(Err(_)) | None => Route::Nowhere,
        };
        Self::new(options, Style::Plain, route)
    }

    fn new(options: &LogOptions, style: Style, route: Route) -> Self {
        Self(Arc::new(Inner {
            format: options.format,
            level: options.level,
            style,
            file: options.file.clone(),
            route,
        }))
    }

    /// Logs an event if its level is wanted. Never waits for the reader of the log.
    pub fn event(&self, event: impl Into<LogEvent>) {
        let event = event.into();
        if event.level() > self.0.level {
            return;
        }
        let (format, style) = (self.0.format, self.0.style);
        match &self.0.route {
            Route::Queue { .. } => self.send(message(format, style, &event)),
            Route::Direct(sink) => {
                let _ = lock(sink).write_line(&render(format, style, &event));
            }
            Route::Nowhere => {}
        }
    }

    /// Tells who watches us wait at a terminal since when the leader has led (Unix seconds), as far as that is known.
    /// Elsewhere it is no event.
    pub fn leads_since(&self, since: Option<u64>) {
        let is_watched = matches!(self.0.style, Style::Terminal { .. });
        if is_watched && self.0.format == Format::Text {
            self.send(Message::LeadsSince(since));
        }
    }

    fn send(&self, message: Message) {
        if let Route::Queue {
            lines,
            accepted,
            progress,
            ..
        } = &self.0.route
        {
            match lines.try_send(message) {
                Ok(()) => accepted.fetch_add(1, Ordering::Release),
                Err(_) => progress.lose(1),
            };
        }
    }

    /// Waits until what was logged so far is written, or `max` is over. Says whether it is written.
    pub fn flush(&self, max: Duration) -> bool {
        match &self.0.route {
            Route::Queue {
                accepted, progress, ..
            } => progress.wait_for(accepted.load(Ordering::Acquire), max),
            Route::Direct(_) | Route::Nowhere => true,
        }
    }

    /// The same for the moment before exiting, since the thread does not outlive the process: a reader gets `max`,
    /// and a disk five seconds. What a log file has lost by then is said on standard error.
    pub fn finish(&self, max: Duration) -> bool {
        let to_disk = matches!(self.0.route, Route::Queue { to_disk: true, .. });
        let is_written = self.flush(if to_disk { max.max(DISK_PATIENCE) } else { max });
        if let (
            Some(file),
            Route::Queue {
                accepted, progress, ..
            },
        ) = (&self.0.file, &self.0.route)
        {
            match progress.unwritten(accepted.load(Ordering::Acquire)) {
                0 => {}
                count => bewail(file, &lost(count)),
            }
        }
        is_written
    }
}

/// Tells on standard error what is wrong with the log file, without waiting for anybody who reads that.
fn bewail(file: &Path, what: &str) {
    let message = format!("log file '{}': {what}", escape(&file.to_string_lossy()));
    sys::say_last_words(&complaint(Level::Error, &message));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
    use std::os::fd::{AsFd, OwnedFd};

    use nix::fcntl::{FcntlArg, fcntl};

    use crate::election::GivenUp;

    const GENEROUS: Duration = Duration::from_secs(60);

    fn released() -> LogEvent {
        LogEvent::Released {
            given_up: GivenUp::All,
        }
    }

    fn on_a_pipe(level: Level) -> (Log, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        let options = LogOptions {
            level,
            ..LogOptions::default()
        };
        (
            Log::start_on(OwnedFd::from(writer).into(), Style::Plain, &options).unwrap(),
            reader,
        )
    }

    #[test]
    fn lines_come_out_in_order_and_by_level() {
        let (log, mut reader) = on_a_pipe(Level::Error);
        log.event(released());
        log.event(LogEvent::error("one"));
        log.clone().event(LogEvent::error("two"));
        assert!(log.flush(GENEROUS));
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "leaderrun: error: one\nleaderrun: error: two\n");
    }

    #[test]
    fn a_blocked_reader_stalls_nobody_and_learns_what_it_missed() {
        let (log, reader) = on_a_pipe(Level::Info);
        // So that it holds less than the queue, whichever of the two is filled first.
        fcntl(reader.as_fd(), FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let sent = 20_000;
        for _ in 0..sent {
            log.event(released());
        }
        assert!(
            !log.flush(Duration::from_millis(10)),
            "nobody has read anything"
        );
        // Once it reads again, everything is either there or counted.
        let (mut received, mut lost) = (0, 0);
        for line in BufReader::new(reader).lines() {
            let line = line.unwrap();
            match line.strip_prefix("leaderrun: warning: ") {
                None => received += 1,
                Some(warning) => {
                    let (count, _) = warning.split_once(" log line").unwrap();
                    lost += count.parse::<usize>().unwrap();
                }
            }
            if received + lost == sent {
                break;
            }
        }
        assert!(lost > 0, "a pipe and the queue hold less");
        assert!(log.flush(GENEROUS));
    }

    #[test]
    fn a_log_file_is_appended_to_with_and_without_a_thread() {
        let file = std::env::temp_dir().join(format!("leaderrun-log-{}", std::process::id()));
        std::fs::write(&file, "before\n").unwrap();
        let options = LogOptions {
            file: Some(file.clone()),
            ..LogOptions::default()
        };
        let log = Log::start(&options).unwrap();
        log.event(LogEvent::warning("started"));
        assert!(log.flush(GENEROUS));
        Log::direct(&options).event(LogEvent::warning("orphaned"));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(
            text,
            "before\nleaderrun: warning: started\nleaderrun: warning: orphaned\n"
        );
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_is_named() {
        let file = PathBuf::from("/nonexistent/leaderrun.log");
        let options = LogOptions {
            file: Some(file),
            ..LogOptions::default()
        };
        let message = Log::start(&options).unwrap_err().to_string();
        assert!(
            message.contains("'/nonexistent/leaderrun.log'"),
            "{message}"
        );
        Log::direct(&options).event(released());
    }
}
