//! Programs that no shell can be: a test of the same binary, run alone by a process of the test's.
//!
//! ```ignore
//! #[test]
//! fn helper() {
//!     let Some(argument) = helper::asked() else { return }; // as one of the tests it does nothing
//!     …
//! }
//! Candidate::new(&etcd).command(&helper::argv("helper", "argument"))
//! ```

use std::env;
use std::ffi::OsString;

/// Its name must not begin with `LEADERRUN_`: leaderrun takes such variables out of its command's
/// environment.
const ARGUMENT: &str = "TEST_HELPER_OF_LEADERRUN";

/// The command that runs the test of that name, which is to be at the top of its file, as a program.
pub fn argv(test: &str, argument: impl Into<OsString>) -> Vec<OsString> {
    let mut given = OsString::from(format!("{ARGUMENT}="));
    given.push(argument.into());
    let program = env::current_exe().expect("this program");
    let mut argv = vec!["env".into(), given, program.into()];
    argv.extend(["--exact", test, "--nocapture", "--test-threads=1"].map(Into::into));
    argv
}

/// The argument, if this process was started by [`argv`].
pub fn asked() -> Option<OsString> {
    env::var_os(ARGUMENT)
}
