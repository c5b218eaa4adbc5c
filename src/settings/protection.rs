//! The keys of Apache's worker that protect connections: TLS and logins, for REST's https and the worker's own clients.
//!
//! What they mean is read in `kafka/security/` and `rest/tls.rs`, which refuse what cannot be honoured. Here is their
//! list, as `java_keys.rs` has the others.

use pipette_api::config::checks::{in_range, one_of, one_of_any_case};
use pipette_api::config::key::{ClassName, Importance, KeyInfo, Password};

use pipette_api::{ConfigMap, ConnectError, Key, Result};

use super::java_keys::keys;
use super::nearest::meant;

const KERBEROS: &str = "Of Kerberos, which is not supported: `sasl.mechanism=GSSAPI` is refused.";
const REFRESH: &str = "No effect: a token is fetched anew when three quarters of its life are over.";
const LOGIN_CODE: &str = "Java code. Refused where a login would need it.";
const ASSERTION: &str = "Of logins by assertion, which are refused: tokens are fetched with a client's id and secret.";
const BROKER_SIDE: &str = "No effect: it checks tokens, which brokers do.";
const OPENSSL: &str = "No effect: TLS comes from OpenSSL and rustls, not from Java.";

/// TLS, of the worker's own clients, and of REST when no key begins with `listeners.https.`.
pub static TLS: &[KeyInfo] = keys! {
    "ssl.protocol" String, default("TLSv1.3") Medium, "No effect: the best that both sides speak.";
    "ssl.provider" String, optional() Medium, OPENSSL;
    "ssl.cipher.suites" Vec<String>, default("") Low, "The suites to offer, in Java's names.";
    "ssl.enabled.protocols" Vec<String>, default("TLSv1.2,TLSv1.3") Medium, "The versions of TLS to offer.";
    "ssl.keystore.type" String, default("JKS") Medium, "No effect: a file shows what it is. JKS is refused.";
    "ssl.keystore.location" String, optional() High, "The file with the own key and certificate, PEM or PKCS12.";
    "ssl.keystore.password" Password, optional() High, "The password of that file.";
    "ssl.key.password" Password, optional() High, "The password of the key in it.";
    "ssl.keystore.key" Password, optional() High, "The own key in PEM.";
    "ssl.keystore.certificate.chain" Password, optional() High, "The own certificate and those it rests on, in PEM.";
    "ssl.truststore.certificates" Password, optional() High, "The certificates to trust, in PEM.";
    "ssl.truststore.type" String, default("JKS") Medium, "No effect: a file shows what it is. JKS is refused.";
    "ssl.truststore.location" String, optional() High, "The file with the certificates to trust, PEM or PKCS12.";
    "ssl.truststore.password" Password, optional() High, "The password of that file.";
    "ssl.keymanager.algorithm" String, default("SunX509") Low, OPENSSL;
    "ssl.trustmanager.algorithm" String, default("PKIX") Low, OPENSSL;
    "ssl.endpoint.identification.algorithm" String, default("https") Low,
        "Whether names in certificates are checked: `https`, or empty for not.";
    "ssl.secure.random.implementation" String, optional() Low, OPENSSL;
    "ssl.engine.factory.class" ClassName, optional() Low, "Java code: refused where TLS is used.";
    "ssl.client.auth" String, default("none") Low if |text| one_of(text, &["required", "requested", "none"]),
        "Whether clients of REST's https show a certificate.";
};

