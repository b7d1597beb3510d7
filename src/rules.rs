//! A way for the tests to switch one rule of the promise off, and see the rule's test fail.
//!
//! Compiled to nothing unless the crate is built with the feature `break-rules`, which no release
//! is. With it, `LEADERRUN_BREAK=sweep` and the like make this run break that rule.

/// A rule that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A term is recorded, and the record is respected (take the lease for proof instead).
    Record,
    /// A renewal counts only once its transaction succeeded in the keepalive's raft term.
    Confirmation,
    /// A record that is there is waited out before a term begins.
    TakeOverWait,
    /// A deadline is counted from the instant at which the renewal was sent, not answered.
    SentInstant,
    /// Every descendant is killed and waited for, not the main process alone.
    Sweep,
    /// Leadership is given up only once the process tree is empty.
    ReleaseOrder,
    /// The guardian's timer stops and kills the command when no extension comes.
    Fence,
    /// Once fencing has begun, no extension rescues the command.
    NoRescue,
    /// The command dies with the guardian.
    ParentDeathSignal,
    /// The supervisor kills a guardian that is stopped or does not answer.
    GuardianWatch,
    /// An orphaned guardian releases what its supervisor held.
    OrphanRelease,
    /// The leader's own key is watched, and its loss is acted upon.
    KeyWatch,
    /// The guardian lives in a process group of its own.
    OwnGroup,
    /// A guardian never blocks on a full queue to its supervisor.
    NeverBlock,
    /// Renewals go on while a tree that cannot be killed lives.
    HoldWhileAlive,
}

#[cfg(feature = "break-rules")]
impl Rule {
    fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }

    /// Whether this run is to break the rule.
    pub fn is_off(self) -> bool {
        std::env::var("LEADERRUN_BREAK").is_ok_and(|list| list.split(',').any(|n| n == self.name()))
    }
}

#[cfg(not(feature = "break-rules"))]
impl Rule {
    /// Whether this run is to break the rule: never, in a build without `break-rules`.
    #[inline]
    pub const fn is_off(self) -> bool {
        let _ = self;
        false
    }
}
