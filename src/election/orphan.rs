//! What a guardian's process does in etcd once its supervisor is gone: holds the term while the process tree
//! cannot be killed, and gives back what is left when it is empty.

use tokio::sync::mpsc::UnboundedSender;

use super::campaign::{Campaign, Held};
use super::candidate::{Candidate, Granted};
use super::names::Names;
use super::release::release;
use super::renewal::{Tenure, Version};
use super::{Config, Event, GivenUp, LeaseId, Loss, Tenancy};
use crate::clock::BootInstant;
use crate::etcd::Pool;
use crate::timing::{Settings, Timeline, TimelineError};

/// Goes on holding the term of a supervisor that is gone, over a process tree that cannot be killed, as the
/// supervisor itself would after a loss: record and lease are kept, no command starts. Never returns; the
/// caller drops it, and then releases.
///
/// # Errors
/// If the granted TTL of the term does not fit the settings, with which it could not have begun.
pub async fn hold_orphan(
    config: Config,
    tenancy: Tenancy,
    events: UnboundedSender<Event>,
) -> Result<(), TimelineError> {
    let timeline = Timeline::new(&Settings {
        ttl: tenancy.ttl,
        ..config.settings
    })?;
    let mut campaign = Campaign::new(config, events, Box::new(|_| {}));
    let tenure = Tenure {
        candidate: Candidate {
            key: campaign.names.candidate(tenancy.lease),
            granted: Granted {
                lease: tenancy.lease,
                timeline,
                confirmed: BootInstant::now(),
            },
            token: tenancy.token,
        },
        // Which version stands is found out by the first attempt.
        version: Version::Absent,
        since: tenancy.since,
        announced: true,
        resign: false,
        lost: Some(Loss::KeyLost),
        record_gone: false,
    };
    campaign.outlive(tenure).await;
    Ok(())
}

/// Releases the leadership, or the place in the queue, of a supervisor that was killed.
///
/// `lease` is the candidacy's lease as it was announced before it was granted; that is enough to
/// find the rest; `led` tells whether a command ran under it. The caller has to know that the process
/// tree is empty. Tells what there was.
///
/// # Errors
/// What went wrong last, if etcd could not be told by `until`.
pub async fn release_orphan(
    config: &Config,
    lease: LeaseId,
    led: bool,
    until: BootInstant,
) -> Result<GivenUp, String> {
    let mut pool = Pool::new(config.endpoints.clone(), config.access.clone());
    let held = Held {
        lease: Some(lease),
        begun: true,
        led,
        ..Held::default()
    };
    release(
        &mut pool,
        &Names::new(&config.key, config.layout),
        &held,
        until,
    )
    .await
}
