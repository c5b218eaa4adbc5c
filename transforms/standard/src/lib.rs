//! Apache Connect's transformations and predicates, under Java's class names, and some of ours that users miss there.
//!
//! One room per transformation or predicate: its keys, its settings, what it does to a record; `cases/` holds its golden
//! cases. The worker lists [`PLUGINS`] in `src/plugins.rs`, validates by each `CONFIG` and calls each `make` once per
//! place in a task's chain. Shared by the rooms: `fields.rs` (keys and values with fields), `topic_cache.rs`.
//! Java's dates, patterns and texts are in `libs/java`. Read `insert_field.rs` first.

mod cast_value;
mod condition;
mod fields;
mod filter_path;
mod json_shape;
mod path;
mod topic_cache;
mod topic_name;

mod cast;
mod drop_headers;
mod extract_field;
mod filter;
mod flatten;
mod header_from;
mod hoist_field;
mod insert_field;
mod insert_header;
mod mask_field;
mod regex_router;
mod replace_field;
mod set_schema_metadata;
mod timestamp_converter;
mod timestamp_router;
mod value_to_key;

mod coalesce;
mod conditional_filter;
mod extract_topic;
mod hash_field;
mod json_to_struct;
mod rename_by_regex;
mod struct_to_json;

mod field_matches;
mod has_header_key;
mod record_is_tombstone;
mod topic_name_matches;

use pipette_api::config::FromText;
use pipette_api::{
    ConfigDef, ConnectError, Info, Plugin, Predicate, PredicatePlugin, Result, Settings, Side, Transform,
    TransformPlugin,
};
use pipette_java::DateFormat;

/// The plugins of this crate.
pub static PLUGINS: &[Plugin] = &[
    both!(Key, "Cast", cast),
    both!(Value, "Cast", cast),
    one!("DropHeaders", drop_headers),
    both!(Key, "ExtractField", extract_field),
    both!(Value, "ExtractField", extract_field),
    one!("Filter", filter),
    both!(Key, "Flatten", flatten),
    both!(Value, "Flatten", flatten),
    both!(Key, "HeaderFrom", header_from),
    both!(Value, "HeaderFrom", header_from),
    both!(Key, "HoistField", hoist_field),
    both!(Value, "HoistField", hoist_field),
    both!(Key, "InsertField", insert_field),
    both!(Value, "InsertField", insert_field),
    one!("InsertHeader", insert_header),
    both!(Key, "MaskField", mask_field),
    both!(Value, "MaskField", mask_field),
    one!("RegexRouter", regex_router),
    both!(Key, "ReplaceField", replace_field),
    both!(Value, "ReplaceField", replace_field),
    both!(Key, "SetSchemaMetadata", set_schema_metadata),
    both!(Value, "SetSchemaMetadata", set_schema_metadata),
    both!(Key, "TimestampConverter", timestamp_converter),
    both!(Value, "TimestampConverter", timestamp_converter),
    one!("TimestampRouter", timestamp_router),
    one!("ValueToKey", value_to_key),
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
    ours!(Key, "Coalesce", coalesce),
    ours!(Value, "Coalesce", coalesce),
    ours!(Key, "ExtractTopic", extract_topic),
    ours!(Value, "ExtractTopic", extract_topic),
    ours!(Key, "HashField", hash_field),
    ours!(Value, "HashField", hash_field),
    ours!(Key, "JsonToStruct", json_to_struct),
    ours!(Value, "JsonToStruct", json_to_struct),
    ours!(Key, "RenameByRegex", rename_by_regex),
    ours!(Value, "RenameByRegex", rename_by_regex),
    ours!(Key, "StructToJson", struct_to_json),
    ours!(Value, "StructToJson", struct_to_json),
    Plugin::Predicate(PredicatePlugin {
        info: own(
            ("io.pipette.transforms.predicates.FieldMatches$Key", &["FieldMatches$Key"]),
            field_matches::ABOUT,
            &field_matches::CONFIG,
        ),
        make: |settings| field_matches::make(&settings, Side::Key),
    }),
    Plugin::Predicate(PredicatePlugin {
        info: own(
            ("io.pipette.transforms.predicates.FieldMatches$Value", &["FieldMatches$Value", "FieldMatches"]),
            field_matches::ABOUT,
            &field_matches::CONFIG,
        ),
        make: |settings| field_matches::make(&settings, Side::Value),
    }),
    Plugin::Transform(TransformPlugin {
        info: own(
            ("io.confluent.connect.transforms.Filter$Key", &["Filter$Key"]),
            conditional_filter::ABOUT,
            &conditional_filter::CONFIG,
        ),
        make: |settings| conditional_filter::make(&settings, Side::Key),
    }),
    Plugin::Transform(TransformPlugin {
        info: own(
            ("io.confluent.connect.transforms.Filter$Value", &["Filter$Value"]),
            conditional_filter::ABOUT,
            &conditional_filter::CONFIG,
        ),
        make: |settings| conditional_filter::make(&settings, Side::Value),
    }),
];

