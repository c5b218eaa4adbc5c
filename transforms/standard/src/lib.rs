//! Apache Connect's transformations and predicates, under Java's class names.
//!
//! One room per transformation or predicate: its keys, its settings, what it does to a record; `cases/` holds its golden
//! cases. The worker lists [`PLUGINS`] in `src/plugins.rs`, validates by each `CONFIG` and calls each `make` once per
//! place in a task's chain. Shared by the rooms: `fields.rs` (keys and values with fields), `topic_cache.rs`,
//! `java_regex.rs` and `java_replacement.rs` (Java's pattern language). Read `insert_field.rs` first.

mod fields;
mod java_regex;
mod java_replacement;
mod topic_cache;

mod insert_field;
mod regex_router;
mod replace_field;

mod has_header_key;
mod record_is_tombstone;
mod topic_name_matches;

use pipette_api::{
    ConfigDef, ConnectError, Info, Plugin, Predicate, PredicatePlugin, Result, Settings, Side, Transform,
    TransformPlugin,
};

/// The plugins of this crate.
pub static PLUGINS: &[Plugin] = &[
    transform(named!("InsertField$Key"), insert_field::ABOUT, &insert_field::CONFIG, |settings| {
        insert_field::make(&settings, Side::Key)
    }),
    transform(named!("InsertField$Value"), insert_field::ABOUT, &insert_field::CONFIG, |settings| {
        insert_field::make(&settings, Side::Value)
    }),
    transform(named!("RegexRouter"), regex_router::ABOUT, &regex_router::CONFIG, |settings| {
        regex_router::make(&settings)
    }),
    transform(named!("ReplaceField$Key"), replace_field::ABOUT, &replace_field::CONFIG, |settings| {
        replace_field::make(&settings, Side::Key)
    }),
    transform(named!("ReplaceField$Value"), replace_field::ABOUT, &replace_field::CONFIG, |settings| {
        replace_field::make(&settings, Side::Value)
    }),
    predicate(named!("predicates", "HasHeaderKey"), has_header_key::ABOUT, &has_header_key::CONFIG, |settings| {
        has_header_key::make(&settings)
    }),
    predicate(
        named!("predicates", "RecordIsTombstone"),
        record_is_tombstone::ABOUT,
        &record_is_tombstone::CONFIG,
        |_| Ok(record_is_tombstone::make()),
    ),
    predicate(
        named!("predicates", "TopicNameMatches"),
        topic_name_matches::ABOUT,
        &topic_name_matches::CONFIG,
        |settings| topic_name_matches::make(&settings),
    ),
];

/// Plugins that Apache ships carry Kafka's version: configurations pin it with `transforms.<alias>.plugin.version`.
const VERSION: &str = "4.3.1";

/// The class users write and its short form.
type Names = (&'static str, &'static [&'static str]);

macro_rules! named {
    ($name:literal) => {
        (concat!("org.apache.kafka.connect.transforms.", $name), &[$name])
    };
    ($package:literal, $name:literal) => {
        (concat!("org.apache.kafka.connect.transforms.", $package, ".", $name), &[$name])
    };
}
use named;

const fn transform(
    names: Names,
    about: &'static str,
    config: &'static ConfigDef,
    make: fn(Settings) -> Result<Box<dyn Transform>>,
) -> Plugin {
    Plugin::Transform(TransformPlugin { info: info(names, about, config), make })
}

const fn predicate(
    names: Names,
    about: &'static str,
    config: &'static ConfigDef,
    make: fn(Settings) -> Result<Box<dyn Predicate>>,
) -> Plugin {
    Plugin::Predicate(PredicatePlugin { info: info(names, about, config), make })
}

const fn info(names: Names, about: &'static str, config: &'static ConfigDef) -> Info {
    Info { class: names.0, aliases: names.1, version: VERSION, about, readme: "", config }
}

/// The rule between keys once more when an instance is made: a configuration can reach a task without validation.
fn hold_rules(config: &'static ConfigDef, settings: &Settings) -> Result<()> {
    match config.broken_rules(settings.values()).into_iter().next() {
        Some((_, error)) => Err(ConnectError::config(error)),
        None => Ok(()),
    }
}
