use super::*;
use proptest::prelude::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let t = Timeline::new(&Settings::default()).unwrap();
    assert_eq!(t.ttl(), ms(15_000));
    assert_eq!(t.grace(), ms(5_000));
    assert_eq!(t.margin(), ms(1_500));
    assert_eq!(t.interval(), ms(2_125));
    assert_eq!(t.window(), ms(8_500));
    assert_eq!(t.outage(), ms(5_375));
    assert!(t.warning().is_none());
}

#[test]
fn a_grace_that_does_not_fit_names_the_smallest_ttl_that_does() {
    let settings = Settings {
        grace: Some(ms(30_000)),
        ..Settings::default()
    };
    let Err(TimelineError::DoesNotFit { smallest, .. }) = Timeline::new(&settings) else {
        panic!("a grace of 30s fits 15s");
    };
    assert!(
        Timeline::new(&Settings {
            ttl: smallest,
            ..settings
        })
        .is_ok()
    );
    assert!(
        Timeline::new(&Settings {
            ttl: smallest.saturating_sub(ms(1000)),
            ..settings
        })
        .is_err()
    );
}

#[test]
fn durations_are_shown_as_they_are_typed() {
    assert_eq!(show(ms(200)), "200ms");
    assert_eq!(show(ms(15_000)), "15s");
    assert_eq!(show(ms(8_500)), "8.5s");
    assert_eq!(show(ms(2_125)), "2.125s");
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let part = || proptest::option::of((0_u64..400_000).prop_map(ms));
    let ttl = prop_oneof![
        (0_u64..300).prop_map(|s| ms(s * 1000)),
        (0_u64..300_000).prop_map(ms),
        Just(MAX_TTL),
        Just(MAX_TTL + ms(1000)),
    ];
    (ttl, part(), part(), part()).prop_map(|(ttl, grace, margin, renew_interval)| Settings {
        ttl,
        grace,
        margin,
        renew_interval,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn an_accepted_timeline_keeps_its_order(settings in any_settings(), at in 0_u64..1 << 50) {
        let Ok(t) = Timeline::new(&settings) else { return Ok(()) };
        let sent = BootInstant::from_duration(Duration::from_nanos(at));
        let deadline = t.deadline(sent);
        let stop = deadline.stop_at(t.grace());
        let free = deadline.another_may_start(t.margin());
        prop_assert!(sent + t.interval() * 2 < stop, "two renewals before the stop signal");
        prop_assert!(stop <= deadline.0, "stop signal before SIGKILL");
        prop_assert!(deadline.0 < free, "SIGKILL before another may start");
        prop_assert_eq!(free, sent + t.ttl());
        prop_assert!(t.attempt() <= MAX_ATTEMPT && t.attempt() <= t.interval());
        prop_assert!(t.outage() < t.window());
        for (given, used) in [
            (settings.grace, t.grace()),
            (settings.margin, t.margin()),
            (settings.renew_interval, t.interval()),
        ] {
            prop_assert!(given.is_none_or(|g| g == used), "what is given is used");
        }
    }

    #[test]
    fn a_refusal_names_a_ttl_that_is_accepted(settings in any_settings()) {
        match Timeline::new(&settings) {
            Err(TimelineError::DoesNotFit { smallest, .. }) => {
                prop_assert!(smallest > settings.ttl);
                let with = |ttl| Settings { ttl, ..settings };
                prop_assert!(Timeline::new(&with(smallest)).is_ok());
                let less = smallest.saturating_sub(Duration::from_secs(1));
                prop_assert!(Timeline::new(&with(less)).is_err());
            }
            Err(TimelineError::FractionalTtl(ttl)) => prop_assert!(ttl.subsec_nanos() > 0),
            _ => {}
        }
    }

    #[test]
    fn defaults_fit_every_ttl(secs in 2_u64..=MAX_TTL.as_secs()) {
        let settings = Settings { ttl: Duration::from_secs(secs), ..Settings::default() };
        prop_assert!(Timeline::new(&settings).is_ok());
    }
}
