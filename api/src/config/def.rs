//! Definitions: the keys of one plugin, and sets composed of several plugins' keys at run time.

use std::borrow::Cow;

use super::ConfigMap;
use super::key::{KeyInfo, KeyType, Presence};
use crate::reach::Place;

/// The keys of one plugin and the rules between them.
#[derive(Debug)]
pub struct ConfigDef {
    keys: &'static [&'static KeyInfo],
    rule: Option<Rule>,
}

/// Looks at several keys together; answers the key to blame and the reason. Runs on the connector's own thread with a
/// deadline and only when every key by itself is fine.
pub type Rule = fn(&super::Settings) -> Vec<(&'static str, String)>;

impl ConfigDef {
    /// A definition; the order is that of forms and pages.
    pub const fn new(keys: &'static [&'static KeyInfo]) -> Self {
        Self { keys, rule: None }
    }

    /// Adds the rule between keys.
    #[must_use]
    pub const fn rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// The keys in order.
    pub fn keys(&self) -> &'static [&'static KeyInfo] {
        self.keys
    }

    /// The definition of a key.
    pub fn key(&self, name: &str) -> Option<&'static KeyInfo> {
        self.keys.iter().find(|key| key.name == name).copied()
    }

    /// Checks a configuration: one answer per key, in order. Unknown keys are nobody's error.
    pub fn check(&'static self, config: &ConfigMap) -> Vec<Checked> {
        let mut set = ConfigSet::default();
        set.add(self);
        let mut checked = set.check(config);
        if checked.iter().all(|key| key.errors.is_empty()) {
            for (name, reason) in self.broken_rules(config) {
                blame(&mut checked, name, reason);
            }
        }
        checked
    }

    /// What the rule between keys says, as (key, complete error text).
    pub fn broken_rules(&'static self, config: &ConfigMap) -> Vec<(&'static str, String)> {
        let Some(rule) = self.rule else { return Vec::new() };
        let settings = super::Settings::new(config.clone(), self);
        rule(&settings)
            .into_iter()
            .map(|(name, reason)| {
                let shown = shown(self.key(name), config.get(name).map(String::as_str));
                (name, format!("Invalid value {shown} for configuration {name}: {reason}"))
            })
            .collect()
    }
}

fn blame(checked: &mut [Checked], name: &str, error: String) {
    if let Some(key) = checked.iter_mut().find(|key| key.row.name == name) {
        key.errors.push(error);
    }
}

/// How a value is shown in an error: secrets never.
fn shown<'a>(key: Option<&KeyInfo>, value: Option<&'a str>) -> Cow<'a, str> {
    match (key, value) {
        (_, None) => "null".into(),
        (Some(key), Some(_)) if key.kind == KeyType::Password => "[hidden]".into(),
        (Some(key), Some(value)) if is_address(key, value) => without_login(value),
        (_, Some(value)) => value.into(),
    }
}

/// By its definition, or by the looks of its value: what is wrong may be that it has a password.
fn is_address(key: &KeyInfo, value: &str) -> bool {
    key.place == Some(Place::Address) || value.contains("://")
}

/// An address, or a list of them, without user and password. Those may hold what ends an address, so that everything up to the
/// last `@` goes.
fn without_login(addresses: &str) -> Cow<'_, str> {
    let begin = addresses.find("://").map_or(0, |at| at + 3);
    match addresses[begin..].rfind('@') {
        Some(at) => format!("{}[hidden]{}", &addresses[..begin], &addresses[begin + at..]).into(),
        None => addresses.into(),
    }
}

/// One key of a composed definition: a plugin's key under a prefix, perhaps with a default of its own.
#[derive(Debug, Clone)]
pub struct Row {
    /// The whole key, prefix included.
    pub name: String,
    /// The definition.
    pub info: KeyInfo,
    /// The default in effect.
    pub default: Option<String>,
    /// True when it must be given.
    pub required: bool,
    /// The heading.
    pub group: Option<String>,
    /// The place under the heading, from 1; -1 without heading (Java).
    pub order: i32,
}

impl Row {
    /// A row with its plugin's own name and default.
    pub fn new(info: KeyInfo) -> Self {
        let default = match info.presence {
            Presence::Default(text) => Some(text.to_owned()),
            Presence::Required | Presence::Optional => None,
        };
        Self {
            name: info.name.to_owned(),
            required: info.presence == Presence::Required,
            group: info.group.map(str::to_owned),
            order: -1,
            default,
            info,
        }
    }

    /// Checks the value of this key in a configuration.
    pub fn check(&self, config: &ConfigMap) -> Checked {
        let given = config.get(&self.name).map(|value| value.trim());
        let mut errors = Vec::new();
        if given.is_none() && self.required {
            errors.push(format!("Missing required configuration \"{}\" which has no default value.", self.name));
            return Checked { row: self.clone(), value: None, recommended: self.recommended(), errors, visible: true };
        }
        let mut value = given.map(str::to_owned).or_else(|| self.default.clone());
        let invalid = |reason: &str, value: Option<&str>| {
            format!("Invalid value {} for configuration {}: {reason}", shown(Some(&self.info), value), self.name)
        };
        if let Some(text) = &value
            && let Err(reason) = (self.info.parse)(text)
        {
            errors.push(invalid(&reason, Some(text)));
            value = None;
        }
        if let Err(reason) = (self.info.check)(value.as_deref()) {
            errors.push(invalid(&reason, value.as_deref()));
        }
        if !errors.is_empty() {
            value = value.map(|text| if is_address(&self.info, &text) { without_login(&text).into() } else { text });
        }
        Checked { row: self.clone(), value, recommended: self.recommended(), errors, visible: true }
    }

