//! Holds the term for a guardian that has lost its supervisor and cannot get the process tree dead: a process
//! of another user, or one that is frozen. Without this, the next candidate would start beside it.
//!
//! The guardian itself goes on killing and must not wait for anything, so this has a thread of its own: the
//! only one that a guardian ever has.

use std::io;
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock::BootInstant;
use crate::election::{self, Config, Event, Tenancy};
use crate::guardian::Successor;
use crate::guardian::message::FromGuardian;
use crate::report::{Log, LogEvent, LogOptions};
use crate::runtime;
use crate::supervisor::words;

/// See the module's head.
#[derive(Debug)]
pub struct Caretaker {
    config: Config,
    log: LogOptions,
    work: Option<Work>,
}

#[derive(Debug)]
struct Work {
    words: UnboundedSender<FromGuardian>,
    thread: JoinHandle<()>,
}

impl Caretaker {
    /// One that has nothing to do yet.
    pub fn new(config: &Config, log: &LogOptions) -> Self {
        Self {
            config: config.clone(),
            log: log.clone(),
            work: None,
        }
    }

    /// The tree is empty. Returns once nothing is written to etcd from here any more.
    pub fn end(&mut self) {
        if let Some(Work { words, thread }) = self.work.take() {
            drop(words);
            // A panic aborts the process.
            let _ = thread.join();
        }
    }
}

impl Successor for Caretaker {
    fn hold(&mut self, tenancy: &Tenancy) {
        let (words, heard) = unbounded_channel();
        let (config, tenancy, options) = (self.config.clone(), tenancy.clone(), self.log.clone());
        let thread = std::thread::Builder::new()
            .name("caretaker".into())
            .spawn(move || {
                let log = Log::direct(&options);
                if let Err(e) = take_care(config, tenancy, heard, &log) {
                    log.event(LogEvent::error(format!(
                        "the supervisor is gone, and the leadership cannot be held: {e}"
                    )));
                }
            });
        // Without a thread nobody can be told either; the guardian goes on killing.
        self.work = thread.ok().map(|thread| Work { words, thread });
    }

    fn hear(&mut self, word: FromGuardian) {
        if let Some(work) = &self.work {
            let _ = work.words.send(word);
        }
    }
}

/// Until nobody speaks to us any more.
fn take_care(
    config: Config,
    tenancy: Tenancy,
    mut words: UnboundedReceiver<FromGuardian>,
    log: &Log,
) -> io::Result<()> {
    let runtime = runtime::single_threaded()?;
    runtime.block_on(async {
        let (events, mut held) = unbounded_channel();
        let holding = election::hold_orphan(config, tenancy, events);
        tokio::pin!(holding);
        let mut notes = Notes::default();
        loop {
            tokio::select! {
                biased;
                word = words.recv() => match word {
                    Some(word) => notes.hear(&word, log),
                    None => return Ok(()),
                },
                Some(event) = held.recv() => notes.note(event, log),
                ended = &mut holding => return ended.map_err(io::Error::other),
            }
        }
    })?;
    // A name that is being resolved would otherwise be waited for.
    runtime.shutdown_background();
    Ok(())
}

/// What is to be said, once.
#[derive(Default)]
struct Notes {
    until: Option<BootInstant>,
    failure: Option<String>,
}

impl Notes {
    fn hear(&self, word: &FromGuardian, log: &Log) {
        if let Some(event) = words::of_orphan(word, self.until) {
            log.event(event);
        }
    }

    fn note(&mut self, event: Event, log: &Log) {
        match event {
            Event::Held(until) => self.held(until, log),
            Event::RenewalFailed {
                endpoint, error, ..
            } => {
                self.failed(format!("{endpoint}: {error}"), log);
            }
            _ => {}
        }
    }

    fn held(&mut self, until: BootInstant, log: &Log) {
        let first = self.until.replace(until).is_none();
        if self.failure.take().is_some() || first {
            log.event(LogEvent::warning(
                "the supervisor is gone, and processes of the command live on: \
                 the guardian holds the leadership until they are dead",
            ));
        }
    }

    fn failed(&mut self, error: String, log: &Log) {
        if self.failure.as_ref() != Some(&error) {
            log.event(LogEvent::warning(format!(
                "the supervisor is gone, and the leadership could not be held just now: {error}"
            )));
            self.failure = Some(error);
        }
    }
}
