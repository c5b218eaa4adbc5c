//! The settings of source and sink as plain data, and the rules between keys.
//!
//! Nothing connects or opens a file here, except by `security.rs` when a task dials. Read next: `plan.rs`, then `source.rs`
//! and `sink.rs`.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::config::key::Password;
use pipette_api::{ConnectError, Key, Result, Settings};

use crate::budget::{Held, Overflow};
use crate::client::{Dial, Qos, Retained, SubscribeOptions, Version, Will};
#[allow(clippy::wildcard_imports)] // the keys, each used once right here
use crate::config::*;
use crate::filter::{Subscription, overlap, shared};
use crate::security::{Security, TO_PEM};
use crate::sparkplug::keys::SparkplugSettings;
use crate::template::Template;
use crate::uri::Server;

/// Packets of one reading from the socket. They are not counted before they are handed on, so that a small budget with
/// large messages takes fewer.
const MOST_AT_ONCE: usize = 64;

/// What source and sink need for a connection.
#[derive(Debug, Clone)]
pub(crate) struct BrokerSettings {
    pub(crate) servers: Vec<Server>,
    /// `None`: 5, and 3.1.1 when the broker does not know it.
    pub(crate) version: Option<Version>,
    pub(crate) keep_alive_seconds: u16,
    pub(crate) timeout: Duration,
    pub(crate) backoff: (Duration, Duration),
    /// `None`: for ever.
    pub(crate) retry_time: Option<Duration>,
    pub(crate) client_id: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Password>,
    pub(crate) security: Security,
    pub(crate) will: Option<Will>,
    pub(crate) user_properties: Vec<(String, String)>,
}

impl BrokerSettings {
    fn read(settings: &Settings) -> Result<Self> {
        let servers = settings.get(&SERVER)?;
        servers.iter().try_for_each(|server| settings.reach().address(server))?;
        let servers: std::result::Result<_, _> = servers.iter().map(|server| Server::parse(server)).collect();
        Ok(Self {
            servers: servers.map_err(ConnectError::config)?,
            version: match settings.get(&VERSION)?.as_str() {
                "5" => Some(Version::V5),
                "3.1.1" => Some(Version::V3),
                _ => None,
            },
            keep_alive_seconds: short(settings, &KEEP_ALIVE)?,
            timeout: Duration::from_secs(settings.get(&CONNECT_TIMEOUT)?.into()),
            backoff: (settings.get(&BACKOFF)?, settings.get(&BACKOFF_MAX)?),
            retry_time: u64::try_from(settings.get(&RETRY_TIME)?).ok().map(Duration::from_millis),
            client_id: settings.find(&CLIENT_ID)?,
            // Confluent's default is an empty one, which means none.
            username: settings.find(&USERNAME)?.filter(|name| !name.is_empty()),
            password: settings.find(&PASSWORD)?.filter(|password| !password.0.is_empty()),
            security: Security {
                ca: settings.find(&CA)?,
                cert: settings.find(&CERT)?,
                key: settings.find(&SSL_KEY)?,
                alpn: settings.get(&ALPN)?,
                reach: settings.reach().clone(),
            },
            will: match settings.find(&WILL_TOPIC)? {
                None => None,
                Some(topic) => Some(Will {
                    topic,
                    message: settings.get(&WILL_PAYLOAD)?,
                    qos: qos(settings.get(&WILL_QOS)?),
                    retain: settings.get(&WILL_RETAIN)?,
                    delay_seconds: settings.get(&WILL_DELAY)?,
                }),
            },
            user_properties: {
                let given = settings.get(&USER_PROPERTIES)?;
                let pairs: std::result::Result<_, _> = given.iter().map(|text| pair(text)).collect();
                pairs.map_err(ConnectError::config)?
            },
        })
    }