    fn recommended(&self) -> Vec<String> {
        self.info.recommended.iter().map(|value| (*value).to_owned()).collect()
    }
}

/// What validation says of one key.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The key.
    pub row: Row,
    /// The value in effect, as text; `None` when missing or not parsable.
    pub value: Option<String>,
    /// Values to offer.
    pub recommended: Vec<String>,
    /// Complete sentences, as clients show them.
    pub errors: Vec<String>,
    /// False when other values make the key pointless.
    pub visible: bool,
}

/// Keys of several plugins, composed at run time (`transforms.<alias>.…`, `value.converter.…`).
#[derive(Debug, Clone, Default)]
pub struct ConfigSet {
    /// The keys in order.
    pub rows: Vec<Row>,
}

impl ConfigSet {
    /// Adds the keys of a plugin under their own names.
    pub fn add(&mut self, def: &ConfigDef) {
        self.rows.extend(def.keys.iter().map(|key| Row::new(**key)));
    }

    /// Checks a configuration, key by key in order.
    pub fn check(&self, config: &ConfigMap) -> Vec<Checked> {
        self.rows.iter().map(|row| row.check(config)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks::{at_least, in_range};
    use super::super::key::{Key, Password};
    use super::*;

    static BROKER: Key<String> = Key::new("broker", "Address.");
    static TASKS: Key<i32> = Key::new("tasks.max", "Tasks.").default("1").check(at_least::<1>);
    static QOS: Key<i32> = Key::new("qos", "QoS.").default("1").check(in_range::<0, 2>);
    static SECRET: Key<Password> = Key::new("secret", "Secret.").optional();
    static CONFIG: ConfigDef = ConfigDef::new(&[&BROKER.info, &TASKS.info, &QOS.info, &SECRET.info]).rule(|settings| {
        match settings.find(&SECRET) {
            Ok(Some(_)) => vec![("secret", "is not for this broker".into())],
            _ => vec![],
        }
    });

    fn errors(pairs: &[(&str, &str)]) -> Vec<String> {
        let config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        CONFIG.check(&config).into_iter().flat_map(|key| key.errors).collect()
    }

    #[test]
    fn each_error_names_key_value_and_reason() {
        assert_eq!(errors(&[]), ["Missing required configuration \"broker\" which has no default value."]);
        assert_eq!(errors(&[("broker", "b"), ("qos", " 2 ")]), [""; 0], "blanks around a value are nothing");
        assert_eq!(
            errors(&[("broker", "b"), ("tasks.max", "abc")]),
            [
                "Invalid value abc for configuration tasks.max: Not a number of type INT",
                "Invalid value null for configuration tasks.max: Value must be non-null"
            ],
            "Java runs the check on the null that a bad value leaves"
        );
        assert_eq!(
            errors(&[("broker", "b"), ("qos", "3")]),
            ["Invalid value 3 for configuration qos: Value must be no more than 2"]
        );
        assert_eq!(
            errors(&[("broker", "b"), ("secret", "hunter2")]),
            ["Invalid value [hidden] for configuration secret: is not for this broker"],
            "no secret in an error"
        );
    }

    #[test]
    fn a_login_in_an_address_that_is_refused_is_not_shown() {
        static SERVERS: Key<Vec<String>> =
            Key::new("servers", "Addresses.").address().check(|_| Err("must hold no login".into()));
        static ADDRESSES: ConfigDef = ConfigDef::new(&[&SERVERS.info]);
        for (given, expected) in [
            ("mqtt://me:hunter2@broker:1883", "mqtt://[hidden]@broker:1883"),
            ("mqtt://me:hun/te,r2@broker", "mqtt://[hidden]@broker"),
            ("me:hunter2@broker", "[hidden]@broker"),
            ("mqtt://broker", "mqtt://broker"),
        ] {
            let config = ConfigMap::from([("servers".to_owned(), given.to_owned())]);
            let checked = ADDRESSES.check(&config).remove(0);
            assert_eq!(
                checked.errors,
                [format!("Invalid value {expected} for configuration servers: must hold no login")]
            );
            assert_eq!(checked.value.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_login_is_not_shown_of_a_key_that_may_have_none_either() {
        static STORE: Key<String> = Key::new("store", "A bucket.").check(|_| Err("it has user information".into()));
        static STORES: ConfigDef = ConfigDef::new(&[&STORE.info]);
        for (given, expected) in [("s3://me:hunter2@lake/in", "s3://[hidden]@lake/in"), ("a@b", "a@b")] {
            let checked = STORES.check(&ConfigMap::from([("store".to_owned(), given.to_owned())])).remove(0);
            let told = format!("Invalid value {expected} for configuration store: it has user information");
            assert_eq!((checked.errors, checked.value.as_deref()), (vec![told], Some(expected)));
        }
    }
}
