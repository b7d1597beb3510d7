//! A command that stamps its life into a file, and the checks of what the stamps say.
//!
//! All candidates of a test write to the file of one [`Beat`]. Its lines stand in the order in which
//! they were written, so an overlap of two terms shows as a line of the older one after the first
//! line of the newer, without any comparison of clocks.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scratch::Scratch;
use super::{LIMIT, eventually};

/// After this long a command ends by itself, so that no aborted test leaves one for ever.
const LONGEST_LIFE: Duration = Duration::from_secs(900);

/// A file of stamps.
#[derive(Debug)]
pub struct Beat {
    dir: Scratch,
}

/// One line: somebody lived at that instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// Seconds since boot, rounded down to 10 ms; compare with [`super::now`].
    pub at: f64,
    /// `LEADERRUN_TOKEN` (or etcdctl's `ETCD_LOCK_REV`), 0 without either.
    pub token: u64,
    /// Who wrote it.
    pub pid: i32,
    /// `start`, `beat`, `term` (SIGTERM arrived), `daemon`, `end` (by itself).
    pub kind: String,
}

impl Beat {
    /// A new file, without stamps.
    pub fn new() -> Self {
        let dir = Scratch::new("beat");
        fs::write(dir.path("beat.sh"), include_str!("beat.sh")).expect("own directory");
        let stamps = dir.path("stamps");
        fs::write(&stamps, "").expect("own directory");
        // Candidates of other users write to it too.
        fs::set_permissions(&stamps, fs::Permissions::from_mode(0o666)).expect("own file");
        Self { dir }
    }

    /// A command that stamps until it is killed; SIGTERM ends it.
    pub fn life(&self) -> Life {
        Life {
            script: self.dir.path("beat.sh"),
            stamps: self.file(),
            on_term: "die".to_owned(),
            ending: "never".to_owned(),
            daemon: false,
        }
    }

    /// The file of the stamps.
    pub fn file(&self) -> PathBuf {
        self.dir.path("stamps")
    }

    /// All stamps so far, in the order in which they were written.
    pub fn stamps(&self) -> Vec<Stamp> {
        parse(&self.file())
    }

    /// The tokens that have stamped, in the order of their first appearance.
    pub fn tokens(&self) -> Vec<u64> {
        tokens(&self.stamps())
    }

    /// The first stamp of a token.
    #[track_caller]
    pub fn first_stamp(&self, token: u64) -> Stamp {
        let mut stamps = self.stamps().into_iter();
        match stamps.find(|s| s.token == token) {
            Some(stamp) => stamp,
            None => panic!("no stamp of token {token}"),
        }
    }

    /// The last stamp of a token so far, of its main process or of any descendant.
    #[track_caller]
    pub fn last_stamp(&self, token: u64) -> Stamp {
        let mut stamps = self.stamps().into_iter().rev();
        match stamps.find(|s| s.token == token) {
            Some(stamp) => stamp,
            None => panic!("no stamp of token {token}"),
        }
    }

    /// Waits for a stamp of that token and kind.
    #[track_caller]
    pub fn wait_stamp(&self, token: u64, kind: &str) -> Stamp {
        eventually(LIMIT, || {
            self.stamps()
                .into_iter()
                .find(|s| s.token == token && s.kind == kind)
        })
    }

    /// Waits until `n` tokens have stamped (the first is 1), and returns the newest of them.
    #[track_caller]
    pub fn wait_tokens(&self, n: usize) -> u64 {
        eventually(LIMIT, || self.tokens().get(n - 1).copied())
    }
}

/// A way to live and die, for [`super::Candidate::life`], or as an argument list.
#[derive(Clone, Debug)]
pub struct Life {
    script: PathBuf,
    stamps: PathBuf,
    on_term: String,
    ending: String,
    daemon: bool,
}

