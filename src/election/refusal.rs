//! What a failure means, and what to do about it: for the candidates, and for whoever asks about them.

use crate::etcd::{Access, Error, Kind};

/// A failure on the election `key`, with the setting that it is about if there is one.
pub fn advise(error: &Error, key: &str, access: &Access) -> String {
    let text = error.to_string();
    match error.kind {
        Kind::UnknownName => format!("{text}: check {}", access.place()),
        Kind::NoLogin => format!(
            "{text}: etcd asks for a user: give --user and --password-file, or --cert and --cert-key with the user as the \
             certificate's common name"
        ),
        Kind::Refused if text.contains("permission denied") => {
            let user = access.login.as_ref().map_or_else(
                || "the user that the certificate in --cert names".to_owned(),
                |login| format!("the user {:?}", login.user),
            );
            format!(
                "{text}: {user} needs a role that may read and write {key}, {key}.term, {key}.resign and all keys with the prefix {key}/"
            )
        }
        Kind::Refused if text.contains("TTL") => format!("{text}: use a shorter --ttl"),
        Kind::Refused => format!("{text}: check {} and --key", access.place()),
        _ => text,
    }
}
