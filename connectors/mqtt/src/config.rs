//! The keys of source and sink, with the check of each.
//!
//! Confluent's names are kept where they exist. `settings.rs` reads the keys and knows the rules between them; the lists
//! in `lib.rs` give their order. Read next: `settings.rs`.

use std::time::Duration;

use pipette_api::config::checks::{at_least, in_range, not_empty, one_of};
use pipette_api::config::key::{FromText, Password};
use pipette_api::config::{Importance, Key};

use crate::client::Qos;
use crate::filter::{Subscription, check_filter, check_group, check_topic};
use crate::template::{Place, Template, check_kafka};
use crate::uri::Server;

const VERSIONS: &[&str] = &["auto", "3.1.1", "5"];
const FORMATS: &[&str] = &["bytes", "string", "json", "envelope", "sparkplug_b"];
const RETAINED: &[&str] = &["emit", "once", "skip"];
const OVERFLOWS: &[&str] = &["block", "drop_oldest", "drop_newest"];
const NULLS: &[&str] = &["ignore", "empty", "fail"];
/// The headers a source can write.
pub(crate) const HEADER_NAMES: &[&str] = &[
    "mqtt.topic",
    "mqtt.qos",
    "mqtt.retained",
    "mqtt.duplicate",
    "mqtt.message.id",
    "mqtt.client.id",
    "mqtt.content.type",
    "mqtt.response.topic",
    "mqtt.correlation.data",
    "mqtt.payload.format",
    "mqtt.message.expiry",
    "mqtt.subscription.ids",
    "mqtt.user",
    "sparkplug",
];

pub(crate) static SERVER: Key<Vec<String>> = Key::new(
    "mqtt.server.uri",
    "Addresses of the broker, separated by commas: `mqtt://HOST:1883` (or `tcp://`), `mqtts://HOST:8883` (or `ssl://`), \
     `ws://HOST/mqtt`, `wss://HOST/mqtt`. The next one is tried when one cannot be reached. All or none are encrypted.",
)
.importance(Importance::High)
.group("Broker")
.address()
.check(servers);
pub(crate) static VERSION: Key<String> = Key::new(
    "mqtt.protocol.version",
    "`5`, `3.1.1`, or `auto`, which begins with 5 and takes 3.1.1 when the broker does not know 5.",
)
.default("auto")
.group("Broker")
.recommended(VERSIONS)
.check(|text| one_of(text, VERSIONS));
pub(crate) static KEEP_ALIVE: Key<i32> = Key::new(
    "mqtt.keepalive.interval.seconds",
    "A connection on which nothing was said for this long is asked for a sign of life; without an answer it is closed \
     and made anew.",
)
.default("60")
.group("Broker")
.check(short);
pub(crate) static CONNECT_TIMEOUT: Key<u32> =
    Key::new("mqtt.connect.timeout.seconds", "How long a broker may take to accept a connection.")
        .default("30")
        .group("Broker")
        .check(in_range::<1, 3600>);
pub(crate) static BACKOFF: Key<Duration> = Key::new(
    "mqtt.reconnect.backoff.ms",
    "The wait before a broker that was lost is tried again. It doubles with each failure, up to \
     `mqtt.reconnect.backoff.max.ms`, and part of it is chance.",
)
.default("1000")
.group("Broker")
.check(at_least::<1>);
pub(crate) static BACKOFF_MAX: Key<Duration> =
    Key::new("mqtt.reconnect.backoff.max.ms", "The longest wait between two attempts to connect.")
        .default("60000")
        .group("Broker")
        .check(at_least::<1>);
pub(crate) static RETRY_TIME: Key<i64> = Key::new(
    "mqtt.connect.max.retry.time.ms",
    "A broker that cannot be reached for this long fails the task; -1 tries for ever.",
)
.default("-1")
.group("Broker")
.check(at_least::<-1>);
pub(crate) static CLIENT_ID: Key<String> = Key::new(
    "mqtt.client.id",
    "The name under which the broker keeps the session, the connector's name when not given; a dash and the number of \
     the task are added. Changing it leaves the messages that wait in the old session behind.",
)
.optional()
.importance(Importance::High)
.group("Session")
.check(not_empty);
pub(crate) static CLEAN: Key<bool> = Key::new(
    "mqtt.clean.start",
    "Whether each connection begins without what the broker kept. With `true` messages that arrive while the connector is \
     down are lost.",
)
.default("false")
.importance(Importance::High)
.group("Session");
pub(crate) static CLEAN_SESSION: Key<bool> =
    Key::new("mqtt.clean.session.enabled", "Confluent's name for `mqtt.clean.start`, which wins when both are given.")
        .optional()
        .group("Session");
