//! A Kafka record becomes an MQTT message.
//!
//! Read next: `sink.rs`.

use std::borrow::Cow;

use bytes::Bytes;
use pipette_api::{ConnectError, Headers, Record, Result, Value};

use crate::client::{Outgoing, Properties, Version, Welcome};
use crate::config::HEADER_NAMES;
use crate::filter::check_topic;
use crate::settings::{NullValue, SinkSettings};
use crate::template::{Parts, Place};

/// What the source puts in front of the names of user properties.
const USER: &str = "mqtt.user.";
/// What a message has besides topic and payload, properties not counted.
const FRAME: usize = 16;

/// The message of a record, `None` when it is left out; a data error when it cannot be made or the broker would not take it.
pub(crate) fn outgoing(settings: &SinkSettings, welcome: &Welcome, record: &Record) -> Result<Option<Outgoing>> {
    let Some(payload) = payload(settings.null_value, &record.value.value)? else { return Ok(None) };
    let topic = settings.topic.fill(&RecordParts(record)).map_err(ConnectError::data)?;
    check_topic(&topic).map_err(ConnectError::data)?;
    check_text("the topic", &topic)?;
    let properties = properties(settings, &record.headers);
    let of_properties = match &properties {
        Some(properties) if welcome.version == Version::V5 => check_properties(properties)?,
        _ => 0,
    };
    let size = FRAME + topic.len() + of_properties + payload.len();
    if let Some(most) = welcome.maximum_packet
        && size > most as usize
    {
        return Err(ConnectError::data(format!(
            "The message of {} bytes for the topic {topic} is larger than the broker takes, which is {most} bytes",
            payload.len()
        )));
    }
    Ok(Some(Outgoing { topic, payload, qos: settings.qos, retain: settings.retain, properties }))
}

fn payload(null_value: NullValue, value: &Value) -> Result<Option<Bytes>> {
    Ok(Some(match value {
        Value::Null => match null_value {
            NullValue::Ignore => return Ok(None),
            NullValue::Empty => Bytes::new(),
            NullValue::Fail => {
                return Err(ConnectError::data("The record has no value, and behavior.on.null.values is fail"));
            }
        },
        Value::Bytes(bytes) => Bytes::copy_from_slice(bytes.as_bytes()),
        Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
        other => {
            let mut json = Vec::new();
            pipette_json::write(other, &mut json)?;
            Bytes::from(json)
        }
    }))
}

/// Brokers end the connection for a text that MQTT does not allow, and do not say which message had it.
fn check_text(what: &str, text: &str) -> Result<()> {
    check_length(what, text.len())?;
    let is_none = |character: &char| {
        let code = u32::from(*character);
        character.is_control() || code & 0xFFFE == 0xFFFE || (0xFDD0..=0xFDEF).contains(&code)
    };
    match text.chars().find(is_none) {
        None => Ok(()),
        Some(bad) => Err(ConnectError::data(format!(
            "{what} holds the character U+{:04X}, which MQTT texts must not have",
            u32::from(bad)
        ))),
    }
}

fn check_length(what: &str, len: usize) -> Result<()> {
    if u16::try_from(len).is_ok() {
        return Ok(());
    }
    Err(ConnectError::data(format!("{what} has {len} bytes, and MQTT takes {} at most", u16::MAX)))
}

/// How many bytes they take, about; a data error names the header that cannot be a property.
fn check_properties(properties: &Properties) -> Result<usize> {
    let mut size = FRAME;
    for (header, text) in
        [("mqtt.content.type", &properties.content_type), ("mqtt.response.topic", &properties.response_topic)]
    {
        if let Some(text) = text {
            check_text(&format!("the header {header}"), text)?;
            size += text.len();
        }
    }
    if let Some(data) = &properties.correlation {
        check_length("the header mqtt.correlation.data", data.len())?;
        size += data.len();
    }
    for (name, value) in &properties.user {
        let shown: String = name.chars().take(100).collect();
        check_text(&format!("the name of the header {shown:?}"), name)?;
        check_text(&format!("the header {shown:?}"), value)?;
        size += name.len() + value.len() + 5;
    }
    Ok(size)
}

