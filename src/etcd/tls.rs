//! TLS: from files to a configuration, and from rustls's errors to what a person can change.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, InconsistentKeys, RootCertStore, crypto,
};

use super::access::{Identity, SettingFile, Tls};

/// gRPC is HTTP/2, and etcd serves that on TLS only to those who ask for it by name.
pub(super) const HTTP_2: &[u8] = b"h2";

/// Reads the files. May block for as long as their file system does.
///
/// # Errors
/// A complaint about one of the files, or about the system's roots.
pub(super) fn configure(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?
        .with_root_certificates(match &tls.ca {
            Some(file) => named_roots(file)?,
            None => roots_of_system()?,
        });
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(Identity { cert, key }) => {
            let secret = PrivateKeyDer::from_pem_slice(&key.read()?).map_err(|_| {
                key.complain(
                    "there is no private key in it that can be read (in PEM, without a passphrase)",
                )
            })?;
            builder
                .with_client_auth_cert(certificates(cert)?, secret)
                .map_err(|e| match e {
                    rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        key.complain(format_args!("the key does not belong to {cert}"))
                    }
                    e => key.complain(format_args!("it cannot be used with {cert}: {e}")),
                })?
        }
    };
    config.alpn_protocols.push(HTTP_2.to_vec());
    Ok(Arc::new(config))
}

fn certificates(file: &SettingFile) -> Result<Vec<CertificateDer<'static>>, String> {
    let content = file.read()?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<_, _>>()
        .map_err(|e| file.complain(format_args!("this is no PEM file: {e}")))?;
    if found.is_empty() {
        return Err(file.complain("there is no certificate in it (in PEM)"));
    }
    Ok(found)
}

fn named_roots(file: &SettingFile) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(certificates(file)?) {
        (0, _) => Err(file.complain("no certificate in it can be used as a CA's")),
        _ => Ok(roots),
    }
}

fn roots_of_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs) {
        (0, _) => Err("the system trusts no CA: use --cacert".to_owned()),
        _ => Ok(roots),
    }
}

/// Why a handshake failed, in words that say what to change. `host` is what the certificate has to
/// be for.
pub(super) fn describe(error: &rustls::Error, tls: &Tls, host: &str) -> String {
    use CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            C::UnknownIssuer | C::BadSignature => match &tls.ca {
                Some(file) => format!("its certificate is not signed by the CA in {file}"),
                None => {
                    "its certificate is not signed by a CA that the system trusts: use --cacert"
                        .to_owned()
                }
            },
            C::Expired | C::ExpiredContext { .. } => {
                "its certificate has expired (or the clock of this host is wrong)".to_owned()
            }
            C::NotValidYet | C::NotValidYetContext { .. } => {
                "its certificate is not valid yet (or the clock of this host is wrong)".to_owned()
            }
            C::NotValidForName => format!("its certificate is not for the name {host}"),
            C::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                format!(
                    "its certificate is not for the name {host}, nor for any other (it has no subjectAltName)"
                )
            }
            C::NotValidForNameContext { presented, .. } => format!(
                "its certificate is not for the name {host} but for {}",
                presented
                    .iter()
                    .map(|name| plain(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
                "its certificate is not for servers (extendedKeyUsage lacks serverAuth)".to_owned()
            }
            other => format!("its certificate cannot be accepted: {other}"),
        },
        rustls::Error::AlertReceived(alert) => match &tls.identity {
            Some(Identity { cert, .. }) => {
                format!("it refuses our client certificate (TLS alert {alert:?}): check {cert}")
            }
            None => format!(
                "it refuses that we have no client certificate (TLS alert {alert:?}): give --cert and --cert-key"
            ),
        },
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS: use http, or another port".to_owned()
        }
        other => format!("TLS failed: {other}"),
    }
}

/// A name of a certificate, which reaches us as Rust shows it: `DnsName("etcd.example.com")`, `IpAddress(0::1)`.
fn plain(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    let inner = inner.unwrap_or(name).trim_matches('"');
    inner
        .parse::<IpAddr>()
        .map_or_else(|_| inner.to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_told_as_people_write_them() {
        assert_eq!(plain(r#"DnsName("etcd.example.com")"#), "etcd.example.com");
        assert_eq!(plain("IpAddress(0::1)"), "::1");
        assert_eq!(plain("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(plain("other"), "other");
    }
}
