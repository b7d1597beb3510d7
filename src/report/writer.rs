//! The thread that writes the log, and how far it has come.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::event::LogEvent;
use super::live::{Live, TICK};
use super::reason::WaitReason;
use super::sink::Sink;
use super::style::Style;
use super::{json, text};

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Sentences, each after `leaderrun: `.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What the writer and the handles know of each other. The lock is never held while writing.
#[derive(Debug, Default)]
pub(super) struct Progress {
    lost: AtomicU64,
    /// How many of the accepted lines have been dealt with.
    done: Mutex<u64>,
    changed: Condvar,
}

impl Progress {
    /// Counts lines that will never be written; says how many there are.
    pub fn lose(&self, lines: u64) -> u64 {
        self.lost.fetch_add(lines, Ordering::Relaxed) + lines
    }

    /// How many of so many accepted lines, and of all that were not, are not written at present.
    pub fn unwritten(&self, accepted: u64) -> u64 {
        let done = *lock(&self.done);
        self.lost.load(Ordering::Relaxed) + accepted.saturating_sub(done)
    }

    /// Waits until so many lines are dealt with, or `max` is over. Says whether they are.
    pub fn wait_for(&self, wanted: u64, max: Duration) -> bool {
        let start = Instant::now();
        let mut done = lock(&self.done);
        while *done < wanted {
            let left = max.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            (done, _) = self
                .changed
                .wait_timeout(done, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

/// What is sent to the writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A line, with its line feed.
    Line(String),
    /// The same, of something that happens while the wait goes on.
    Aside(String),
    /// What is waited for, to be shown to whoever sits at the terminal until the next message.
    Waiting(WaitReason),
    /// Since when the leader that is waited for has led, in Unix seconds, if that is known.
    LeadsSince(Option<u64>),
}

type Grieve = Box<dyn FnOnce(&io::Error) + Send>;

pub(super) struct Writer {
    format: Format,
    style: Style,
    sink: Sink,
    /// Told of the first line that is lost by an error, if anybody is.
    grieve: Option<Grieve>,
    progress: Arc<Progress>,
    live: Option<Live>,
}

impl Writer {
    pub fn new(format: Format, style: Style, sink: Sink, progress: Arc<Progress>) -> Self {
        Self {
            format,
            style,
            sink,
            grieve: None,
            progress,
            live: None,
        }
    }

    /// The same, where somebody is told of the first line that cannot be written.
    pub fn grieving(self, grieve: impl FnOnce(&io::Error) + Send + 'static) -> Self {
        Self {
            grieve: Some(Box::new(grieve)),
            ..self
        }
    }

    /// Writes lines until nobody is left who could send any.
    pub fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let message = match &self.live {
                Some(_) => queue.recv_timeout(TICK),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(message) => {
                    self.take(message);
                    *lock(&self.progress.done) += 1;
                    self.progress.changed.notify_all();
                }
                Err(RecvTimeoutError::Timeout) => self.step(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => {
                self.write_over_live(&line);
                self.live = None;
            }
            Message::Aside(line) => {
                self.write_over_live(&line);
                self.step();
            }
            Message::Waiting(reason) => {
                self.live = Some(Live::new(reason, self.live.as_ref()));
                self.step();
            }
            Message::LeadsSince(since) => {
                if let Some(live) = &mut self.live {
                    live.leads_since(since);
                }
                self.step();
            }
        }
    }

    fn write_over_live(&mut self, line: &str) {
        match &self.live {
            Some(shown) => {
                let clear = shown.clear(self.sink.file());
                self.write(&format!("{clear}{line}"));
            }
            None => self.write(line),
        }
    }

    fn step(&mut self) {
        if let Some(live) = &mut self.live
            && let Some(step) = live.step(self.sink.file())
        {
            // Another follows.
            let _ = self.sink.write_line(&step);
        }
    }

    fn write(&mut self, line: &str) {
        if let Err(e) = self.sink.write_line(line) {
            self.progress.lose(1);
            if let Some(grieve) = self.grieve.take() {
                grieve(&e);
            }
            return;
        }
        // Logged at any level: among the lost ones may be errors.
        let count = self.progress.lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let event = LogEvent::warning(lost(count));
            let line = render(self.format, self.style, &event);
            if self.sink.write_line(&line).is_err() {
                self.progress.lose(count);
            }
        }
    }
}

/// How many lines nobody will read.
pub(super) fn lost(count: u64) -> String {
    let lines = if count == 1 { "line was" } else { "lines were" };
    format!("{count} log {lines} lost")
}

/// A line with its line feed.
pub(super) fn render(format: Format, style: Style, event: &LogEvent) -> String {
    let mut line = match format {
        Format::Text => style.dress(event.level(), text::line(event)),
        Format::Json => json::line(event, SystemTime::now()),
    };
    line.push('\n');
    line
}

/// What goes to the writer for an event.
pub(super) fn message(format: Format, style: Style, event: &LogEvent) -> Message {
    match (format, style, event) {
        (Format::Text, Style::Terminal { .. }, LogEvent::Waiting(reason)) => {
            Message::Waiting(reason.clone())
        }
        (_, _, LogEvent::Warning { .. }) => Message::Aside(render(format, style, event)),
        _ => Message::Line(render(format, style, event)),
    }
}

/// A poisoned lock guards nothing that a panic could have left half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
