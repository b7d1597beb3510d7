//! Where a run stands, in a line for `systemctl status`.

use crate::election::Wait;
use crate::report::{LossReason, escape};
use crate::supervisor::Supervisor;
use crate::supervisor::state::{Cause, State};

impl Supervisor {
    /// Tells systemd, if it has changed.
    pub(super) fn tell_status(&mut self) {
        if self.systemd.listens() {
            let status = self.status();
            self.systemd.status(&status);
        }
    }

    fn status(&self) -> String {
        let id = escape(&self.options.id);
        match &self.state {
            State::Standby if !self.campaign.stands => match &self.outage {
                Some((outage, error)) => format!("connecting, but {outage}: {error}"),
                None => "connecting, to join the election".to_owned(),
            },
            State::Standby => match (&self.outage, &self.campaign.waiting) {
                (Some((outage, error)), _) => format!("standby, but {outage}: {error}"),
                (None, None) => "standby, joining the election".to_owned(),
                (None, Some(Wait::Queue { leader, ahead })) => {
                    format!("standby behind {ahead}, {} leads", escape(leader))
                }
                (None, Some(Wait::Record { holder, .. })) => match holder {
                    Some(token) => {
                        format!(
                            "standby, next in line once the term with token {token} has run out"
                        )
                    }
                    None => "standby, next in line once the last term has run out".to_owned(),
                },
            },
            State::Elected(term) => format!("elected as {id} with token {}", term.token),
            State::Running(run) => {
                let token = run.term.token;
                match (run.cause, &self.outage) {
                    (Some(Cause::Lost(LossReason::Resigned)), _) => {
                        format!("asked to resign from token {token}, stopping the command")
                    }
                    (Some(Cause::Lost(_)), _) => {
                        format!("lost the leadership with token {token}, stopping the command")
                    }
                    (Some(_), _) => {
                        format!("leading as {id} with token {token} until the command has stopped")
                    }
                    (None, Some((_, error))) => format!(
                        "leading as {id} with token {token}, but the last renewal failed: {error}"
                    ),
                    (None, None) => format!("leading as {id} with token {token}"),
                }
            }
            State::Holding { term, .. } => {
                let token = term.token;
                format!("leading as {id} with token {token}, the command is done (--min-hold)")
            }
            State::Releasing { .. } => "giving up the leadership".to_owned(),
            State::Leaving { .. } => "leaving the election".to_owned(),
            State::Done(_) => "done".to_owned(),
        }
    }
}
