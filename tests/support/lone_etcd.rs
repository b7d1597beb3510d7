//! A real etcd on loopback for one test: its own ports, its own directory, gone at the end.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::{Client, KeyValue, PutOptions};
use leaderrun::etcd::Endpoint;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One etcd member, killed and removed when dropped.
#[allow(dead_code, reason = "each test binary uses a part of it")]
pub struct Etcd {
    child: Child,
    directory: PathBuf,
    /// Its client URL, without the scheme.
    pub address: String,
}

#[allow(dead_code, reason = "each test binary uses a part of it")]
impl Etcd {
    /// Starts one, or says loudly that the test is skipped for want of it.
    pub async fn start() -> Option<Self> {
        Some(Self::cluster(1).await?.remove(0))
    }

    /// Starts several that form one cluster.
    pub async fn cluster(size: usize) -> Option<Vec<Self>> {
        for _ in 0..5 {
            let peers: Vec<String> = (0..size)
                .map(|_| format!("http://{}", free_address()))
                .collect();
            let named: Vec<String> = peers
                .iter()
                .enumerate()
                .map(|(i, p)| format!("m{i}={p}"))
                .collect();
            let mut members = Vec::new();
            for (number, peer) in peers.iter().enumerate() {
                members.push(Self::spawn(number, peer, &named.join(","))?);
            }
            let mut up = true;
            for member in &mut members {
                up = up && member.is_up().await;
            }
            if up {
                return Some(members);
            }
        }
        panic!("etcd does not come up");
    }

    fn spawn(number: usize, peer: &str, cluster: &str) -> Option<Self> {
        let address = free_address();
        let client = format!("http://{address}");
        let name = format!(
            "leaderrun-etcd-{}-{}",
            std::process::id(),
            address.replace(':', "-")
        );
        let directory = std::env::temp_dir().join(name);
        let spawned = Command::new("etcd")
            .args([
                "--name",
                &format!("m{number}"),
                "--initial-cluster",
                cluster,
            ])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                peer,
                "--initial-advertise-peer-urls",
                peer,
            ])
            .args(["--log-level", "error", "--data-dir"])
            .arg(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match spawned {
            Ok(child) => Some(Self {
                child,
                directory,
                address,
            }),
            Err(e) if std::env::var_os("LEADERRUN_TEST_REQUIRE").is_some_and(|v| v == "1") => {
                panic!("etcd is required but cannot be started: {e}")
            }
            Err(e) => {
                eprintln!("SKIPPED: etcd cannot be started: {e}");
                None
            }
        }
    }

    /// False if it ended, another having taken its port.
    async fn is_up(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if self.child.try_wait().expect("wait for etcd").is_some() {
                return false;
            }
            if let Ok(mut client) = Client::connect([&self.address], None).await
                && let Ok(Ok(_)) =
                    tokio::time::timeout(Duration::from_secs(1), client.get("up", None)).await
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("etcd does not answer");
    }

    pub fn endpoints(&self) -> Vec<Endpoint> {
        Endpoint::parse_list(&self.address).expect("an address")
    }

    pub async fn client(&self) -> Client {
        Client::connect([&self.address], None)
            .await
            .expect("connect to etcd")
    }

    /// Whether this member is the raft leader; false if it does not answer at once.
    pub async fn is_raft_leader(&self) -> bool {
        let mut client = self.client().await;
        match tokio::time::timeout(Duration::from_secs(1), client.status()).await {
            Ok(Ok(status)) => status
                .header()
                .is_some_and(|h| h.member_id() == status.leader()),
            _ => false,
        }
    }

    pub async fn get(&self, key: &str) -> Option<KeyValue> {
        let mut answer = self.client().await.get(key, None).await.expect("get");
        answer.take_kvs().pop()
    }

    pub async fn put(&self, key: &str, value: &str) {
        self.client()
            .await
            .put(key, value, None)
            .await
            .expect("put");
    }

    pub async fn put_with_lease(&self, key: &str, value: &str, lease: i64) {
        let options = PutOptions::new().with_lease(lease);
        self.client()
            .await
            .put(key, value, Some(options))
            .await
            .expect("put");
    }

    pub async fn delete(&self, key: &str) {
        self.client().await.delete(key, None).await.expect("delete");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signal etcd");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A loopback address with a port that nobody listens on at present.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}
