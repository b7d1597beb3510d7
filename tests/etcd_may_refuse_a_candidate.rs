//! A candidate that etcd does not allow all that a term needs: it says so, and nobody waits for it.

mod support;

use support::guarded::{Guarded, PASSWORD, USER, refusal, texts};
use support::*;

#[test]
fn a_missing_permission_is_refused_at_once_and_told() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    let message = refusal(guarded.candidate().key("/election/other"));
    assert!(
        message.contains("permission denied: the user \\\"scheduler\\\" needs a role")
            && message.contains(
                "/election/other.term, /election/other.resign and all keys with the prefix"
            ),
        "{message}"
    );
    guarded.etcd.assert_nothing_left();
    // Whatever is missing is found out before anybody may wait for it.
    for missing in [format!("{KEY}.term"), format!("{KEY}.resign")] {
        let role = ["role", "revoke-permission", USER, &missing];
        guarded.etcd.etcdctl(&role);
        for tries in [&["--try"][..], &[]] {
            let message = refusal(guarded.candidate().args(tries));
            assert!(message.contains("needs a role"), "{missing}: {message}");
            guarded.etcd.assert_nothing_left();
        }
        let role = ["role", "grant-permission", USER, "readwrite", &missing];
        guarded.etcd.etcdctl(&role);
    }
}

/// Others would wait for it, and it may not lead.
#[test]
fn a_standby_that_is_refused_leaves_its_place_until_it_is_not() {
    if !require_etcd() {
        return;
    }
    let guarded = Guarded::start(&[]);
    let etcd = &guarded.etcd;
    etcd.etcdctl(&["user", "add", &format!("other:{PASSWORD}")]);
    etcd.etcdctl(&["user", "grant-role", "other", USER]);
    let other = |id: &str| {
        let user = ["--user", "other", "--password-file"];
        let candidate = Candidate::new(etcd).id(id).ttl("3s").args(user);
        candidate.arg(guarded.password_file()).spawn()
    };
    let first = other("first");
    first.wait_elected();
    let refused = guarded.candidate().id("refused").ttl("3s").spawn();
    refused.wait_event("waiting");
    let last = other("last");
    last.wait_event("waiting");
    etcd.etcdctl(&["user", "revoke-role", USER, USER]);
    let stand = || etcd.keys(&format!("{KEY}/")).len();
    eventually(LIMIT, || stand() == 2);
    assert!(texts(&refused, "warning", "message").contains("needs a role"));
    first.signal(Signal::SIGTERM);
    last.wait_elected();
    etcd.etcdctl(&["user", "grant-role", USER, USER]);
    eventually(LIMIT, || stand() == 2);
    last.signal(Signal::SIGTERM);
    refused.wait_elected();
    guarded.end(&refused);
}
