//! etcd does not answer, for an hour: one warning for each new reason, and a reminder a minute.

use std::time::Duration;

use super::event::LogEvent;
use crate::clock::BootInstant;
use crate::election::Outage;

/// How often one is reminded of trouble that goes on.
const REMINDER: Duration = Duration::from_secs(60);
/// How many reasons are told apart. A rotation over several endpoints brings a few in turn, which
/// is one trouble and not a change of reason each time.
const REASONS: usize = 16;

/// Decides which failures, out of many, are worth a line. Pure: it is told the time.
#[derive(Debug, Default)]
pub struct TroubleReporter {
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: BootInstant,
    last_said: BootInstant,
    outage: Outage,
    suppressed: u64,
    reasons: Vec<String>,
}

impl TroubleReporter {
    /// All is well so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// An attempt has failed for `reason`: the warning to log, if any.
    pub fn failed(&mut self, outage: Outage, reason: &str, now: BootInstant) -> Option<LogEvent> {
        let Some(trouble) = &mut self.trouble else {
            self.trouble = Some(Trouble {
                since: now,
                last_said: now,
                outage,
                suppressed: 0,
                reasons: vec![reason.to_owned()],
            });
            return Some(trying_again(outage, reason));
        };
        trouble.outage = outage;
        let is_new = !trouble.reasons.iter().any(|known| known == reason);
        if !is_new && now.saturating_since(trouble.last_said) < REMINDER {
            trouble.suppressed += 1;
            return None;
        }
        if is_new {
            if trouble.reasons.len() == REASONS {
                trouble.reasons.remove(0);
            }
            trouble.reasons.push(reason.to_owned());
        }
        trouble.last_said = now;
        let suppressed = std::mem::take(&mut trouble.suppressed);
        let Some(lasted) = whole_seconds(now.saturating_since(trouble.since)) else {
            return Some(trying_again(outage, reason));
        };
        let what = match outage {
            Outage::Silent => "has not answered",
            Outage::Full => "has not written",
            Outage::Refusing => "has refused us",
        };
        Some(LogEvent::warning(format!(
            "etcd {what} for {lasted}{}: {reason}",
            also(suppressed)
        )))
    }

    /// An attempt has succeeded: what to log if there was trouble before.
    pub fn answered(&mut self, now: BootInstant) -> Option<LogEvent> {
        let trouble = self.trouble.take()?;
        let what = match trouble.outage {
            Outage::Silent => "answers",
            Outage::Full => "writes",
            Outage::Refusing => "lets us in",
        };
        let lasted = whole_seconds(now.saturating_since(trouble.since));
        Some(LogEvent::warning(format!(
            "etcd {what} again{}{}",
            lasted.map_or_else(String::new, |lasted| format!(" after {lasted}")),
            also(trouble.suppressed)
        )))
    }
}

fn trying_again(outage: Outage, reason: &str) -> LogEvent {
    LogEvent::warning(format!("{outage}, trying again: {reason}"))
}

/// `None` for what is too short to be worth a number.
fn whole_seconds(d: Duration) -> Option<String> {
    let whole = Duration::from_secs(d.as_secs());
    (!whole.is_zero()).then(|| humantime::format_duration(whole).to_string())
}

fn also(suppressed: u64) -> String {
    match suppressed {
        0 => String::new(),
        1 => " (1 failure not shown)".to_owned(),
        n => format!(" ({n} failures not shown)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> BootInstant {
        BootInstant::from_duration(Duration::from_secs(1000 + secs))
    }

    fn said(event: Option<LogEvent>) -> Option<String> {
        event.map(|e| match e {
            LogEvent::Warning { message } => message,
            other => panic!("not a warning: {other:?}"),
        })
    }

    #[test]
    fn one_warning_for_each_reason_a_reminder_a_minute_and_the_end() {
        let mut reporter = TroubleReporter::new();
        assert_eq!(said(reporter.answered(at(0))), None);
        assert_eq!(
            said(reporter.failed(Outage::Silent, "refused", at(0))).unwrap(),
            "etcd does not answer, trying again: refused"
        );
        for s in 1..10 {
            assert_eq!(
                said(reporter.failed(Outage::Silent, "refused", at(s))),
                None
            );
        }
        assert_eq!(
            said(reporter.failed(Outage::Silent, "timed out", at(10))).unwrap(),
            "etcd has not answered for 10s (9 failures not shown): timed out"
        );
        assert_eq!(
            said(reporter.failed(Outage::Silent, "refused", at(69))),
            None
        );
        assert_eq!(
            said(reporter.failed(Outage::Silent, "refused", at(70))).unwrap(),
            "etcd has not answered for 1m 10s (1 failure not shown): refused"
        );
        assert_eq!(
            said(reporter.answered(at(75))).unwrap(),
            "etcd answers again after 1m 15s"
        );
        assert!(
            reporter.failed(Outage::Silent, "refused", at(80)).is_some(),
            "a new bout of trouble"
        );
    }

    #[test]
    fn what_lasted_less_than_a_second_has_no_number() {
        let mut reporter = TroubleReporter::new();
        let soon = at(0) + Duration::from_millis(87);
        reporter.failed(Outage::Silent, "refused", at(0));
        assert_eq!(
            said(reporter.failed(Outage::Silent, "timed out", soon)).unwrap(),
            "etcd does not answer, trying again: timed out"
        );
        assert_eq!(said(reporter.answered(soon)).unwrap(), "etcd answers again");
    }

    #[test]
    fn a_full_etcd_is_not_said_to_be_silent() {
        let mut reporter = TroubleReporter::new();
        let mut full = |s| said(reporter.failed(Outage::Full, "no space", at(s)));
        assert_eq!(
            full(0).unwrap(),
            "etcd answers but does not write, trying again: no space"
        );
        assert_eq!(full(60).unwrap(), "etcd has not written for 1m: no space");
        assert_eq!(
            said(reporter.answered(at(61))).unwrap(),
            "etcd writes again after 1m 1s"
        );
    }

    #[test]
    fn an_etcd_that_refuses_is_not_said_to_be_silent() {
        let mut reporter = TroubleReporter::new();
        let mut refused = |s| said(reporter.failed(Outage::Refusing, "denied", at(s)));
        assert_eq!(refused(0).unwrap(), "etcd refuses us, trying again: denied");
        assert_eq!(refused(60).unwrap(), "etcd has refused us for 1m: denied");
        assert_eq!(
            said(reporter.answered(at(61))).unwrap(),
            "etcd lets us in again after 1m 1s"
        );
    }

    #[test]
    fn a_rotation_over_endpoints_is_one_trouble() {
        let mut reporter = TroubleReporter::new();
        let lines = (0..59)
            .filter_map(|s| {
                reporter.failed(
                    Outage::Silent,
                    ["a: refused", "b: refused", "c: refused"][s % 3],
                    at(s as u64),
                )
            })
            .count();
        assert_eq!(lines, 3);
    }
}