pub(crate) static EXPIRY: Key<u32> = Key::new(
    "mqtt.session.expiry.seconds",
    "How long the broker keeps the session and its messages while the connector is down. MQTT 5 only; brokers have their \
     own rule for 3.1.1.",
)
.default("604800")
.group("Session")
.check(in_range::<1, 4_294_967_295>);
pub(crate) static DRAIN_IDLE: Key<Duration> = Key::new(
    "mqtt.scale.down.drain.idle.ms",
    "The session of a task that is gone, because `tasks.max` or the filters changed, is emptied by another task until \
     nothing has come for this long; then the broker may forget it. 0 leaves such sessions alone.",
)
.default("5000")
.group("Session");
/// Set by the plan: client ids of tasks that are gone.
pub(crate) const DRAINED: &str = "mqtt.drain.client.ids";
pub(crate) static TOPICS: Key<Vec<String>> = Key::new(
    "mqtt.topics",
    "Topic filters to subscribe to, separated by commas. `FILTER@2` asks for another quality of service than `mqtt.qos`.",
)
.importance(Importance::High)
.group("Subscription")
.check(filters);
pub(crate) static QOS: Key<u16> = Key::new(
    "mqtt.qos",
    "Quality of service: 0 may lose messages, 1 may repeat them, 2 repeats them only around a crash or a lost connection.",
)
.default("1")
.importance(Importance::High)
.group("Subscription")
.check(in_range::<0, 2>);
pub(crate) static OVERLAP: Key<bool> = Key::new(
    "mqtt.topics.allow.overlap",
    "Whether two filters may match the same topic. Brokers deliver such messages once for each filter.",
)
.default("false")
.group("Subscription");
pub(crate) static GROUP: Key<String> = Key::new(
    "mqtt.shared.group",
    "Group of a shared subscription: every task subscribes to every filter, and the broker gives each message to one of \
     them. Messages of one topic may then overtake each other. Without it each filter belongs to one task.",
)
.default("")
.group("Subscription")
.check(group);
pub(crate) static RETAINED_POLICY: Key<String> = Key::new(
    "mqtt.retained.policy",
    "What becomes of messages that the broker keeps for new subscribers: `once` takes them when a filter is new, `emit` \
     with each connection, `skip` never. With MQTT 3.1.1 `once` is `emit`.",
)
.default("once")
.group("Subscription")
.recommended(RETAINED)
.check(|text| one_of(text, RETAINED));
pub(crate) static NO_LOCAL: Key<bool> =
    Key::new("mqtt.no.local", "Whether messages of this very client are left out. MQTT 5 only.")
        .default("false")
        .group("Subscription");
