//! The worker's keys about REST itself: browsers (CORS), headers of one's own, the listener for loggers, topic tracking.
//!
//! Read by `worker.rs`; `src/rest/` acts on them.

use std::env;

use pipette_api::config::key::Importance;
use pipette_api::{ConnectError, Key, Result, Settings};
use regex::Regex;

use super::logins::{self, Logins};
use super::worker::Listener;

pub(super) static ORIGINS: Key<String> = Key::new(
    "access.control.allow.origin",
    "Origins whose pages may use REST (CORS), separated by commas: `*`, or regular expressions for the whole origin. \
     Empty: none.",
)
.default("")
.check(origins_compile)
.importance(Importance::Low);
pub(super) static METHODS: Key<String> = Key::new(
    "access.control.allow.methods",
    "The methods such pages are told they may use, separated by commas. Empty: GET, POST and HEAD.",
)
.default("")
.importance(Importance::Low);
pub(super) static HEADERS: Key<String> = Key::new(
    "response.http.headers.config",
    "Headers of every answer, separated by commas: `set`, `add`, `setDate` or `addDate`, then `Name:value`. The dates \
     take milliseconds from now. A rule that contains a comma stands in double quotes.",
)
.default("")
.check(|text| rules(text.unwrap_or_default()).map(drop))
.importance(Importance::Low);
pub(super) static ADMIN: Key<Vec<String>> = Key::new(
    "admin.listeners",
    "Where `/admin/loggers` is served, `http://host:port`, separated by commas. Left out: where everything else is; \
     empty: nowhere.",
)
.optional()
.importance(Importance::Low);
pub(super) static TRACKING: Key<bool> =
    Key::new("topic.tracking.enable", "Whether `GET /connectors/NAME/topics` is answered.")
        .default("true")
        .importance(Importance::Low);
pub(super) static RESET: Key<bool> =
    Key::new("topic.tracking.allow.reset", "Whether `PUT /connectors/NAME/topics/reset` is allowed.")
        .default("true")
        .importance(Importance::Low);

pub(super) static ADVERTISED: Key<String> = Key::new(
    "rest.advertised.listener",
    "By which of `listeners` others reach this worker, `http` or `https`; its host and port are part of `worker_id`. Left \
     out: by http if there is one.",
)
.optional()
.importance(Importance::Low);
pub(super) static EXTENSIONS: Key<Vec<String>> = Key::new(
    "rest.extension.classes",
    "`org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension`, or nothing: any other class \
     stops the worker. Who may log in stands in a file that `KAFKA_OPTS` names with \
     `-Djava.security.auth.login.config=FILE`, as for Apache's worker.",
)
.default("")
.importance(Importance::Low);
pub(super) static LOGINS: Key<String> = Key::new(
    "java.security.auth.login.config",
    "The file of log-ins of the extension, in the place of the one that `KAFKA_OPTS` names.",
)
.optional();

/// What the file says about REST.
#[derive(Debug, Clone)]
pub struct RestConfig {
    /// Which origins a browser may come from; none switches CORS off.
    pub origins: Vec<Origin>,
    /// `access.control.allow.methods` as it is sent.
    pub methods: String,
    /// Headers of every answer.
    pub headers: Vec<HeaderRule>,
    /// Where loggers are served.
    pub admin: Admin,
    /// Who may use it; `None`: whoever reaches it.
    pub logins: Option<Logins>,
    /// Whether others reach it by https, if that is said.
    pub advertises_https: Option<bool>,
    /// `topic.tracking.enable`.
    pub tracks_topics: bool,
    /// `topic.tracking.allow.reset`.
    pub resets_topics: bool,
}

/// An entry of `access.control.allow.origin`.
#[derive(Debug, Clone)]
pub enum Origin {
    /// `*`.
    Any,
    /// For the whole origin.
    Matching(Regex),
}

/// Where `/admin/loggers` is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// Where everything else is.
    Main,
    /// Nowhere.
    Off,
    /// Only there.
    At(Vec<Listener>),
}

/// A rule of `response.http.headers.config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRule {
    /// Takes the place of headers of that name.
    pub replaces: bool,
    /// The header.
    pub name: String,
    /// What it says.
    pub value: HeaderText,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderText {
    /// As written.
    Text(String),
    /// A date, so many milliseconds from now.
    Date(i64),
}

impl RestConfig {
    pub(super) fn read(settings: &Settings) -> Result<Self> {
        let admin = match settings.find(&ADMIN)? {
            None => Admin::Main,
            Some(addresses) if addresses.is_empty() => Admin::Off,
            Some(addresses) => Admin::At(addresses.iter().map(|one| Listener::read(one)).collect::<Result<_>>()?),
        };
        Ok(Self {
            origins: origins(&settings.get(&ORIGINS)?).map_err(ConnectError::config)?,
            methods: settings.get(&METHODS)?.trim().to_owned(),
            headers: rules(&settings.get(&HEADERS)?).map_err(ConnectError::config)?,
            admin,
            logins: logins(settings)?,
            advertises_https: settings.find(&ADVERTISED)?.map(|scheme| scheme.eq_ignore_ascii_case("https")),
            tracks_topics: settings.get(&TRACKING)?,
            resets_topics: settings.get(&RESET)?,
        })
    }

