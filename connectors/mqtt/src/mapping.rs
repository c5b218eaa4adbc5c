//! An MQTT message becomes a Kafka record.
//!
//! What depends on the topic alone is made once for each topic and kept. Read next: `source.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pipette_api::{Blob, ConnectError, Datum, Headers, Kind, Record, Result, Schema, Text, Value};

use crate::client::{Message, Properties};
use crate::config::HEADER_NAMES;
use crate::envelope::Envelope;
use crate::filter::matches;
use crate::json;
use crate::settings::{Format, SourceSettings};
use crate::sparkplug::{Noted, Numbered, Sparkplug};
use crate::template::{Template, TopicParts, kafka_topic};

/// Topics that are remembered; beyond that all are forgotten and made anew.
const TOPICS: usize = 50_000;

/// Makes records.
pub(crate) struct Mapping {
    connector: Arc<str>,
    by_filter: Vec<(String, Template)>,
    topic: Template,
    key: Option<Template>,
    format: Format,
    envelope: Envelope,
    /// With that format alone.
    sparkplug: Option<Sparkplug>,
    names: Names,
    client_id: Datum,
    routes: HashMap<Bytes, Arc<Route>>,
    /// What each Kafka topic was made of; `None` once it was said that it is made of something else as well.
    origins: HashMap<Arc<str>, Option<String>>,
}

/// What a message becomes.
pub(crate) enum Made {
    One(Record),
    Many(Vec<Record>),
}

/// What a topic decides.
struct Route {
    topic: Arc<str>,
    key: Datum,
    /// The MQTT topic as the value of a header.
    name: Datum,
}

/// The names of the headers to write, in the order of [`HEADER_NAMES`]; `None` is left out.
struct Names([Option<Arc<str>>; HEADER_NAMES.len()]);

