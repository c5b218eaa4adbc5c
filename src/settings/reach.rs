//! `file.allowed.paths` and `url.allowed.hosts`: which folders and hosts connectors may use.
//!
//! While REST listens on loopback only, whoever reaches it is on this machine, and everything may be used that no key
//! forbids. Once other machines reach REST, nothing may be used that no key allows. `compat.strict` leaves it to the keys
//! alone. Links and `..` are followed before a path is looked at.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use pipette_api::{ConnectError, Gate, Key, Place, Reach, Result, Settings};

use super::clients::KINDS;
use super::worker::Listener;

pub(super) static PATHS: Key<Vec<String>> = Key::new(
    "file.allowed.paths",
    "The folders, with all in them, that connectors may read and write, separated by commas; `/` is everything. Config \
     providers without `allowed.paths` of their own keep to them as well. Left out: everything while `listeners` is on \
     loopback, nothing otherwise.",
)
.optional();
pub(super) static HOSTS: Key<Vec<String>> = Key::new(
    "url.allowed.hosts",
    "The hosts that connectors may speak to beside `bootstrap.servers`, separated by commas: `host`, `host:port`, \
     `*.example.com`, or `*` for all. Left out: all while `listeners` is on loopback, none otherwise.",
)
.optional();

/// How many links may lie on the way to a file, as in Linux.
const LINKS: usize = 40;

/// What the keys allow. `None` is everything; the second half says which key to write when nothing was.
#[derive(Debug)]
struct Limits {
    paths: Option<Vec<PathBuf>>,
    hosts: Option<Vec<String>>,
    /// Of the worker's own brokers.
    brokers: Vec<String>,
    /// The listener that other machines reach, if one is.
    open: Option<String>,
}

/// What a worker file says about it, and the folders if it names some.
pub(super) fn read(
    settings: &Settings,
    listeners: &[Listener],
    brokers: Vec<String>,
    strict: bool,
) -> Result<(Reach, Option<Vec<PathBuf>>)> {
    let open = listeners.iter().find(|listener| !listener.is_loopback() && !strict);
    let open = open.map(|listener| format!("{}:{}", listener.host, listener.port));
    let paths = settings.find(&PATHS)?.map(|paths| paths.iter().map(|path| absolute(path)).collect::<Result<Vec<_>>>());
    let paths = paths.transpose()?;
    let hosts = settings.find(&HOSTS)?.map(|hosts| hosts.iter().map(|host| entry(host)).collect::<Result<Vec<_>>>());
    let hosts = hosts.transpose()?;
    let named = paths.clone();
    if open.is_none() && paths.is_none() && hosts.is_none() {
        return Ok((Reach::default(), None));
    }
    // What no key names is nothing then.
    let (unnamed_paths, unnamed_hosts) = open.as_ref().map(|_| (Vec::new(), Vec::new())).unzip();
    let limits = Limits { paths: paths.or(unnamed_paths), hosts: hosts.or(unnamed_hosts), brokers, open };
    Ok((Reach::through(Arc::new(limits)), named))
}

fn absolute(path: &str) -> Result<PathBuf> {
    if Path::new(path).is_absolute() {
        return Ok(PathBuf::from(path));
    }
    let key = PATHS.info.name;
    Err(ConnectError::config(format!("Invalid value {path} for configuration {key}: the path is not absolute")))
}

/// A host of the list as it is compared. One that could never be met, or is met by more than it says, is refused.
fn entry(text: &str) -> Result<String> {
    let (host, port) = host_of(text);
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let reason = if text.contains("://") {
        format!("it is a URL; write the host alone, {host}")
    } else if text.contains(|char: char| char.is_whitespace() || "/?#@\\".contains(char)) {
        format!("it is more than a host; write {host}")
    } else if name.contains('*') && text != "*" {
        "`*` stands alone or in front of a domain, as in *.example.com".to_owned()
    } else if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        "its port is no number from 0 to 65535".to_owned()
    } else if name.is_empty() {
        "it names no host".to_owned()
    } else {
        return Ok(text.to_lowercase());
    };
    Err(ConnectError::config(format!("Invalid value {text} for configuration {}: {reason}", HOSTS.info.name)))
}

impl Gate for Limits {
    fn path(&self, path: &Path) -> std::result::Result<(), String> {
        let Some(allowed) = &self.paths else { return Ok(()) };
        let found = resolve(path).map_err(|error| format!("{} cannot be looked at: {error}", path.display()))?;
        if is_below(&found, allowed) {
            return Ok(());
        }
        Err(self.outside(path, &found, allowed))
    }

    fn opened(&self, file: BorrowedFd<'_>) -> std::result::Result<(), String> {
        let Some(allowed) = &self.paths else { return Ok(()) };
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let found = std::fs::read_link(&link).map_err(|error| format!("an open file cannot be looked at: {error}"))?;
        if is_below(&found, allowed) {
            return Ok(());
        }
        Err(self.outside(&found, &found, allowed))
    }