    /// Whether pages of that origin may use REST.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed {
            Origin::Any => true,
            Origin::Matching(pattern) => pattern.is_match(origin),
        })
    }
}

fn logins(settings: &Settings) -> Result<Option<Logins>> {
    let options = env::var(logins::OPTIONS).unwrap_or_default();
    Logins::read(&settings.get(&EXTENSIONS)?, settings.values(), &options)
}

/// What the user should know.
pub(super) fn warning(config: &RestConfig) -> Option<String> {
    let open = config.logins.as_ref().is_some_and(Logins::admits_everybody);
    open.then(|| format!("{} lets everybody in: its file of users is empty", EXTENSIONS.info.name))
}

fn origins_compile(text: Option<&str>) -> std::result::Result<(), String> {
    origins(text.unwrap_or_default()).map(drop)
}

fn origins(text: &str) -> std::result::Result<Vec<Origin>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let origin = |entry: &str| match entry {
        "*" => Ok(Origin::Any),
        pattern => Regex::new(&format!("^(?:{pattern})$"))
            .map(Origin::Matching)
            .map_err(|_| format!("\"{pattern}\" is no regular expression; a `.` of a host name is written `\\.`")),
    };
    text.split(',').map(origin).collect()
}

fn rules(text: &str) -> std::result::Result<Vec<HeaderRule>, String> {
    split_outside_quotes(text).iter().filter(|rule| !rule.is_empty()).map(|text| rule(text)).collect()
}

/// The parts between commas, without the quotes around them.
fn split_outside_quotes(text: &str) -> Vec<String> {
    let mut quoted = false;
    let between = |letter: char| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    };
    text.split(between).map(|part| part.replace('"', "").trim().to_owned()).collect()
}

fn rule(text: &str) -> std::result::Result<HeaderRule, String> {
    let wrong = |why: &str| format!("\"{text}\" {why}; a rule is such as `set X-Frame-Options:DENY`");
    let (action, header) = text.split_once(char::is_whitespace).ok_or_else(|| wrong("has no header"))?;
    let (replaces, is_date) = match action.to_lowercase().as_str() {
        "set" => (true, false),
        "add" => (false, false),
        "setdate" => (true, true),
        "adddate" => (false, true),
        _ => return Err(wrong("begins with none of set, add, setDate and addDate")),
    };
    let mut parts = header.trim().split(':');
    let (Some(name), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong("needs one colon between name and value"));
    };
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;\\\"/[]?={}".contains(&byte)) {
        return Err(wrong("has no name that a header can have"));
    }
    if value.chars().any(char::is_control) {
        return Err(wrong("has a control character in its value"));
    }
    let value = if is_date {
        HeaderText::Date(value.parse().map_err(|_| wrong("needs milliseconds from now"))?)
    } else {
        HeaderText::Text(value.to_owned())
    };
    Ok(HeaderRule { replaces, name: name.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_java_reads_them() {
        let read = rules("set X-One: a b, ADD X-Two:two,\"add X-Three:c, d\", setDate Expires:60000").unwrap();
        let shown: Vec<_> = read.iter().map(|rule| (rule.replaces, rule.name.as_str(), rule.value.clone())).collect();
        let text = |text: &str| HeaderText::Text(text.into());
        assert_eq!(shown[0], (true, "X-One", text("a b")));
        assert_eq!(shown[1], (false, "X-Two", text("two")));
        assert_eq!(shown[2], (false, "X-Three", text("c, d")));
        assert_eq!(shown[3], (true, "Expires", HeaderText::Date(60_000)));
        for wrong in ["set", "put X:y", "set X", "set X:a:b", "set X Y:z", "set :y", "setDate X:soon", "set X:a\u{7}b"]
        {
            assert!(rules(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_a_pattern_for_all_of_it() {
        let config = |text: &str| RestConfig {
            origins: origins(text).unwrap(),
            methods: String::new(),
            headers: Vec::new(),
            admin: Admin::Main,
            logins: None,
            advertises_https: None,
            tracks_topics: true,
            resets_topics: true,
        };
        let good = config("http://good.example,https?://.*\\.fine\\.example");
        assert!(good.allows("http://good.example") && good.allows("https://a.fine.example"));
        assert!(!good.allows("http://good.example.evil") && !good.allows("https://good.example"));
        assert!(config("*").allows("null") && !config(" ").allows("http://a"));
        assert!(origins("http://*.b.example,[").is_err());
    }
}