impl Life {
    /// Ignores SIGTERM, and so do its descendants.
    #[must_use]
    pub fn ignores_term(self) -> Self {
        let on_term = "ignore".to_owned();
        Self { on_term, ..self }
    }

    /// Stamps `term` at each SIGTERM and lives on.
    #[must_use]
    pub fn notes_term(self) -> Self {
        let on_term = "note".to_owned();
        Self { on_term, ..self }
    }

    /// Stamps `term` at the first SIGTERM and exits with `code`.
    #[must_use]
    pub fn exits_on_term(self, code: u8) -> Self {
        let on_term = format!("exit={code}");
        Self { on_term, ..self }
    }

    /// Stamps `end` and exits with `code` after a while.
    #[must_use]
    pub fn exits(self, code: u8, after: Duration) -> Self {
        let ending = format!("exit={code}@{}", after.as_millis());
        Self { ending, ..self }
    }

    /// Stamps `end` and dies by a signal of its own (`SEGV`, say) after a while.
    #[must_use]
    pub fn dies_by(self, signal: &str, after: Duration) -> Self {
        let ending = format!("signal={signal}@{}", after.as_millis());
        Self { ending, ..self }
    }

    /// Leaves a daemon (forked twice, `setsid`) that goes on stamping, of kind `daemon`.
    #[must_use]
    pub fn with_daemon(self) -> Self {
        Self {
            daemon: true,
            ..self
        }
    }

    /// The command and its arguments.
    pub fn argv(&self) -> Vec<OsString> {
        let daemon = if self.daemon { "+daemon" } else { "" };
        vec![
            "sh".into(),
            self.script.clone().into(),
            self.stamps.clone().into(),
            LONGEST_LIFE.as_millis().to_string().into(),
            self.on_term.clone().into(),
            format!("{}{daemon}", self.ending).into(),
        ]
    }
}

impl IntoIterator for Life {
    type Item = OsString;
    type IntoIter = std::vec::IntoIter<OsString>;
    fn into_iter(self) -> Self::IntoIter {
        self.argv().into_iter()
    }
}

/// Fails if the lives of two terms overlapped; returns the tokens in the order of their terms.
#[track_caller]
pub fn assert_no_overlap(beat: &Beat) -> Vec<u64> {
    let stamps = beat.stamps();
    let found = overlaps(&stamps);
    assert!(found.is_empty(), "commands overlapped:\n{found:#?}");
    tokens(&stamps)
}

/// Every stamp that was written after a newer token's first: `(late, first of the newer)`.
pub fn overlaps(stamps: &[Stamp]) -> Vec<(Stamp, Stamp)> {
    let mut found = Vec::new();
    let mut newest: Option<&Stamp> = None;
    let mut seen = Vec::new();
    for stamp in stamps {
        match newest {
            Some(first) if seen.contains(&stamp.token) && first.token != stamp.token => {
                found.push((stamp.clone(), first.clone()));
            }
            Some(first) if first.token == stamp.token => {}
            Some(_) | None => {
                seen.push(stamp.token);
                newest = Some(stamp);
            }
        }
    }
    found
}

fn tokens(stamps: &[Stamp]) -> Vec<u64> {
    let mut tokens = Vec::new();
    for stamp in stamps {
        if !tokens.contains(&stamp.token) {
            tokens.push(stamp.token);
        }
    }
    tokens
}

fn parse(file: &Path) -> Vec<Stamp> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // A command killed while it wrote may leave half a line only where the disk is full.
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .map(|line| parse_line(line).unwrap_or_else(|| panic!("not a stamp: {line:?}")))
        .collect()
}

fn parse_line(line: &str) -> Option<Stamp> {
    let mut fields = line.split(' ');
    let stamp = Stamp {
        at: fields.next()?.parse().ok()?,
        token: fields.next()?.parse().ok()?,
        pid: fields.next()?.parse().ok()?,
        kind: fields.next()?.to_owned(),
    };
    fields.next().is_none().then_some(stamp)
}
