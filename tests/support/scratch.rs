//! Temporary directories that end with the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A directory of the test's own, removed when dropped unless `LEADERRUN_TEST_KEEP` is set.
///
/// It lies under the system's temporary directory rather than under `target`, because a test that
/// runs as another user has to reach it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty directory that everybody may enter.
    pub fn new(name: &str) -> Self {
        let id = super::unique_id();
        let path = std::env::temp_dir().join(format!("leaderrun-test-{id}-{name}"));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("own directory");
        Self(path)
    }

    /// The path of `name` inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Gives the directory to another user.
    pub fn give_to(&self, uid: u32) {
        chown(&self.0, Some(uid), Some(uid)).expect("only root can run candidates as other users");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("LEADERRUN_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The last `lines` lines of a file, for the output of a test that failed.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