impl Mapping {
    pub(crate) fn new(settings: &SourceSettings, connector: &Arc<str>, client_id: &str) -> Result<Self> {
        let wanted =
            |name: &str| settings.headers.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name));
        Ok(Self {
            connector: Arc::clone(connector),
            by_filter: settings.mapping.clone(),
            topic: settings.topic.clone(),
            key: settings.key.clone(),
            format: settings.format,
            envelope: Envelope::new()?,
            sparkplug: match settings.format {
                Format::Sparkplug => Some(Sparkplug::new(settings.sparkplug.clone())?),
                _ => None,
            },
            names: Names(std::array::from_fn(|index| {
                wanted(HEADER_NAMES[index]).then(|| Arc::from(HEADER_NAMES[index]))
            })),
            client_id: text(client_id),
            routes: HashMap::new(),
            origins: HashMap::new(),
        })
    }

    /// What was noticed in messages of Sparkplug B since this was last asked.
    pub(crate) fn noted(&mut self) -> Option<Noted> {
        self.sparkplug.as_mut().map(Sparkplug::noted)
    }

    /// The message, unless it waits: data of Sparkplug B for its birth.
    pub(crate) fn waits(&mut self, message: Numbered, now: Instant) -> Option<Numbered> {
        match &mut self.sparkplug {
            Some(sparkplug) => sparkplug.waits(message, now),
            None => Some(message),
        }
    }

    /// What waits no more.
    pub(crate) fn ready(&mut self) -> Vec<Numbered> {
        self.sparkplug.as_mut().map(Sparkplug::ready).unwrap_or_default()
    }

    /// What has waited for too long.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Numbered> {
        self.sparkplug.as_mut().map(|sparkplug| sparkplug.overdue(now)).unwrap_or_default()
    }

    /// When something will have waited for too long.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.sparkplug.as_ref().and_then(Sparkplug::until)
    }

    /// What a message becomes; a data error that names its topic when it cannot become that.
    pub(crate) fn made(&mut self, numbered: &Numbered) -> Result<Made> {
        let Numbered { message, has_gap, .. } = numbered;
        let made = self.route(message).and_then(|route| match self.format {
            Format::Sparkplug => self.many(message, *has_gap, &route).map(Made::Many),
            _ => self.record(message, &route).map(Made::One),
        });
        made.map_err(|error| {
            error.within(format!("A message of {} bytes on the topic {}", message.payload.len(), shown(&message.topic)))
        })
    }

    fn many(&mut self, message: &Message, has_gap: Option<bool>, route: &Route) -> Result<Vec<Record>> {
        let mut headers = self.headers(message, route);
        let Some(sparkplug) = &mut self.sparkplug else { unreachable!("made with the format that asks for it") };
        let parts = sparkplug.parts(route.name.value.as_str().unwrap_or_default(), message, has_gap)?;
        if self.names.0.last().is_some_and(Option::is_some) {
            headers.0.extend(parts.headers.0);
        }
        let record = |(key, value): (Option<Datum>, Datum)| Record {
            key: key.unwrap_or_else(|| route.key.clone()),
            headers: headers.clone(),
            timestamp: now(),
            ..Record::new(Arc::clone(&route.topic), value)
        };
        Ok(parts.records.into_iter().map(record).collect())
    }

    fn record(&self, message: &Message, route: &Arc<Route>) -> Result<Record> {
        let value = self.value(message, route)?;
        Ok(Record {
            key: route.key.clone(),
            headers: self.headers(message, route),
            timestamp: now(),
            ..Record::new(Arc::clone(&route.topic), value)
        })
    }

    fn route(&mut self, message: &Message) -> Result<Arc<Route>> {
        if let Some(route) = self.routes.get(&message.topic) {
            return Ok(Arc::clone(route));
        }
        let topic = std::str::from_utf8(&message.topic)
            .map_err(|error| ConnectError::data("the topic is no UTF-8").because(error))?;
        let parts = TopicParts { topic, connector: &self.connector };
        let template =
            self.by_filter.iter().find(|(filter, _)| matches(filter, topic)).map_or(&self.topic, |(_, to)| to);
        let filled = template.fill(&parts).map_err(ConnectError::data)?;
        let name: Arc<str> = kafka_topic(&filled).map_err(ConnectError::data)?.into();
        let route = Arc::new(Route {
            topic: Arc::clone(&name),
            key: match &self.key {
                Some(key) => text(&key.fill(&parts).map_err(ConnectError::data)?),
                None => Datum::NULL,
            },
            name: text(topic),
        });
        if self.routes.len() >= TOPICS {
            self.routes.clear();
            self.origins.clear();
        }
        if let Some(other) = self.other_origin(&name, &filled) {
            tracing::warn!(
                topic = %name,
                "Both {other:?} and {filled:?} become this Kafka topic, because what Kafka does not allow is replaced"
            );
        }
        // A copy: the topic is a piece of a buffer that holds payloads as well.
        self.routes.insert(Bytes::copy_from_slice(&message.topic), Arc::clone(&route));
        Ok(route)
    }

    /// Something else that has become the same Kafka topic, once.
    fn other_origin(&mut self, name: &Arc<str>, filled: &str) -> Option<String> {
        let origin = self.origins.entry(Arc::clone(name)).or_insert_with(|| Some(filled.to_owned()));
        origin.take_if(|origin| origin != filled)
    }

    fn value(&self, message: &Message, route: &Route) -> Result<Datum> {
        let blob = Blob::whole(message.payload.clone())?;
        Ok(match self.format {
            Format::Bytes => Datum::new(Schema::of(Kind::Bytes), Value::Bytes(blob)),
            Format::Text => Datum::new(Schema::of(Kind::String), Value::String(Text::new(blob)?)),
            Format::Json => Datum::schemaless(json::read(&blob)?),
            Format::Envelope => self.envelope.seal(message, route.name.value.clone(), blob),
            Format::Sparkplug => unreachable!("a message of Sparkplug B becomes many records"),
        })
    }

    fn headers(&self, message: &Message, route: &Route) -> Headers {
        let [topic, qos, retained, duplicate, id, client, rest @ ..] = &self.names.0;
        let mut headers = Headers(Vec::with_capacity(6));
        let mut add = |name: &Option<Arc<str>>, value: Option<Datum>| {
            if let (Some(name), Some(value)) = (name, value) {
                headers.add(Arc::clone(name), value);
            }
        };
        add(topic, Some(route.name.clone()));
        add(qos, Some(int(message.packet.qos.level().into())));
        add(retained, Some(flag(message.retained)));
        add(duplicate, Some(flag(message.dup)));
        add(id, (message.packet.id != 0).then(|| int(message.packet.id.into())));
        add(client, Some(self.client_id.clone()));
        if let Some(properties) = &message.properties {
            properties_into(properties, rest, &mut headers);
        }
        headers
    }
}

