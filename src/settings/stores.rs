//! Java's key and trust stores as PEM: files and texts in PEM, and PKCS12 files. JKS is refused with what converts it.
//!
//! The Kafka clients (`kafka/security/`) and the HTTPS of REST (`rest/tls.rs`) read their `ssl.*` keys through this. What a
//! file is shows in its first bytes: `ssl.keystore.type` is wrong in many files that work.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use pipette_api::{ConnectError, Result};
use pkcs8::EncryptedPrivateKeyInfoRef;

/// The largest store that is read: a bundle of all public authorities has a quarter of it.
const LARGEST: u64 = 4 << 20;

/// A private key and the certificates that show whose it is, in PEM. The key is not encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The key.
    pub key: String,
    /// Its certificate, and those it rests on.
    pub chain: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

/// The `ssl.*` keys of one client or server by their names without a prefix; how they are written in the configuration is
/// what errors name.
pub trait SslKeys {
    /// The value, unless it is empty.
    fn value(&self, name: &str) -> Option<&str>;
    /// The key as the configuration has it.
    fn written(&self, name: &str) -> String;
}

/// Says why a key's value cannot be used. The reason never holds a value that could be a secret.
pub fn invalid(keys: &(impl SslKeys + ?Sized), name: &str, reason: &str) -> ConnectError {
    ConnectError::config(format!("Invalid value for configuration {}: {reason}", keys.written(name)))
}

/// The key and certificates of `ssl.keystore.*`, if there are any.
pub fn identity(keys: &(impl SslKeys + ?Sized)) -> Result<Option<Identity>> {
    const KEY: &str = "ssl.keystore.key";
    const CHAIN: &str = "ssl.keystore.certificate.chain";
    const FILE: &str = "ssl.keystore.location";
    let password = keys.value("ssl.key.password");
    match (keys.value(KEY), keys.value(CHAIN), keys.value(FILE)) {
        (None, None, None) => Ok(None),
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            Err(invalid(keys, FILE, "there is a key or certificate in the configuration as well. Give one of them"))
        }
        (Some(key), Some(chain), None) => {
            let key = private_key(&blocks(key), password).map_err(|error| told(keys, KEY, &error))?;
            let chain = certificates(&blocks(chain)).map_err(|reason| invalid(keys, CHAIN, &reason))?;
            Ok(Some(Identity { key, chain }))
        }
        (Some(_), None, None) => {
            Err(invalid(keys, KEY, "a key needs its certificates: set ssl.keystore.certificate.chain"))
        }
        (None, Some(_), None) => Err(invalid(keys, CHAIN, "certificates need their key: set ssl.keystore.key")),
        (None, None, Some(path)) => match read(keys, FILE, path)? {
            Store::Pem(text) => {
                let blocks = blocks(&text);
                let key = private_key(&blocks, password).map_err(|error| told(keys, FILE, &error))?;
                let chain = certificates(&blocks).map_err(|reason| invalid(keys, FILE, &reason))?;
                Ok(Some(Identity { key, chain }))
            }
            Store::Pkcs12(bytes) => {
                let store = open(keys, FILE, &bytes, "ssl.keystore.password", Pkcs12ImportPolicy::Strict)?;
                let none = || invalid(keys, FILE, &format!("{path} has no private key with a certificate"));
                let (_, entry) = store.private_key_chain().ok_or_else(none)?;
                let mut chain = String::new();
                entry.certs().iter().for_each(|one| pem(&mut chain, "CERTIFICATE", one.as_der()));
                let mut key = String::new();
                pem(&mut key, "PRIVATE KEY", entry.key().as_der());
                Ok(Some(Identity { key, chain }))
            }
        },
    }
}

/// The certificates of `ssl.truststore.*` in PEM, if there are any.
pub fn trusted(keys: &(impl SslKeys + ?Sized)) -> Result<Option<String>> {
    const TEXT: &str = "ssl.truststore.certificates";
    const FILE: &str = "ssl.truststore.location";
    match (keys.value(TEXT), keys.value(FILE)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(invalid(keys, FILE, "there are certificates in the configuration as well. Give one of them"))
        }
        (Some(text), None) => certificates(&blocks(text)).map(Some).map_err(|reason| invalid(keys, TEXT, &reason)),
        (None, Some(path)) => match read(keys, FILE, path)? {
            Store::Pem(text) => certificates(&blocks(&text)).map(Some).map_err(|reason| invalid(keys, FILE, &reason)),
            Store::Pkcs12(bytes) => {
                // Java marks what it trusts, and other programs do not.
                let store = open(keys, FILE, &bytes, "ssl.truststore.password", Pkcs12ImportPolicy::Relaxed)?;
                let mut text = String::new();
                for (_, entry) in store.entries() {
                    match entry {
                        KeyStoreEntry::Certificate(one) => pem(&mut text, "CERTIFICATE", one.as_der()),
                        KeyStoreEntry::PrivateKeyChain(chain) => {
                            chain.certs().iter().take(1).for_each(|one| pem(&mut text, "CERTIFICATE", one.as_der()));
                        }
                        KeyStoreEntry::Secret(_) => {}
                    }
                }
                if text.is_empty() {
                    return Err(invalid(keys, FILE, &format!("{path} has no certificates")));
                }
                Ok(Some(text))
            }
        },
    }
}

enum Store {
    Pem(String),
    Pkcs12(Vec<u8>),
}

