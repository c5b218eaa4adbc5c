//! Who may use REST: Apache's basic-auth extension, with its login configuration and its file of users.
//!
//! `rest.rs` reads it with the worker's keys; `src/rest/` asks before it answers.

use std::fmt;
use std::fs;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use pipette_api::{ConfigMap, ConnectError, Result};

use super::jaas::Login;
use super::properties;

/// Apache's extension; Java finds it by its simple name too.
const EXTENSION: &str = "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension";
const MODULE: &str = "org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule";
/// The entry of the login configuration.
const ENTRY: &str = "KafkaConnect";
/// What tells Java where the login configuration is.
const OPTION: &str = "java.security.auth.login.config";
/// What Apache's start scripts hand to Java.
pub(super) const OPTIONS: &str = "KAFKA_OPTS";

/// As Java's decoder: padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Users and their passwords.
#[derive(Clone)]
pub struct Logins {
    /// One map for each module of the entry; to be in one of them is enough.
    users: Vec<ConfigMap>,
}

/// Without the passwords.
impl fmt::Debug for Logins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Logins({})", self.users.iter().map(ConfigMap::len).sum::<usize>())
    }
}

impl Logins {
    /// From the classes of `rest.extension.classes`, the worker's keys and the value of `KAFKA_OPTS`. An extension that
    /// cannot be honoured is an error: it may be there to protect.
    pub(super) fn read(extensions: &[String], values: &ConfigMap, options: &str) -> Result<Option<Self>> {
        if extensions.is_empty() {
            return Ok(None);
        }
        let simple = EXTENSION.rsplit('.').next();
        let other = extensions.iter().find(|class| *class != EXTENSION && Some(class.as_str()) != simple);
        if let Some(other) = other {
            return Err(wrong(&format!(
                "{other} is Java code, which cannot run here, and an extension that checks log-ins would be missing \
                 unnoticed. {EXTENSION} is there; else put a proxy in front, or leave the key out"
            )));
        }
        let place = values.get(OPTION).map(String::as_str).or_else(|| of_java(options)).ok_or_else(|| {
            wrong(&format!(
                "the log-ins are missing. As for Apache's worker, set the variable {OPTIONS} to -D{OPTION}=FILE, or the \
                 key {OPTION} to FILE; it needs an entry {ENTRY}"
            ))
        })?;
        let place = place.strip_prefix("file:").unwrap_or(place);
        let text = fs::read_to_string(place).map_err(|error| unread(place, &error))?;
        let refuse = |reason: &str| wrong(&format!("{place}: {reason}"));
        let modules = Login::entry(&text, ENTRY).map_err(|reason| refuse(&reason))?;
        let modules = modules.filter(|modules| !modules.is_empty());
        let modules = modules.ok_or_else(|| refuse(&format!("it has no entry {ENTRY} {{ {MODULE} required …; }};")))?;
        Ok(Some(Self { users: modules.iter().map(|module| users(place, module)).collect::<Result<_>>()? }))
    }

    /// Whether one of the files is empty. Then everybody is let in, as in Apache's worker.
    pub fn admits_everybody(&self) -> bool {
        self.users.iter().any(ConfigMap::is_empty)
    }

    /// Whether whoever sends this `Authorization` is let in.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        if self.admits_everybody() {
            return true;
        }
        let Some((name, password)) = authorization.and_then(credentials) else { return false };
        self.users.iter().any(|users| users.get(&name).is_some_and(|wanted| same(wanted, &password)))
    }
}

fn wrong(reason: &str) -> ConnectError {
    ConnectError::config(format!("rest.extension.classes: {reason}"))
}

fn unread(file: &str, error: &std::io::Error) -> ConnectError {
    wrong(&format!("{file} cannot be read: {error}"))
}

/// The file that `-Djava.security.auth.login.config=FILE` names; the last one counts.
fn of_java(options: &str) -> Option<&str> {
    let named = |option: &'_ str| option.strip_prefix("-D").and_then(|option| option.strip_prefix(OPTION)).is_some();
    let (_, file) = options.split_whitespace().rfind(|option| named(option))?.split_once('=')?;
    // Two `=`: no other file counts, and there is none here.
    let file = file.strip_prefix('=').unwrap_or(file).trim_matches(['"', '\'']);
    Some(file).filter(|file| !file.is_empty())
}

