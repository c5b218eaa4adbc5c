//! Configuration: one definition per key gives parsing, default, validation, the REST `/validate` answer and the page.
//!
//! A plugin writes `static QOS: Key<u32> = Key::new("mqtt.qos", "…").default("1").check(in_range::<0, 2>)`, lists its keys
//! in a [`ConfigDef`], and reads them with [`Settings::get`]: the type comes from the key, the name stands once.

pub mod checks;
pub mod def;
pub mod key;
pub mod page;
pub mod settings;

pub use def::{Checked, ConfigDef, ConfigSet, Row};
pub use key::{FromText, Importance, Key, KeyInfo, KeyType, Password, Presence, Width};
pub use settings::Settings;

/// A configuration as given: dotted lower-case keys to text.
pub type ConfigMap = std::collections::BTreeMap<String, String>;