    /// How the first server is dialled, before source or sink say how they want it.
    pub(crate) fn dial(&self, client_id: String) -> Result<Dial> {
        let server =
            self.servers.first().cloned().ok_or_else(|| ConnectError::config("mqtt.server.uri names no broker"))?;
        let tls = if server.scheme.is_secure() { Some(Arc::new(self.security.open()?)) } else { None };
        Ok(Dial {
            server,
            version: self.version.unwrap_or(Version::V5),
            client_id,
            clean: true,
            expiry_seconds: 0,
            keep_alive_seconds: self.keep_alive_seconds,
            timeout: self.timeout,
            receive_maximum: u16::MAX,
            maximum_packet: 1024 * 1024,
            in_flight: 10,
            read_at_once: MOST_AT_ONCE,
            username: self.username.clone(),
            password: self.password.clone(),
            tls,
            will: self.will.clone(),
            user_properties: self.user_properties.clone(),
        })
    }

    /// What is wrong between these keys.
    fn rules(&self, settings: &Settings, broken: &mut Broken) {
        let store = JAVA_STORES.into_iter().find(|name| settings.raw(name).is_some_and(|path| !path.is_empty()));
        if let Some(store) = store {
            broken.push((
                CA.info.name,
                format!("is needed instead of {store}, which names a key store of Java: {TO_PEM}, and see mqtt.ssl.cert.path"),
            ));
        }
        if self.backoff.0 > self.backoff.1 {
            broken.push((BACKOFF_MAX.info.name, "must not be shorter than mqtt.reconnect.backoff.ms".into()));
        }
        if self.password.is_some() && self.username.is_none() && self.version != Some(Version::V5) {
            broken.push((
                USERNAME.info.name,
                "is needed beside mqtt.password, except with mqtt.protocol.version=5".into(),
            ));
        }
        let security = &self.security;
        if security.cert.is_some() != security.key.is_some() {
            let (missing, there) = if security.key.is_none() { (&SSL_KEY, &CERT) } else { (&CERT, &SSL_KEY) };
            broken.push((missing.info.name, format!("is needed beside {}", there.info.name)));
        }
        if security.cert.is_some() && security.ca.is_none() {
            broken.push((CA.info.name, "is needed beside mqtt.ssl.cert.path".into()));
        }
        let secure = self.servers.iter().any(|server| server.scheme.is_secure());
        if !secure && (security.ca.is_some() || security.cert.is_some()) {
            broken.push((
                SERVER.info.name,
                "is not encrypted although certificates are given: use mqtts:// or wss://".into(),
            ));
        }
    }
}

/// Confluent's keys for key stores.
const JAVA_STORES: [&str; 2] = ["mqtt.ssl.trust.store.path", "mqtt.ssl.key.store.path"];

/// The value of our key, or that of Confluent's where ours is not given.
fn under_either(settings: &Settings, ours: &Key<bool>, theirs: &Key<bool>) -> Result<bool> {
    match (settings.raw(ours.info.name), settings.find(theirs)?) {
        (None, Some(value)) => Ok(value),
        _ => settings.get(ours),
    }
}

/// A number whose key takes those of 16 bits only.
fn short(settings: &Settings, key: &Key<i32>) -> Result<u16> {
    Ok(u16::try_from(settings.get(key)?).unwrap_or(u16::MAX))
}

type Broken = Vec<(&'static str, String)>;

fn qos(level: u16) -> Qos {
    u8::try_from(level).ok().and_then(Qos::from_level).unwrap_or(Qos::AtLeastOnce)
}

/// What payloads become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Bytes,
    Text,
    Json,
    Envelope,
    Sparkplug,
}

/// The settings of a source task.
#[derive(Debug, Clone)]
pub(crate) struct SourceSettings {
    pub(crate) broker: BrokerSettings,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) group: Option<String>,
    pub(crate) clean: bool,
    pub(crate) expiry_seconds: u32,
    /// How long the session of a task that is gone must be silent; zero leaves it alone.
    pub(crate) drain_idle: Duration,
    /// Client ids of tasks that are gone, whose sessions this task empties first.
    pub(crate) drained: Vec<String>,
    pub(crate) options: SubscribeOptions,
    pub(crate) buffer: Held,
    pub(crate) overflow: Overflow,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet: u32,
    pub(crate) mapping: Vec<(String, Template)>,
    pub(crate) topic: Template,
    pub(crate) key: Option<Template>,
    pub(crate) format: Format,
    pub(crate) sparkplug: SparkplugSettings,
    /// Names of headers; `None` is all.
    pub(crate) headers: Option<Vec<String>>,
}

