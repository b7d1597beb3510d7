//! Finding the command before campaigning, so that a typing error does not wait its turn in the
//! queue, win, and fail only then.
//!
//! The search is that of `execvp(3)`. No file is read: a script without `#!` is executable, as it
//! is to a shell. The answer may be out of date by the time of the election, so the guardian's
//! exec has the last word.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use crate::exit_status::ExitStatus;
use crate::report::escape;

/// Where commands are looked for if `PATH` is not set (`_CS_PATH` of `confstr(3)`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Why a command cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotRunnable {
    /// [`ExitStatus::NotFound`] or [`ExitStatus::CannotExecute`].
    pub status: ExitStatus,
    /// What is wrong, with the command named.
    pub message: String,
}

/// The file that executing `command` would execute, with `path` as the value of `PATH`.
/// It contains a slash, so that executing it searches nothing again.
pub fn look_up(command: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, NotRunnable> {
    if command.as_bytes().contains(&b'/') {
        let file = PathBuf::from(command);
        return match check(&file) {
            Ok(()) => Ok(file),
            Err(obstacle) => Err(obstacle.of(&file)),
        };
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    // As in execvp, a directory that cannot be used does not end the search, but a file that is
    // there and may not be executed is remembered and reported if nothing better turns up.
    let mut found = None;
    if !command.is_empty() {
        for directory in path.as_bytes().split(|&byte| byte == b':') {
            let file = candidate(directory, command);
            match check(&file) {
                Ok(()) => return Ok(file),
                Err(Obstacle::Errno(
                    Errno::ENOENT
                    | Errno::ENOTDIR
                    | Errno::ESTALE
                    | Errno::ENODEV
                    | Errno::ETIMEDOUT,
                )) => {}
                Err(obstacle) => {
                    found.get_or_insert_with(|| obstacle.of(&file));
                }
            }
        }
    }
    Err(found.unwrap_or_else(|| NotRunnable {
        status: ExitStatus::NotFound,
        message: format!(
            "command {} not found in PATH={}",
            quoted(command),
            escape(&path.to_string_lossy())
        ),
    }))
}

/// The interpreter that `command` names in its first line and that is not there, if that is why the kernel
/// answered ENOENT although the file exists.
pub fn missing_interpreter(command: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    let file = look_up(command, path).ok()?;
    let mut head = Vec::new();
    // The kernel reads no more of the line.
    File::open(file)
        .ok()?
        .take(256)
        .read_to_end(&mut head)
        .ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let mut words = line.split(|&b| b == b' ' || b == b'\t');
    let interpreter = PathBuf::from(OsStr::from_bytes(words.find(|word| !word.is_empty())?));
    (!interpreter.exists()).then_some(interpreter)
}

/// An empty element of `PATH` means the current directory.
fn candidate(directory: &[u8], command: &OsStr) -> PathBuf {
    let directory = if directory.is_empty() {
        b"."
    } else {
        directory
    };
    Path::new(OsStr::from_bytes(directory)).join(command)
}

enum Obstacle {
    Errno(Errno),
    Directory,
    NotAFile,
}

impl Obstacle {
    fn of(&self, file: &Path) -> NotRunnable {
        let status = match self {
            Self::Errno(Errno::ENOENT) => ExitStatus::NotFound,
            Self::Errno(_) | Self::Directory | Self::NotAFile => ExitStatus::CannotExecute,
        };
        let why = match self {
            Self::Errno(Errno::ENOENT) => "no such file".to_owned(),
            Self::Errno(Errno::EACCES) => {
                "permission denied; is the file executable, and not on a noexec file system?"
                    .to_owned()
            }
            Self::Errno(errno) => errno.desc().to_owned(),
            Self::Directory => "it is a directory".to_owned(),
            Self::NotAFile => "it is not a regular file".to_owned(),
        };
        NotRunnable {
            status,
            message: format!("cannot execute {}: {why}", quoted(file.as_os_str())),
        }
    }
}

fn check(file: &Path) -> Result<(), Obstacle> {
    let errno = |e: std::io::Error| {
        Obstacle::Errno(e.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))
    };
    CString::new(file.as_os_str().as_bytes()).map_err(|_| Obstacle::Errno(Errno::EINVAL))?;
    let metadata = std::fs::metadata(file).map_err(errno)?;
    if metadata.is_dir() {
        return Err(Obstacle::Directory);
    }
    if !metadata.is_file() {
        return Err(Obstacle::NotAFile);
    }
    // With the effective ids, as exec judges it.
    faccessat(AT_FDCWD, file, AccessFlags::X_OK, AtFlags::AT_EACCESS).map_err(Obstacle::Errno)
}

fn quoted(name: &OsStr) -> String {
    format!("'{}'", escape(&name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A directory of its own for one test, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir()
                .join(format!("leaderrun-lookup-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            let file = self.0.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "exit 0\n").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        }

        fn path(&self, dirs: &str) -> std::ffi::OsString {
            let base = self.0.to_str().unwrap();
            let dirs: Vec<_> = dirs.split(':').map(|d| format!("{base}/{d}")).collect();
            dirs.join(":").into()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn status(command: impl AsRef<OsStr>, path: Option<&OsStr>) -> ExitStatus {
        look_up(command.as_ref(), path).unwrap_err().status
    }

    #[test]
    fn a_slash_means_that_very_file() {
        let scratch = Scratch::new("slash");
        let script = scratch.file("no-shebang", 0o755);
        assert_eq!(look_up(script.as_os_str(), None).unwrap(), script);
        assert_eq!(
            status(scratch.file("plain", 0o644), None),
            ExitStatus::CannotExecute
        );
        assert_eq!(status(&scratch.0, None), ExitStatus::CannotExecute);
        assert_eq!(status(scratch.0.join("absent"), None), ExitStatus::NotFound);
        assert_eq!(
            status(script.join("below-a-file"), None),
            ExitStatus::CannotExecute
        );
        assert_eq!(status("/dev/null", None), ExitStatus::CannotExecute);
    }

    #[test]
    fn an_interpreter_that_is_not_there_is_named() {
        let scratch = Scratch::new("interpreter");
        let missing = |head: &str| {
            let script = scratch.file("script", 0o755);
            fs::write(&script, head).unwrap();
            missing_interpreter(script.as_os_str(), None)
        };
        assert_eq!(
            missing("#! /no/such/shell -e\nexit 0\n"),
            Some("/no/such/shell".into())
        );
        assert_eq!(missing("#!/bin/sh\r\nexit 0\r\n"), Some("/bin/sh\r".into()));
        assert_eq!(missing("#!/bin/sh\nexit 0\n"), None);
        assert_eq!(missing("exit 0\n"), None);
    }

    #[test]
    fn path_is_searched_past_what_cannot_be_executed() {
        let scratch = Scratch::new("path");
        scratch.file("a/tool", 0o644);
        fs::create_dir_all(scratch.0.join("b/tool")).unwrap();
        let tool = scratch.file("c/tool", 0o755);
        let find = |dirs: &str| look_up(OsStr::new("tool"), Some(&scratch.path(dirs)));
        assert_eq!(find("absent:a:b:c").unwrap(), tool);
        assert_eq!(
            find("absent:a").unwrap_err().status,
            ExitStatus::CannotExecute
        );
        assert_eq!(find("b").unwrap_err().status, ExitStatus::CannotExecute);
        assert_eq!(
            find("absent:c/tool").unwrap_err().status,
            ExitStatus::NotFound
        );
    }

    #[test]
    fn without_path_the_systems_default_is_searched() {
        assert!(look_up(OsStr::new("sh"), None).is_ok());
        assert_eq!(
            status("leaderrun-no-such-command", None),
            ExitStatus::NotFound
        );
        assert_eq!(status("", None), ExitStatus::NotFound);
        assert_eq!(status("sh", Some(OsStr::new(""))), ExitStatus::NotFound);
    }
}
