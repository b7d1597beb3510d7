//! `/status`: one JSON object.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use super::View;
use crate::clock::BootInstant;
use crate::election::{LeaseId, Token};
use crate::report::escape::{cut, escape_json};
use crate::report::json::{maybe_hex, maybe_seconds};
use crate::report::reason::WaitReason;

#[derive(Serialize)]
struct Status<'a> {
    key: &'a str,
    id: &'a str,
    role: &'static str,
    leader: bool,
    ready: bool,
    token: Option<Token>,
    #[serde(serialize_with = "maybe_hex")]
    lease: Option<LeaseId>,
    since: Option<u64>,
    /// Until the stop signal, if no renewal follows.
    #[serde(serialize_with = "maybe_seconds")]
    stop_in: Option<Duration>,
    /// Until SIGKILL, likewise.
    #[serde(serialize_with = "maybe_seconds")]
    deadline_in: Option<Duration>,
    /// The process id of the command, while anything of it lives.
    command: Option<i32>,
    waiting: Option<WaitReason>,
    outage: Option<Cow<'a, str>>,
}

/// The text, with a line feed.
pub(super) fn text(view: &View) -> String {
    let standing = &view.notes.standing;
    let claim = standing.claim();
    let until = |at: BootInstant| at.saturating_since(view.now);
    let status = Status {
        key: &view.notes.key,
        id: &view.notes.id,
        role: view.role().name(),
        leader: standing.is_leader_at(view.now),
        ready: view.is_ready(),
        token: claim.map(|c| c.token),
        lease: claim.map(|c| c.lease),
        since: claim.map(|c| c.since),
        stop_in: claim.map(|c| until(c.stop_at())),
        deadline_in: claim.map(|c| until(c.deadline.0)),
        command: standing.command,
        waiting: standing
            .waiting
            .as_ref()
            .map(|wait| WaitReason::at(wait, view.now)),
        outage: standing.outage.as_deref().map(cut),
    };
    // Nothing in it can fail to be serialized.
    escape_json(&serde_json::to_string(&status).unwrap_or_default()) + "\n"
}
