//! `/metrics`: the text exposition format of Prometheus, version 0.0.4.
//!
//! A dozen metrics do not need a library. Names have their units, times are in seconds, and each sample has
//! the election as its label `name`, which is what client-go calls it. What is not known is left out.
//! See "Exposition formats" and "Metric and label naming" in Prometheus's documentation; `promtool check
//! metrics` holds the text to both.

use std::fmt::{Display, Write};

use super::{Role, View};

/// The content type of the text.
pub(super) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text.
pub(super) fn text(view: &View) -> String {
    let mut page = Page::of(&view.notes.key);
    election(&mut page, view);
    term(&mut page, view);
    counts(&mut page, view);
    page.text
}

fn election(page: &mut Page, view: &View) {
    let standing = &view.notes.standing;
    page.family(
        "leader_election_master_status",
        "gauge",
        "Whether this is the leader (1) or not (0), as client-go tells it. Group by name.",
    );
    page.sample(&[], u8::from(standing.is_leader_at(view.now)));
    page.family(
        "leaderrun_info",
        "gauge",
        "The version of leaderrun and the identity in the election; always 1.",
    );
    page.sample(
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("id", &view.notes.id),
        ],
        1,
    );
    page.family(
        "leaderrun_role",
        "gauge",
        "1 for the present role, 0 for the others.",
    );
    for role in Role::ALL {
        page.sample(&[("role", role.name())], u8::from(role == view.role()));
    }
    page.family(
        "leaderrun_command_running",
        "gauge",
        "1 from the start of the command until all of its processes are dead.",
    );
    page.sample(&[], u8::from(standing.command.is_some()));
    page.family(
        "leaderrun_etcd_failing",
        "gauge",
        "1 if the last that was heard from etcd, or was not heard, was a failure.",
    );
    page.sample(&[], u8::from(standing.outage.is_some()));
}

fn term(page: &mut Page, view: &View) {
    let claim = view.notes.standing.claim();
    let timeline = claim.map_or(&view.notes.timeline, |claim| &claim.timeline);
    for (name, help, value) in [
        (
            "leaderrun_ttl_seconds",
            "The time to live of the lease.",
            timeline.ttl(),
        ),
        (
            "leaderrun_margin_seconds",
            "From SIGKILL to the instant at which another may start.",
            timeline.margin(),
        ),
    ] {
        page.family(name, "gauge", help);
        page.sample(&[], value.as_secs_f64());
    }
    if let Some(claim) = claim {
        page.family(
            "leaderrun_token",
            "gauge",
            "The fencing token of the present term.",
        );
        page.sample(&[], claim.token);
        page.family(
            "leaderrun_stop_remaining_seconds",
            "gauge",
            "Time until the stop signal to the command if no renewal follows; negative afterwards.",
        );
        page.sample(&[], claim.stop_at().seconds_since(view.now));
        page.family(
            "leaderrun_deadline_remaining_seconds",
            "gauge",
            "Time until SIGKILL to the command if no renewal follows; negative afterwards.",
        );
        page.sample(&[], claim.deadline.0.seconds_since(view.now));
    }
}

fn counts(page: &mut Page, view: &View) {
    let tally = &view.notes.tally;
    page.family(
        "leaderrun_transitions_total",
        "counter",
        "Changes of the role, by the new one.",
    );
    for (role, count) in tally.transitions() {
        page.sample(&[("role", role.name())], count);
    }
    page.family(
        "leaderrun_losses_total",
        "counter",
        "Leaderships lost, by the reason.",
    );
    for (reason, count) in tally.losses() {
        page.sample(&[("reason", reason.name())], count);
    }
    page.family(
        "leaderrun_renewals_total",
        "counter",
        "Renewals, by their result; the first of a term is its beginning.",
    );
    page.sample(&[("result", "confirmed")], tally.latency.count);
    page.sample(&[("result", "failed")], tally.renewals_failed);
    let name = "leaderrun_renewal_duration_seconds";
    page.family(
        name,
        "histogram",
        "Confirmed renewals, from their sending to their confirmation.",
    );
    for (bound, count) in tally.latency.cumulative() {
        page.part("_bucket", &[("le", &bound.to_string())], count);
    }
    page.part("_bucket", &[("le", "+Inf")], tally.latency.count);
    page.part("_sum", &[], tally.latency.sum);
    page.part("_count", &[], tally.latency.count);
    if let Some(headroom) = tally.headroom {
        page.family(
            "leaderrun_last_fence_headroom_seconds",
            "gauge",
            "Time that was left until another could have started when the last fenced command was dead.",
        );
        page.sample(&[], headroom);
    }
}

/// Text under construction.
struct Page {
    text: String,
    family: &'static str,
    /// The label that all samples have.
    election: String,
}

impl Page {
    fn of(key: &str) -> Self {
        Self {
            text: String::new(),
            family: "",
            election: label("name", key),
        }
    }

    /// Begins a metric. Metrics must not be mixed.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}{{{}", self.family, self.election);
        for (name, value) in labels {
            let _ = write!(self.text, ",{}", label(name, value));
        }
        let _ = writeln!(self.text, "}} {value}");
    }
}

fn label(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}
