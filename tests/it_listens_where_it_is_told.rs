//! The address of `--listen` is had or the start fails; and nothing of its socket is left to the command, to the
//! guardian, or after the end.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use support::network::between;
use support::{Candidate, Etcd, Network, Pid, Port, Scratch, Signal, death_of, now, require_etcd};

#[test]
fn an_address_that_cannot_be_had_is_125_before_anybody_campaigns() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let revision = etcd.revision();
    let dir = Scratch::new("taken");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let path = dir.path("sock").display().to_string();
    let living = UnixListener::bind(&path).expect("a socket");
    let file = dir.path("file");
    fs::write(&file, "mine").expect("own directory");
    let port = taken.local_addr().expect("bound").to_string();
    for (address, says) in [
        (port, "in use"),
        (format!("unix:{path}"), "in use"),
        (format!("unix:{}", file.display()), "is no socket"),
        ("unix:/nonexistent/sock".to_owned(), "No such file"),
        ("name.invalid:8080".to_owned(), ""),
        // No host has this address; it is for documents.
        ("192.0.2.1:8080".to_owned(), "assign"),
    ] {
        let run = Candidate::new(&etcd)
            .args(["--listen", &address])
            .text_log()
            .spawn();
        let status = run.wait();
        let stderr = run.stderr();
        assert_eq!(status.code(), Some(125), "{address}: {stderr}");
        let start = format!("leaderrun: error: cannot listen at {address}: ");
        assert!(
            stderr.starts_with(&start) && stderr.contains(says),
            "{stderr}"
        );
        run.wait_gone();
    }
    assert_eq!(fs::read_to_string(&file).expect("still there"), "mine");
    assert!(dir.path("sock").exists());
    drop(living);
    assert_eq!(etcd.revision(), revision, "etcd was written to");
    etcd.assert_nothing_left();
}

/// The candidate, where the only name server is a host that has gone.
fn where_no_name_server_answers(
    network: &Network,
    files: &Scratch,
    candidate: Candidate,
) -> Candidate {
    network.drop_only(between(&[0], &[1]));
    let resolver = files.path("resolv.conf");
    let server = network.node(1).address();
    fs::write(&resolver, format!("nameserver {server}\n")).expect("own directory");
    let bind = format!(
        "mount --bind {} /etc/resolv.conf && exec \"$@\"",
        resolver.display()
    );
    let mut wrapper = network.node(0).entering();
    wrapper.extend(["unshare", "--mount", "sh", "-c", &bind, "sh"].map(str::to_owned));
    candidate.under(&wrapper.iter().collect::<Vec<_>>())
}

#[test]
fn a_name_that_is_not_found_in_time_holds_up_neither_the_end_nor_a_signal() {
    if !require_etcd() {
        return;
    }
    let Some(network) = Network::new(2) else {
        return;
    };
    let (etcd, files) = (Etcd::start(), Scratch::new("resolver"));
    let start = || {
        let candidate = Candidate::new(&etcd).args(["--listen", "etcd.example.com:80"]);
        where_no_name_server_answers(&network, &files, candidate).spawn()
    };
    let (told, patient) = (start(), start());
    // The guardian is there before the name is looked up.
    told.guardian_pid();
    patient.guardian_pid();
    let begun = now();
    told.signal(Signal::SIGTERM);
    assert_eq!(death_of(told.wait()), 15);
    let took = now() - begun;
    assert!(took < 2.0, "{took}");
    told.wait_event("exiting");
    assert_eq!(patient.wait().code(), Some(125));
    let took = now() - begun;
    assert!((2.0..8.0).contains(&took), "{took}");
    let error = patient.wait_event("error")["message"].to_string();
    assert!(error.contains("not found in time"), "{error}");
}

#[test]
fn a_unix_socket_is_as_private_as_the_umask_replaced_when_dead_and_removed_at_the_end() {
    if !require_etcd() {
        return;
    }
    let (etcd, dir) = (Etcd::start(), Scratch::new("unix"));
    let path = dir.path("sock");
    let address = format!("unix:{}", path.display());
    let start = || {
        Candidate::new(&etcd)
            .listening_at(&address)
            .under(&["sh", "-c", "umask 077; exec \"$@\"", "sh"])
            .spawn()
    };
    let first = start();
    first.wait_event("started");
    assert_eq!(first.probes(), [200, 200, 200]);
    let mode = fs::metadata(&path)
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    first.signal(Signal::SIGKILL);
    first.wait_gone();
    assert!(path.exists(), "nobody could remove it");

    let second = start();
    second.wait_event("started");
    assert_eq!(second.address(), address);
    second.wait_role("leading");
    second.signal(Signal::SIGTERM);
    second.wait();
    assert!(!path.exists());
}

/// The inodes of the sockets that a process has.
fn sockets_of(pid: Pid) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours");
    descriptors
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:")?.to_owned()))
        .collect()
}

/// The inode of the socket that listens at a port on loopback.
fn listening_at(port: &str) -> String {
    let port: u16 = port.parse().expect("a port");
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc");
    let wanted = format!("0100007F:{port:04X}");
    let mut rows = table
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1] == wanted && row[3] == "0A");
    format!("[{}]", row.expect("a listening socket")[9])
}

#[test]
fn the_socket_is_the_supervisors_alone_and_free_when_it_dies() {
    if !require_etcd() {
        return;
    }
    let etcd = Etcd::start();
    let port = Port::reserve();
    let leader = Candidate::new(&etcd)
        .listening_at(&port.address())
        .sh("trap '' TERM; while :; do sleep 0.05; done")
        .spawn();
    leader.wait_role("leading");
    let (guardian, command) = (leader.guardian_pid(), leader.command_pid());
    let listening = listening_at(&port.number().to_string());
    assert!(sockets_of(leader.pid()).contains(&listening));
    assert!(!sockets_of(guardian).contains(&listening));
    assert_eq!(sockets_of(command), [""; 0]);

    leader.signal(Signal::SIGKILL);
    leader.wait();
    assert!(
        support::is_alive(guardian),
        "it has a stubborn command to end"
    );
    TcpListener::bind(port.address()).expect("free at once");
    leader.wait_gone();
}
