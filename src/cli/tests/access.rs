//! TLS and the login: which source counts, what belongs together, and that no message shows a password.

use super::*;
use crate::etcd::{Login, Password, Secret, SettingFile};

fn access(args: &[&str], env: &[(&str, &str)]) -> Access {
    run(&[&["-k", "k"], args, &["true"]].concat(), env).access
}

fn refused(args: &[&str], env: &[(&str, &str)]) -> String {
    parse_with(&[&["-k", "k"], args, &["true"]].concat(), env)
        .expect_err(&format!("{args:?} {env:?} is accepted"))
        .to_string()
}

fn shown(file: &SettingFile) -> String {
    file.to_string()
}

#[track_caller]
fn assert_login(args: &[&str], env: &[(&str, &str)], user: &str, password: Password) {
    let user = user.to_owned();
    assert_eq!(access(args, env).login, Some(Login { user, password }));
}

fn given(source: &str, secret: &str) -> Password {
    Password::Given {
        source: source.into(),
        secret: Secret(secret.into()),
    }
}

#[test]
fn the_setting_that_names_the_place_is_remembered() {
    let endpoints = ("LEADERRUN_ENDPOINTS", "a");
    let theirs = ("ETCDCTL_ENDPOINTS", "b");
    assert_eq!(access(&[], &[]).place(), "--endpoints");
    assert_eq!(access(&[], &[theirs]).place(), "ETCDCTL_ENDPOINTS");
    let ours = access(&[], &[theirs, endpoints]);
    assert_eq!(ours.place(), "LEADERRUN_ENDPOINTS");
    let flag = access(&["--endpoints", "c"], &[theirs, endpoints]);
    assert_eq!(flag.place(), "--endpoints");
}

#[test]
fn without_settings_there_is_neither_tls_nor_a_user() {
    assert_eq!(access(&[], &[]), Access::default());
    assert_eq!(
        access(&[], &[("ETCDCTL_PASSWORD", "pw")]),
        Access::default()
    );
    assert!(!access(&[], &[]).tls.is_set());
}

#[test]
fn flags_beat_our_variables_and_those_beat_etcdctls() {
    let env = [
        ("LEADERRUN_CERT", "/ours.pem"),
        ("ETCDCTL_CACERT", "/theirs.pem"),
        ("ETCDCTL_CERT", "/theirs.pem"),
        ("ETCDCTL_KEY", "/theirs.key"),
    ];
    let tls = access(&["--cert-key", "/flag.key"], &env).tls;
    let identity = tls.identity.unwrap();
    assert_eq!(shown(&tls.ca.unwrap()), "ETCDCTL_CACERT /theirs.pem");
    assert_eq!(shown(&identity.cert), "LEADERRUN_CERT /ours.pem");
    assert_eq!(shown(&identity.key), "--cert-key /flag.key");
    let here = std::env::current_dir().unwrap();
    let ca = access(&["--cacert", "ca.pem"], &[]).tls.ca.unwrap();
    assert_eq!(ca.path, here.join("ca.pem"));
}

#[test]
fn a_password_comes_from_the_file_then_from_ours_then_from_theirs() {
    let theirs = ("ETCDCTL_USER", "them:of:colons");
    let beside = given("ETCDCTL_USER", "of:colons");
    assert_login(&[], &[theirs], "them", beside);
    let apart = [("ETCDCTL_USER", "a:b"), ("ETCDCTL_PASSWORD", "pw")];
    assert_login(&[], &apart, "a:b", given("ETCDCTL_PASSWORD", "pw"));
    let ours = [theirs, ("LEADERRUN_PASSWORD", "pw")];
    let password = given("LEADERRUN_PASSWORD", "pw");
    assert_login(&[], &ours, "them", password.clone());
    assert_login(&["--user", "us"], &ours, "us", password);
    let file = access(&["--password-file", "/pw"], &ours).login.unwrap();
    assert!(matches!(file.password, Password::File(f) if shown(&f) == "--password-file /pw"));
    // The password of another user is none.
    let needs = "a user needs a password: add --password-file";
    let message = refused(&["--user", "us"], &[theirs]);
    assert!(message.starts_with(&format!("--user: {needs}")));
    for variable in ["LEADERRUN_USER", "ETCDCTL_USER"] {
        let message = refused(&[], &[(variable, "us")]);
        assert!(
            message.starts_with(&format!("{variable}: {needs}")),
            "{message}"
        );
    }
}

#[test]
fn what_belongs_together_is_asked_for() {
    for (args, message) in [
        (
            ["--cert", "/c"],
            "--cert: a certificate needs its key: add --cert-key",
        ),
        (
            ["--cert-key", "/k"],
            "--cert-key: a key needs its certificate: add --cert",
        ),
        (
            ["--password-file", "/p"],
            "--password-file: a password needs a user: add --user",
        ),
        (["--cacert", ""], "--cacert: the name is empty"),
        (["--user", ""], "--user: the user is empty"),
        (
            ["--user", "a\nb"],
            "--user: the user contains a control character",
        ),
    ] {
        let told = refused(&args, &[]);
        assert!(told.starts_with(message), "{told}");
    }
    let message = refused(&[], &[("LEADERRUN_PASSWORD", "pw")]);
    assert!(message.starts_with("LEADERRUN_PASSWORD: a password needs a user"));
    let message = refused(&["--user", "u"], &[("LEADERRUN_PASSWORD", "")]);
    assert!(message.starts_with("LEADERRUN_PASSWORD: the password is empty"));
}

#[test]
fn a_password_beside_the_user_is_refused_and_not_repeated() {
    for message in [
        refused(&["--user", "me:hunter2"], &[]),
        refused(&[], &[("LEADERRUN_USER", "me:hunter2")]),
    ] {
        assert!(
            message.contains("a password does not belong here") && !message.contains("hunter2"),
            "{message}"
        );
    }
    let options = run(&["-k", "k", "true"], &[("ETCDCTL_USER", "me:hunter2")]);
    let shown = format!("{options:?}");
    assert!(
        shown.contains("\"me\"") && !shown.contains("hunter2"),
        "{shown}"
    );
}