/// `names` are those behind the first six.
fn properties_into(properties: &Properties, names: &[Option<Arc<str>>], headers: &mut Headers) {
    let [content_type, response, correlation, format, expiry, subscriptions, user, ..] = names else { return };
    let bytes = |bytes: &Bytes| {
        Blob::whole(bytes.clone()).ok().map(|blob| Datum::new(Schema::of(Kind::Bytes), Value::Bytes(blob)))
    };
    let ids = || properties.subscriptions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let values = [
        (content_type, properties.content_type.as_deref().map(text)),
        (response, properties.response_topic.as_deref().map(text)),
        (correlation, properties.correlation.as_ref().and_then(bytes)),
        (format, properties.text.map(|is_text| text(if is_text { "utf-8" } else { "bytes" }))),
        (expiry, properties.expiry.map(|seconds| Datum::new(Schema::of(Kind::Int64), Value::I64(seconds.into())))),
        (subscriptions, (!properties.subscriptions.is_empty()).then(|| text(&ids()))),
    ];
    for (name, value) in values {
        if let (Some(name), Some(value)) = (name, value) {
            headers.add(Arc::clone(name), value);
        }
    }
    if let Some(prefix) = user {
        for (name, value) in &properties.user {
            headers.add(format!("{prefix}.{name}"), text(value));
        }
    }
}

fn text(value: &str) -> Datum {
    Datum::new(Schema::of(Kind::String), Value::text(value))
}

fn int(value: i32) -> Datum {
    Datum::new(Schema::of(Kind::Int32), Value::I32(value))
}

fn flag(value: bool) -> Datum {
    Datum::new(Schema::of(Kind::Boolean), Value::Bool(value))
}

fn shown(topic: &Bytes) -> String {
    String::from_utf8_lossy(topic).into_owned()
}