/// Headers as MQTT 5 has them; those that tell how a message came are not true any more.
fn properties(settings: &SinkSettings, headers: &Headers) -> Option<Box<Properties>> {
    let mut properties =
        Properties { expiry: Some(settings.expiry_seconds).filter(|seconds| *seconds > 0), ..Properties::default() };
    if settings.headers {
        for (name, datum) in &headers.0 {
            match &**name {
                "mqtt.content.type" => properties.content_type = scalar(&datum.value).map(Cow::into_owned),
                "mqtt.response.topic" => properties.response_topic = scalar(&datum.value).map(Cow::into_owned),
                "mqtt.correlation.data" => {
                    properties.correlation = payload(NullValue::Empty, &datum.value).ok().flatten();
                }
                "mqtt.payload.format" => properties.text = scalar(&datum.value).map(|format| format == "utf-8"),
                known if HEADER_NAMES.contains(&known) => {}
                name => {
                    let name = name.strip_prefix(USER).unwrap_or(name);
                    properties.user.extend(scalar(&datum.value).map(|value| (name.to_owned(), value.into_owned())));
                }
            }
        }
    }
    (properties != Properties::default()).then(|| Box::new(properties))
}

/// The parts of a Kafka record.
struct RecordParts<'a>(&'a Record);

impl Parts for RecordParts<'_> {
    fn part(&self, place: &Place) -> Result<Cow<'_, str>, String> {
        let record = self.0;
        match place {
            Place::Topic => Ok(Cow::from(&*record.topic)),
            Place::Partition => Ok(record.partition.unwrap_or(0).to_string().into()),
            Place::Key => {
                scalar(&record.key.value).ok_or_else(|| "The record has no key that a topic can be made of".into())
            }
            Place::Header(name) => {
                let header = record.headers.last(name).and_then(|datum| scalar(&datum.value));
                header.ok_or_else(|| format!("The record has no header {name} that a topic can be made of"))
            }
            Place::Field(path) => {
                let field = path.split('.').try_fold(&record.value.value, |value, name| member(value, name));
                field
                    .and_then(scalar)
                    .ok_or_else(|| format!("The record has no field {path} that a topic can be made of"))
            }
            other => Err(format!("{other} is not known of a Kafka record")),
        }
    }
}

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Struct(row) => row.get(name),
        Value::Map(map) => map.get(name),
        _ => None,
    }
}

