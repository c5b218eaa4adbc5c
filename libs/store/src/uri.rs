//! Addresses of objects, and which of them may be used.
//!
//! Whoever may write to a topic chooses the address that a sink reads with the worker's credentials. So an address is read
//! strictly, by hand (the `url` crate takes dot segments away before anybody sees them), and compared with a list.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use pipette_api::{ConnectError, Result};

/// The longest address that is looked at; S3's keys end at 1,024 bytes, each of which may be written as three.
const LONGEST: usize = 4096;

/// What does not stand in an address as it is. A slash does: it separates the parts of a key.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'+')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What kind of store an address leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `s3://bucket/key`; also read as `s3a` and `s3n`.
    S3,
    /// `gs://bucket/key`.
    Gcs,
    /// `az://container/key`; also read as `abs` and `azure`. The account is an option of the store.
    Azure,
    /// `file:///path`.
    File,
    /// `https://host/path`: read only, where [`Allowed`] was asked for it.
    Https,
    /// `memory://name/key`: for tests and demonstrations.
    Memory,
}

impl Scheme {
    fn read(text: &str, web: bool) -> std::result::Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "https" if web => Ok(Self::Https),
            "http" if web => Err("addresses of the web are read by https only".into()),
            "s3" | "s3a" | "s3n" => Ok(Self::S3),
            "gs" => Ok(Self::Gcs),
            "az" | "abs" | "azure" => Ok(Self::Azure),
            "file" => Ok(Self::File),
            "memory" => Ok(Self::Memory),
            "http" | "https" => Err("addresses of the web are not read: only object stores are".into()),
            "abfs" | "abfss" | "wasb" | "wasbs" => {
                Err("write it as az://container/key, the account as an option".into())
            }
            _ => Err("its scheme is none of s3, gs, az, file".into()),
        }
    }

    /// Whether such stores give addresses with a signature.
    pub fn signs(self) -> bool {
        matches!(self, Self::S3 | Self::Gcs | Self::Azure)
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
            Self::File => "file",
            Self::Https => "https",
            Self::Memory => "memory",
        }
    }
}

/// The address of an object or of a prefix, taken apart and decoded. Displayed, it is written as others read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectUri {
    /// The kind of store.
    pub scheme: Scheme,
    /// Bucket or container; host, with its port, of the web; empty for files.
    pub bucket: String,
    /// The key without a slash in front; the path of a file likewise. Empty when the address names a whole bucket.
    pub key: String,
}

impl ObjectUri {
    /// Reads an address. The error is the reason alone, and does not repeat the address: it may hold a secret.
    pub fn read(text: &str) -> std::result::Result<Self, String> {
        Self::parse(text, false)
    }

    /// The same, with addresses of the web where they are wanted.
    pub(crate) fn parse(text: &str, web: bool) -> std::result::Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err("it holds blanks, control characters or backslashes".into());
        }
        let (scheme, rest) = text.split_once("://").ok_or("it is no absolute address such as s3://bucket/key")?;
        let scheme = Scheme::read(scheme, web)?;
        if rest.contains(['?', '#']) {
            return Err("it has a query or fragment".into());
        }
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        check_bucket(scheme, bucket)?;
        let key = read_key(path)?;
        if scheme == Scheme::File && key.is_empty() {
            return Err("it names the root of the file system".into());
        }
        let bucket = if scheme == Scheme::Https { bucket.to_ascii_lowercase() } else { bucket.to_owned() };
        Ok(Self { scheme, bucket, key })
    }

    /// The address of another key in the same bucket.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { scheme: self.scheme, bucket: self.bucket.clone(), key: key.to_owned() }
    }

    /// True when this is a prefix of the other one, by whole parts of the key.
    pub fn covers(&self, other: &Self) -> bool {
        let rest = other.key.strip_prefix(self.key.as_str());
        self.scheme == other.scheme
            && self.bucket == other.bucket
            && rest.is_some_and(|rest| self.key.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme.name(), self.bucket, utf8_percent_encode(&self.key, ENCODED))
    }
}

fn check_bucket(scheme: Scheme, bucket: &str) -> std::result::Result<(), String> {
    if bucket.contains('@') {
        return Err("it has user information".into());
    }
    if scheme == Scheme::Https {
        return check_host(bucket);
    }
    let named = bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !named || bucket.len() > 222 || bucket.starts_with('.') {
        return Err("its bucket is no name of a bucket".into());
    }
    match (scheme, bucket.is_empty()) {
        (Scheme::File, false) => Err("a file has no host: write file:///path".into()),
        (Scheme::S3 | Scheme::Gcs | Scheme::Azure, true) => Err("it has no bucket".into()),
        _ => Ok(()),
    }
}

