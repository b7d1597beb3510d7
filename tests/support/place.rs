//! Where a program of the harness runs: on loopback, or on a node of a network.

use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::Pid;

use super::network::Network;

/// What runs a program there, and the address that it has.
#[derive(Clone, Debug)]
pub struct Place {
    entering: Vec<String>,
    /// Its address.
    pub address: String,
}

impl Place {
    /// This host.
    pub fn loopback() -> Self {
        Self {
            entering: Vec::new(),
            address: "127.0.0.1".to_owned(),
        }
    }

    /// That node.
    pub fn node(network: &Network, n: usize) -> Self {
        Self {
            entering: network.node(n).entering(),
            address: network.node(n).address().to_owned(),
        }
    }

    /// The program, to be run there.
    pub fn command(&self, program: PathBuf) -> Command {
        run_by(&self.entering, program)
    }

    /// Whether a process there listens on that port.
    pub fn listens(&self, pid: Option<Pid>, port: u16) -> bool {
        if self.entering.is_empty() {
            return TcpStream::connect((&*self.address, port)).is_ok();
        }
        // The table of the process's namespace: local address and port in hex, remote ones, 0A = LISTEN.
        let table = pid.map(|pid| fs::read_to_string(format!("/proc/{pid}/net/tcp")));
        let port = format!(":{port:04X}");
        table.and_then(Result::ok).is_some_and(|table| {
            table.lines().any(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                matches!(fields[..], [_, local, _, "0A", ..] if local.ends_with(&port))
            })
        })
    }
}

/// The program, to be run by a wrapper that may be empty.
pub fn run_by(wrapper: &[String], program: PathBuf) -> Command {
    let mut words: Vec<OsString> = wrapper.iter().map(Into::into).collect();
    words.push(program.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}
