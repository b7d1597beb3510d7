//! The network between one leaderrun and etcd: a TCP proxy on loopback that can lag, stand still or break.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::etcd::Etcd;

/// A way to etcd's first member. Everything passes at once until the test says otherwise.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
}

#[derive(Debug, Default)]
struct Network {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: &'static [Way],
    lag_of_answers: Duration,
    cut: bool,
    over: bool,
    sockets: Vec<TcpStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Requests,
    Answers,
}

impl Proxy {
    /// A proxy before the first member of `etcd`.
    #[track_caller]
    pub fn new(etcd: &Etcd) -> Self {
        Self::to(&etcd.endpoint())
    }

    /// A proxy before any address.
    #[track_caller]
    pub fn to(address: &str) -> Self {
        let to: SocketAddr = address.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let network = Arc::new(Network::default());
        let theirs = Arc::clone(&network);
        thread::spawn(move || theirs.accept(&listener, to));
        Self { address, network }
    }

    /// What to give as `--endpoints`.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Nothing passes any more, in either direction, and nobody is told: as a cable that is pulled out.
    /// What is on its way arrives after [`Self::resume`], as TCP does it.
    pub fn pause(&self) {
        self.set(|s| s.held = &[Way::Requests, Way::Answers]);
    }

    /// Requests arrive at etcd; its answers do not come back.
    pub fn pause_answers(&self) {
        self.set(|s| s.held = &[Way::Answers]);
    }

    /// Everything passes again.
    pub fn resume(&self) {
        self.set(|s| (s.held, s.cut) = (&[], false));
    }

    /// Answers arrive this much later than etcd gives them.
    pub fn delay_answers(&self, lag: Duration) {
        self.set(|s| s.lag_of_answers = lag);
    }

    /// Breaks every connection and refuses new ones, until [`Self::resume`].
    pub fn cut(&self) {
        self.set(|s| s.cut = true);
        self.network.break_connections();
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.network.state());
        self.network.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(|s| s.over = true);
        self.network.break_connections();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn break_connections(&self) {
        for socket in self.state().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn accept(self: Arc<Self>, listener: &TcpListener, to: SocketAddr) {
        for near in listener.incoming() {
            let state = self.state();
            if state.over {
                return;
            }
            let refused = state.cut;
            drop(state);
            let (Ok(near), false) = (near, refused) else {
                continue;
            };
            if let Ok(far) = TcpStream::connect(to) {
                self.clone().join(&near, &far);
            }
        }
    }

    fn join(self: Arc<Self>, near: &TcpStream, far: &TcpStream) {
        let again = |socket: &TcpStream| socket.try_clone().expect("a descriptor");
        self.state().sockets.extend([again(near), again(far)]);
        let ways = [(Way::Requests, near, far), (Way::Answers, far, near)];
        for (way, from, to) in ways {
            let _ = to.set_nodelay(true);
            let (from, to) = (again(from), again(to));
            let (sender, chunks) = channel();
            thread::spawn(move || read(from, &sender));
            let network = Arc::clone(&self);
            thread::spawn(move || network.write(way, to, &chunks));
        }
    }

    fn write(&self, way: Way, mut to: TcpStream, chunks: &Receiver<(Instant, Vec<u8>)>) {
        for (read_at, chunk) in chunks {
            if !self.let_pass(way, read_at) || to.write_all(&chunk).is_err() {
                return;
            }
        }
        // The end is held up like everything else: a pulled cable does not tell.
        if self.let_pass(way, Instant::now()) {
            let _ = to.shutdown(Shutdown::Write);
        }
    }

    /// Waits until what was read at that instant may go on; `false` if all is over.
    fn let_pass(&self, way: Way, read_at: Instant) -> bool {
        let mut state = self.state();
        loop {
            let held = state.held.contains(&way);
            let lag = match way {
                Way::Requests => Duration::ZERO,
                Way::Answers => state.lag_of_answers,
            };
            let left = (read_at + lag).saturating_duration_since(Instant::now());
            state = if state.over {
                return false;
            } else if held {
                self.changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner)
            } else if left.is_zero() {
                return true;
            } else {
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

fn read(mut from: TcpStream, to: &Sender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to
            .send((Instant::now(), buffer[..length].to_vec()))
            .is_err()
        {
            return;
        }
    }
}
