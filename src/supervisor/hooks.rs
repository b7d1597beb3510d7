//! What the user's hook is told, and of which term: the events of a run as hooks know them.
//!
//! The supervisor calls this where it logs. Nothing here waits, and nothing comes back from it.

use serde::Serialize;

use crate::cli::RunOptions;
use crate::clock::BootInstant;
use crate::election::{Leader, Term, Token};
use crate::hooks::{HookEvent, Hooks, Order};
use crate::report::{LossReason, StopReason, cut};
use crate::supervisor::environment;

/// What a term ends for if nobody asked it to.
const COMMAND_EXITED: &str = "command-exited";

/// See the module's head.
pub struct Teller {
    /// What runs them.
    pub hooks: Hooks,
    id: String,
    /// What every hook's environment begins with.
    election: Vec<(String, String)>,
    term: Option<OurTerm>,
}

/// The term that this candidate has, from the election to the release.
struct OurTerm {
    token: Token,
    variables: Vec<(String, String)>,
    /// When the tree has to be dead, and whatever acts within the term.
    dead_by: BootInstant,
    /// Whether that moves no more, as the fence has begun.
    fenced: bool,
    /// Whether the command was started.
    started: bool,
    /// Why the command was asked to stop, if it was.
    reason: Option<String>,
}

impl Teller {
    /// One that has told nothing yet.
    pub fn new(hooks: Hooks, options: &RunOptions) -> Self {
        Self {
            hooks,
            id: options.id.clone(),
            election: environment::of_election(options),
            term: None,
        }
    }

    /// This candidate stands for election.
    pub fn standby(&mut self) {
        let variables = self.election.clone();
        self.push(HookEvent::Standby, variables, None, None);
    }

    /// Another leads.
    pub fn new_leader(&mut self, leader: &Leader) {
        let mut variables = self.election.clone();
        variables.push(("LEADERRUN_TOKEN".to_owned(), leader.token.to_string()));
        self.push(
            HookEvent::NewLeader,
            variables,
            Some(variable(&leader.name)),
            None,
        );
    }

    /// We lead.
    pub fn elected(&mut self, options: &RunOptions, term: &Term) {
        if !self.hooks.are_run() {
            return;
        }
        self.new_leader(&Leader {
            token: term.token,
            name: self.id.clone(),
            since: None,
        });
        self.term = Some(OurTerm {
            token: term.token,
            variables: environment::of_command(options, term),
            dead_by: term.deadline.0,
            fenced: false,
            started: false,
            reason: None,
        });
        self.tell(HookEvent::Elected, None);
    }

    /// The command runs.
    pub fn started(&mut self) {
        if let Some(term) = &mut self.term {
            term.started = true;
            self.tell(HookEvent::Started, None);
        }
    }

    /// A renewal is confirmed.
    pub fn extended(&mut self, deadline: BootInstant) {
        if let Some(term) = &mut self.term
            && !term.fenced
        {
            term.dead_by = term.dead_by.max(deadline);
            self.hooks.fence(term.token, term.dead_by);
        }
    }

    /// The tree gets SIGKILL at `at` if it is not dead before, and no renewal changes that.
    pub fn fenced(&mut self, at: BootInstant) {
        if let Some(term) = &mut self.term {
            term.fenced = true;
            term.dead_by = term.dead_by.min(at);
            self.hooks.fence(term.token, term.dead_by);
        }
    }

    /// The command is asked to stop.
    pub fn stopping(&mut self, reason: StopReason) {
        let reason = name(reason);
        if let Some(term) = &mut self.term {
            term.reason = Some(reason.clone());
        }
        self.tell(HookEvent::Stopping, Some(reason));
    }

    /// The tree is empty.
    pub fn stopped(&mut self) {
        if self.term.as_ref().is_some_and(|term| term.started) {
            self.tell(HookEvent::Stopped, self.reason());
        }
    }

    /// The leadership was lost.
    pub fn lost(&mut self, reason: LossReason) {
        let reason = name(reason);
        if let Some(term) = &mut self.term {
            term.reason = Some(reason.clone());
        }
        self.tell(HookEvent::Lost, Some(reason));
    }

    /// What was held in etcd is given back. A place in the queue that was never a term is nothing to tell of.
    pub fn released(&mut self) {
        self.tell(HookEvent::Released, self.reason());
        self.term = None;
    }

    fn reason(&self) -> Option<String> {
        let term = self.term.as_ref()?;
        Some(term.reason.as_deref().unwrap_or(COMMAND_EXITED).to_owned())
    }

    /// Tells of something in our term; without one, there is nothing to tell.
    fn tell(&mut self, event: HookEvent, reason: Option<String>) {
        if let Some(term) = &self.term {
            let (variables, leader) = (term.variables.clone(), self.id.clone());
            self.push(event, variables, Some(leader), reason);
        }
    }

    fn push(
        &mut self,
        event: HookEvent,
        mut variables: Vec<(String, String)>,
        leader: Option<String>,
        reason: Option<String>,
    ) {
        let about = [
            ("LEADERRUN_HOOK_EVENT", Some(event.name().to_owned())),
            ("LEADERRUN_HOOK_LEADER", leader),
            ("LEADERRUN_HOOK_REASON", reason),
        ];
        variables.extend(
            about
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
        let term = self.term.as_ref().filter(|_| event.is_of_term());
        self.hooks.push(Order {
            event,
            variables,
            fence: term.map(|term| (term.token, term.dead_by)),
        });
    }
}

/// An identity as the value of a variable: itself, for scripts to compare, but that a foreign candidate's may be a
/// megabyte, and that no variable can hold a NUL.
fn variable(identity: &str) -> String {
    cut(identity).replace('\0', "\u{fffd}")
}

/// A reason by the name that it has in the log.
fn name(reason: impl Serialize) -> String {
    let name = serde_json::to_value(reason).ok();
    let name = name.as_ref().and_then(|value| value.as_str());
    name.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_stays_itself_as_far_as_a_variable_can_hold_it() {
        assert_eq!(variable("a\u{202e}b\n\\"), "a\u{202e}b\n\\");
        assert_eq!(variable("a\0b"), "a\u{fffd}b");
        assert!(variable(&"é".repeat(1 << 20)).len() < 4096);
    }
}