/// When the message was received.
fn now() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use pipette_api::{ConfigMap, ErrorKind, Settings};

    use super::*;
    use crate::client::{Packet, Qos};

    fn mapping(pairs: &[(&str, &str)]) -> Mapping {
        let base = [("mqtt.server.uri", "mqtt://localhost"), ("mqtt.topics", "#")];
        let config: ConfigMap =
            base.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let settings = SourceSettings::read(&Settings::new(config, &crate::SOURCE_CONFIG)).unwrap();
        Mapping::new(&settings, &Arc::from("plant"), "plant-0").unwrap()
    }

    fn only(mapping: &mut Mapping, message: &Message) -> Result<Record> {
        match mapping.made(&Numbered { message: message.clone(), number: 0, has_gap: None })? {
            Made::One(record) => Ok(record),
            Made::Many(_) => panic!("one message, one record"),
        }
    }

    fn message(topic: &'static str, payload: &'static str) -> Message {
        Message {
            packet: Packet { id: 7, qos: Qos::AtLeastOnce },
            topic: Bytes::from_static(topic.as_bytes()),
            payload: Bytes::from_static(payload.as_bytes()),
            dup: false,
            retained: true,
            properties: None,
        }
    }

    #[test]
    fn the_first_filter_that_matches_names_the_topic() {
        let mut mapping = mapping(&[
            ("kafka.topic", "rest.${topic}"),
            ("kafka.topic.mapping", "a/+ => a.${topic[1]}, a/# => deep"),
            ("kafka.key", "${topic[-1]}"),
        ]);
        for (topic, expected, key) in [("a/b", "a.b", "b"), ("a/b/c", "deep", "c"), ("x/y z", "rest.x.y_z", "y z")] {
            let record = only(&mut mapping, &message(topic, "1")).unwrap();
            assert_eq!((&*record.topic, record.key.value.as_str()), (expected, Some(key)), "{topic}");
        }
    }

    #[test]
    fn headers_tell_how_the_message_came() {
        let with = Message {
            properties: Some(Box::new(Properties {
                text: Some(true),
                expiry: Some(60),
                content_type: Some("text/plain".into()),
                response_topic: Some("answers".into()),
                correlation: Some(Bytes::from_static(b"\x01")),
                subscriptions: vec![3, 5],
                user: vec![("unit".into(), "C".into()), ("unit".into(), "K".into())],
            })),
            ..message("a/b", "1")
        };
        let record = only(&mut mapping(&[]), &with).unwrap();
        let shown: Vec<String> =
            record.headers.0.iter().map(|(name, datum)| format!("{name}={:?}", datum.value)).collect();
        let text = |name: &str, value: &str| format!("{name}={:?}", Value::text(value));
        let expected = [
            text("mqtt.topic", "a/b"),
            "mqtt.qos=I32(1)".into(),
            "mqtt.retained=Bool(true)".into(),
            "mqtt.duplicate=Bool(false)".into(),
            "mqtt.message.id=I32(7)".into(),
            text("mqtt.client.id", "plant-0"),
            text("mqtt.content.type", "text/plain"),
            text("mqtt.response.topic", "answers"),
            "mqtt.correlation.data=Bytes(Blob(1 bytes))".into(),
            text("mqtt.payload.format", "utf-8"),
            "mqtt.message.expiry=I64(60)".into(),
            text("mqtt.subscription.ids", "3,5"),
            text("mqtt.user.unit", "C"),
            text("mqtt.user.unit", "K"),
        ];
        assert_eq!(shown, expected);
        let few = only(&mut mapping(&[("mqtt.headers.include", "mqtt.topic,mqtt.user")]), &with).unwrap();
        assert_eq!(
            few.headers.0.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
            ["mqtt.topic", "mqtt.user.unit", "mqtt.user.unit"]
        );
        assert!(only(&mut mapping(&[("mqtt.headers.include", "")]), &with).unwrap().headers.0.is_empty());
    }

    #[test]
    fn an_envelope_holds_all_that_is_known() {
        let with = Message {
            properties: Some(Box::new(Properties {
                content_type: Some("text/plain".into()),
                user: vec![("unit".into(), "C".into())],
                ..Properties::default()
            })),
            ..message("a/b", "21")
        };
        let record = only(&mut mapping(&[("mqtt.value.format", "envelope")]), &with).unwrap();
        let Value::Struct(sealed) = &record.value.value else { panic!("a struct") };
        let text = |name: &str| sealed.get(name).and_then(Value::as_str);
        assert_eq!(
            (text("topic"), text("content_type"), text("response_topic")),
            (Some("a/b"), Some("text/plain"), None)
        );
        assert_eq!(sealed.get("payload"), Some(&Value::Bytes(Blob::from(&b"21"[..]))));
        assert_eq!((sealed.get("qos"), sealed.get("retained")), (Some(&Value::I8(1)), Some(&Value::Bool(true))));
        let Some(Value::Map(user)) = sealed.get("user_properties") else { panic!("user properties") };
        assert_eq!(user.get("unit"), Some(&Value::text("C")));
        let mut json = Vec::new();
        pipette_json::write(&record.value.value, &mut json).unwrap();
        assert!(String::from_utf8(json).unwrap().starts_with(r#"{"topic":"a/b","payload":"MjE=","qos":1"#));
    }

    #[test]
    fn what_is_no_text_or_json_is_bad_input_with_its_topic() {
        let mut json = mapping(&[("mqtt.value.format", "json")]);
        let Value::Map(map) = only(&mut json, &message("a/b", r#"{"t": 21}"#)).unwrap().value.value else {
            panic!("a map")
        };
        assert_eq!(map.get("t"), Some(&Value::I64(21)));
        let error = only(&mut json, &message("a/b", "{oops")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().starts_with("A message of 5 bytes on the topic a/b: "), "{error}");
        let mut string = mapping(&[("mqtt.value.format", "string")]);
        assert_eq!(only(&mut string, &message("a", "hé")).unwrap().value.value.as_str(), Some("hé"));
        let bad = Message { payload: Bytes::from_static(b"\xff"), ..message("a/b", "") };
        assert!(only(&mut string, &bad).unwrap_err().to_string().contains("UTF-8"));
        let empty = only(&mut mapping(&[]), &message("a", "")).unwrap();
        assert_eq!(empty.value.value, Value::Bytes(Blob::from(&b""[..])), "an empty message is no tombstone");
        let changed = only(&mut json, &message("a/b", r#"{"t": 9223372036854775808}"#)).unwrap_err();
        assert_eq!(changed.kind(), ErrorKind::Data);
        assert!(changed.to_string().contains("topic a/b: the JSON cannot be kept as it is: at byte 6"), "{changed}");
    }

    #[test]
    fn a_topic_that_cannot_name_a_kafka_topic_is_bad_input_and_two_of_one_name_are_told() {
        let mut mapping = mapping(&[("kafka.topic", "${topic}")]);
        let long: &'static str = Box::leak(format!("site/{}", "x".repeat(300)).into_boxed_str());
        for (topic, reason) in [(long, "305 characters"), ("connect-configs", "keeps its own state")] {
            let error = only(&mut mapping, &message(topic, "1")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            let text = error.to_string();
            assert!(text.starts_with("A message of 1 bytes on the topic ") && text.contains(reason), "{text}");
        }
        let mut other = |name: &str, filled| mapping.other_origin(&Arc::from(name), filled);
        assert_eq!((other("a.b", "a/b"), other("a.b", "a/b")), (None, None));
        assert_eq!((other("a.b", "a.b"), other("a.b", "a.b")), (Some("a/b".to_owned()), None), "once");
    }
}
