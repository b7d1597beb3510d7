//! A client of `--listen`, of so little HTTP that it can be read, and that a test can bend.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::candidate::Candidate;
use super::running::Running;
use super::{LIMIT, within};

/// What was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The status line and the header fields.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Both kinds of connection.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to `HOST:PORT` or `unix:PATH`. Nothing in it waits for longer than [`LIMIT`].
pub fn connect(address: &str) -> io::Result<Box<dyn Stream>> {
    let limit = Some(LIMIT);
    if let Some(path) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        return Ok(Box::new(stream));
    }
    let address = address.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    Ok(Box::new(stream))
}

/// Sends `request` as it is, and reads to the end of the answer.
pub fn send(address: &str, request: &str) -> io::Result<Reply> {
    let mut stream = connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parts = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, head, body))
    });
    match parts {
        Some((status, head, body)) => Ok(Reply {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }),
        None => Err(io::Error::other(format!("no answer: {answer:?}"))),
    }
}

/// Asks for a path.
pub fn get(address: &str, path: &str) -> io::Result<Reply> {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

impl Candidate {
    /// Has it listen at a port of the kernel's choice, which the log tells.
    pub fn listening(self) -> Self {
        self.listening_at("127.0.0.1:0")
    }

    /// Has it listen there.
    pub fn listening_at(self, address: &str) -> Self {
        self.args(["-v", "--listen", address])
    }
}

impl Running {
    /// Where it listens, as it says.
    #[track_caller]
    pub fn address(&self) -> String {
        let event = self.wait_event("listening");
        event["address"].as_str().expect("an address").to_owned()
    }

    /// What it answers for a path.
    #[track_caller]
    pub fn ask(&self, path: &str) -> Reply {
        match get(&self.address(), path) {
            Ok(reply) => reply,
            Err(e) => panic!("{path}: {e}"),
        }
    }

    /// The statuses of `/livez`, `/readyz` and `/leaderz`.
    #[track_caller]
    pub fn probes(&self) -> [u16; 3] {
        ["/livez", "/readyz", "/leaderz"].map(|path| self.ask(path).status)
    }

    /// The object at `/status`.
    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ask("/status").body).expect("JSON")
    }

    /// Waits until `/status` names that role, and returns the object.
    #[track_caller]
    pub fn wait_role(&self, role: &str) -> Value {
        let found = within(LIMIT, || {
            Some(self.status()).filter(|status| status["role"] == role)
        });
        match found {
            Some(status) => status,
            None => panic!("never {role}: {}", self.status()),
        }
    }

    /// The value of one sample at `/metrics`, by its name and what its labels contain.
    #[track_caller]
    pub fn metric(&self, name: &str, label: &str) -> Option<f64> {
        let text = self.ask("/metrics").body;
        let start = format!("{name}{{");
        text.lines()
            .find(|line| line.starts_with(&start) && line.contains(label))
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
    }
}
