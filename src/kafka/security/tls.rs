//! `ssl.*`: certificates, protocols, cipher suites and the check of the broker's name.

use pipette_api::Result;

use super::Security;
use crate::kafka::properties::ClientProperties;
use crate::settings::stores::{self, SslKeys, invalid};

/// OpenSSL lets a list of the suites before TLS 1.3 not be empty. This one needs a key that nobody has set, so it is never
/// offered, and TLS 1.3 is all that is left.
const NONE_BEFORE_13: &str = "PSK-AES256-GCM-SHA384";

pub(super) fn properties(security: &Security, properties: &mut ClientProperties) -> Result<()> {
    let mut put = |name: &str, value: String| drop(properties.insert(name.to_owned(), value));
    match stores::trusted(security)? {
        Some(certificates) => put("ssl.ca.pem", certificates),
        // Where the system keeps the public authorities differs, and a linked OpenSSL may look elsewhere.
        None => put("ssl.ca.location", "probe".to_owned()),
    }
    if let Some(identity) = stores::identity(security)? {
        put("ssl.certificate.pem", identity.chain);
        put("ssl.key.pem", identity.key);
    }
    put("ssl.endpoint.identification.algorithm", identification(security)?.to_owned());
    if let Some(suites) = suites(security)? {
        put("ssl.cipher.suites", suites);
    }
    refuse_code(security)?;
    Ok(())
}

/// Empty switches the check off, in Java as here.
fn identification(security: &Security) -> Result<&'static str> {
    const KEY: &str = "ssl.endpoint.identification.algorithm";
    match security.given.get(KEY).map(|(value, _)| value.to_lowercase()).as_deref() {
        None | Some("https") => Ok("https"),
        Some("") => {
            tracing::warn!(key = security.written(KEY), "The names in the brokers' certificates are not checked");
            Ok("none")
        }
        Some(_) => Err(invalid(security, KEY, "it is `https`, or empty to check no names")),
    }
}

/// The suites to offer, when the keys leave some out.
fn suites(security: &Security) -> Result<Option<String>> {
    const KEY: &str = "ssl.cipher.suites";
    let only_13 = protocols(security)?;
    let mut mapped = Vec::new();
    let mut newest = 0;
    for name in security.value(KEY).into_iter().flat_map(list) {
        if NEWEST.contains(&name) {
            newest += 1;
        } else if let Some((_, suite)) = SUITES.iter().find(|(java, _)| *java == name) {
            mapped.push(*suite);
        } else {
            return Err(invalid(security, KEY, &format!("{name} is a cipher suite that OpenSSL does not offer")));
        }
    }
    if security.value(KEY).is_some() && newest < NEWEST.len() {
        security.without_effect(KEY, "on connections with TLS 1.3: its suites are always offered, and all are strong");
    }
    Ok(match (only_13, security.value(KEY).is_some(), mapped.is_empty()) {
        (true, ..) | (false, true, true) => Some(NONE_BEFORE_13.to_owned()),
        (false, false, _) => None,
        (false, true, false) => Some(mapped.join(":")),
    })
}

/// Whether TLS 1.2 is not wanted.
fn protocols(security: &Security) -> Result<bool> {
    const KEY: &str = "ssl.enabled.protocols";
    let Some(text) = security.value(KEY) else { return Ok(false) };
    let has = |name: &str| list(text).any(|protocol| protocol.eq_ignore_ascii_case(name));
    match (has("TLSv1.2"), has("TLSv1.3")) {
        (false, false) => Err(invalid(security, KEY, "it has neither TLSv1.2 nor TLSv1.3, and no older one is spoken")),
        (true, false) => {
            security.without_effect(KEY, "where the broker speaks TLS 1.3, which is offered as well");
            Ok(false)
        }
        (has_12, true) => Ok(!has_12),
    }
}

/// Code of somebody else's that would guard the connection in Java.
fn refuse_code(security: &Security) -> Result<()> {
    for name in ["ssl.engine.factory.class", "security.providers"] {
        if let Some(class) = security.value(name) {
            let reason = format!("{class} is Java code, which cannot run here and may be there to protect. Remove it");
            return Err(invalid(security, name, &reason));
        }
    }
    for (name, usual) in [("ssl.trustmanager.algorithm", "PKIX"), ("ssl.keymanager.algorithm", "SunX509")] {
        if security.value(name).is_some_and(|value| !value.eq_ignore_ascii_case(usual)) {
            security.without_effect(name, "TLS comes from OpenSSL, which checks certificates as PKIX says");
        }
    }
    Ok(())
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// The suites of TLS 1.3.
const NEWEST: &[&str] = &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// The suites of TLS 1.2 in Java's names and in OpenSSL's.
const SUITES: &[(&str, &str)] = &[
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
    ("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", "DHE-RSA-AES128-GCM-SHA256"),
    ("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "DHE-RSA-AES256-GCM-SHA384"),
    ("TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "DHE-RSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", "ECDHE-ECDSA-AES256-SHA384"),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "ECDHE-RSA-AES256-SHA384"),
    ("TLS_DHE_RSA_WITH_AES_128_CBC_SHA256", "DHE-RSA-AES128-SHA256"),
    ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", "DHE-RSA-AES256-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"),
    ("TLS_RSA_WITH_AES_256_CBC_SHA256", "AES256-SHA256"),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"),
];
