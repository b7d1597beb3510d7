//! Questions about an election, and the request to its leader to step down. None of them takes part.
//!
//! The answers are for scripts too: 0 is yes, 1 is no, and 125 says that it cannot be told, which a script
//! must take for no.

mod observe;
mod output;
mod remains;
mod resign;
mod show;
mod status;
mod teller;
mod verify;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use crate::clock::BootInstant;
use crate::election::{Token, View, advise};
use crate::etcd::{Access, Connection, Endpoint, Error, Pool};
use crate::exit_status::ExitStatus;
use crate::report::{Level, complain, escape_sentence};
use crate::runtime;
use crate::sys::{self, Dispositions, SignalNumber};

/// How long one endpoint is given: as etcdctl has it, long enough for etcd to elect another raft leader.
const CALL: Duration = Duration::from_secs(5);

/// A question, and what it needs to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The election.
    pub key: String,
    /// Where etcd is, as given: a list that was accepted.
    pub endpoints: String,
    /// What etcd wants to see of us.
    pub access: Access,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who leads, and who waits?
    Status {
        /// As one JSON object.
        json: bool,
    },
    /// The same, for each change.
    Observe {
        /// As JSON, one object a line.
        json: bool,
    },
    /// Step down.
    Resign {
        /// Whether the end of the term is waited for.
        wait: Wait,
    },
    /// Is the term with this candidate key and token still the leader's?
    Verify {
        /// The candidate key.
        leader_key: String,
        /// The fencing token.
        token: Token,
    },
}

/// Whether, and for how long, the end of a term is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until it comes.
    ForEver,
    /// So long.
    For(Duration),
}

/// How a question ends.
type Answer = Result<ExitCode, Trouble>;

/// What ends a program whose reader is gone.
const SIGPIPE: SignalNumber = SignalNumber(nix::libc::SIGPIPE);

const YES: ExitCode = ExitCode::SUCCESS;

fn no() -> ExitCode {
    ExitCode::from(1)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// etcd does not answer, or refuses us.
    #[error(transparent)]
    Etcd(#[from] Error),
    /// What is asked does not tell: none of several endpoints answers, or a watch misses events.
    #[error("{0}")]
    Silent(String),
    /// Nobody can do that.
    #[error("{0}")]
    Impossible(String),
    /// Not in the time that was given.
    #[error("{0}")]
    Late(String),
    /// Standard output takes no more.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Asks, and prints the answer. Must be called outside of a tokio runtime.
pub fn run(query: Query) -> ExitCode {
    let endpoints = Endpoint::parse_list(&query.endpoints, query.access.tls.is_set());
    // What a command asks again and again has been said when it was started.
    if !matches!(query.ask, Ask::Verify { .. }) {
        for warning in query.access.warnings() {
            complain(Level::Warn, &warning);
        }
    }
    let (key, access) = (query.key.clone(), query.access.clone());
    let answer = match (runtime::single_threaded(), endpoints) {
        (Ok(runtime), Ok(endpoints)) => {
            let place = Place {
                key: query.key,
                endpoints,
                access: query.access,
            };
            let answer = runtime.block_on(answer(&place, query.ask));
            runtime.shutdown_background();
            answer
        }
        (Err(e), _) => Err(Trouble::Impossible(format!(
            "cannot start the runtime: {e}"
        ))),
        (_, Err(e)) => Err(Trouble::Impossible(e.to_string())),
    };
    match answer {
        Ok(code) => code,
        // Only who observes ends with its reader, and as `tail -f` does.
        Err(Trouble::Output(e))
            if e.kind() == io::ErrorKind::BrokenPipe
                && !Dispositions::inherited().ignores(SIGPIPE) =>
        {
            sys::die_by_signal(SIGPIPE).into()
        }
        Err(trouble) => {
            let text = match &trouble {
                Trouble::Etcd(error) => advise(error, &key, &access),
                other => other.to_string(),
            };
            complain(Level::Error, &escape_sentence(&text));
            match trouble {
                Trouble::Late(_) => ExitStatus::NotElected(ExitStatus::NOT_ELECTED).into(),
                _ => ExitStatus::Failed.into(),
            }
        }
    }
}

/// The election, and the way to it.
struct Place {
    key: String,
    endpoints: Vec<Endpoint>,
    access: Access,
}

impl Place {
    fn pool(&self) -> Pool {
        Pool::new(self.endpoints.clone(), self.access.clone())
    }
}

async fn answer(place: &Place, ask: Ask) -> Answer {
    match ask {
        Ask::Status { json } => status::status(place, json).await,
        Ask::Observe { json } => observe::observe(place, json).await,
        Ask::Resign { wait } => resign::resign(place, wait).await,
        Ask::Verify { leader_key, token } => verify::verify(place, &leader_key, token).await,
    }
}

/// What `call` makes of the first endpoint on which it succeeds; each is given [`CALL`]. A name with several addresses
/// is several members, of which only the connecting is tried at one go: so there are as many rounds.
async fn anywhere<T>(
    pool: &mut Pool,
    mut call: impl AsyncFnMut(&mut Connection, BootInstant) -> Result<T, Error>,
) -> Result<T, Error> {
    let (mut tried, mut rounds) = (0, 1);
    loop {
        let until = BootInstant::now() + CALL;
        let result = match pool.connect(until).await {
            Ok(connection) => call(connection, until).await,
            Err(error) => Err(error),
        };
        tried += 1;
        match result {
            Ok(value) => return Ok(value),
            Err(error) => {
                rounds = rounds.max(pool.addresses());
                pool.failed();
                if tried >= rounds * pool.len() {
                    return Err(error);
                }
            }
        }
    }
}

/// The election, as the first endpoint that answers has it.
async fn look(pool: &mut Pool, key: &str) -> Result<View, Error> {
    anywhere(pool, async |c, until| View::read(c, key, until).await).await
}
