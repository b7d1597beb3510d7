//! What the command and its descendants can know about their term.

use crate::cli::RunOptions;
use crate::election::{Ancestor, Term, Token};
use crate::etcd::{Access, Login, Password, SettingFile};
use crate::sys;

/// The variables to add to the command's environment.
pub fn of_command(options: &RunOptions, term: &Term) -> Vec<(String, String)> {
    let term = [
        ("LEADERRUN_LEADER_KEY", term.leader_key.clone()),
        ("LEADERRUN_TOKEN", term.token.to_string()),
        ("LEADERRUN_LEASE_ID", term.lease.to_string()),
        // Those that `etcdctl lock` gives its command.
        ("ETCD_LOCK_KEY", term.leader_key.clone()),
        ("ETCD_LOCK_REV", term.token.to_string()),
    ];
    let term = term.map(|(name, value)| (name.to_owned(), value));
    of_election(options).into_iter().chain(term).collect()
}

/// Those that need no term.
pub fn of_election(options: &RunOptions) -> Vec<(String, String)> {
    [
        ("LEADERRUN_KEY", options.key.clone()),
        ("LEADERRUN_ID", options.id.clone()),
        ("LEADERRUN_ENDPOINTS", options.endpoints.clone()),
    ]
    .into_iter()
    .chain(of_access(&options.access))
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// What lets the command into etcd as it does us, but for a password that is in no file.
fn of_access(access: &Access) -> impl Iterator<Item = (&'static str, String)> {
    let path = |file: &SettingFile| file.path.to_string_lossy().into_owned();
    let identity = access.tls.identity.as_ref();
    let password = access
        .login
        .as_ref()
        .and_then(|login| match &login.password {
            Password::File(file) => Some(file),
            Password::Given { .. } => None,
        });
    [
        ("LEADERRUN_CACERT", access.tls.ca.as_ref().map(path)),
        ("LEADERRUN_CERT", identity.map(|i| path(&i.cert))),
        ("LEADERRUN_CERT_KEY", identity.map(|i| path(&i.key))),
        // Without its password it would only hide etcdctl's variables.
        (
            "LEADERRUN_USER",
            password.and(access.login.as_ref()).map(user),
        ),
        ("LEADERRUN_PASSWORD_FILE", password.map(path)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

fn user(login: &Login) -> String {
    login.user.clone()
}

/// The term on `key` that an ancestor of this process says it holds, if one does: a run under it would
/// wait for itself for ever.
///
/// The environment knows the nearest term only, which may be one on another key. Those further up are in
/// the environments of the processes above: each guardian was started with the one that it replaced.
pub fn nearest_ancestor(key: &str) -> Option<Ancestor> {
    ancestor(key, |name| std::env::var(name).ok()).or_else(|| {
        let above = sys::environments_above();
        above
            .iter()
            .find_map(|environment| ancestor(key, |name| environment.get(name).cloned()))
    })
}

fn ancestor(key: &str, lookup: impl Fn(&str) -> Option<String>) -> Option<Ancestor> {
    if lookup("LEADERRUN_KEY")? != key {
        return None;
    }
    Some(Ancestor {
        leader_key: lookup("LEADERRUN_LEADER_KEY")?,
        token: Token(lookup("LEADERRUN_TOKEN")?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ancestor_is_one_on_the_same_key_only() {
        let lookup = |name: &str| {
            Some(match name {
                "LEADERRUN_KEY" => "/a".to_owned(),
                "LEADERRUN_LEADER_KEY" => "/a/1f".to_owned(),
                "LEADERRUN_TOKEN" => "7".to_owned(),
                _ => return None,
            })
        };
        let found = Ancestor {
            leader_key: "/a/1f".to_owned(),
            token: Token(7),
        };
        assert_eq!(ancestor("/a", lookup), Some(found));
        assert_eq!(ancestor("/b", lookup), None);
        assert_eq!(ancestor("/a", |_| None), None);
    }
}