/// Logins of the worker's own clients.
pub static LOGIN: &[KeyInfo] = keys! {
    "security.protocol" String, default("PLAINTEXT") Medium
        if |text| one_of_any_case(text, &["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        "How brokers are spoken to.";
    "sasl.mechanism" String, default("GSSAPI") Medium, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.";
    "sasl.jaas.config" Password, optional() Medium, "The login line, in Java's form.";
    "sasl.client.callback.handler.class" ClassName, optional() Medium, LOGIN_CODE;
    "sasl.login.callback.handler.class" ClassName, optional() Medium,
        "Java code. Refused where a login would need it, but for Apache's own for OAUTHBEARER.";
    "sasl.login.class" ClassName, optional() Medium, LOGIN_CODE;
    "sasl.kerberos.service.name" String, optional() Medium, KERBEROS;
    "sasl.kerberos.kinit.cmd" String, default("/usr/bin/kinit") Low, "Refused: it is a command.";
    "sasl.kerberos.ticket.renew.window.factor" f64, default("0.8") Low, KERBEROS;
    "sasl.kerberos.ticket.renew.jitter" f64, default("0.05") Low, KERBEROS;
    "sasl.kerberos.min.time.before.relogin" i64, default("60000") Low, KERBEROS;
    "sasl.login.refresh.window.factor" f64, default("0.8") Low, REFRESH;
    "sasl.login.refresh.window.jitter" f64, default("0.05") Low, REFRESH;
    "sasl.login.refresh.min.period.seconds" i16, default("60") Low if in_range::<0, 900>, REFRESH;
    "sasl.login.refresh.buffer.seconds" i16, default("300") Low if in_range::<0, 3600>, REFRESH;
    "sasl.login.connect.timeout.ms" i32, optional() Low, "How long connecting to a token server may take.";
    "sasl.login.read.timeout.ms" i32, optional() Low, "How long a token server's answer may take.";
    "sasl.login.retry.backoff.ms" i64, default("100") Low, "No effect: a login is tried again with each connection.";
    "sasl.login.retry.backoff.max.ms" i64, default("10000") Low,
        "No effect: a login is tried again with each connection.";
    "sasl.oauthbearer.token.endpoint.url" String, optional() Medium, "The token server's address.";
    "sasl.oauthbearer.client.credentials.client.id" String, optional() Medium, "The id a token is fetched with.";
    "sasl.oauthbearer.client.credentials.client.secret" Password, optional() Medium, "The secret that goes with it.";
    "sasl.oauthbearer.scope" String, optional() Medium, "The scope that is asked for.";
    "sasl.oauthbearer.header.urlencode" bool, default("false") Low, "Whether id and secret are sent encoded.";
    "sasl.oauthbearer.sub.claim.name" String, default("sub") Low, "Where a token says whose it is.";
    "sasl.oauthbearer.jwt.retriever.class" ClassName,
        default("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever") Medium,
        "DefaultJwtRetriever or ClientCredentialsJwtRetriever; anything else is refused.";
    "sasl.oauthbearer.jwt.validator.class" ClassName,
        default("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator") Medium, BROKER_SIDE;
    "sasl.oauthbearer.scope.claim.name" String, default("scope") Low, BROKER_SIDE;
    "sasl.oauthbearer.jwks.endpoint.url" String, optional() Medium, BROKER_SIDE;
    "sasl.oauthbearer.jwks.endpoint.refresh.ms" i64, default("3600000") Low, BROKER_SIDE;
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms" i64, default("100") Low, BROKER_SIDE;
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms" i64, default("10000") Low, BROKER_SIDE;
    "sasl.oauthbearer.clock.skew.seconds" i32, default("30") Low, BROKER_SIDE;
    "sasl.oauthbearer.expected.audience" Vec<String>, default("") High, BROKER_SIDE;
    "sasl.oauthbearer.expected.issuer" String, optional() High, BROKER_SIDE;
    "sasl.oauthbearer.assertion.algorithm" String, default("RS256") Medium, ASSERTION;
    "sasl.oauthbearer.assertion.claim.aud" String, optional() Medium, ASSERTION;
    "sasl.oauthbearer.assertion.claim.exp.seconds" i32, default("300") Low, ASSERTION;
    "sasl.oauthbearer.assertion.claim.iss" String, optional() Medium, ASSERTION;
    "sasl.oauthbearer.assertion.claim.jti.include" bool, default("false") Medium, ASSERTION;
    "sasl.oauthbearer.assertion.claim.nbf.seconds" i32, default("60") Low, ASSERTION;
    "sasl.oauthbearer.assertion.claim.sub" String, optional() Medium, ASSERTION;
    "sasl.oauthbearer.assertion.file" String, optional() Medium, ASSERTION;
    "sasl.oauthbearer.assertion.private.key.file" String, optional() Medium, ASSERTION;
    "sasl.oauthbearer.assertion.private.key.passphrase" Password, optional() Medium, ASSERTION;
    "sasl.oauthbearer.assertion.template.file" String, optional() Medium, ASSERTION;
};

/// What REST's https reads: its keys stand behind one of these.
const HTTPS: [&str; 2] = ["listeners.https.", "admin.listeners.https."];

/// A key of REST's https that nobody knows could be there to protect it: the worker does not start.
pub(super) fn check_prefixed(values: &ConfigMap) -> Result<()> {
    let unknown = values.keys().find_map(|key| {
        let (prefix, name) = HTTPS.iter().find_map(|prefix| Some((prefix, key.strip_prefix(prefix)?)))?;
        (!TLS.iter().any(|row| row.name == name)).then_some((key, prefix))
    });
    let Some((key, prefix)) = unknown else { return Ok(()) };
    let known: Vec<String> = TLS.iter().map(|row| format!("{prefix}{}", row.name)).collect();
    Err(ConnectError::config(format!(
        "{key} is unknown. As it could be there to protect REST, nothing is started: mend its name, or remove it{}",
        meant(key, known.iter().map(String::as_str))
    )))
}