fn read(keys: &(impl SslKeys + ?Sized), name: &str, path: &str) -> Result<Store> {
    let unread = |error: std::io::Error| invalid(keys, name, &format!("{path} cannot be read")).because(error);
    let length = std::fs::metadata(path).map_err(unread)?.len();
    if length > LARGEST {
        return Err(invalid(keys, name, &format!("{path} has {length} bytes, which no store of keys has")));
    }
    let bytes = std::fs::read(path).map_err(unread)?;
    match bytes.as_slice() {
        [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => {
            let kind = if bytes[0] == 0xfe { "JKS" } else { "JCEKS" };
            let to = Path::new(path).with_extension("p12");
            let reason = format!(
                "{path} is a {kind} store, which only Java reads. Convert it once: keytool -importkeystore -srckeystore \
                 {path} -srcstoretype {kind} -destkeystore {to} -deststoretype PKCS12; then set it to {to}",
                to = to.display()
            );
            Err(invalid(keys, name, &reason))
        }
        [0x30, ..] => Ok(Store::Pkcs12(bytes)),
        _ => match String::from_utf8(bytes) {
            Ok(text) if text.contains("-----BEGIN ") => Ok(Store::Pem(text)),
            _ => Err(invalid(keys, name, &format!("{path} is neither PEM nor PKCS12"))),
        },
    }
}

fn open(
    keys: &(impl SslKeys + ?Sized),
    name: &str,
    bytes: &[u8],
    password: &str,
    policy: Pkcs12ImportPolicy,
) -> Result<KeyStore> {
    let given = keys.value(password);
    KeyStore::from_pkcs12(bytes, given.unwrap_or_default(), policy).map_err(|error| {
        let file = keys.value(name).unwrap_or_default();
        let (password, error) = (keys.written(password), error.to_string());
        let reason = match (given, error.contains("MAC")) {
            (None, _) => format!("{file} does not open without a password: set {password}"),
            (Some(_), true) => format!("{file} does not open: {password} is not its password"),
            (Some(_), false) => {
                format!("{file} does not open ({error}): it is damaged, or {password} is not its password")
            }
        };
        invalid(keys, name, &reason)
    })
}

/// A part of a PEM text: the label, and the bytes unless they are none.
type Block = (String, Option<Vec<u8>>);

/// The parts of a PEM text. Line ends may be missing or be blanks, as in a properties file.
fn blocks(text: &str) -> Vec<Block> {
    const BEGIN: &str = "-----BEGIN ";
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        rest = &rest[at + BEGIN.len()..];
        let Some((label, body)) = rest.split_once("-----") else { break };
        let Some((body, after)) = body.split_once(&format!("-----END {label}-----")) else { break };
        let digits: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        blocks.push((label.to_owned(), STANDARD.decode(digits).ok()));
        rest = after;
    }
    blocks
}

fn certificates(blocks: &[Block]) -> std::result::Result<String, String> {
    let mut text = String::new();
    for (label, bytes) in blocks.iter().filter(|(label, _)| label.ends_with("CERTIFICATE")) {
        let bytes = bytes.as_deref().ok_or_else(|| format!("a {label} in it is damaged"))?;
        pem(&mut text, "CERTIFICATE", bytes);
    }
    if text.is_empty() { Err("it has no certificate in PEM (-----BEGIN CERTIFICATE-----)".into()) } else { Ok(text) }
}

/// What is wrong with a private key: with the text itself, or with its password.
enum KeyError {
    Text(&'static str),
    Password(&'static str),
}

fn told(keys: &(impl SslKeys + ?Sized), name: &str, error: &KeyError) -> ConnectError {
    match error {
        KeyError::Text(reason) => invalid(keys, name, reason),
        KeyError::Password(reason) => invalid(keys, "ssl.key.password", reason),
    }
}

fn private_key(blocks: &[Block], password: Option<&str>) -> std::result::Result<String, KeyError> {
    let found = blocks.iter().find(|(label, _)| label.ends_with("PRIVATE KEY"));
    let (label, bytes) = found.ok_or(KeyError::Text("it has no private key in PEM (-----BEGIN PRIVATE KEY-----)"))?;
    let bytes = bytes.as_deref().ok_or(KeyError::Text(
        "the private key in it is damaged, or encrypted in a way that Java does not read either. Convert it: openssl \
         pkcs8 -topk8",
    ))?;
    let mut text = String::new();
    if label == "ENCRYPTED PRIVATE KEY" {
        let password = password.ok_or(KeyError::Password("the private key is encrypted, and there is no password"))?;
        let info =
            EncryptedPrivateKeyInfoRef::try_from(bytes).map_err(|_| KeyError::Text("the private key is damaged"))?;
        let key = info.decrypt(password).map_err(|_| KeyError::Password("this does not open the private key"))?;
        pem(&mut text, "PRIVATE KEY", key.as_bytes());
    } else {
        pem(&mut text, label, bytes);
    }
    Ok(text)
}

/// Adds a part in the form that every program reads.
fn pem(text: &mut String, label: &str, bytes: &[u8]) {
    let digits = STANDARD.encode(bytes);
    let _ = writeln!(text, "-----BEGIN {label}-----");
    for start in (0..digits.len()).step_by(64) {
        text.push_str(&digits[start..digits.len().min(start + 64)]);
        text.push('\n');
    }
    let _ = writeln!(text, "-----END {label}-----");
}
