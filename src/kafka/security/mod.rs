//! Java's `security.*`, `ssl.*` and `sasl.*` keys as librdkafka's.
//!
//! `properties.rs` gathers them layer by layer in a [`Security`] and has it finish once all are there: what one means
//! depends on others. `tls.rs` has the certificates, `sasl.rs` the login, `jaas.rs` reads its one line; `oauth.rs`
//! beside this folder fetches tokens. A key that protects and cannot be honoured is an error; what cannot matter in
//! `security.protocol` is passed over, as Java does.

mod sasl;
mod tls;

use std::collections::BTreeMap;

use pipette_api::{ConfigMap, Result};

use super::properties::ClientProperties;
use crate::settings::stores::{SslKeys, invalid};

/// The keys of one client that protect its connections.
#[derive(Default)]
pub(super) struct Security {
    /// By Java's name: the value, and the key as it stands in the configuration.
    given: BTreeMap<String, (String, String)>,
}

impl SslKeys for Security {
    fn value(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn written(&self, name: &str) -> String {
        // A key that is missing belongs where the others are.
        let beside = self.given.get("security.protocol").and_then(|(_, key)| key.strip_suffix("security.protocol"));
        self.given.get(name).map_or_else(|| format!("{}{name}", beside.unwrap_or_default()), |(_, key)| key.clone())
    }
}

impl Security {
    /// Whether Java has these keys for what is read here.
    pub(super) fn is_for(name: &str) -> bool {
        ["sasl.", "ssl.", "security."].iter().any(|prefix| name.starts_with(prefix))
    }

    /// Takes a key in; later ones win.
    pub(super) fn take(&mut self, name: &str, value: &str, key: &str) {
        self.given.insert(name.to_owned(), (value.to_owned(), key.to_owned()));
    }

    /// librdkafka's properties for all of them.
    pub(super) fn finish(&self, properties: &mut ClientProperties) -> Result<()> {
        self.refuse_what_nobody_knows()?;
        let protocol = self.value("security.protocol").unwrap_or("PLAINTEXT").to_uppercase();
        let (tls, sasl) = match protocol.as_str() {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            other => {
                let reason = format!("{other} is none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL");
                return Err(invalid(self, "security.protocol", &reason));
            }
        };
        if tls || sasl {
            properties.insert("security.protocol".into(), protocol.to_lowercase());
        }
        if tls {
            tls::properties(self, properties)?;
        }
        if sasl {
            sasl::properties(self, properties)?;
        }
        self.warn_of_the_unused(&protocol, tls, sasl);
        Ok(())
    }

    /// A word for a key that says nothing here, once for every client that has it.
    fn without_effect(&self, name: &str, why: &str) {
        if self.value(name).is_some() {
            tracing::warn!(key = self.written(name), why, "This client key has no effect here");
        }
    }

    fn refuse_what_nobody_knows(&self) -> Result<()> {
        match self.given.keys().find(|name| KNOWN.binary_search(&name.as_str()).is_err()) {
            None => Ok(()),
            Some(name) => {
                let instead = match name.as_str() {
                    "sasl.username" | "sasl.password" => "write the login as Java does, in sasl.jaas.config",
                    "ssl.ca.location" | "ssl.ca.pem" => "write ssl.truststore.location, or ssl.truststore.certificates",
                    "ssl.certificate.location" | "ssl.key.location" | "ssl.certificate.pem" | "ssl.key.pem" => {
                        "write ssl.keystore.location, or ssl.keystore.certificate.chain and ssl.keystore.key"
                    }
                    _ => "remove it",
                };
                let reason = format!(
                    "Java's clients have no key {name}. As it could be there to protect the connection, nothing is \
                     started; {instead}"
                );
                Err(invalid(self, name, &reason))
            }
        }
    }

    /// Certificates and logins that the protocol makes no use of: somebody may believe in them.
    fn warn_of_the_unused(&self, protocol: &str, tls: bool, sasl: bool) {
        let telling = [
            (
                !tls,
                ["ssl.truststore.location", "ssl.truststore.certificates", "ssl.keystore.location", "ssl.keystore.key"],
            ),
            (!sasl, ["sasl.jaas.config", "sasl.mechanism", "sasl.oauthbearer.token.endpoint.url", ""]),
        ];
        let unused = telling.iter().filter(|(unused, _)| *unused).flat_map(|(_, names)| names);
        for name in unused.filter(|name| self.given.contains_key(**name)) {
            self.without_effect(name, &format!("security.protocol is {protocol}"));
        }
    }
}

/// The settings below a prefix that stand in a login line.
fn below(options: &BTreeMap<String, String>, prefix: &str) -> ConfigMap {
    options.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Every key of Java's producers, consumers and admin clients with these beginnings, and REST's `ssl.client.auth`, which
/// stands beside them in worker files.
const KNOWN: &[&str] = &[
    "sasl.client.callback.handler.class",
    "sasl.jaas.config",
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.service.name",
    "sasl.kerberos.ticket.renew.jitter",
    "sasl.kerberos.ticket.renew.window.factor",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.login.connect.timeout.ms",
    "sasl.login.read.timeout.ms",
    "sasl.login.refresh.buffer.seconds",
    "sasl.login.refresh.min.period.seconds",
    "sasl.login.refresh.window.factor",
    "sasl.login.refresh.window.jitter",
    "sasl.login.retry.backoff.max.ms",
    "sasl.login.retry.backoff.ms",
    "sasl.mechanism",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.template.file",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.audience",
    "sasl.oauthbearer.expected.issuer",
    "sasl.oauthbearer.header.urlencode",
    "sasl.oauthbearer.jwks.endpoint.refresh.ms",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
    "sasl.oauthbearer.jwks.endpoint.url",
    "sasl.oauthbearer.jwt.retriever.class",
    "sasl.oauthbearer.jwt.validator.class",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "sasl.oauthbearer.token.endpoint.url",
    "security.protocol",
    "security.providers",
    "ssl.cipher.suites",
    "ssl.client.auth",
    "ssl.enabled.protocols",
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.factory.class",
    "ssl.key.password",
    "ssl.keymanager.algorithm",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.protocol",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
