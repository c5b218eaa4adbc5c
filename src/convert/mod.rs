//! Converters: Kafka's bytes to Connect's data and back. One instance per task and side; `src/task/` calls them once per
//! record, so schemas are read and rendered once and strings stay spans of the batch's buffer.
//!
//! Coercions and error texts that look odd are Java's and documented in `docs/deviations.md` where they are not. Reading
//! order: `bytes.rs` (the smallest), `numbers.rs`, `text.rs`, `charset.rs`,
//! `json.rs` with its folder, `header.rs`.

mod bytes;
mod charset;
mod header;
mod json;
mod numbers;
mod text;

use pipette_api::config::{Importance, Width};
use pipette_api::record::KafkaHeaders;
use pipette_api::{
    Blob, ConfigMap, ConnectError, Converter, ConverterPlugin, Datum, HeaderConverter, HeaderConverterPlugin, Info,
    Key, Payload, Plugin, Result, Settings,
};
use pipette_java as java;

use self::numbers::NumberConverter;

/// Set by the framework; every converter but `SimpleHeaderConverter` lists it first.
static CONVERTER_TYPE: Key<String> =
    Key::new("converter.type", "What the converter is used for: `key`, `value` or `header`. The worker sets it.")
        .importance(Importance::Low)
        .width(Width::None);

/// Kafka's, because configurations pin it with `key.converter.plugin.version`.
const VERSION: &str = "4.3.1";

const JSON: Info = Info {
    class: "org.apache.kafka.connect.json.JsonConverter",
    aliases: &["JsonConverter", "Json"],
    version: VERSION,
    about: "JSON, with or without the schema beside each value.",
    readme: "",
    config: &json::CONFIG,
};

const TEXT: Info = Info {
    class: "org.apache.kafka.connect.storage.StringConverter",
    aliases: &["StringConverter", "String"],
    version: VERSION,
    about: "Plain text: what is no string is written as Java prints it.",
    readme: "",
    config: &text::CONFIG,
};

const BYTES: Info = Info {
    class: "org.apache.kafka.connect.converters.ByteArrayConverter",
    aliases: &["ByteArrayConverter", "ByteArray"],
    version: VERSION,
    about: "Bytes as they are.",
    readme: "",
    config: &bytes::CONFIG,
};

const SIMPLE: Info = Info {
    class: "org.apache.kafka.connect.storage.SimpleHeaderConverter",
    aliases: &["SimpleHeaderConverter", "Simple"],
    version: VERSION,
    about: "Header values as text whose type is recognised when it is read.",
    readme: "",
    config: &header::CONFIG,
};

const BOOLEAN: Info = number(
    "org.apache.kafka.connect.converters.BooleanConverter",
    &["BooleanConverter", "Boolean"],
    "Booleans as one byte, 0 or 1.",
);

const SHORT: Info = number(
    "org.apache.kafka.connect.converters.ShortConverter",
    &["ShortConverter", "Short"],
    "int16 as 2 bytes, big-endian.",
);

const INTEGER: Info = number(
    "org.apache.kafka.connect.converters.IntegerConverter",
    &["IntegerConverter", "Integer"],
    "int32 as 4 bytes, big-endian.",
);

const LONG: Info = number(
    "org.apache.kafka.connect.converters.LongConverter",
    &["LongConverter", "Long"],
    "int64 as 8 bytes, big-endian.",
);

const FLOAT: Info = number(
    "org.apache.kafka.connect.converters.FloatConverter",
    &["FloatConverter", "Float"],
    "float32 as 4 bytes, big-endian IEEE 754.",
);

const DOUBLE: Info = number(
    "org.apache.kafka.connect.converters.DoubleConverter",
    &["DoubleConverter", "Double"],
    "float64 as 8 bytes, big-endian IEEE 754.",
);

