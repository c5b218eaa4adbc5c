//! TLS of a connection: what the client library is given, and what a handshake that failed says of the configuration.
//!
//! `alike.rs` calls it for both versions. Read next: `../security.rs`, which reads the files.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rumqttc_v5::TlsConfiguration;
use rustls::{AlertDescription, CertificateError};

use super::{Fault, FaultKind, Tls};
use crate::config::{ALPN, CA, CERT, SERVER};
use crate::uri::Server;

/// Both versions have this type of the library's. Without a CA of our own the system's certificates hold.
pub(super) fn configuration(tls: Option<&Tls>) -> Result<TlsConfiguration, Fault> {
    if let Some(Tls { config: Some(config), .. }) = tls {
        return Ok(TlsConfiguration::Rustls(Arc::clone(config)));
    }
    let system = TlsConfiguration::try_default_rustls().map_err(|error| {
        let text = format!("the system's certificates cannot be used ({error}): set mqtt.ssl.ca.path");
        Fault::new(FaultKind::Tls(CA.info.name), text)
    })?;
    match (system, tls) {
        (TlsConfiguration::Rustls(config), Some(tls)) if !tls.alpn.is_empty() => {
            let mut config = (*config).clone();
            config.alpn_protocols = tls.alpn.iter().map(|name| name.clone().into_bytes()).collect();
            Ok(TlsConfiguration::Rustls(Arc::new(config)))
        }
        (system, _) => Ok(system),
    }
}

/// What to look at when an error is one of TLS.
pub(super) fn fault(server: &Server, error: &(dyn Error + 'static)) -> Option<Fault> {
    let error = within(error)?;
    let (key, what) = meaning(server, error);
    Some(Fault::new(FaultKind::Tls(key), format!("no TLS with {server}: {what}. Look at {key}")))
}

/// The TLS library's own error, however deep it is in the client library's.
fn within<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An error of a socket hides what it is made of from `source`.
        error = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => inner,
            None => error.source()?,
        };
    }
}

fn meaning(server: &Server, error: &rustls::Error) -> (&'static str, String) {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(error) => of_broker(server, error),
        Tls::AlertReceived(alert) => of_client(*alert),
        Tls::InvalidMessage(_) => {
            let plain = server.plain();
            (SERVER.info.name, format!("it does not answer in TLS. If its port is one without, write {plain}"))
        }
        error => (SERVER.info.name, error.to_string()),
    }
}

/// A broker's certificate that is not taken.
fn of_broker(server: &Server, error: &CertificateError) -> (&'static str, String) {
    let (ca, uri, host) = (CA.info.name, SERVER.info.name, &server.host);
    match error {
        // Another authority of the same name signs otherwise.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            (ca, "the broker's certificate is signed by nobody who is trusted".into())
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (uri, "the broker's certificate has expired, and must be renewed there".into())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (uri, "the broker's certificate is not valid yet: compare the clocks".into())
        }
        CertificateError::NotValidForName => (uri, format!("the broker's certificate is not for {host}")),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            (uri, format!("the broker's certificate is for {names}, and not for {host}"))
        }
        other => (ca, format!("the broker's certificate is not taken: {other}")),
    }
}

/// What the broker says of our side.
fn of_client(alert: AlertDescription) -> (&'static str, String) {
    let cert = CERT.info.name;
    match alert {
        AlertDescription::CertificateRequired => (cert, "the broker wants a certificate of the client".into()),
        AlertDescription::UnknownCA => {
            (cert, "the broker does not trust whoever signed the client's certificate".into())
        }
        AlertDescription::CertificateExpired => (cert, "the client's certificate has expired".into()),
        AlertDescription::CertificateRevoked => (cert, "the client's certificate is revoked".into()),
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => {
            (cert, format!("the broker does not take the client's certificate ({alert:?})"))
        }
        AlertDescription::HandshakeFailure => {
            (cert, "the broker ends the handshake: it may want a certificate of the client".into())
        }
        AlertDescription::NoApplicationProtocol => {
            (ALPN.info.name, "the broker knows none of the protocol names that are offered".into())
        }
        other => (SERVER.info.name, format!("the broker ends the handshake ({other:?})")),
    }
}