pub(crate) static AS_PUBLISHED: Key<bool> = Key::new(
    "mqtt.retain.as.published",
    "Whether the header `mqtt.retained` shows the flag as it was published. MQTT 5 only; 3.1.1 marks only what the broker \
     had kept.",
)
.default("true")
.group("Subscription");
pub(crate) static BUFFER_RECORDS: Key<u32> = Key::new(
    "mqtt.buffer.max.records",
    "How many messages a task holds that are not in Kafka. Then it stops reading, and the broker has to wait.",
)
.default("10000")
.group("Memory")
.check(in_range::<1, 10_000_000>);
pub(crate) static BUFFER_BYTES: Key<u32> = Key::new(
    "mqtt.buffer.max.bytes",
    "How many bytes of messages a task holds that are not in Kafka. Then it stops reading, and the broker has to wait.",
)
.default("67108864")
.group("Memory")
.check(in_range::<1024, 2_147_483_647>);
pub(crate) static OVERFLOW: Key<String> = Key::new(
    "mqtt.qos0.overflow",
    "What becomes of messages of quality 0 once memory is full: `block` lets the broker wait, which drops what it cannot \
     keep; `drop_oldest` and `drop_newest` drop and count them here, so that messages of quality 1 and 2 flow on, until \
     memory holds twice as much.",
)
.default("block")
.group("Memory")
.recommended(OVERFLOWS)
.check(|text| one_of(text, OVERFLOWS));
pub(crate) static RECEIVE_MAXIMUM: Key<i32> = Key::new(
    "mqtt.receive.maximum",
    "How many unacknowledged messages the broker is asked to keep to. MQTT 5 only, and not every broker does; what holds \
     is `mqtt.buffer.max.records`.",
)
.default("1000")
.group("Memory")
.check(short);
pub(crate) static MAX_PACKET: Key<u32> = Key::new(
    "mqtt.max.packet.size.bytes",
    "The largest message that is taken. MQTT 5 brokers drop larger ones; with MQTT 3.1.1, which cannot say so, a larger \
     one fails the task.",
)
.default("1048576")
.group("Memory")
.check(in_range::<1024, 268_435_455>);
pub(crate) static KAFKA_TOPIC: Key<String> = Key::new(
    "kafka.topic",
    "Kafka topic, a template: `${topic}` is the MQTT topic with dots for slashes, `${topic[1]}`, `${topic[-1]}` and \
     `${topic[1:3]}` are levels of it from 0, `${connector}` is the connector's name. What Kafka does not allow becomes \
     an underscore.",
)
.default("${connector}")
.importance(Importance::High)
.group("Mapping")
.check(kafka_template);
pub(crate) static KAFKA_MAPPING: Key<Vec<String>> = Key::new(
    "kafka.topic.mapping",
    "`FILTER=>TEMPLATE`, separated by commas: the first filter that matches names the Kafka topic, `kafka.topic` does for \
     the rest.",
)
.default("")
.group("Mapping")
.check(mapping);
pub(crate) static KAFKA_KEY: Key<String> = Key::new(
    "kafka.key",
    "Key of the records, a template as in `kafka.topic` but without replacements; the MQTT topic by default, so that the \
     messages of a topic stay in order. Empty for none.",
)
.default("${topic}")
.group("Mapping")
.check(topic_template);
pub(crate) static VALUE_FORMAT: Key<String> = Key::new(
    "mqtt.value.format",
    "What the payload becomes: `bytes`, `string` (UTF-8), `json` (values without a schema), `envelope` (a struct of topic, \
     payload, flags and what MQTT 5 adds), or `sparkplug_b` (see `mqtt.sparkplug.mode`). A payload that is not what is \
     asked for is bad input, and `errors.tolerance` says what becomes of it.",
)
.default("bytes")
.importance(Importance::High)
.group("Mapping")
.recommended(FORMATS)
.check(|text| one_of(text, FORMATS));
pub(crate) static HEADERS: Key<Vec<String>> = Key::new(
    "mqtt.headers.include",
    "Headers to write: `*` for all, or names from `mqtt.topic`, `mqtt.qos`, `mqtt.retained`, `mqtt.duplicate`, \
     `mqtt.message.id`, `mqtt.client.id`, and from MQTT 5 `mqtt.content.type`, `mqtt.response.topic`, \
     `mqtt.correlation.data`, `mqtt.payload.format`, `mqtt.message.expiry`, `mqtt.subscription.ids`, `mqtt.user` (each \
     user property as `mqtt.user.NAME`), and `sparkplug` (all that begin so). Empty for none.",
)
.default("*")
.group("Mapping")
.check(headers);
pub(crate) static USERNAME: Key<String> =
    Key::new("mqtt.username", "User at the broker.").optional().importance(Importance::High).group("Security");
pub(crate) static PASSWORD: Key<Password> =
    Key::new("mqtt.password", "Password at the broker.").optional().importance(Importance::High).group("Security");
