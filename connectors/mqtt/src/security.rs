//! The files with certificates: what they hold, and what is wrong with them, each fault under the key of its file.
//!
//! A task has them opened when it starts, a check of the configuration looks at them. Read next: `client/tls.rs`, where a
//! handshake says which of them it did not like.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;
use std::time::SystemTime;

use pipette_api::{ConnectError, Key, Reach, Result};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};

use crate::client::Tls;
use crate::config::{CA, CERT, SSL_KEY};

/// Files with certificates, as configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    pub(crate) ca: Option<String>,
    pub(crate) cert: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) alpn: Vec<String>,
    /// Which files may be read.
    pub(crate) reach: Reach,
}

/// What to do about a key store.
pub(crate) const TO_PEM: &str = "convert a Java key store with keytool -importkeystore … -deststoretype pkcs12, then \
                                 openssl pkcs12 -in … -out FILE -nodes";

/// A key and what is wrong with the file it names.
type Wrong = (&'static str, String);
type Chain = Vec<CertificateDer<'static>>;

impl Security {
    /// Reads the files; a config error names key and file. A certificate whose time is not now is the broker's to refuse: a
    /// machine may start with a wrong clock.
    pub(crate) fn open(&self) -> Result<Tls> {
        let config = self.made().map_err(|(key, reason)| ConnectError::config(format!("{key}: {reason}")))?;
        Ok(Tls { config: config.map(|(config, ..)| Arc::new(config)), alpn: self.alpn.clone() })
    }

    /// What is wrong with the files, by key.
    pub(crate) fn look(&self) -> Vec<Wrong> {
        match self.made() {
            Ok(Some((_, roots, Some(chain)))) => self.out_of_time(roots, &chain).into_iter().collect(),
            Ok(_) => Vec::new(),
            Err(wrong) => vec![wrong],
        }
    }

    /// `None` when the system's certificates are to hold.
    #[allow(clippy::type_complexity)] // what `look` needs besides
    fn made(&self) -> std::result::Result<Option<(ClientConfig, RootCertStore, Option<Chain>)>, Wrong> {
        let Some(ca) = &self.ca else { return Ok(None) };
        let roots = roots(&self.read(&CA, ca)?, ca).map_err(|reason| (CA.info.name, reason))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| (CA.info.name, error.to_string()))?;
        let builder = builder.with_root_certificates(roots.clone());
        let (mut config, chain) = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = chain(&self.read(&CERT, cert)?, cert).map_err(|reason| (CERT.info.name, reason))?;
                let content = self.read(&SSL_KEY, key)?;
                let private = private_key(&content, key, &provider).map_err(|reason| (SSL_KEY.info.name, reason))?;
                let config = builder.with_client_auth_cert(chain.clone(), private);
                (config.map_err(|error| misfit(&error, cert, key))?, Some(chain))
            }
            _ => (builder.with_no_client_auth(), None),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(Some((config, roots, chain)))
    }

    fn read(&self, key: &Key<String>, path: &str) -> std::result::Result<Vec<u8>, Wrong> {
        let unreadable = |error| (key.info.name, format!("the file {path} cannot be read: {error}"));
        let mut file = fs::File::open(path).map_err(unreadable)?;
        self.reach.opened(&file).map_err(|error| (key.info.name, error.to_string()))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(unreadable)?;
        if content.windows(11).any(|part| part == b"-----BEGIN ") {
            return Ok(content);
        }
        Err((key.info.name, format!("the file {path} holds nothing in PEM: {TO_PEM}")))
    }

    /// A client's certificate that has expired, or is not valid yet. Only its time counts here: which authority it is of is
    /// the broker's to judge.
    fn out_of_time(&self, roots: RootCertStore, chain: &Chain) -> Option<Wrong> {
        let (path, (own, others)) = (self.cert.as_ref()?, chain.split_first()?);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
        let outcome = verifier.verify_client_cert(own, others, UnixTime::now()).err()?;
        let Error::InvalidCertificate(error) = outcome else { return None };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let days = |time: UnixTime| now.abs_diff(time.as_secs()) / 86_400;
        let text = match error {
            CertificateError::ExpiredContext { not_after, .. } => {
                format!("the certificate in {path} has expired {} days ago: have a new one made", days(not_after))
            }
            CertificateError::NotValidYetContext { not_before, .. } => format!(
                "the certificate in {path} is not valid yet, but in {} days: is this machine's clock right?",
                days(not_before)
            ),
            _ => return None,
        };
        Some((CERT.info.name, text))
    }
}

fn certificates(content: &[u8], path: &str) -> std::result::Result<Chain, String> {
    let all: std::result::Result<Chain, _> = CertificateDer::pem_slice_iter(content).collect();
    let all = all.map_err(|error| format!("the file {path} holds broken PEM: {error}"))?;
    if all.is_empty() {
        return Err(format!("the file {path} holds no certificate (a part with BEGIN CERTIFICATE)"));
    }
    Ok(all)
}

fn roots(content: &[u8], path: &str) -> std::result::Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(content, path)?);
    if added == 0 {
        return Err(format!("the file {path} holds no certificate that can be read"));
    }
    Ok(roots)
}

fn chain(content: &[u8], path: &str) -> std::result::Result<Chain, String> {
    let chain = certificates(content, path)?;
    // A certificate that is none shows as an authority already, with the same error.
    match chain.first().map(|own| RootCertStore::empty().add(own.clone())) {
        Some(Err(Error::InvalidCertificate(CertificateError::BadEncoding))) => {
            Err(format!("the first certificate in the file {path} cannot be read"))
        }
        _ => Ok(chain),
    }
}

fn private_key(
    content: &[u8],
    path: &str,
    provider: &CryptoProvider,
) -> std::result::Result<PrivateKeyDer<'static>, String> {
    let key = PrivateKeyDer::from_pem_slice(content).map_err(|error| match error {
        PemError::NoItemsFound if content.windows(9).any(|part| part == b"ENCRYPTED") => {
            format!("the private key in {path} is under a password: take it off with openssl pkey -in {path} -out FILE")
        }
        PemError::NoItemsFound => format!("the file {path} holds no private key (a part with BEGIN PRIVATE KEY)"),
        error => format!("the file {path} holds broken PEM: {error}"),
    })?;
    match provider.key_provider.load_private_key(key.clone_key()) {
        Ok(_) => Ok(key),
        Err(_) => {
            Err(format!("the private key in {path} is of no kind that TLS works with here (RSA, ECDSA, Ed25519)"))
        }
    }
}

fn misfit(error: &Error, cert: &str, key: &str) -> Wrong {
    match error {
        Error::InconsistentKeys(_) => {
            (SSL_KEY.info.name, format!("the private key in {key} is not that of the certificate in {cert}"))
        }
        error => (CERT.info.name, format!("the certificate in {cert} cannot be used: {error}")),
    }
}
