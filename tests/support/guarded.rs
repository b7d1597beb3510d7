//! An etcd that asks for users, and one that has all that it needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Candidate, Etcd, KEY, Running, Scratch, Signal, Value};

/// The user.
pub const USER: &str = "scheduler";
/// Its password.
pub const PASSWORD: &str = "correct-horse";

/// The permissions that the README names, and no others.
pub fn permissions() -> Vec<Vec<String>> {
    let words = |tail: &str| tail.split(' ').map(str::to_owned).collect();
    vec![
        words(&format!("readwrite --prefix {KEY}/")),
        words(&format!("readwrite {KEY}.term")),
        words(&format!("readwrite {KEY}.resign")),
        words(&format!("readwrite {KEY}")),
    ]
}

/// What all events of that name say in a field, a line each.
pub fn texts(run: &Running, event: &str, field: &str) -> String {
    let text = |e: Value| format!("{}\n", e[field]);
    run.events_named(event).into_iter().map(text).collect()
}

/// Why a candidate is refused, at once.
#[track_caller]
pub fn refusal(candidate: Candidate) -> String {
    let run = candidate.spawn();
    let code = run.wait().code();
    let message = texts(&run, "error", "message");
    assert_eq!(code, Some(125), "{message}");
    message
}

/// An etcd with that user, which has exactly the permissions that it needs, and its password in a file.
#[derive(Debug)]
pub struct Guarded {
    /// The etcd.
    pub etcd: Etcd,
    files: Scratch,
}

impl Guarded {
    /// One whose passwords are quick to check, with further arguments.
    #[track_caller]
    pub fn start(arguments: &[String]) -> Self {
        // Passwords that are quick to check: many tests at once have etcd check many.
        let cheap = ["--bcrypt-cost=4".to_owned()];
        let arguments = [&cheap[..], arguments].concat();
        Self::guard(Etcd::start_also_at("http://127.0.0.1", &arguments))
    }

    /// That etcd, which asks for users from now on.
    #[track_caller]
    pub fn guard(etcd: Etcd) -> Self {
        let guarded = Self::not_yet(etcd);
        guarded.etcd.ask_for_users();
        guarded
    }

    /// That etcd, which knows the user but asks for none.
    #[track_caller]
    pub fn not_yet(etcd: Etcd) -> Self {
        let guarded = Self {
            etcd,
            files: Scratch::new("user"),
        };
        guarded.add_user();
        guarded
    }

    #[track_caller]
    fn add_user(&self) {
        self.etcd.etcdctl(&["role", "add", USER]);
        for permission in permissions() {
            let mut words = vec!["role", "grant-permission", USER];
            words.extend(permission.iter().map(String::as_str));
            self.etcd.etcdctl(&words);
        }
        // On a busy machine etcd may give up on it, and do it all the same: passwords are slow to hash.
        super::eventually(3 * super::LIMIT, || {
            let added = self
                .etcd
                .try_etcdctl(&["user", "add", &format!("{USER}:{PASSWORD}")]);
            added.is_ok() || added.is_err_and(|e| e.contains("already exists"))
        });
        self.etcd.etcdctl(&["user", "grant-role", USER, USER]);
        self.write_password(PASSWORD);
    }

    /// The file with the password.
    pub fn password_file(&self) -> PathBuf {
        self.files.path("password")
    }

    /// Puts another password into the file.
    pub fn write_password(&self, password: &str) {
        let new = self.files.path("new");
        fs::write(&new, format!("{password}\n")).expect("own directory");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("own file");
        fs::rename(new, self.password_file()).expect("own directory");
    }

    /// A candidate that logs in.
    pub fn candidate(&self) -> Candidate {
        Candidate::new(&self.etcd)
            .args(["--user", USER, "--password-file"])
            .arg(self.password_file())
    }

    /// Ends a run, which is to leave nothing behind.
    #[track_caller]
    pub fn end(&self, run: &Running) {
        run.signal(Signal::SIGTERM);
        run.wait_gone();
        self.etcd.assert_nothing_left();
    }
}