impl SourceSettings {
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let default = qos(settings.get(&QOS)?);
        let group = Some(settings.get(&GROUP)?).filter(|group| !group.is_empty());
        let template = |text: String| Template::parse(&text).map_err(ConnectError::config);
        let headers = settings.get(&HEADERS)?;
        let given = settings.get(&TOPICS)?;
        let subscriptions: std::result::Result<_, _> =
            given.iter().map(|text| Subscription::read(text, default)).collect();
        let mapping = settings.get(&KAFKA_MAPPING)?;
        let mapping: std::result::Result<_, _> = mapping.iter().map(|text| mapped(text)).collect();
        Ok(Self {
            broker: BrokerSettings::read(settings)?,
            subscriptions: subscriptions.map_err(ConnectError::config)?,
            group,
            clean: under_either(settings, &CLEAN, &CLEAN_SESSION)?,
            expiry_seconds: settings.get(&EXPIRY)?,
            drain_idle: settings.get(&DRAIN_IDLE)?,
            drained: settings
                .raw(DRAINED)
                .unwrap_or_default()
                .split(',')
                .filter(|id| !id.is_empty())
                .map(str::to_owned)
                .collect(),
            options: SubscribeOptions {
                retained: match settings.get(&RETAINED_POLICY)?.as_str() {
                    "emit" => Retained::Emit,
                    "skip" => Retained::Skip,
                    _ => Retained::Once,
                },
                no_local: settings.get(&NO_LOCAL)?,
                retain_as_published: settings.get(&AS_PUBLISHED)?,
            },
            buffer: Held {
                bytes: settings.get(&BUFFER_BYTES)? as usize,
                records: settings.get(&BUFFER_RECORDS)? as usize,
            },
            overflow: match settings.get(&OVERFLOW)?.as_str() {
                "drop_oldest" => Overflow::DropOldest,
                "drop_newest" => Overflow::DropNewest,
                _ => Overflow::Block,
            },
            receive_maximum: short(settings, &RECEIVE_MAXIMUM)?,
            maximum_packet: settings.get(&MAX_PACKET)?,
            mapping: mapping.map_err(ConnectError::config)?,
            topic: template(settings.get(&KAFKA_TOPIC)?)?,
            key: Some(settings.get(&KAFKA_KEY)?).filter(|key| !key.is_empty()).map(template).transpose()?,
            format: match settings.get(&VALUE_FORMAT)?.as_str() {
                "string" => Format::Text,
                "json" => Format::Json,
                "envelope" => Format::Envelope,
                "sparkplug_b" => Format::Sparkplug,
                _ => Format::Bytes,
            },
            sparkplug: SparkplugSettings::read(settings)?,
            headers: if headers.iter().any(|name| name == "*") { None } else { Some(headers) },
        })
    }

    /// The settings of a task that empties the session of another, which is gone.
    pub(crate) fn of_drained(&self, client_id: &str) -> Self {
        let mut settings = Self { subscriptions: Vec::new(), ..self.clone() };
        settings.broker.client_id = Some(client_id.to_owned());
        settings
    }

    /// The filters as they are subscribed to.
    pub(crate) fn subscribed(&self) -> Vec<Subscription> {
        let wire = |subscription: &Subscription| Subscription {
            filter: match &self.group {
                Some(group) => shared(group, &subscription.filter),
                None => subscription.filter.clone(),
            },
            qos: subscription.qos,
        };
        self.subscriptions.iter().map(wire).collect()
    }

    /// Brokers send retained messages to shared subscriptions although they must not; only the flag tells them.
    pub(crate) fn options(&self) -> SubscribeOptions {
        let told = self.is_shared() || self.options.retained == Retained::Skip;
        SubscribeOptions { retain_as_published: self.options.retain_as_published && !told, ..self.options }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.group.is_some() || self.subscriptions.iter().any(Subscription::is_shared)
    }

    pub(crate) fn dial(&self, client_id: String) -> Result<Dial> {
        Ok(Dial {
            clean: self.clean,
            expiry_seconds: if self.clean { 0 } else { self.expiry_seconds },
            receive_maximum: self.receive_maximum,
            maximum_packet: self.maximum_packet,
            in_flight: 1,
            read_at_once: (self.buffer.bytes / self.maximum_packet as usize / 4).clamp(1, MOST_AT_ONCE),
            ..self.broker.dial(client_id)?
        })
    }
}

