//! HTTPS: the `ssl.*` keys of a listener as rustls', and a socket that shakes hands before a request is read.
//!
//! `worker.rs` reads the keys before it listens, `mod.rs` serves on what comes out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConfigMap, ConnectError, Result};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::settings::stores::{self, SslKeys, invalid};

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time; more clients wait in the socket's queue.
const HANDSHAKES: usize = 256;
/// What a failed `accept` waits for: file handles that others give back.
const BREATH: Duration = Duration::from_millis(200);

/// What REST shows to its clients, and asks of them.
pub struct Tls(Arc<ServerConfig>);

/// The keys of the listener.
struct Keys<'a> {
    values: &'a ConfigMap,
    prefix: String,
}

impl SslKeys for Keys<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        let value = self.values.get(&self.written(name)).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }

    fn written(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Tls {
    /// From the worker's configuration, for the addresses of this key. The error names the key to mend. Java reads either
    /// the keys of the listener (`listeners.https.…`) or those without a prefix, never both.
    pub fn read(values: &ConfigMap, listeners: &str) -> Result<Self> {
        let prefix = format!("{listeners}.https.");
        let own = values.keys().any(|key| key.starts_with(&prefix));
        let keys = Keys { values, prefix: if own { prefix } else { String::new() } };
        if let Some(class) = keys.value("ssl.engine.factory.class") {
            let reason = format!("{class} is Java code, which cannot run here and may be there to protect. Remove it");
            return Err(invalid(&keys, "ssl.engine.factory.class", &reason));
        }
        let missing =
            || invalid(&keys, "ssl.keystore.location", "it is missing: https needs a key and its certificate");
        let identity = stores::identity(&keys)?.ok_or_else(missing)?;
        let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).flatten().collect();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
        let key =
            key.map_err(|_| invalid(&keys, "ssl.keystore.location", "its private key is of a kind unknown here"))?;
        let provider = Arc::new(provider(&keys)?);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&versions(&keys)?).map_err(|error| unusable(&keys, &error))?;
        let builder = match verifier(&keys, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            invalid(&keys, "ssl.keystore.location", &format!("its key and certificate cannot be used: {error}"))
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

fn unusable(keys: &Keys<'_>, error: &rustls::Error) -> ConnectError {
    invalid(keys, "ssl.enabled.protocols", &format!("with ssl.cipher.suites nothing is left to speak: {error}"))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn versions(keys: &Keys<'_>) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let text = keys.value("ssl.enabled.protocols").unwrap_or("TLSv1.2,TLSv1.3");
    let all = [("TLSv1.2", &version::TLS12), ("TLSv1.3", &version::TLS13)];
    let wanted = all.iter().filter(|(name, _)| list(text).any(|it| it.eq_ignore_ascii_case(name)));
    let wanted: Vec<_> = wanted.map(|(_, version)| *version).collect();
    if wanted.is_empty() {
        let reason = "it has neither TLSv1.2 nor TLSv1.3, and no older one is spoken";
        return Err(invalid(keys, "ssl.enabled.protocols", reason));
    }
    Ok(wanted)
}

/// The suites that are listed, or all.
fn provider(keys: &Keys<'_>) -> Result<CryptoProvider> {
    let mut provider = ring::default_provider();
    if let Some(text) = keys.value("ssl.cipher.suites") {
        let java = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        provider.cipher_suites.retain(|suite| list(text).any(|name| name == java(suite)));
        if provider.cipher_suites.is_empty() {
            return Err(invalid(keys, "ssl.cipher.suites", "none of them is offered here"));
        }
    }
    Ok(provider)
}

fn verifier(keys: &Keys<'_>, provider: Arc<CryptoProvider>) -> Result<Option<Arc<dyn ClientCertVerifier>>> {
    const KEY: &str = "ssl.client.auth";
    let required = match keys.value(KEY).unwrap_or("none") {
        "none" => return Ok(None),
        "requested" => false,
        "required" => true,
        _ => return Err(invalid(keys, KEY, "String must be one of: required, requested, none")),
    };
    let missing = || invalid(keys, "ssl.truststore.location", "it is missing: who may sign the clients' certificates?");
    let trusted = stores::trusted(keys)?.ok_or_else(missing)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(trusted.as_bytes()).flatten());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !required {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build();
    let refused = |error| invalid(keys, "ssl.truststore.location", &format!("it cannot be used: {error}"));
    verifier.map(Some).map_err(refused)
}

/// A listening socket whose connections have shaken hands. One that is slow about it holds nobody else up.
pub(super) struct Handshakes {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    under_way: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl Handshakes {
    pub(super) fn on(listener: TcpListener, tls: Tls) -> Self {
        Self { listener, acceptor: TlsAcceptor::from(tls.0), under_way: JoinSet::new() }
    }

    fn shake(&mut self, socket: TcpStream, from: SocketAddr) {
        let shaking = self.acceptor.accept(socket);
        self.under_way.spawn(async move {
            match timeout(HANDSHAKE, shaking).await {
                Ok(Ok(stream)) => Some((stream, from)),
                Ok(Err(error)) => {
                    tracing::debug!(%from, %error, "A client of REST speaks no TLS, or shows no certificate");
                    None
                }
                Err(_) => None,
            }
        });
    }
}

impl axum::serve::Listener for Handshakes {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.under_way.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
                accepted = self.listener.accept(), if self.under_way.len() < HANDSHAKES => match accepted {
                    Ok((socket, from)) => self.shake(socket, from),
                    Err(error) => {
                        tracing::debug!(%error, "REST takes no connection");
                        tokio::time::sleep(BREATH).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
