//! From a checked command line to three processes, and from their end to an exit status.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{getpid, getppid};

use crate::cli::{Cgroup, OnLoss, RunOptions};
use crate::election::{self, Config};
use crate::etcd::Endpoint;
use crate::exit_status::ExitStatus;
use crate::guardian::cgroup::Leaf;
use crate::guardian::watch::Ward;
use crate::guardian::{self, Side, Spec, Watch};
use crate::hooks::{self, Hooks, Runner};
use crate::lookup;
use crate::report::{
    Bound, Health, Level, Listener, Log, LogEvent, LogOptions, Systemd, TroubleReporter, complain,
};
use crate::runtime;
use crate::supervisor::caretaker::Caretaker;
use crate::supervisor::hooks::Teller;
use crate::supervisor::job::Job;
use crate::supervisor::signals::Signals;
use crate::supervisor::state::State;
use crate::supervisor::{Campaign, Supervisor, environment, leftovers, orphan};
use crate::sys::{self, Dispositions, SeqPacket};

/// How long the last lines of the log may wait for their reader.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs the command while it leads; returns when all is over. Must be called on the only thread.
///
/// Where the command was killed by a signal, this process dies by the same signal instead of returning.
pub fn run(options: RunOptions) -> ExitCode {
    let dispositions = Dispositions::inherited();
    let path = std::env::var_os("PATH");
    let log = options.log.clone();
    if let Err(refusal) = lookup::look_up(&options.command[0], path.as_deref()) {
        return fail(log, refusal.status, refusal.message);
    }
    begin(options, dispositions)
        .unwrap_or_else(|error| fail(log, ExitStatus::Failed, format!("{error:#}")))
}

/// The end of a run that had no log yet: why it fails belongs there all the same. No process is forked any more, so
/// that there may be its thread.
fn fail(mut options: LogOptions, status: ExitStatus, why: String) -> ExitCode {
    let log = Log::start(&options).or_else(|_| {
        // Perhaps that is what has failed.
        options.file = None;
        Log::start(&options)
    });
    match log {
        Ok(log) => {
            log.event(LogEvent::error(why));
            end_log(&log, status);
        }
        Err(_) => complain(Level::Error, &why),
    }
    status.into()
}

/// The last line of the log, and the wait for whoever reads it.
fn end_log(log: &Log, status: ExitStatus) {
    log.event(LogEvent::Exiting { status });
    log.finish(LAST_WORDS);
}

fn begin(options: RunOptions, dispositions: Dispositions) -> Result<ExitCode> {
    let config = Config {
        key: options.key.clone(),
        layout: options.layout,
        id: options.id.clone(),
        settings: options.settings,
        endpoints: Endpoint::parse_list(&options.endpoints, options.access.tls.is_set())?,
        access: options.access.clone(),
        ancestor: environment::nearest_ancestor(&options.key),
    };
    sys::check_proc()?;
    sys::open_null()
        .context("cannot open /dev/null, which is needed to let go of standard streams")?;
    sys::block_all_signals();
    // `helper & exec leaderrun` leaves us children that are none of the command's.
    let children = sys::all_children_of(getpid()).context("cannot read /proc")?;
    let spared = children.into_iter().map(|p| p.pid).collect();
    let leftovers = leftovers::end(options.cgroup);
    let leaf = match options.cgroup {
        Cgroup::Off => None,
        Cgroup::Auto => Leaf::create().ok(),
        Cgroup::Require => Some(Leaf::create().context("--cgroup require: cannot make a cgroup")?),
    };
    let spec = Spec {
        leaf: leaf.clone(),
        leaf_required: options.cgroup == Cgroup::Require,
        no_new_privileges: options.no_new_privs,
        niceness: None,
        pass_notify_socket: options.sd_pass,
        hand_on_sockets: std::env::var("LISTEN_PID").is_ok_and(|pid| pid == getpid().to_string()),
        argv: options.command.clone(),
        dispositions: dispositions.clone(),
    };
    let title = format!(
        "leaderrun: guardian of {}, election {}",
        getpid(),
        options.key
    );
    let mut caretaker = Caretaker::new(&config, &options.log);
    let forked = guardian::fork(spec, options.stop_signal, &title, &mut caretaker);
    let result = match forked.context("cannot start the guardian") {
        Ok(Side::Guardian(farewell)) => {
            let code = orphan::end(&options, &config, &mut caretaker, farewell);
            Ok(Ended::Guardian(code))
        }
        Ok(Side::Supervisor { guardian, socket }) => {
            // After the guardian, and without its socket: that one's end must show when we die.
            let (runner, socket) = fork_runner(&options, socket)?;
            let ward = Ward {
                guardian,
                socket,
                spared,
                leaf: leaf.clone(),
                hooks: runner.as_ref().map(|runner| runner.process.clone()),
            };
            supervise(options, config, dispositions, ward, runner, leftovers).map(Ended::Supervisor)
        }
        Err(error) => Err(error),
    };
    // Each of the two tries, since either may be the last; a leaf with something alive in it stays.
    if let Some(leaf) = leaf {
        leaf.remove();
    }
    Ok(match result? {
        Ended::Guardian(code) => code,
        Ended::Supervisor(ExitStatus::Signalled(signal) | ExitStatus::ToldToEnd(signal)) => {
            sys::die_by_signal(sys::SignalNumber(signal)).into()
        }
        Ended::Supervisor(status) => status.into(),
    })
}

