//! The keys of one election, and which of the keys under it are candidates.

use super::{Layout, LeaseId};

/// The names that follow from `KEY`.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// `KEY` itself: the candidate key of the single layout.
    pub key: String,
    pub layout: Layout,
    /// `KEY/`, under which the candidates queue.
    pub prefix: String,
    /// `KEY.term`, the record.
    pub record: String,
    /// `KEY.resign`, by which the leader is asked to step down.
    pub resign: String,
}

impl Names {
    pub fn new(key: &str, layout: Layout) -> Self {
        Self {
            key: key.to_owned(),
            layout,
            prefix: format!("{key}/"),
            record: format!("{key}.term"),
            resign: format!("{key}.resign"),
        }
    }

    /// The candidate key of a lease: as `clientv3/concurrency` names it, or the one that all want.
    pub fn candidate(&self, lease: LeaseId) -> String {
        match self.layout {
            Layout::Queue => format!("{}{lease}", self.prefix),
            Layout::Single => self.key.clone(),
        }
    }

    /// The lease in a candidate key's name; `None` for a key that is no candidate's.
    pub fn lease_in(&self, key: &[u8]) -> Option<LeaseId> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?;
        let hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if rest.is_empty() || !rest.iter().all(hex) {
            return None;
        }
        let digits = std::str::from_utf8(rest).ok()?;
        let lease = i64::from_str_radix(digits, 16).ok()?;
        // To etcd, lease 0 is none.
        (lease > 0).then_some(LeaseId(lease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_lower_case_hex_right_under_the_key_is_a_candidate() {
        let names = Names::new("/e/x", Layout::Queue);
        let lease = |key: &str| names.lease_in(key.as_bytes());
        assert_eq!(
            lease("/e/x/694d8f5a1b2c3d4e"),
            Some(LeaseId(0x694d_8f5a_1b2c_3d4e))
        );
        assert_eq!(lease("/e/x/0a"), Some(LeaseId(10)));
        for foreign in [
            "/e/x/",
            "/e/x/A",
            "/e/x/1/2",
            "/e/x/config",
            "/e/x/-1",
            "/e/x/+1",
            "/e/y/1",
            "/e/x.term",
        ] {
            assert_eq!(lease(foreign), None, "{foreign}");
        }
        // No lease has more than 63 bits, or none at all.
        for none in ["8000000000000000", "0", "00"] {
            assert_eq!(lease(&format!("/e/x/{none}")), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn every_lease_is_found_in_the_name_of_its_key(id in 1_i64..) {
            let names = Names::new("k", Layout::Queue);
            prop_assert_eq!(names.lease_in(names.candidate(LeaseId(id)).as_bytes()), Some(LeaseId(id)));
        }
    }
}
