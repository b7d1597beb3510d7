//! What the guardian leaves to others: the rest of its work, and the term that it cannot give back yet.

use crate::election::{LeaseId, Tenancy};
use crate::guardian::message::FromGuardian;

/// How the guardian's work has ended. The process tree is empty in either case.
#[derive(Clone, Debug, PartialEq)]
pub enum Farewell {
    /// Nothing is left to do.
    Dismissed,
    /// The supervisor is gone.
    Orphaned {
        /// Its lease, if that is still to be given back.
        lease: Option<LeaseId>,
        /// Whether a command ran under that lease.
        led: bool,
        /// What it would have been told since.
        untold: Vec<FromGuardian>,
    },
}

/// Takes the place of a supervisor that is gone, while the tree withstands SIGKILL.
///
/// Nothing here may block: the guardian goes on killing meanwhile.
pub trait Successor: std::fmt::Debug {
    /// Begins to hold the term. Called once at most.
    fn hold(&mut self, tenancy: &Tenancy);
    /// What the supervisor would have been told; only after [`Self::hold`].
    fn hear(&mut self, word: FromGuardian);
}
