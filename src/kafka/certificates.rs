//! Why a broker's certificate is refused: expired, for another name, or signed by nobody who is trusted.
//!
//! librdkafka says of all three that it "could not be verified". So `events.rs` has the certificate looked at once more
//! with a TLS library that tells them apart. What it finds is a text for people; it decides nothing.

use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use pipette_java::calendar::utc;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::properties::ClientProperties;

/// How long connecting may take, and each answer.
const WAIT: Duration = Duration::from_secs(3);

/// Whether librdkafka's complaint is about a certificate.
pub(super) fn is_about_the_certificate(reason: &str) -> bool {
    reason.contains("certificate verify failed") || reason.contains("certificate could not be verified")
}

/// Whether the broker ends the connection for the sake of what this side has shown, or has not. With TLS 1.3 that comes
/// after the handshake, and librdkafka takes it for a broken line.
pub(super) fn is_alert(reason: &str) -> bool {
    reason.contains("SSL alert number")
}

/// What to say to that.
pub(super) const ALERT: &str = ": the broker wants a certificate, or another one than ssl.keystore.… has";

/// What a client trusts.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt {
    /// In PEM; none for what the system trusts.
    trusted: Option<String>,
}

impl Doubt {
    /// Of a client with these properties.
    pub(super) fn of(properties: &ClientProperties) -> Self {
        Self { trusted: properties.get("ssl.ca.pem").cloned() }
    }

    /// What can be said before anybody has looked.
    pub(super) fn in_general(&self) -> String {
        let store =
            if self.trusted.is_some() { "ssl.truststore.…" } else { "this system (ssl.truststore.… names others)" };
        format!("the broker's certificate has expired, is for another host name, or is signed by nobody in {store}")
    }

    /// Looks at the certificate of the broker that a complaint names (`ssl://host:port/…`). Takes some seconds at most.
    pub(super) fn look(&self, reason: &str) -> Option<String> {
        let (_, rest) = reason.split_once("://")?;
        let address = rest.split(['/', ' ']).next()?.trim_end_matches(':');
        let host = address.rsplit_once(':')?.0.trim_start_matches('[').trim_end_matches(']');
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(self.trusted.as_ref()?.as_bytes()).flatten());
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config =
            builder.with_safe_default_protocol_versions().ok()?.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let session = ClientConnection::new(Arc::new(config), name).ok()?;
        let socket = TcpStream::connect_timeout(&address.to_socket_addrs().ok()?.next()?, WAIT).ok()?;
        socket.set_read_timeout(Some(WAIT)).ok()?;
        socket.set_write_timeout(Some(WAIT)).ok()?;
        let error = StreamOwned::new(session, socket).read(&mut [0]).err()?;
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(error) = error else { return None };
        Some(in_words(error, address, host))
    }
}

fn in_words(error: &CertificateError, address: &str, host: &str) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            let end = utc(UNIX_EPOCH + Duration::from_secs(not_after.as_secs()));
            format!("the certificate of the broker at {address} has expired (at {end})")
        }
        CertificateError::Expired => format!("the certificate of the broker at {address} has expired"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of the broker at {address} is not valid yet: compare the clocks")
        }
        CertificateError::NotValidForName => format!("the certificate of the broker at {address} is not for {host}"),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!("the certificate of the broker at {address} is for {names}, and not for {host}")
        }
        CertificateError::UnknownIssuer => {
            format!("the certificate of the broker at {address} is signed by nobody in ssl.truststore.…")
        }
        other => format!("the certificate of the broker at {address} is refused: {other}"),
    }
}