    fn address(&self, address: &str) -> std::result::Result<(), String> {
        let Some(allowed) = &self.hosts else { return Ok(()) };
        let (host, port) = host_of(address);
        let is_it = |entry: &String| matches(entry, &host, port.as_deref());
        if self.brokers.iter().chain(allowed).any(is_it) {
            return Ok(());
        }
        Err(self.refusal(&format!("connectors may not speak to {host}"), HOSTS.info.name, &allowed.join(","), &host))
    }
}

impl Limits {
    fn outside(&self, path: &Path, found: &Path, allowed: &[PathBuf]) -> String {
        let shown: Vec<String> = allowed.iter().map(|path| path.display().to_string()).collect();
        let leads = if path == found { String::new() } else { format!(" (which is {})", found.display()) };
        let folder = found.parent().unwrap_or(found).display().to_string();
        let what = format!("connectors may not use {}{leads}", path.display());
        self.refusal(&what, PATHS.info.name, &shown.join(","), &folder)
    }

    /// Why something is refused, and what is to be written where.
    fn refusal(&self, what: &str, key: &str, allowed: &str, wanted: &str) -> String {
        let why = match &self.open {
            Some(listener) if allowed.is_empty() => format!(
                "other machines reach REST at {listener}, and the worker file does not say with {key} what they may use"
            ),
            _ => format!("it is not within {key}={allowed} of the worker file"),
        };
        let both = if allowed.is_empty() { wanted.to_owned() } else { format!("{allowed},{wanted}") };
        format!("{what}: {why}. To allow it, write {key}={both} there and restart the worker")
    }
}

/// Whether a resolved path is in one of the folders.
pub(super) fn is_below(found: &Path, allowed: &[PathBuf]) -> bool {
    allowed.iter().any(|folder| resolve(folder).is_ok_and(|folder| found.starts_with(folder)))
}

/// Where a path leads once every link and every `..` on the way is followed; what does not exist yet is taken as written.
pub(super) fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let mut ahead: VecDeque<OsString> = parts(&whole).into();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = ahead.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(name)) => match std::fs::read_link(at.join(name)) {
                Ok(target) => {
                    links += 1;
                    if links > LINKS {
                        return Err(std::io::Error::other("too many symbolic links on the way"));
                    }
                    for part in parts(&target).into_iter().rev() {
                        ahead.push_front(part);
                    }
                }
                Err(_) => at.push(name),
            },
            _ => {}
        }
    }
    Ok(at)
}

/// Host and port of a URL or of `host:port`, the host in lower case.
fn host_of(address: &str) -> (String, Option<String>) {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let rest = rest.rsplit('@').next().unwrap_or_default().to_lowercase();
    if let Some((host, port)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host.to_owned(), port.strip_prefix(':').map(str::to_owned));
    }
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host.to_owned(), Some(port.to_owned())),
        _ => (rest, None),
    }
}

fn matches(entry: &str, host: &str, port: Option<&str>) -> bool {
    if entry == "*" {
        return true;
    }
    let (wanted, wanted_port) = host_of(entry);
    let fits = match wanted.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
        None => wanted == host,
    };
    fits && wanted_port.is_none_or(|wanted| port == Some(wanted.as_str()))
}

