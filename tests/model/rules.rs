//! The rules that can be left out, the settings in which they are tried, and the promises that they serve.

/// A rule of sections 3 to 5 of the design, or one that these lean on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A deadline is counted from the instant at which the renewal was sent.
    SentInstant,
    /// SIGKILL is due a margin before another may start.
    Margin,
    /// The guardian's timer stops and kills the command when no extension comes.
    Fence,
    /// A start whose stop instant has passed is refused.
    StartRefused,
    /// Renewals go on while a command that was asked to stop shuts down.
    PlannedStop,
    /// Once fencing has begun, no extension rescues the command.
    NoRescue,
    /// A term is recorded, and the record is respected.
    Record,
    /// A record is written under a comparison with our own candidate key.
    KeyCompared,
    /// A record is written under a comparison with the version seen before.
    RecordCompared,
    /// A renewal counts only once its transaction has succeeded.
    Confirmation,
    /// And only if keepalive and transaction were answered in the same raft term.
    SameRaftTerm,
    /// A record that is there is waited out before a term begins.
    TakeOverWait,
    /// The wait is counted since the record's present version was first seen.
    PresentVersion,
    /// A recorded deadline counts on the clock of its holder's boot only.
    OwnBoot,
    /// A record that is our own begins our term, though its answer was lost.
    OwnRecordFound,
    /// A record that has been waited out is taken over.
    RunsOut,
    /// Leadership is given up only once the process tree is empty.
    ReleaseOrder,
    /// The tree is empty when every descendant is dead, not the main process alone.
    Sweep,
    /// The end of a term removes a record only if it is ours.
    OwnRecordRemoved,
    /// The record is held while a tree that cannot be killed lives.
    HoldWhileAlive,
    /// An orphaned guardian gives back what its supervisor held.
    OrphanRelease,
    /// The first in the queue is next, and nobody else.
    Queue,
    /// A candidate whose key is gone joins again.
    Rejoin,
    /// The leader's own key is watched, and its loss is acted upon.
    KeyWatch,
}

/// Where the candidates are, and what may go wrong beside all that may go wrong everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Both on one host: they read the same clock.
    OneHost,
    /// The clocks show different times, and only their rate is the same.
    TwoHosts,
    /// The same, and B's clock gains a tick on A's while it waits.
    Drifting,
    /// On one host, and the command may withstand SIGKILL. Its holder is reachable from then on.
    Withstanding,
    /// B is no leaderrun, but a client that trusts leases alone. Nobody revokes or deletes by hand, and etcd
    /// ends the leases when they have run out.
    Foreign,
}

/// What has to hold in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// No two commands are alive at once.
    Exclusion,
    /// Tokens grow from one command to the next.
    Order,
    /// A command that was told to stop, because leadership is ending, is dead after the grace period.
    Finality,
    /// If no more fault happens, a command that was asked to stop may take its time.
    Patience,
    /// If no more fault happens, somebody leads after a while.
    SomebodyCanLead,
    /// If no more fault happens and nobody's host was lost, somebody leads after the grace period.
    PromptTakeOver,
}

impl Promise {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exclusion => "exclusion",
            Self::Order => "tokens in order",
            Self::Finality => "a stop is final",
            Self::Patience => "a planned stop takes its time",
            Self::SomebodyCanLead => "somebody can always lead again",
            Self::PromptTakeOver => "a take-over is prompt",
        }
    }
}