pub(crate) static CA: Key<String> = Key::new(
    "mqtt.ssl.ca.path",
    "File with the certificates (PEM) that brokers are trusted by; those of the operating system when not given.",
)
.optional()
.group("Security")
.path()
.check(not_empty);
pub(crate) static CERT: Key<String> = Key::new(
    "mqtt.ssl.cert.path",
    "File with the client's certificate and its chain (PEM), together with `mqtt.ssl.key.path` and `mqtt.ssl.ca.path`.",
)
.optional()
.group("Security")
.path()
.check(not_empty);
pub(crate) static SSL_KEY: Key<String> =
    Key::new("mqtt.ssl.key.path", "File with the private key (PEM, without a password) of the client's certificate.")
        .optional()
        .group("Security")
        .path()
        .check(not_empty);
pub(crate) static ALPN: Key<Vec<String>> =
    Key::new("mqtt.ssl.alpn", "Protocol names offered in the TLS handshake, such as `x-amzn-mqtt-ca`.")
        .default("")
        .group("Security");
pub(crate) static WILL_TOPIC: Key<String> =
    Key::new("mqtt.will.topic", "Topic of the message that the broker publishes when the connector vanishes.")
        .optional()
        .group("Will")
        .dependents(&["mqtt.will.payload", "mqtt.will.qos", "mqtt.will.retain", "mqtt.will.delay.seconds"])
        .check(optional_topic);
pub(crate) static WILL_PAYLOAD: Key<String> =
    Key::new("mqtt.will.payload", "Payload of that message.").default("").group("Will");
pub(crate) static WILL_QOS: Key<u16> =
    Key::new("mqtt.will.qos", "Quality of service of that message.").default("0").group("Will").check(in_range::<0, 2>);
pub(crate) static WILL_RETAIN: Key<bool> =
    Key::new("mqtt.will.retain", "Whether the broker keeps that message for new subscribers.")
        .default("false")
        .group("Will");
pub(crate) static WILL_DELAY: Key<u32> = Key::new(
    "mqtt.will.delay.seconds",
    "How long the connector may be away before that message is published. MQTT 5 only.",
)
.default("0")
.group("Will");
pub(crate) static USER_PROPERTIES: Key<Vec<String>> = Key::new(
    "mqtt.user.properties",
    "`NAME=VALUE`, separated by commas: what the broker is told about the connection. MQTT 5 only.",
)
.default("")
.group("Broker")
.check(pairs);
pub(crate) static VALIDATE_CONNECT: Key<bool> = Key::new(
    "mqtt.validate.connect",
    "Whether checking a configuration connects to the broker, under a client id of its own and without a session.",
)
.default("false")
.group("Broker");

pub(crate) static MQTT_TOPIC: Key<String> = Key::new(
    "mqtt.topic",
    "MQTT topic, a template: `${topic}` and `${partition}` of the Kafka record, `${key}`, `${header:NAME}`, and \
     `${field:NAME}` of its value. A record whose topic cannot be made is bad input.",
)
.default("${topic}")
.importance(Importance::High)
.group("Publishing")
.check(mqtt_template);
pub(crate) static RETAIN: Key<bool> =
    Key::new("mqtt.retain", "Whether the broker keeps the last message of each topic for new subscribers.")
        .default("false")
        .group("Publishing");
pub(crate) static RETAINED_ENABLED: Key<bool> =
    Key::new("mqtt.retained.enabled", "Confluent's name for `mqtt.retain`, which wins when both are given.")
        .optional()
        .group("Publishing");
pub(crate) static MESSAGE_EXPIRY: Key<u32> = Key::new(
    "mqtt.message.expiry.seconds",
    "How long the broker may keep a message for subscribers that are away; 0 is for ever. MQTT 5 only.",
)
.default("0")
.group("Publishing");
pub(crate) static SEND_HEADERS: Key<bool> = Key::new(
    "mqtt.headers.to.properties",
    "Whether headers become properties of the message, as the source would write them: `mqtt.content.type`, \
     `mqtt.response.topic` and `mqtt.correlation.data` what they say, all others user properties. MQTT 5 only.",
)
.default("true")
.group("Publishing");
pub(crate) static IN_FLIGHT: Key<i32> = Key::new(
    "mqtt.max.in.flight",
    "How many messages may wait for the broker's acknowledgement; 1 keeps their order even when a connection is lost. \
     The broker's own limit holds as well.",
)
.default("100")
.group("Publishing")
.check(short);
pub(crate) static NULL_VALUES: Key<String> = Key::new(
    "behavior.on.null.values",
    "What becomes of records without a value: `ignore`, `empty` (an empty message, which with `mqtt.retain=true` removes \
     what the broker keeps), or `fail`.",
)
.default("ignore")
.group("Publishing")
.recommended(NULLS)
.check(|text| one_of(text, NULLS));

