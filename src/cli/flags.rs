//! The options as clap knows them, and their help.
//!
//! Values are taken as they come: what an option's value has to be is decided in one place for
//! the command line and the environment alike, so that both get the same message.

use std::ffi::OsString;

use clap::{ArgAction, Args, Parser};

/// Run COMMAND only while leading the election KEY.
///
/// leaderrun campaigns for leadership in etcd, runs COMMAND once elected, and makes sure that its
/// whole process tree is dead before another leaderrun starts its own.
#[expect(clippy::struct_excessive_bools, reason = "these are flags")]
#[derive(Debug, Default, Parser)]
#[command(
    name = "leaderrun",
    version,
    override_usage = "leaderrun [run] [OPTIONS] --key KEY [--] COMMAND [ARG]...",
    after_help = "Every option --foo-bar has a variable LEADERRUN_FOO_BAR; the option wins.\n\
                  Exit status: the command's own, or 2 usage, 71 tree not proven dead, 75 leadership lost,\n\
                  124 not elected in time, 125 leaderrun failed, 126 cannot execute, 127 not found.\n\
                  Questions about an election: leaderrun status, observe, resign, verify; each has its own --help.\n\
                  For shells: leaderrun completions SHELL.\n\
                  See leaderrun(1).",
    args_override_self = false
)]
pub(super) struct Flags {
    /// The election: candidates are kept in etcd below KEY/, or in KEY itself
    ///
    /// All who name the same key in the same etcd cluster compete; one of them leads at a time.
    #[arg(short, long, value_name = "KEY", action = ArgAction::Append)]
    pub key: Vec<OsString>,

    /// How candidates stand in etcd: queue, single [default: queue]
    ///
    /// queue: below KEY/, in the order of their coming, together with etcdctl elect and lock. single: whoever
    /// creates KEY itself leads, together with clients of that recipe. All candidates have to use the same.
    #[arg(long, value_name = "queue|single")]
    pub layout: Option<OsString>,

    /// The identity that others see [default: host:pid]
    ///
    /// It is stored as the value of the candidate's key and need not be unique.
    #[arg(long, value_name = "ID")]
    pub id: Option<OsString>,

    /// The lease's time to live [default: 15s]
    ///
    /// A lost host or network is replaced after this time. Whole seconds, 2s or more. Durations
    /// are written as 15s, '1m 30s' or 500ms.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub ttl: Option<OsString>,

    /// From the stop signal to SIGKILL when leadership runs out [default: TTL/3]
    ///
    /// The longer it is, the shorter is the etcd outage that leadership survives; see --explain.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub grace: Option<OsString>,

    /// From SIGKILL to the instant another may start [default: TTL/10, 200ms to 2s]
    ///
    /// It covers the drift of clocks against each other, scheduling, and the death of the process tree.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub margin: Option<OsString>,

    /// Between two renewals of the lease [default: a quarter of what is left of the TTL]
    ///
    /// What is left of the TTL without margin and grace period has to hold two renewals or more.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub renew_interval: Option<OsString>,

    /// Give up at once if another leads
    ///
    /// The exit status is then 124, or that of --conflict-exit-code. It is 125 if etcd did not answer.
    #[arg(short = 'n', long = "try")]
    pub try_once: bool,

    /// Give up if not elected within DURATION [default: wait for ever]
    ///
    /// The exit status is then 124, or that of --conflict-exit-code. It is 125 if etcd never
    /// answered. 0s is the same as --try.
    #[arg(short, long, value_name = "DURATION", allow_hyphen_values = true)]
    pub wait: Option<OsString>,

    /// Exit status if not elected in time [default: 124]
    ///
    /// A number from 0 to 255; 0 suits a job that one host of many has to do.
    #[arg(short = 'E', long, value_name = "STATUS", allow_hyphen_values = true)]
    pub conflict_exit_code: Option<OsString>,

    /// After a lost leadership: exit with 75, or campaign again [default: exit]
    ///
    /// Either way only after the command's process tree is dead.
    #[arg(long, value_name = "exit|campaign")]
    pub on_loss: Option<OsString>,

    /// The signal that asks the command to stop [default: TERM]
    ///
    /// By name or number, with or without SIG.
    #[arg(long, value_name = "SIGNAL", allow_hyphen_values = true)]
    pub stop_signal: Option<OsString>,

    /// From a planned stop to SIGKILL [default: none, no limit]
    ///
    /// A stop is planned when leaderrun is told to stop: renewals then go on while the command
    /// shuts down. When leadership runs out, --grace counts instead.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub stop_timeout: Option<OsString>,