/// The rules between the keys of a source.
pub(crate) fn source_rule(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    let Ok(read) = SourceSettings::read(settings) else { return broken };
    read.broker.rules(settings, &mut broken);
    if let Some((one, other)) = overlapping(&read.subscriptions)
        && !settings.get(&OVERLAP).unwrap_or(false)
    {
        broken.push((
            TOPICS.info.name,
            format!(
                "'{one}' and '{other}' match the same topics, whose messages would come twice: name one of them, or set \
                 mqtt.topics.allow.overlap=true"
            ),
        ));
    }
    if read.group.is_some() && read.subscriptions.iter().any(Subscription::is_shared) {
        broken.push((GROUP.info.name, "cannot be given beside $share/ in mqtt.topics".into()));
    }
    if read.options.no_local && read.is_shared() {
        broken.push((NO_LOCAL.info.name, "is not allowed with shared subscriptions".into()));
    }
    if read.format == Format::Sparkplug {
        broken.extend(read.sparkplug.rules(&read.subscriptions, read.is_shared(), settings.raw("tasks.max")));
    }
    broken
}

fn overlapping(subscriptions: &[Subscription]) -> Option<(&str, &str)> {
    let pairs = subscriptions.iter().enumerate();
    let mut pairs = pairs.flat_map(|(index, one)| subscriptions[index + 1..].iter().map(move |other| (one, other)));
    let found = pairs.find(|(one, other)| overlap(one.pattern(), other.pattern()));
    found.map(|(one, other)| (one.filter.as_str(), other.filter.as_str()))
}

/// What becomes of records without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NullValue {
    Ignore,
    Empty,
    Fail,
}

/// The settings of a sink task.
#[derive(Debug, Clone)]
pub(crate) struct SinkSettings {
    pub(crate) broker: BrokerSettings,
    pub(crate) topic: Template,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) expiry_seconds: u32,
    pub(crate) headers: bool,
    pub(crate) in_flight: u16,
    pub(crate) null_value: NullValue,
}

impl SinkSettings {
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        Ok(Self {
            broker: BrokerSettings::read(settings)?,
            topic: Template::parse(&settings.get(&MQTT_TOPIC)?).map_err(ConnectError::config)?,
            qos: qos(settings.get(&QOS)?),
            retain: under_either(settings, &RETAIN, &RETAINED_ENABLED)?,
            expiry_seconds: settings.get(&MESSAGE_EXPIRY)?,
            headers: settings.get(&SEND_HEADERS)?,
            in_flight: short(settings, &IN_FLIGHT)?,
            null_value: match settings.get(&NULL_VALUES)?.as_str() {
                "empty" => NullValue::Empty,
                "fail" => NullValue::Fail,
                _ => NullValue::Ignore,
            },
        })
    }

    pub(crate) fn dial(&self, client_id: String) -> Result<Dial> {
        Ok(Dial { in_flight: self.in_flight, ..self.broker.dial(client_id)? })
    }
}

/// The rules between the keys of a sink.
pub(crate) fn sink_rule(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    if let Ok(read) = SinkSettings::read(settings) {
        read.broker.rules(settings, &mut broken);
    }
    broken
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
