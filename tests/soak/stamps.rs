//! The command of the candidates, which stamps a shared file every two milliseconds, and the judge
//! of what it wrote.
//!
//! Each line is one write to a file opened for appending, so the order of the lines is the order of what
//! happened, whatever the clocks of the nodes say. A line is `TOKEN PID beat`, or, at the start of a
//! command that found a process of an older term alive, `TOKEN PID alive OLDER PID`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::historian::Ending;

const EVERY: Duration = Duration::from_millis(2);
/// After this long it ends by itself, whoever was to end it.
const LONGEST_LIFE: Duration = Duration::from_secs(900);

/// Lives, of that token of that election, until it is killed; or for `life`.
pub fn live(file: &Path, life: Option<Duration>) {
    let variable = |name| std::env::var(name).expect("leaderrun sets it");
    let (token, key) = (variable("LEADERRUN_TOKEN"), variable("LEADERRUN_KEY"));
    let own: u64 = token.parse().expect("a number");
    let pid = std::process::id();
    let mut file = File::options().append(true).open(file).expect("the file");
    let mut stamp = |line: String| file.write_all(line.as_bytes()).expect("a stamp");
    stamp(format!("{own} {pid} beat\n"));
    for (older, token) in living(&key, Kind::Commands) {
        if token < own {
            stamp(format!("{own} {pid} alive {token} {older}\n"));
        }
    }
    let end = Instant::now() + life.unwrap_or(LONGEST_LIFE);
    while Instant::now() < end {
        stamp(format!("{own} {pid} beat\n"));
        thread::sleep(EVERY);
    }
}

/// Whose processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Commands,
    CommandsAndHooks,
}

/// All living processes of that election, each with the token that it was given. A hook may tell of a term that is over.
pub fn living(key: &str, kind: Kind) -> Vec<(i32, u64)> {
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        // A zombie has none.
        let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let value = |name: &[u8]| {
            let mut all = environ.split(|&b| b == 0);
            let value = all.find_map(|v| v.strip_prefix(name))?;
            String::from_utf8(value.to_vec()).ok()
        };
        (value(b"LEADERRUN_KEY=")? == key).then_some(())?;
        let is_hook = value(b"LEADERRUN_HOOK_EVENT=").is_some();
        (!is_hook || kind == Kind::CommandsAndHooks).then_some(())?;
        Some((pid, value(b"LEADERRUN_TOKEN=")?.parse().ok()?))
    })
    .collect()
}

/// Reads the file while it is written.
#[derive(Debug)]
pub struct Judge {
    file: File,
    partial: Vec<u8>,
    /// Where in the file what is judged next begins.
    offset: u64,
    /// The records that have gone, by token.
    pub ended: BTreeMap<u64, Ending>,
    /// Where the last stamp of each token begins, whatever its record.
    last: BTreeMap<u64, u64>,
    /// The tokens of the commands that have stamped, in their order.
    pub tokens: Vec<u64>,
    /// How many stamps.
    pub stamps: u64,
    /// What must not be: the older token and the newer, and how it showed.
    pub violation: Option<(u64, u64, String)>,
    /// Likewise: a token that has stamped after its record had gone, and how that went.
    pub premature: Option<(u64, String)>,
}

impl Judge {
    /// Of that file.
    pub fn new(file: &Path) -> Self {
        Self {
            file: File::open(file).expect("the file"),
            partial: Vec::new(),
            offset: 0,
            ended: BTreeMap::new(),
            last: BTreeMap::new(),
            tokens: Vec::new(),
            stamps: 0,
            violation: None,
            premature: None,
        }
    }

    /// Reads on.
    pub fn read_on(&mut self) {
        self.file.read_to_end(&mut self.partial).expect("the file");
        let Some(end) = self.partial.iter().rposition(|&b| b == b'\n') else {
            return;
        };
        let rest = self.partial.split_off(end + 1);
        let lines = std::mem::replace(&mut self.partial, rest);
        for line in String::from_utf8(lines).expect("text").lines() {
            self.judge(line);
            self.offset += u64::try_from(line.len() + 1).expect("a length");
        }
    }

    /// Is told that a record has gone.
    pub fn hear_of(&mut self, ending: Ending) {
        let token = ending.token;
        self.ended.entry(token).or_insert(ending);
        if let Some(&last) = self.last.get(&token) {
            self.compare(token, last);
        }
    }

    /// Compares a stamp with what is known of its token's record.
    fn compare(&mut self, token: u64, stamped_at: u64) {
        let ending = self.ended.get(&token);
        if let Some(ending) = ending.filter(|e| stamped_at >= e.offset)
            && self.premature.is_none()
        {
            let how = format!(
                "it {}, known at byte {} of the stamps, and there is one at {stamped_at}",
                ending.how, ending.offset
            );
            self.premature = Some((token, how));
        }
    }

    fn judge(&mut self, line: &str) {
        self.stamps += 1;
        let fields: Vec<&str> = line.split(' ').collect();
        let token: u64 = fields[0].parse().expect("a token");
        self.last.insert(token, self.offset);
        self.compare(token, self.offset);
        let newest = self.tokens.last().copied();
        let violation = match (fields[2], newest) {
            ("alive", _) => Some((fields[3].parse().expect("a token"), token)),
            (_, Some(newest)) if token < newest => Some((token, newest)),
            _ => None,
        };
        if newest < Some(token) {
            self.tokens.push(token);
        }
        if let Some((older, newer)) = violation
            && self.violation.is_none()
        {
            let how = format!("stamp {} of token {newer}'s time: {line:?}", self.stamps);
            self.violation = Some((older, newer, how));
        }
    }
}

#[test]
fn the_judge_sees_a_token_that_goes_back() {
    let dir = crate::support::Scratch::new("judge");
    let file = dir.path("stamps");
    let judge = |text: &str| {
        fs::write(&file, text).expect("own directory");
        let mut judge = Judge::new(&file);
        judge.read_on();
        judge.violation.map(|(older, newer, _)| (older, newer))
    };
    assert_eq!(judge("1 7 beat\n1 7 beat\n3 8 beat\n3 8 be"), None);
    assert_eq!(judge("1 7 beat\n3 8 beat\n1 7 beat\n"), Some((1, 3)));
    assert_eq!(judge("3 8 beat\n3 8 alive 1 7\n"), Some((1, 3)));
}

#[test]
fn the_judge_sees_a_stamp_after_the_record_has_gone() {
    let dir = crate::support::Scratch::new("judge");
    let file = dir.path("stamps");
    let stamps = "1 7 beat\n1 7 beat\n3 8 beat\n";
    fs::write(&file, stamps).expect("own directory");
    let gone = |token, offset| Ending {
        token,
        offset,
        how: "was deleted".to_owned(),
    };
    let judge = |endings: Vec<Ending>, heard_before: bool| {
        let mut judge = Judge::new(&file);
        if !heard_before {
            judge.read_on();
        }
        for ending in endings {
            judge.hear_of(ending);
        }
        judge.read_on();
        judge.premature.map(|(token, _)| token)
    };
    for before in [false, true] {
        assert_eq!(judge(vec![gone(1, 18), gone(3, 27)], before), None);
        assert_eq!(judge(vec![gone(1, 9), gone(3, 27)], before), Some(1));
        assert_eq!(judge(vec![gone(3, 18)], before), Some(3));
    }
}