const fn number(class: &'static str, aliases: &'static [&'static str], about: &'static str) -> Info {
    Info { class, aliases, version: VERSION, about, readme: "", config: &numbers::CONFIG }
}

/// The converters of the worker.
pub static PLUGINS: &[Plugin] = &[
    Plugin::Converter(ConverterPlugin { info: BYTES, make: |_, _| Ok(Box::new(Anywhere(bytes::ByteArrayConverter))) }),
    Plugin::Converter(ConverterPlugin {
        info: JSON,
        make: |settings, _| Ok(Box::new(Anywhere(json::JsonConverter::new(&settings)?))),
    }),
    Plugin::Converter(ConverterPlugin {
        info: TEXT,
        make: |settings, _| Ok(Box::new(Anywhere(text::StringConverter::new(&settings)?))),
    }),
    Plugin::Converter(ConverterPlugin {
        info: BOOLEAN,
        make: |_, _| Ok(Box::new(Anywhere(NumberConverter::boolean()))),
    }),
    Plugin::Converter(ConverterPlugin { info: SHORT, make: |_, _| Ok(Box::new(Anywhere(NumberConverter::short()))) }),
    Plugin::Converter(ConverterPlugin {
        info: INTEGER,
        make: |_, _| Ok(Box::new(Anywhere(NumberConverter::integer()))),
    }),
    Plugin::Converter(ConverterPlugin { info: LONG, make: |_, _| Ok(Box::new(Anywhere(NumberConverter::long()))) }),
    Plugin::Converter(ConverterPlugin { info: FLOAT, make: |_, _| Ok(Box::new(Anywhere(NumberConverter::float()))) }),
    Plugin::Converter(ConverterPlugin { info: DOUBLE, make: |_, _| Ok(Box::new(Anywhere(NumberConverter::double()))) }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: BYTES,
        make: |_| Ok(Box::new(Anywhere(bytes::ByteArrayConverter))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: JSON,
        make: |settings| Ok(Box::new(Anywhere(json::JsonConverter::new(&settings)?))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: TEXT,
        make: |settings| Ok(Box::new(Anywhere(text::StringConverter::new(&settings)?))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: BOOLEAN,
        make: |_| Ok(Box::new(Anywhere(NumberConverter::boolean()))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: SHORT,
        make: |_| Ok(Box::new(Anywhere(NumberConverter::short()))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: INTEGER,
        make: |_| Ok(Box::new(Anywhere(NumberConverter::integer()))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: LONG,
        make: |_| Ok(Box::new(Anywhere(NumberConverter::long()))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: FLOAT,
        make: |_| Ok(Box::new(Anywhere(NumberConverter::float()))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: DOUBLE,
        make: |_| Ok(Box::new(Anywhere(NumberConverter::double()))),
    }),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: SIMPLE,
        make: |_| Ok(Box::new(header::SimpleHeaderConverter::new())),
    }),
];

/// Connect's JSON, with the schema beside the value or without, where nulls stay nulls.
pub fn json_as_it_is(schemas: bool) -> Result<Box<dyn Converter>> {
    let settings = [("schemas.enable", schemas.to_string()), ("replace.null.with.default", "false".to_owned())];
    let config: ConfigMap = settings.map(|(key, value)| (key.to_owned(), value)).into();
    Ok(Box::new(Anywhere(json::JsonConverter::new(&Settings::new(config, &json::CONFIG))?)))
}

/// A form that is the same in keys, values and headers, of every topic and header name.
trait Form: Send {
    /// See [`Converter::encode`].
    fn write<'a>(&mut self, datum: &'a Datum, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>>;

    /// See [`Converter::decode`].
    fn read(&mut self, bytes: Option<&Blob>) -> Result<Datum>;
}

/// Makes both converters of a form.
struct Anywhere<F>(F);

impl<F: Form> Converter for Anywhere<F> {
    fn encode<'a>(
        &mut self,
        _topic: &str,
        _headers: &mut KafkaHeaders,
        datum: &'a Datum,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>> {
        self.0.write(datum, buffer)
    }

    fn decode(&mut self, _topic: &str, _headers: &KafkaHeaders, bytes: Option<&Blob>) -> Result<Datum> {
        self.0.read(bytes)
    }
}

impl<F: Form> HeaderConverter for Anywhere<F> {
    fn encode<'a>(
        &mut self,
        _topic: &str,
        _name: &str,
        datum: &'a Datum,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>> {
        self.0.write(datum, buffer)
    }

    fn decode(&mut self, _topic: &str, _name: &str, bytes: Option<&Blob>) -> Result<Datum> {
        self.0.read(bytes)
    }
}

/// Small payloads are read into memory before a converter sees them; this one is not small.
fn payload_refused(converter: &str, payload: &dyn Payload) -> ConnectError {
    let size = payload.len().map_or("unknown size".to_owned(), |len| format!("{len} bytes"));
    ConnectError::data(format!(
        "{converter} cannot write a payload of {size}: it does not fit in memory. Put the ClaimCheck or Chunk \
         transformation last in the connector's chain, or make the source hand over smaller values"
    ))
}

#[cfg(test)]
mod tests {
    use pipette_api::config::Presence;

    use super::*;

    /// Name, type, default (`!` required, `-` none), importance, group, width and display name of each key, as Java shows them.
    fn keys(class: &str) -> Vec<String> {
        let plugin = PLUGINS.iter().find(|plugin| plugin.info().class == class).unwrap();
        let row = |key: &&pipette_api::config::KeyInfo| {
            let default = match key.presence {
                Presence::Required => "!",
                Presence::Optional => "-",
                Presence::Default(text) => text,
            };
            let (kind, importance, width) = (key.kind.name(), key.importance.name(), key.width.name());
            let (group, display) = (key.group.unwrap_or("-"), key.display.unwrap_or(key.name));
            format!("{} {kind} {default} {importance} {group} {width} {display}", key.name)
        };
        plugin.info().config.keys().iter().map(row).collect()
    }

    #[test]
    fn definitions_are_javas() {
        let kind = "converter.type STRING ! LOW - NONE converter.type";
        for name in ["ByteArray", "Boolean", "Short", "Integer", "Long", "Float", "Double"] {
            assert_eq!(keys(&format!("org.apache.kafka.connect.converters.{name}Converter")), [kind]);
        }
        assert_eq!(
            keys("org.apache.kafka.connect.storage.StringConverter"),
            [kind, "converter.encoding STRING UTF-8 HIGH - MEDIUM Encoding"]
        );
        assert_eq!(
            keys("org.apache.kafka.connect.json.JsonConverter"),
            [
                kind,
                "schemas.enable BOOLEAN true HIGH Schemas MEDIUM Enable Schemas",
                "schemas.cache.size INT 1000 HIGH Schemas MEDIUM Schema Cache Size",
                "schema.content STRING - HIGH Schemas MEDIUM Schema Content",
                "decimal.format STRING BASE64 LOW Serialization MEDIUM Decimal Format",
                "replace.null.with.default BOOLEAN true LOW Serialization MEDIUM Replace null with default",
            ]
        );
        assert!(keys("org.apache.kafka.connect.storage.SimpleHeaderConverter").is_empty());
    }

    #[test]
    fn every_plugin_starts_with_its_defaults_and_keeps_the_laws_of_configurations() {
        for plugin in PLUGINS {
            let settings = pipette_api::Settings::new(pipette_api::ConfigMap::new(), plugin.info().config);
            let made = match plugin {
                Plugin::Converter(plugin) => (plugin.make)(settings, pipette_api::Side::Value).map(drop),
                Plugin::HeaderConverter(plugin) => (plugin.make)(settings).map(drop),
                other => panic!("{} is no converter", other.info().class),
            };
            assert!(made.is_ok(), "{}", plugin.info().class);
            let framework: &[_] = &[("converter.type", "value")];
            let smallest = if plugin.info().config.keys().is_empty() { &[] } else { framework };
            pipette_kit::config_laws::hold(plugin.info(), smallest);
        }
        let count = |kind: &str| PLUGINS.iter().filter(|plugin| plugin.kind() == kind).count();
        assert_eq!((count("converter"), count("header_converter")), (9, 10));
    }
}