    /// Keep leadership at least so long since elected [default: 0s]
    ///
    /// Also when the command ends sooner: so a cron job on many hosts with clocks that differ runs once.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub min_hold: Option<OsString>,

    /// Run CMD by sh -c for each change: standby, elected, started, stopping, lost, ... [default: none]
    ///
    /// In order, one at a time, each for 5s at most; its environment tells what has changed. It delays nothing, it
    /// ends with leaderrun, and no hook of a term outlives the instant at which the command has to be dead.
    #[arg(long, value_name = "CMD", allow_hyphen_values = true)]
    pub hook: Option<OsString>,

    /// Put the command into a cgroup of its own: auto, require, off [default: auto]
    ///
    /// cgroup.kill then ends all of it in one step, also what runs as another user. It takes root or a
    /// delegated cgroup (systemd's Delegate=yes); auto does without where it cannot be had.
    #[arg(long, value_name = "auto|require|off")]
    pub cgroup: Option<OsString>,

    /// Let setuid programs below the command gain no privileges
    ///
    /// Without privileges, leaderrun could not kill them.
    #[arg(long)]
    pub no_new_privs: bool,

    /// When systemd takes the service for started: standby, leading [default: standby]
    #[arg(long, value_name = "standby|leading")]
    pub sd_ready: Option<OsString>,

    /// Hand systemd's notification socket to the command
    ///
    /// By default leaderrun itself speaks to systemd.
    #[arg(long)]
    pub sd_pass: bool,

    #[command(flatten)]
    pub etcd: EtcdFlags,

    /// Serve health and metrics at ADDR: HOST:PORT, :PORT or unix:PATH
    ///
    /// Plain HTTP: /livez, /readyz, /leaderz, /status and /metrics. Anybody who reaches ADDR may ask: use
    /// loopback or a private address. :PORT is all addresses; port 0 is any, which -v logs.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<OsString>,

    /// How leaderrun's own log is written [default: text]
    ///
    /// text for people; json for machines, one object a line.
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<OsString>,

    /// Append leaderrun's log to FILE instead of standard error
    ///
    /// The file is created if need be, and never truncated. - is standard error.
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<OsString>,

    /// Log errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log every renewal too
    #[arg(short, long)]
    pub verbose: bool,

    /// Print the timeline that the other options make, and exit
    ///
    /// It says when the stop signal and SIGKILL would come, and how long an etcd outage may last.
    /// Needs neither a key nor a command.
    #[arg(long)]
    pub explain: bool,

    /// The command and its arguments
    ///
    /// leaderrun's options come before it. Put -- before it if its name is one of leaderrun's own
    /// words (run, status, observe, resign, verify, completions, help).
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// Where etcd is, and what it wants to see of us.
#[expect(clippy::doc_markdown, reason = "the comments are the text of --help")]
#[derive(Debug, Default, Args)]
pub(super) struct EtcdFlags {
    /// Where etcd is, comma-separated [default: 127.0.0.1:2379]
    ///
    /// HOST:PORT, http://HOST:PORT or https://HOST:PORT, tried one at a time; without http or https,
    /// it is https if --cacert or --cert is given. ETCDCTL_ENDPOINTS serves where neither the option nor
    /// LEADERRUN_ENDPOINTS is given.
    #[arg(long, value_name = "LIST")]
    pub endpoints: Option<OsString>,

    /// The CA that has to have signed etcd's certificate [default: those that the system trusts]
    ///
    /// A PEM file, as all files of TLS; they are read anew for each connection. ETCDCTL_CACERT serves too.
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<OsString>,

    /// Our certificate, for an etcd that asks clients for one
    ///
    /// ETCDCTL_CERT serves too.
    #[arg(long, value_name = "FILE")]
    pub cert: Option<OsString>,

    /// The private key of --cert
    ///
    /// ETCDCTL_KEY serves too.
    #[arg(long, value_name = "FILE")]
    pub cert_key: Option<OsString>,

    /// The user, for an etcd that asks for one
    ///
    /// ETCDCTL_USER serves too.
    #[arg(long, value_name = "NAME")]
    pub user: Option<OsString>,

    /// The user's password: the only line of FILE
    ///
    /// It is read anew at each login. LEADERRUN_PASSWORD or ETCDCTL_PASSWORD serve too; there is no option
    /// for the password itself, which others could see.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<OsString>,
}
