//! Certificates, made by openssl in a directory of the test's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::scratch::Scratch;

/// Certificate authorities and what they have signed.
#[derive(Debug)]
pub struct Pki {
    dir: Scratch,
}

/// A certificate that is in date, for etcd on loopback.
pub const LOOPBACK: &str = "IP:127.0.0.1,IP:::1,DNS:localhost";

impl Pki {
    /// With one authority, `ca`, and for etcd the certificate `server`, for [`LOOPBACK`].
    #[track_caller]
    pub fn new() -> Self {
        let pki = Self {
            dir: Scratch::new("pki"),
        };
        pki.authority("ca");
        pki.issue("server", "ca", "etcd", LOOPBACK, 1);
        pki
    }

    /// The certificate of that name.
    pub fn cert(&self, name: &str) -> PathBuf {
        self.dir.path(&format!("{name}.pem"))
    }

    /// Its private key.
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.path(&format!("{name}.key"))
    }

    /// The directory of all of them.
    pub fn dir(&self) -> &Scratch {
        &self.dir
    }

    /// Makes another authority.
    #[track_caller]
    pub fn authority(&self, name: &str) {
        let subject = format!("/CN={name}");
        let files = self.new_key(name);
        let how = ["req", "-x509", "-days", "1", "-subj", &subject, "-out"];
        self.openssl(&[&how[..], &[&files.0, "-key", &files.1]].concat());
    }

    /// Makes a certificate for the common name and the subjectAltNames, signed by an authority; a
    /// negative number of days is one that has expired. One of that name is replaced at once, as
    /// whoever reads it meanwhile has to have it.
    #[track_caller]
    pub fn issue(&self, name: &str, authority: &str, common_name: &str, names: &str, days: i32) {
        let (cert, key) = self.new_key("new");
        let [request, extensions] = ["csr", "ext"].map(|n| self.path(n));
        fs::write(
            &extensions,
            format!(
                "basicConstraints=CA:FALSE\nsubjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"
            ),
        )
        .expect("own directory");
        let subject = format!("/CN={common_name}");
        self.openssl(&[
            "req", "-new", "-key", &key, "-subj", &subject, "-out", &request,
        ]);
        let [ca, ca_key] = [self.cert(authority), self.key(authority)];
        let serial = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock")
            .as_nanos()
            .to_string();
        let days = days.to_string();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-extfile",
            &extensions,
            "-set_serial",
            &serial,
            "-days",
            &days,
            "-CA",
            ca.to_str().expect("ASCII"),
            "-CAkey",
            ca_key.to_str().expect("ASCII"),
            "-out",
            &cert,
        ]);
        self.replace("new", name);
    }

    /// Puts the certificate and key of `from` in the place of `to`, where they are gone then.
    pub fn replace(&self, from: &str, to: &str) {
        fs::rename(self.key(from), self.key(to)).expect("own directory");
        fs::rename(self.cert(from), self.cert(to)).expect("own directory");
    }

    /// The arguments for an etcd with the certificate `server`, that asks its clients for one or not.
    pub fn etcd_arguments(&self, asks_clients: bool) -> Vec<String> {
        let mut all = vec![
            format!("--cert-file={}", self.cert("server").display()),
            format!("--key-file={}", self.key("server").display()),
        ];
        if asks_clients {
            all.push("--client-cert-auth".to_owned());
            all.push(format!("--trusted-ca-file={}", self.cert("ca").display()));
        }
        all
    }

    fn path(&self, name: &str) -> String {
        self.dir.path(name).display().to_string()
    }

    /// The names of a certificate that is to be made, and of its key, which is made.
    #[track_caller]
    fn new_key(&self, name: &str) -> (String, String) {
        let key = self.path(&format!("{name}.key"));
        self.openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            &key,
        ]);
        (self.path(&format!("{name}.pem")), key)
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.dir.dir())
            .stdin(Stdio::null())
            .output()
            .expect("openssl, which scripts/setup --tests installs");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {message}");
    }
}