/// What a key of a connector's Kafka clients leads to.
pub fn place_of_client(key: &str) -> Option<Place> {
    let (client, name) = key.split_once(".override.")?;
    let is_file = matches!(name.rsplit('.').next(), Some("location" | "file"));
    match name {
        _ if !KINDS.contains(&client) => None,
        "bootstrap.servers" | "sasl.oauthbearer.token.endpoint.url" | "sasl.oauthbearer.jwks.endpoint.url" => {
            Some(Place::Address)
        }
        _ if is_file => Some(Place::Path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::settings::worker::tests::read;

    fn reach(pairs: &[(&str, &str)]) -> Reach {
        read(pairs).unwrap().reach
    }

    #[test]
    fn no_link_and_no_way_up_leads_out_of_the_allowed_folders() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, outer) = (folder.path().join("in"), folder.path().join("out"));
        fs::create_dir(&inner).unwrap();
        fs::create_dir(&outer).unwrap();
        fs::write(outer.join("secret"), "x").unwrap();
        symlink(outer.join("secret"), inner.join("link")).unwrap();
        symlink("../out", inner.join("folder")).unwrap();
        symlink(outer.join("later"), inner.join("dangling")).unwrap();
        symlink(inner.join("loop"), inner.join("loop")).unwrap();
        symlink(&inner, folder.path().join("alias")).unwrap();
        let reach = reach(&[("file.allowed.paths", inner.to_str().unwrap())]);
        for fine in ["a", "sub/not/there", "x/../a", "."] {
            reach.path(&inner.join(fine)).unwrap();
        }
        reach.path(&folder.path().join("alias/a")).unwrap();
        for out in ["link", "folder/secret", "dangling", "../out/secret", "x/../../out/secret", "loop", "../into"] {
            let error = reach.path(&inner.join(out)).unwrap_err().to_string();
            assert!(out == "loop" || error.contains("file.allowed.paths="), "{out}: {error}");
        }
        let error = reach.path(&inner.join("link")).unwrap_err().to_string();
        let (link, secret) = (inner.join("link"), outer.join("secret"));
        assert!(error.contains(&format!("{} (which is {})", link.display(), secret.display())), "{error}");
        let both = format!("file.allowed.paths={},{}", inner.display(), outer.display());
        assert!(error.ends_with(&format!("To allow it, write {both} there and restart the worker")), "{error}");
        reach.path(Path::new("/etc/passwd")).unwrap_err();
        reach.opened(&File::create(inner.join("a")).unwrap()).unwrap();
        reach.opened(&File::open(inner.join("link")).unwrap()).unwrap_err();
    }

    #[test]
    fn everything_is_allowed_on_loopback_and_nothing_beyond() {
        let shadow = Path::new("/etc/shadow");
        let addresses = [("listeners", "http://0.0.0.0:0"), ("listeners", "http://:8083"), ("listeners", "http://h:1")];
        for open in addresses {
            let refused = reach(&[open]).path(shadow).unwrap_err().to_string();
            assert!(
                refused.contains("other machines reach REST at")
                    && refused.contains("write file.allowed.paths=/etc there"),
                "{refused}"
            );
            reach(&[open]).address("https://a.example/x").unwrap_err();
            reach(&[open]).address("B:9092").unwrap();
            reach(&[open, ("compat.strict", "true")]).path(shadow).unwrap();
            reach(&[open, ("file.allowed.paths", "/")]).path(shadow).unwrap();
            reach(&[open, ("url.allowed.hosts", "*")]).address("https://a.example/x").unwrap();
        }
        for loopback in ["http://127.0.0.1:0", "http://localhost:1", "http://[::1]:1"] {
            reach(&[("listeners", loopback)]).path(shadow).unwrap();
            reach(&[("listeners", loopback)]).address("https://a.example/x").unwrap();
        }
        reach(&[("compat.strict", "true"), ("file.allowed.paths", "/data")]).path(shadow).unwrap_err();
        assert!(read(&[("file.allowed.paths", "data")]).unwrap_err().to_string().contains("not absolute"));
    }

    #[test]
    fn hosts_are_compared_as_hosts() {
        let reach = reach(&[("url.allowed.hosts", "a.example, *.b.example,c.example:443")]);
        for fine in ["https://A.example/x", "http://u:p@a.example:8/x", "x.b.example:1", "https://c.example:443"] {
            reach.address(fine).unwrap();
        }
        for wrong in [
            "https://a.example.evil",
            "https://b.example",
            "https://evilb.example",
            "https://c.example",
            "https://a.example@evil/",
            "https://evil\\@a.example",
            "[::1]:80",
        ] {
            let error = reach.address(wrong).unwrap_err().to_string();
            assert!(error.contains("url.allowed.hosts="), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_host_that_could_never_be_met_is_refused_with_the_reason() {
        for (wrong, why) in [
            ("http://x", "it is a URL; write the host alone, x"),
            ("a.example,https://b.example:8443/api", "write the host alone, b.example"),
            ("a.example/api", "it is more than a host; write a.example"),
            ("ann@a.example", "write a.example"),
            ("*example.com", "in front of a domain"),
            ("api.*.com", "in front of a domain"),
            ("*.*.com", "in front of a domain"),
            ("a.example:https", "its port is no number"),
            ("a.example:", "its port is no number"),
            ("*.", "it names no host"),
            (":80", "it names no host"),
        ] {
            let error = read(&[("url.allowed.hosts", wrong)]).unwrap_err().to_string();
            assert!(error.contains("for configuration url.allowed.hosts: ") && error.contains(why), "{wrong}: {error}");
        }
        for fine in ["", "*", "A.example", "*.example:80", "10.0.0.1:8080", "[::1]", "[::1]:80", "::1", "a,b:1"] {
            assert!(read(&[("url.allowed.hosts", fine)]).is_ok(), "{fine}");
        }
    }

    #[test]
    fn keys_of_clients_that_lead_somewhere_are_known() {
        assert_eq!(place_of_client("producer.override.bootstrap.servers"), Some(Place::Address));
        assert_eq!(place_of_client("consumer.override.ssl.keystore.location"), Some(Place::Path));
        assert_eq!((place_of_client("producer.override.acks"), place_of_client("x.override.y.file")), (None, None));
    }
}