/// Forks what runs the hook, if there is one. In the new process, does not return.
fn fork_runner(options: &RunOptions, guardian: SeqPacket) -> Result<(Option<Runner>, SeqPacket)> {
    let Some(command) = &options.hook else {
        return Ok((None, guardian));
    };
    match hooks::fork().context("cannot start the process that runs the hooks")? {
        hooks::Side::Supervisor(runner) => Ok((Some(runner), guardian)),
        hooks::Side::Runner(socket) => {
            drop(guardian);
            let title = format!(
                "leaderrun: hooks of {}, election {}",
                getppid(),
                options.key
            );
            hooks::live(socket, command, &title)
        }
    }
}

/// Which of the two processes has come to its end.
enum Ended {
    Guardian(ExitCode),
    Supervisor(ExitStatus),
}

fn supervise(
    options: RunOptions,
    config: Config,
    dispositions: Dispositions,
    ward: Ward,
    runner: Option<Runner>,
    leftovers: Vec<LogEvent>,
) -> Result<ExitStatus> {
    let log = Log::start(&options.log)?;
    for event in leftovers {
        log.event(event);
    }
    // The guardian of a supervisor that fails sees the socket close, and ends.
    let status = live(options, config, dispositions, ward, runner, &log).unwrap_or_else(|error| {
        log.event(LogEvent::error(format!("{error:#}")));
        ExitStatus::Failed
    });
    end_log(&log, status);
    Ok(status)
}

/// The life of the supervisor, from the start of its runtime to an exit status.
fn live(
    options: RunOptions,
    config: Config,
    dispositions: Dispositions,
    ward: Ward,
    runner: Option<Runner>,
    log: &Log,
) -> Result<ExitStatus> {
    for warning in options.access.warnings() {
        log.event(LogEvent::warning(warning));
    }
    let runtime = runtime::single_threaded().context("cannot start the runtime")?;
    let status = runtime.block_on(async {
        let mut signals = Signals::new().context("cannot take signals")?;
        let job = Job::new();
        let health = Health::new(&options.key, &options.id, options.timeline);
        // Lives as long as we do.
        let _listener = match &options.listen {
            Some(address) => {
                let bound = tokio::select! {
                    bound = Bound::new(address) => bound?,
                    signal = signals.next_to_end(&dispositions, &job) => {
                        return Ok(ExitStatus::ToldToEnd(signal.0));
                    }
                };
                log.event(LogEvent::Listening {
                    address: bound.address().to_owned(),
                });
                Some(Listener::start(bound, health.clone()).context("cannot listen")?)
            }
            None => None,
        };
        let watch = Watch::begin(ward).context("cannot watch the guardian")?;
        let hooks = Hooks::new(runner, log.clone()).context("cannot hear of the hooks")?;
        let election = election::spawn(config, Box::new(watch.lease_teller()));
        let mut supervisor = Supervisor {
            campaign: Campaign::begin(&options),
            hooks: Teller::new(hooks, &options),
            options,
            dispositions,
            log: log.clone(),
            watch,
            election,
            election_ended: false,
            state: State::Standby,
            trouble: TroubleReporter::new(),
            last_failure: None,
            job,
            asked_to_end: false,
            gone_by: None,
            systemd: Systemd::from_environment(),
            health,
            outage: None,
            warned_short: false,
        };
        let status = supervisor.live(&mut signals).await;
        supervisor.drain_hooks(&mut signals, status).await;
        supervisor.hooks.hooks.dismiss().await;
        // With a tree that could not be proven dead, the guardian goes on killing as an orphan.
        if status != ExitStatus::NotProven {
            supervisor.watch.dismiss();
        }
        anyhow::Ok(status)
    });
    // A name that is being resolved would otherwise be waited for, whatever has come of the rest.
    runtime.shutdown_background();
    status
}

/// Which of our standard streams the command may need again.
pub(super) fn streams_to_let_go(on_loss: OnLoss) -> &'static [i32] {
    match on_loss {
        // Standard error stays, for the log.
        OnLoss::Exit => &[nix::libc::STDIN_FILENO, nix::libc::STDOUT_FILENO],
        OnLoss::Campaign => &[],
    }
}
