//! Where a setting comes from: the command line, else the environment, else nowhere.
//!
//! The environment is a function, so that tests can bring their own.

use std::ffi::{OsStr, OsString};

use super::UsageError;

/// A setting as it was given, and where: what a message has to name.
#[derive(Clone)]
pub(super) struct Given {
    /// `--ttl` or `LEADERRUN_TTL`.
    pub source: String,
    /// The value, not looked at yet.
    pub text: OsString,
}

impl Given {
    /// The value that `check` makes of the text, or its complaint with the source named.
    pub fn parse<T>(&self, check: impl FnOnce(&str) -> Result<T, String>) -> Result<T, UsageError> {
        self.text
            .to_str()
            .ok_or_else(|| "the value is not valid UTF-8".to_owned())
            .and_then(check)
            .map_err(|complaint| UsageError::at(&self.source, &complaint))
    }
}

/// The variable of the option `--foo-bar`: `LEADERRUN_FOO_BAR`.
pub(super) fn variable(option: &str) -> String {
    format!("LEADERRUN_{}", option.to_uppercase().replace('-', "_"))
}

/// Finds settings by the long names of their options.
pub(super) struct Environment<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Environment<'a> {
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { lookup }
    }

    /// The value of an option: the flag's if it was given, else the variable's. A variable that
    /// is set to nothing is a value too, and no option takes an empty one: a mistake such as an
    /// unset `$KEY` in a unit file should not fall back to a default in silence.
    pub fn value(&self, option: &str, flag: Option<OsString>) -> Option<Given> {
        let given = |source, text| Given { source, text };
        let variable = variable(option);
        flag.map(|text| given(format!("--{option}"), text))
            .or_else(|| (self.lookup)(&variable).map(|text| given(variable, text)))
    }

    /// What `check` makes of the value of an option, if it has one.
    pub fn parsed<T>(
        &self,
        option: &str,
        flag: Option<OsString>,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, UsageError> {
        self.value(option, flag)
            .map(|given| given.parse(check))
            .transpose()
    }

    /// The value of one of etcdctl's own variables, where etcdctl takes empty for absent.
    pub fn of_etcdctl(&self, variable: &str) -> Option<Given> {
        self.secret(variable).filter(|given| !given.text.is_empty())
    }

    /// A variable of ours that is no option's.
    pub fn secret(&self, variable: &str) -> Option<Given> {
        (self.lookup)(variable).map(|text| Given {
            source: variable.to_owned(),
            text,
        })
    }

    /// Whether an option without a value is switched on by its variable.
    pub fn switch(&self, option: &str) -> Result<bool, UsageError> {
        let Some(given) = self.value(option, None) else {
            return Ok(false);
        };
        match given.text.to_ascii_lowercase().to_str() {
            Some("1" | "true" | "yes" | "on") => Ok(true),
            Some("" | "0" | "false" | "no" | "off") => Ok(false),
            _ => Err(UsageError::at(
                &given.source,
                &format!("{} is neither yes nor no: use 1 or 0", quoted(&given.text)),
            )),
        }
    }
}

/// A user's word in a message: in quotes, and unable to drive a terminal.
pub(super) fn quoted(text: impl AsRef<OsStr>) -> String {
    format!(
        "'{}'",
        crate::report::escape(&text.as_ref().to_string_lossy())
    )
}