/// A name or an address, and a port if need be.
fn check_host(host: &str) -> std::result::Result<(), String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let named = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')) && !name.is_empty(),
    };
    if !named || name.len() > 253 || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("its host is no name and no address".into());
    }
    Ok(())
}

/// Decodes once. What only a second decoding would show is refused as well: who knows who decodes next.
fn read_key(path: &str) -> std::result::Result<String, String> {
    let decode = |text: &str| -> std::result::Result<String, String> {
        let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "its key is not UTF-8")?;
        Ok(decoded.into_owned())
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    let key = decode(path)?;
    if key.contains(|c: char| c.is_control() || c == '\\') {
        return Err("its key holds encoded control characters or backslashes".into());
    }
    let parts = path.matches('/').count();
    let mut decoded = key.clone();
    loop {
        if decoded.matches('/').count() != parts {
            return Err("its key holds encoded slashes".into());
        }
        if decoded.split('/').any(|part| matches!(part, "." | "..") || (part.is_empty() && !decoded.is_empty())) {
            return Err("its key holds empty or dot segments".into());
        }
        let again = decode(&decoded)?;
        if again == decoded {
            return Ok(key);
        }
        decoded = again;
    }
}

/// The prefixes that addresses in records may begin with.
#[derive(Debug, Clone)]
pub struct Allowed {
    prefixes: Vec<ObjectUri>,
    /// Addresses of the web among them.
    web: bool,
}

impl Allowed {
    /// Reads the prefixes. A config error for one that is no absolute address; wildcards do not exist.
    pub fn read<T: AsRef<str>>(key: &str, prefixes: &[T]) -> Result<Self> {
        Self::parse(key, prefixes, false)
    }

    /// The same, and `https://host/path` may be among them, whose objects are read without credentials.
    pub fn read_with_web<T: AsRef<str>>(key: &str, prefixes: &[T]) -> Result<Self> {
        Self::parse(key, prefixes, true)
    }

    fn parse<T: AsRef<str>>(key: &str, prefixes: &[T], web: bool) -> Result<Self> {
        let read = |text: &T| {
            let text = text.as_ref();
            if text.contains('*') {
                return Err(ConnectError::config(format!("{key}: an element holds a wildcard; name each prefix")));
            }
            ObjectUri::parse(text, web).map_err(|reason| {
                ConnectError::config(format!("{key}: an element is no prefix of addresses: {reason}"))
            })
        };
        let prefixes = prefixes.iter().map(read).collect::<Result<Vec<_>>>()?;
        if prefixes.is_empty() {
            return Err(ConnectError::config(format!("{key} is empty: no reference could be read")));
        }
        Ok(Self { prefixes, web })
    }

    /// Only what lies under one address.
    pub fn only(prefix: ObjectUri) -> Self {
        Self { prefixes: vec![prefix], web: false }
    }

    /// Whether an address of the web is among them.
    pub fn has_web(&self) -> bool {
        self.prefixes.iter().any(|prefix| prefix.scheme == Scheme::Https)
    }

    /// The prefixes that name a whole bucket, which deserves a warning.
    pub fn whole_buckets(&self) -> impl Iterator<Item = &ObjectUri> {
        self.prefixes.iter().filter(|prefix| prefix.key.is_empty())
    }

    /// Whether each leads to a store that gives addresses with a signature.
    pub fn all_sign(&self) -> bool {
        self.prefixes.iter().all(|prefix| prefix.scheme.signs())
    }

    /// The address of a reference, with the prefix that lets it through; a data error before anything is asked of a store.
    pub fn check(&self, text: &str) -> Result<(ObjectUri, &ObjectUri)> {
        let uri = ObjectUri::parse(text, self.web).map_err(|reason| {
            ConnectError::data(format!("the reference is refused: its address cannot be used: {reason}"))
        })?;
        if uri.key.is_empty() {
            return Err(ConnectError::data("the reference is refused: its address names no object"));
        }
        match self.prefixes.iter().find(|prefix| prefix.covers(&uri)) {
            Some(prefix) => Ok((uri, prefix)),
            None => Err(ConnectError::data(format!(
                "the reference is refused: {uri} is not under any prefix of allowed.uri.prefixes"
            ))),
        }
    }
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