/// A number of 16 bits that is not 0, as the protocol has them.
fn short(text: Option<&str>) -> Result<(), String> {
    match text.and_then(|text| text.parse::<i64>().ok()) {
        Some(number) if !(1..=65_535).contains(&number) => Err("Value must be between 1 and 65535".into()),
        _ => Ok(()),
    }
}

fn each(text: Option<&str>, check: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    Vec::<String>::from_text(text.unwrap_or_default())?.iter().try_for_each(|element| check(element))
}

fn servers(text: Option<&str>) -> Result<(), String> {
    let servers = Vec::<String>::from_text(text.unwrap_or_default())?;
    let servers: Vec<Server> = servers.iter().map(|server| Server::parse(server)).collect::<Result<_, _>>()?;
    let Some(first) = servers.first() else { return Err("names no broker".into()) };
    match servers.iter().find(|server| server.scheme.is_secure() != first.scheme.is_secure()) {
        Some(other) => {
            Err(format!("{first} and {other} are not both encrypted: credentials could go out in the clear"))
        }
        None => Ok(()),
    }
}

fn filters(text: Option<&str>) -> Result<(), String> {
    not_empty(text)?;
    each(text, |element| Subscription::read(element, Qos::AtLeastOnce).map(drop))
}

fn group(text: Option<&str>) -> Result<(), String> {
    match text {
        None | Some("") => Ok(()),
        Some(group) => check_group(group),
    }
}

fn optional_topic(text: Option<&str>) -> Result<(), String> {
    text.map_or(Ok(()), check_topic)
}

/// Places that an MQTT topic can fill.
fn of_topics(text: &str) -> Result<Template, String> {
    let template = Template::parse(text)?;
    let known = |place: &&Place| {
        matches!(place, Place::Topic | Place::Lenses | Place::Level(_) | Place::Levels(..) | Place::Connector)
    };
    if let Some(place) = template.places().find(|place| !known(place)) {
        return Err(format!("{place} is known of Kafka records only"));
    }
    Ok(template)
}

fn topic_template(text: Option<&str>) -> Result<(), String> {
    of_topics(text.unwrap_or_default()).map(drop)
}

fn kafka_template(text: Option<&str>) -> Result<(), String> {
    not_empty(text)?;
    check_kafka(&of_topics(text.unwrap_or_default())?)
}

/// `FILTER=>TEMPLATE`.
pub(crate) fn mapped(text: &str) -> Result<(String, Template), String> {
    let (filter, template) = text.split_once("=>").ok_or_else(|| format!("'{text}' is not FILTER=>TEMPLATE"))?;
    let (filter, template) = (filter.trim(), template.trim());
    check_filter(filter)?;
    let template = of_topics(template)?;
    check_kafka(&template)?;
    Ok((filter.to_owned(), template))
}

fn mapping(text: Option<&str>) -> Result<(), String> {
    each(text, |element| mapped(element).map(drop))
}

fn headers(text: Option<&str>) -> Result<(), String> {
    each(text, |name| match name {
        "*" => Ok(()),
        name if HEADER_NAMES.contains(&name) => Ok(()),
        name => Err(format!("'{name}' is no header of this connector: known are * and {}", HEADER_NAMES.join(", "))),
    })
}

fn mqtt_template(text: Option<&str>) -> Result<(), String> {
    not_empty(text)?;
    let template = Template::parse(text.unwrap_or_default())?;
    match template.texts().find(|text| text.contains(['+', '#', '\0'])) {
        Some(text) => Err(format!("'{text}' contains a wildcard, which no topic may")),
        None => Ok(()),
    }
}

/// `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn pairs(text: Option<&str>) -> Result<(), String> {
    each(text, |element| pair(element).map(drop))
}