/// The text of a value that is one thing.
fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Bytes(bytes) => std::str::from_utf8(bytes.as_bytes()).ok().map(Cow::from),
        Value::Bool(flag) => Some(flag.to_string().into()),
        Value::I8(number) => Some(number.to_string().into()),
        Value::I16(number) => Some(number.to_string().into()),
        Value::I32(number) => Some(number.to_string().into()),
        Value::I64(number) => Some(number.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::{Blob, ConfigMap, Datum, Settings};
    use pipette_kit::build;

    use super::*;
    use crate::client::Qos;

    fn settings(pairs: &[(&str, &str)]) -> SinkSettings {
        let mut config = build::config(pairs);
        config.insert("mqtt.server.uri".into(), "mqtt://localhost".into());
        SinkSettings::read(&Settings::new(ConfigMap::clone(&config), &crate::SINK_CONFIG)).unwrap()
    }

    const WELCOME: Welcome = Welcome {
        version: Version::V5,
        session_present: false,
        receive_maximum: 20,
        maximum_qos: Qos::ExactlyOnce,
        retain_available: true,
        maximum_packet: Some(1000),
    };

    fn record() -> Record {
        let value = build::map(&[("site", Value::text("a")), ("deep", build::map(&[("n", Value::I64(7))]).value)]);
        let mut record = Record { partition: Some(3), key: build::text("k"), ..Record::new("orders".into(), value) };
        for (name, value) in [
            ("mqtt.topic", Value::text("old")),
            ("mqtt.content.type", Value::text("text/plain")),
            ("mqtt.user.unit", Value::text("C")),
            ("trace", Value::I32(9)),
        ] {
            record.headers.add(name, Datum::schemaless(value));
        }
        record
    }

    fn message(pairs: &[(&str, &str)], record: &Record) -> Result<Option<Outgoing>> {
        outgoing(&settings(pairs), &WELCOME, record)
    }

    #[test]
    fn topics_are_made_of_records() {
        for (template, expected) in [
            ("${topic}/${partition}", "orders/3"),
            ("k/${key}", "k/k"),
            ("${header:trace}/${field:site}/${field:deep.n}", "9/a/7"),
        ] {
            let made = message(&[("mqtt.topic", template)], &record()).unwrap().unwrap();
            assert_eq!(made.topic, expected, "{template}");
        }
        for (template, reason) in [("${field:no}", "no field no"), ("${header:no}", "no header no")] {
            assert!(message(&[("mqtt.topic", template)], &record()).unwrap_err().to_string().contains(reason));
        }
        let wild = Record { key: build::text("a/#"), ..record() };
        assert!(message(&[("mqtt.topic", "${key}")], &wild).unwrap_err().to_string().contains("wildcard"));
    }

    #[test]
    fn payloads_are_values_and_headers_properties() {
        let made = message(&[("mqtt.message.expiry.seconds", "60")], &record()).unwrap().unwrap();
        assert_eq!(&made.payload[..], br#"{"site":"a","deep":{"n":7}}"#);
        let properties = *made.properties.unwrap();
        assert_eq!((properties.expiry, properties.content_type.as_deref()), (Some(60), Some("text/plain")));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(properties.user, [pair("unit", "C"), pair("trace", "9")], "how it came is not told");
        let bare = message(&[("mqtt.headers.to.properties", "false")], &record()).unwrap().unwrap();
        assert_eq!(bare.properties, None);
    }

    #[test]
    fn what_a_broker_would_hang_up_for_is_a_bad_record_that_names_the_header() {
        let told = |name: &str, value: Value| {
            let mut record = record();
            record.headers.add(name, Datum::schemaless(value));
            message(&[], &record).map(drop).map_err(|error| error.to_string())
        };
        let long = "x".repeat(66_000);
        for (name, value, reason) in [
            ("a", "\u{1}b", "the header \"a\" holds the character U+0001"),
            ("a\n", "b", "the name of the header \"a\\n\" holds the character U+000A"),
            ("a", "\u{FFFF}", "U+FFFF"),
            ("a", &long, "the header \"a\" has 66000 bytes, and MQTT takes 65535 at most"),
            ("mqtt.response.topic", &long, "the header mqtt.response.topic has 66000 bytes"),
            ("mqtt.correlation.data", &long, "the header mqtt.correlation.data has 66000 bytes"),
        ] {
            let error = told(name, Value::text(value)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(told("a", Value::text("x".repeat(900))).unwrap_err().contains("larger than the broker takes"));
        assert_eq!(told("a", Value::text("grüße, 🙂")), Ok(()));
        let topic = Record { key: build::text("ok/\u{7}"), ..record() };
        assert!(message(&[("mqtt.topic", "${key}")], &topic).unwrap_err().to_string().contains("the topic holds"));
    }

    #[test]
    fn records_without_a_value_go_as_configured() {
        let null = Record { value: Datum::NULL, ..record() };
        assert!(message(&[], &null).unwrap().is_none());
        let empty = message(&[("behavior.on.null.values", "empty")], &null).unwrap().unwrap();
        assert!(empty.payload.is_empty());
        assert!(message(&[("behavior.on.null.values", "fail")], &null).is_err());
        let large = Record { value: Datum::schemaless(Value::Bytes(Blob::whole(vec![0; 2000]).unwrap())), ..record() };
        assert!(message(&[], &large).unwrap_err().to_string().contains("larger than the broker takes, which is 1000"));
    }
}
