//! The settings of TLS and of the login: ours, and etcdctl's where ours are absent.

use std::path::{self, PathBuf};

use super::UsageError;
use super::checks;
use super::environment::{Environment, Given};
use super::flags::EtcdFlags;
use crate::etcd::{Access, Identity, Login, Password, Secret, SettingFile, Tls};

/// etcdctl takes `USER:PASSWORD` here, and so do we.
const ETCDCTL_USER: &str = "ETCDCTL_USER";

pub(super) fn access(env: &Environment, flags: &mut EtcdFlags) -> Result<Access, UsageError> {
    let user = env.value("user", flags.user.take());
    let password_file = env.value("password-file", flags.password_file.take());
    Ok(Access {
        tls: tls(env, flags)?,
        login: login(env, user, password_file)?,
        place: None,
    })
}

fn tls(env: &Environment, flags: &mut EtcdFlags) -> Result<Tls, UsageError> {
    let ours_or = |option, flag, theirs| env.value(option, flag).or_else(|| env.of_etcdctl(theirs));
    let ca = ours_or("cacert", flags.cacert.take(), "ETCDCTL_CACERT");
    let cert = ours_or("cert", flags.cert.take(), "ETCDCTL_CERT");
    let key = ours_or("cert-key", flags.cert_key.take(), "ETCDCTL_KEY");
    let identity = match (cert, key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(Identity {
            cert: file(&cert)?,
            key: file(&key)?,
        }),
        (Some(cert), None) => {
            return Err(UsageError::at(
                &cert.source,
                "a certificate needs its key: add --cert-key",
            ));
        }
        (None, Some(key)) => {
            return Err(UsageError::at(
                &key.source,
                "a key needs its certificate: add --cert",
            ));
        }
    };
    Ok(Tls {
        ca: ca.as_ref().map(file).transpose()?,
        identity,
    })
}

fn login(
    env: &Environment,
    user: Option<Given>,
    password_file: Option<Given>,
) -> Result<Option<Login>, UsageError> {
    let ours = env.secret("LEADERRUN_PASSWORD");
    let theirs = env.of_etcdctl("ETCDCTL_PASSWORD");
    let their_user = env.of_etcdctl(ETCDCTL_USER);
    // Their password without any user is as meaningless as it is to etcdctl.
    let orphan = password_file.as_ref().or(ours.as_ref());
    let named_by = user.as_ref().or(their_user.as_ref());
    let named_by = named_by.map_or_else(String::new, |given| given.source.clone());
    let (user, password_beside_user) = match (user, their_user) {
        (Some(user), _) => (user.parse(checks::user)?, None),
        (None, Some(both)) => {
            let whole = both.parse(|text| Ok(text.to_owned()))?;
            match whole.split_once(':') {
                // As etcdctl does it: only without a password of its own does the colon count.
                Some((user, password)) if theirs.is_none() => {
                    let password = Given {
                        source: both.source,
                        text: password.into(),
                    };
                    (user.to_owned(), Some(password))
                }
                Some(_) | None => (whole, None),
            }
        }
        (None, None) => match orphan {
            None => return Ok(None),
            Some(password) => {
                return Err(UsageError::at(
                    &password.source,
                    "a password needs a user: add --user",
                ));
            }
        },
    };
    let given = |given: Given| {
        let secret = given.parse(|text| {
            if text.is_empty() {
                return Err("the password is empty".to_owned());
            }
            Ok(Secret(text.to_owned()))
        })?;
        let source = given.source;
        Ok(Password::Given { source, secret })
    };
    let password = match (password_file, ours.or(theirs).or(password_beside_user)) {
        (Some(path), _) => Password::File(file(&path)?),
        (None, Some(password)) => given(password)?,
        (None, None) => {
            return Err(UsageError::at(
                &named_by,
                "a user needs a password: add --password-file, or set LEADERRUN_PASSWORD",
            ));
        }
    };
    Ok(Some(Login { user, password }))
}

/// The path is made absolute, for a command that changes its directory and asks about its leadership.
fn file(given: &Given) -> Result<SettingFile, UsageError> {
    let path = given.parse(|text| {
        if text.is_empty() {
            return Err("the name is empty: name a file, or leave it out".to_owned());
        }
        let path = path::absolute(text).map_err(|e| format!("the current directory: {e}"))?;
        match path.to_str() {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err("the name of the current directory is not valid UTF-8".to_owned()),
        }
    })?;
    Ok(SettingFile {
        source: given.source.clone(),
        path,
    })
}
