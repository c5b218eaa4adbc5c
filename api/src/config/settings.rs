//! A configuration with the definition it is read by.

use std::fmt;
use std::sync::Arc;

use super::ConfigMap;
use super::def::{ConfigDef, Row};
use super::key::{FromText, Key, KeyType, Presence};
use crate::error::{ConnectError, Result};
use crate::reach::Reach;

/// Checked text. A plugin reads it once into a plain struct of its own, in one function; nothing connects while reading.
/// Values of config providers are resolved already.
#[derive(Clone)]
pub struct Settings {
    values: Arc<ConfigMap>,
    def: &'static ConfigDef,
    reach: Reach,
}

impl Settings {
    /// A configuration read by that definition.
    pub fn new(values: impl Into<Arc<ConfigMap>>, def: &'static ConfigDef) -> Self {
        Self { values: values.into(), def, reach: Reach::default() }
    }

    /// The same for a plugin that may not touch everything.
    #[must_use]
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// What of the machine and the network the plugin may touch.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The value of a required or defaulted key. A config error when it is missing, does not parse, or breaks its
    /// check; also when the key is not in the plugin's definition, so that a forgotten row cannot ship.
    pub fn get<T: FromText>(&self, key: &Key<T>) -> Result<T> {
        debug_assert!(key.info.presence != Presence::Optional, "{} is optional: use find", key.info.name);
        self.find(key)?.ok_or_else(|| {
            ConnectError::config(format!(
                "Missing required configuration \"{}\" which has no default value.",
                key.info.name
            ))
        })
    }

    /// The value of a key that may be missing.
    pub fn find<T: FromText>(&self, key: &Key<T>) -> Result<Option<T>> {
        let name = key.info.name;
        if self.def.key(name).is_none() {
            return Err(ConnectError::fatal(format!(
                "configuration key {name} is missing from the plugin's definition"
            )));
        }
        let checked = Row::new(key.info).check(&self.values);
        if let Some(error) = checked.errors.into_iter().next() {
            return Err(ConnectError::config(error));
        }
        match checked.value {
            None => Ok(None),
            Some(text) => T::from_text(&text).map(Some).map_err(ConnectError::config),
        }
    }

    /// The text under any key, also one that the definition does not name; for keys with variable parts.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Everything that was given.
    pub fn values(&self) -> &ConfigMap {
        &self.values
    }

    /// The part under a prefix, without it.
    pub fn below(&self, prefix: &str) -> ConfigMap {
        // They stand together: chains of thousands of steps ask for each one's part.
        self.values
            .range(prefix.to_owned()..)
            .map_while(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())))
            .collect()
    }
}

/// Shows keys and values, but no secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.values.iter() {
            match self.def.key(name) {
                Some(key) if key.kind != KeyType::Password => map.entry(name, value),
                // A key nobody defined may be anything, a secret of a client library included.
                _ => map.entry(name, &"[hidden]"),
            };
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::key::Password;
    use super::*;

    static WAIT: Key<Duration> = Key::new("wait.ms", "Wait.").default("1000");
    static SECRET: Key<Password> = Key::new("secret", "Secret.").optional();
    static STRAY: Key<String> = Key::new("stray", "Not listed.");
    static CONFIG: ConfigDef = ConfigDef::new(&[&WAIT.info, &SECRET.info]);

    #[test]
    fn the_type_comes_from_the_key() {
        let settings = Settings::new(ConfigMap::from([("secret".into(), "hunter2".into())]), &CONFIG);
        assert_eq!(settings.get(&WAIT).unwrap(), Duration::from_secs(1));
        assert_eq!(settings.find(&SECRET).unwrap(), Some(Password("hunter2".into())));
        assert!(
            settings.get(&STRAY).unwrap_err().to_string().contains("stray is missing from the plugin's definition")
        );
        assert!(!format!("{settings:?}").contains("hunter2"), "no secret in a log");
    }
}
