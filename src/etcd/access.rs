//! What lets us into etcd: which files, which user, and which setting named each of them.
//!
//! Files are named here and read elsewhere, anew for each connection and each login, so that
//! certificates and passwords can be replaced while we run. Every complaint begins with the name of
//! the setting, since that is what has to be changed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::error::without_number;

/// The largest file that is read: many times what a bundle of certificates takes.
const MAX_FILE: u64 = 4 << 20;

/// The longest password, in bytes: etcd's bcrypt looks at 72.
const MAX_PASSWORD: usize = 4096;

/// All that etcd may want to see of us, and we of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// For https.
    pub tls: Tls,
    /// For an etcd that asks for a user.
    pub login: Option<Login>,
    /// The setting that says where etcd is, if one does.
    pub place: Option<String>,
}

/// The files of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may sign etcd's certificate; the system's roots if nobody is named.
    pub ca: Option<SettingFile>,
    /// Our own certificate and its key.
    pub identity: Option<Identity>,
}

impl Tls {
    /// Whether anything says that etcd speaks TLS.
    pub const fn is_set(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and intermediate ones after it.
    pub cert: SettingFile,
    /// The private key.
    pub key: SettingFile,
}

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// What it logs in with.
    pub password: Password,
}

/// Where a password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// A file, which is read at each login.
    File(SettingFile),
    /// A variable of our environment.
    Given {
        /// Its name.
        source: String,
        /// The password.
        secret: Secret,
    },
}

/// A password. Neither `Debug` nor anything else shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A file that a setting names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFile {
    /// `--cacert` or `LEADERRUN_CACERT` or `ETCDCTL_CACERT`.
    pub source: String,
    /// Where the file is.
    pub path: PathBuf,
}

impl fmt::Display for SettingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.path.display())
    }
}

impl SettingFile {
    /// A complaint about the file.
    pub fn complain(&self, about: impl fmt::Display) -> String {
        format!("{self}: {about}")
    }

    /// The content.
    ///
    /// # Errors
    /// A complaint. A pipe is one: there would be nothing in it the second time.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let io = |e: io::Error| self.complain(without_number(&e.to_string()));
        let metadata = fs::metadata(&self.path).map_err(io)?;
        if !metadata.is_file() {
            return Err(self.complain("this is no regular file, and it is read again and again"));
        }
        let mut content = Vec::new();
        let file = File::open(&self.path).map_err(io)?;
        file.take(MAX_FILE + 1)
            .read_to_end(&mut content)
            .map_err(io)?;
        if content.len() as u64 > MAX_FILE {
            return Err(self.complain("the file is too large"));
        }
        Ok(content)
    }

    /// Whether every user of this host may read it.
    fn is_open_to_all(&self) -> bool {
        // What is no file, /dev/null say, keeps no secret.
        fs::metadata(&self.path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o004 != 0)
    }
}

impl Password {
    /// The password as it is now, to be called where blocking does no harm.
    ///
    /// # Errors
    /// A complaint about the file.
    pub(super) fn read(&self) -> Result<String, String> {
        let file = match self {
            Self::Given { secret, .. } => return Ok(secret.0.clone()),
            Self::File(file) => file,
        };
        let text = String::from_utf8(file.read()?)
            .map_err(|_| file.complain("the password is not valid UTF-8"))?;
        // Editors and `echo` end a line that is not meant to be part of it.
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line {
            line if line.len() > MAX_PASSWORD => Err(file.complain(format_args!(
                "this is no password: it is longer than {MAX_PASSWORD} bytes"
            ))),
            "" => Err(file.complain("the file is empty: write the password into it")),
            line if line.contains('\n') => {
                Err(file.complain("there is more than one line: leave the password alone in it"))
            }
            line => Ok(line.to_owned()),
        }
    }

    /// The setting that it comes from, for a message.
    pub(super) fn origin(&self) -> String {
        match self {
            Self::File(file) => file.to_string(),
            Self::Given { source, .. } => source.clone(),
        }
    }
}

impl Access {
    /// What to check, or to give, where it is the place that is wrong.
    pub fn place(&self) -> &str {
        self.place.as_deref().unwrap_or("--endpoints")
    }

    /// Secrets that others on this host may read. ssh and psql refuse those; here they are warned of,
    /// since the secrets that Docker and Kubernetes mount are open to all by default.
    pub fn warnings(&self) -> Vec<String> {
        let key = self.tls.identity.as_ref().map(|identity| &identity.key);
        let password = match &self.login {
            Some(Login {
                password: Password::File(file),
                ..
            }) => Some(file),
            _ => None,
        };
        key.into_iter()
            .chain(password)
            .filter(|file| file.is_open_to_all())
            .map(|file| {
                file.complain("every user of this host can read it: chmod o= takes that away")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(content: &[u8]) -> Result<String, String> {
        // Unique, since the tests of one program share their process.
        let head = &content[..content.len().min(9)];
        let name = format!(
            "leaderrun-{}-{head:?}-{}",
            std::process::id(),
            content.len()
        );
        let name = name.replace([' ', ','], "");
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        let source = "--password-file".to_owned();
        let password = Password::File(SettingFile {
            source,
            path: path.clone(),
        });
        let read = password.read();
        fs::remove_file(path).unwrap();
        read
    }

    #[test]
    fn a_password_is_one_line_without_its_end() {
        assert_eq!(password(b"a b ").unwrap(), "a b ");
        assert_eq!(password(b"pw\n").unwrap(), "pw");
        assert_eq!(password(b"pw\r\n").unwrap(), "pw");
        assert!(password(b"").unwrap_err().contains("is empty"));
        assert!(password(b"\n").unwrap_err().contains("is empty"));
        assert!(password(b"a\nb\n").unwrap_err().contains("more than one"));
        let (longest, longer) = (vec![b'a'; MAX_PASSWORD], vec![b'a'; MAX_PASSWORD + 1]);
        assert!(password(&longest).is_ok());
        assert!(password(&longer).unwrap_err().contains("is longer than"));
        let message = password(b"\xff").unwrap_err();
        assert!(message.starts_with("--password-file /") && message.contains("UTF-8"));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_unread() {
        let source = "--cacert".to_owned();
        let path = PathBuf::from("/dev/zero");
        let message = SettingFile { source, path }.read().unwrap_err();
        assert!(
            message.starts_with("--cacert /dev/zero: this is no regular"),
            "{message}"
        );
    }

    #[test]
    fn no_debug_output_shows_a_password() {
        let access = Access {
            login: Some(Login {
                user: "alice".into(),
                password: Password::Given {
                    source: "LEADERRUN_PASSWORD".into(),
                    secret: Secret("hunter2".into()),
                },
            }),
            ..Access::default()
        };
        let shown = format!("{access:?} {access:#?}");
        assert!(
            shown.contains("alice") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
