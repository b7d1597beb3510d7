//! The processes above this one, as far as /proc shows them.

use std::collections::HashMap;
use std::fs;

use nix::unistd::{Pid, getpid};

use super::tree::Process;

/// No tree is so deep; one that changes while it is climbed may look endless.
const HIGHEST: usize = 1000;

/// The environments that the processes above this one were started with, the nearest first. Those that
/// cannot be read (another user's, say) are left out, and so is what is not UTF-8 in them.
pub fn environments_above() -> Vec<HashMap<String, String>> {
    let parent_of = |pid: Pid| Process::read(pid.as_raw()).map(|p| p.parent);
    std::iter::successors(parent_of(getpid()), |&pid| parent_of(pid))
        .take_while(|pid| pid.as_raw() > 0)
        .take(HIGHEST)
        .filter_map(|pid| fs::read(format!("/proc/{pid}/environ")).ok())
        .map(|environment| parse(&environment))
        .collect()
}

fn parse(environment: &[u8]) -> HashMap<String, String> {
    environment
        .split(|&b| b == 0)
        .filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_apart() {
        let parsed = parse(b"A=1\0B=x=y\0C=\0odd\0D=\xff\0");
        let expected = [("A", "1"), ("B", "x=y"), ("C", "")];
        assert_eq!(parsed, expected.map(|(n, v)| (n.into(), v.into())).into());
    }

    #[test]
    fn whoever_runs_this_test_has_an_environment() {
        let above = environments_above();
        assert!(above.iter().any(|e| e.contains_key("PATH")));
    }
}