/// Plugins that Apache ships carry Kafka's version: configurations pin it with `transforms.<alias>.plugin.version`.
const VERSION: &str = "4.3.1";

/// The class users write and its short form.
type Names = (&'static str, &'static [&'static str]);

macro_rules! named {
    ($name:expr) => {
        (concat!("org.apache.kafka.connect.transforms.", $name), &[$name])
    };
    ($package:literal, $name:literal) => {
        (concat!("org.apache.kafka.connect.transforms.", $package, ".", $name), &[$name])
    };
}
use named;

/// A transformation of keys and one of values.
macro_rules! both {
    ($side:ident, $name:literal, $room:ident) => {
        transform(named!(concat!($name, "$", stringify!($side))), $room::ABOUT, &$room::CONFIG, |settings| {
            $room::make(&settings, Side::$side)
        })
    };
}
use both;

/// One of ours, of keys or of values.
macro_rules! ours {
    ($side:ident, $name:literal, $room:ident) => {
        Plugin::Transform(TransformPlugin {
            info: own(
                (
                    concat!("io.pipette.transforms.", $name, "$", stringify!($side)),
                    &[concat!($name, "$", stringify!($side))],
                ),
                $room::ABOUT,
                &$room::CONFIG,
            ),
            make: |settings| $room::make(&settings, Side::$side),
        })
    };
}
use ours;

/// A transformation of whole records.
macro_rules! one {
    ($name:literal, $room:ident) => {
        transform(named!($name), $room::ABOUT, &$room::CONFIG, |settings| $room::make(&settings))
    };
}
use one;

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

/// Ours have the version of this crate.
const fn own(names: Names, about: &'static str, config: &'static ConfigDef) -> Info {
    Info { class: names.0, aliases: names.1, version: env!("CARGO_PKG_VERSION"), about, readme: "", config }
}

/// The rule between keys once more when an instance is made: a configuration can reach a task without validation.
fn hold_rules(config: &'static ConfigDef, settings: &Settings) -> Result<()> {
    match config.broken_rules(settings.values()).into_iter().next() {
        Some((_, error)) => Err(ConnectError::config(error)),
        None => Ok(()),
    }
}

/// A list with something in it, as Java says it.
fn some_elements(key: &str, text: Option<&str>) -> std::result::Result<(), String> {
    match text.map(Vec::<String>::from_text) {
        Some(Ok(list)) if list.is_empty() => {
            Err(format!("Configuration '{key}' must not be empty. Valid values include: any non-empty value"))
        }
        _ => Ok(()),
    }
}

/// The check of a key whose value is a date pattern.
fn date_pattern(text: Option<&str>) -> std::result::Result<(), String> {
    text.map_or(Ok(()), |pattern| {
        DateFormat::new(pattern).map(drop).map_err(|reason| format!("no pattern of SimpleDateFormat: {reason}"))
    })
}