/// The users of a module's file.
fn users(place: &str, module: &Login) -> Result<ConfigMap> {
    if module.module != MODULE {
        let reason = format!("{place}: {} is Java code, which cannot run here; {MODULE} is there", module.module);
        return Err(wrong(&reason));
    }
    let file = module.options.get("file").map(|file| file.trim()).filter(|file| !file.is_empty());
    let file =
        file.ok_or_else(|| wrong(&format!("{place}: {MODULE} needs the option file, with lines user=password")))?;
    let bytes = fs::read(file).map_err(|error| unread(file, &error))?;
    properties::parse(&bytes).map_err(|error| wrong(&format!("{file}: {error}")))
}

/// Name and password of a header for basic authentication.
fn credentials(header: &[u8]) -> Option<(String, String)> {
    let header = std::str::from_utf8(header).ok()?;
    let (scheme, code) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(code).ok()?).ok()?;
    let (name, password) = text.split_once(':').filter(|(name, _)| !name.is_empty())?;
    Some((name.to_owned(), password.to_owned()))
}

/// Takes as long whatever is wrong with the password.
fn same(wanted: &str, given: &str) -> bool {
    let differences = wanted.bytes().zip(given.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    wanted.len() == given.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(users: &str, entry: &str, class: &str) -> Result<Option<Logins>> {
        let folder = tempfile::tempdir().unwrap();
        let (jaas, file) = (folder.path().join("jaas.conf"), folder.path().join("users"));
        fs::write(&file, users).unwrap();
        fs::write(&jaas, entry.replace("FILE", file.to_str().unwrap())).unwrap();
        let options = format!("-Xmx1g  -D{OPTION}={} -Dx=y", jaas.display());
        Logins::read(&[class.to_owned()], &ConfigMap::new(), &options)
    }

    const GOOD: &str = "KafkaConnect { org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule \
                        required file=\"FILE\"; };";

    #[test]
    fn whoever_is_in_the_file_is_let_in() {
        let logins = read("ann=s3cret\nbob=\n", GOOD, EXTENSION).unwrap().unwrap();
        let admits = |header: &str| logins.admits(Some(header.as_bytes()));
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
        assert!(admits(&basic("ann:s3cret")) && admits(&basic("bob:")) && admits("basic YW5uOnMzY3JldA"));
        for wrong in ["ann:s3cre", "ann:s3cret ", "ann:", "eve:s3cret", ":", "", "ann"] {
            assert!(!admits(&basic(wrong)), "{wrong}");
        }
        for wrong in ["Bearer YW5uOnMzY3JldA==", "Basic", "Basic  YW5uOnMzY3JldA==", "Basic %%%", "YW5uOnMzY3JldA=="] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!logins.admits(None) && !format!("{logins:?}").contains("s3cret"));
        let everybody = read("# nobody yet\n", GOOD, "BasicAuthSecurityRestExtension").unwrap().unwrap();
        assert!(everybody.admits(None) && everybody.admits_everybody());
    }

    #[test]
    fn what_cannot_be_honoured_stops_the_worker() {
        let refused = |users: &str, entry: &str, class: &str| read(users, entry, class).unwrap_err().to_string();
        assert!(refused("a=b", GOOD, "org.x.Auth").contains("org.x.Auth is Java code"));
        assert!(refused("a=b", "Other { x.M required; };", EXTENSION).contains("no entry KafkaConnect"));
        assert!(refused("a=b", "KafkaConnect { x.Ldap required; };", EXTENSION).contains("x.Ldap is Java code"));
        assert!(refused("a=b", &GOOD.replace("FILE", "/no/such"), EXTENSION).contains("/no/such cannot be read"));
        assert!(refused("a=b", &GOOD.replace("file=", "files="), EXTENSION).contains("needs the option file"));
        let nowhere = Logins::read(&[EXTENSION.to_owned()], &ConfigMap::new(), "-Xmx1g").unwrap_err().to_string();
        assert!(nowhere.contains("KAFKA_OPTS") && nowhere.contains(OPTION), "{nowhere}");
        assert!(Logins::read(&[], &ConfigMap::new(), "").unwrap().is_none());
    }
}
