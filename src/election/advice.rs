//! What a person should change about this etcd: found out once in a run, beside the campaign and never in its way.

use super::campaign::{CALL, Campaign};
use super::{Event, LeaseId};
use crate::clock::BootInstant;
use crate::etcd::Inquiry;

/// So many revisions that were never compacted are no accident of a young etcd any more: a leader alone writes them
/// in less than a month.
const MANY: i64 = 1_000_000;

impl Campaign {
    /// Begins to find out, in a task of its own, unless that was done before. What cannot be found out is left unsaid.
    pub(super) async fn seek_advice(&mut self) {
        if std::mem::replace(&mut self.advised, true) {
            return;
        }
        // There is one: the candidate's key has just been written over it.
        let Ok(connection) = self.pool.connect(BootInstant::now()).await else {
            return;
        };
        let (inquiry, key) = (connection.inquiry(), self.names.record.clone());
        let events = self.events();
        tokio::spawn(async move {
            for warning in advice(inquiry, &key, MANY).await {
                // A supervisor that is gone needs no telling.
                let _ = events.send(Event::Warning(warning));
            }
        });
    }

    /// Warns of a candidate with our identity. `others` are the candidates, as identity, lease and key.
    pub(super) fn warn_of_namesake<'a>(
        &mut self,
        mut others: impl Iterator<Item = (&'a str, LeaseId, &'a str)>,
    ) {
        if self.warned_namesake {
            return;
        }
        // What is left of an earlier candidacy of this run is no other's.
        let is_ours =
            |lease: LeaseId| self.held.lease == Some(lease) || self.held.stale.contains(&lease);
        let namesake = others.find(|(id, lease, _)| *id == self.config.id && !is_ours(*lease));
        if let Some((id, _, key)) = namesake {
            self.warned_namesake = true;
            self.warn(format!(
                "another candidate has our identity '{id}' (its key is {key}): give each an --id of its own, unless that one \
                 is an earlier run whose lease has not run out yet"
            ));
        }
    }
}

/// What is to be said of the etcd that is asked, a line each. `key` is any that we may read, `many` is how many
/// revisions are worth a warning if none was ever compacted.
pub async fn advice(mut inquiry: Inquiry, key: &str, many: i64) -> Vec<String> {
    let until = BootInstant::now() + CALL;
    let mut lines = Vec::new();
    if let Ok(version) = inquiry.version(until).await
        && lacks_lease_fixes(&version)
    {
        lines.push(format!(
            "etcd {version} at {}: leases can end there that were renewed a moment ago, which costs the leadership, though \
             never the promise: upgrade it to 3.4.31, 3.5.13 or later",
            inquiry.endpoint()
        ));
    }
    if let Ok(Some(revision)) = inquiry.uncompacted(key, until).await
        && revision > many
    {
        lines.push(format!(
            "this etcd has never been compacted, so it keeps all of its {revision} revisions, and each renewal adds one: start \
             it with --auto-compaction-mode=periodic --auto-compaction-retention=1h"
        ));
    }
    lines
}

/// Whether this version is from before the fixes of etcd issue 15247. Of one that cannot be read nothing is known.
fn lacks_lease_fixes(version: &str) -> bool {
    let number = |part: &str| {
        let digits = part.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse::<u64>().ok())
    };
    let mut parts = version.splitn(3, '.').map(number);
    let mut next = || parts.next().flatten();
    match (next(), next(), next()) {
        (Some(3), Some(4), Some(patch)) => patch < 31,
        (Some(3), Some(5), Some(patch)) => patch < 13,
        (Some(major), Some(minor), Some(_)) => (major, minor) < (3, 4),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixes_came_in_two_lines_of_versions() {
        let without = [
            "3.3.27",
            "3.4.0",
            "3.4.23",
            "3.4.30",
            "3.5.0-rc.1",
            "3.5.12",
            "2.3.8",
        ];
        for version in without {
            assert!(lacks_lease_fixes(version), "{version}");
        }
        let with = [
            "3.4.31",
            "3.4.33",
            "3.5.13",
            "3.5.30",
            "3.6.0",
            "3.6.0-rc.1",
            "3.10.1",
            "4.0.0",
            "",
            "3.4",
            "unknown",
        ];
        for version in with {
            assert!(!lacks_lease_fixes(version), "{version}");
        }
    }
}
