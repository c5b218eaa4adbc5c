//! The settings that Java's clients know, from `clients.txt`: what forms show of `producer.override.…` and the like.
//!
//! Which of them have an effect here, `src/kafka/properties.rs` decides.

use std::sync::OnceLock;

use pipette_api::config::{FromText, Importance, KeyType};

/// A setting of a client.
#[derive(Debug, Clone, Copy)]
pub struct ClientKey {
    client: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: KeyType,
    /// True when it must be given.
    pub required: bool,
    /// How much a user should care.
    pub importance: Importance,
    /// The default of Java's client.
    pub default: Option<&'static str>,
}

/// The setting of a client: `producer`, `consumer` or `admin`.
pub fn find(client: &str, name: &str) -> Option<&'static ClientKey> {
    static KEYS: OnceLock<Vec<ClientKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| include_str!("clients.txt").lines().filter_map(read).collect());
    keys.iter().find(|key| key.client == client && key.name == name)
}

/// Lines that are no comment have five words; the last one may have blanks.
fn read(line: &'static str) -> Option<ClientKey> {
    let mut words = line.splitn(5, ' ');
    let [client, name, kind, importance, default] = std::array::from_fn(|_| words.next().unwrap_or_default());
    let (kind, required) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
    Some(ClientKey {
        client,
        name,
        kind: match kind {
            "BOOLEAN" => KeyType::Boolean,
            "STRING" => KeyType::String,
            "INT" => KeyType::Int,
            "SHORT" => KeyType::Short,
            "LONG" => KeyType::Long,
            "DOUBLE" => KeyType::Double,
            "LIST" => KeyType::List,
            "CLASS" => KeyType::Class,
            "PASSWORD" => KeyType::Password,
            _ => return None,
        },
        required,
        importance: match importance {
            "HIGH" => Importance::High,
            "MEDIUM" => Importance::Medium,
            _ => Importance::Low,
        },
        default: match default {
            "-" => None,
            "\"\"" => Some(""),
            text => Some(text),
        },
    })
}

impl ClientKey {
    /// Says why a text is no value of it. Numbers and booleans only: everything else is for the client to judge.
    pub fn misfit(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let fits = match self.kind {
            KeyType::Boolean => bool::from_text(text).is_ok(),
            KeyType::Int => i32::from_text(text).is_ok(),
            KeyType::Short => i16::from_text(text).is_ok(),
            KeyType::Long => i64::from_text(text).is_ok(),
            KeyType::Double => text.parse::<f64>().is_ok(),
            KeyType::String | KeyType::List | KeyType::Class | KeyType::Password => true,
        };
        match (fits, self.kind) {
            (true, _) => None,
            (false, KeyType::Boolean) => Some("Expected value to be either true or false".into()),
            (false, kind) => Some(format!("Not a number of type {}", kind.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let linger = find("producer", "linger.ms").unwrap();
        assert_eq!((linger.kind, linger.default), (KeyType::Long, Some("5")));
        assert_eq!(linger.misfit("abc").unwrap(), "Not a number of type LONG");
        assert!(linger.misfit(" 7 ").is_none());
        assert!(find("consumer", "linger.ms").is_none() && find("admin", "retries").is_some());
        assert!(find("consumer", "key.deserializer").unwrap().required);
    }
}
