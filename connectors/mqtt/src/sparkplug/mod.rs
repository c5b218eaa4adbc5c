//! Sparkplug B: messages of edge nodes become records, with names for their aliases.
//!
//! `mapping.rs` calls it with `mqtt.value.format=sparkplug_b`. Reading order: `topic.rs`, `wire.rs` and `payload.rs` (what
//! is on the wire), `types.rs` and `value.rs` (what it means), `nodes.rs` (what is remembered), `records.rs` (shapes),
//! `noted.rs` (what it gives rise to), `waiting.rs` (what waits for a birth);
//! here is how they come together. `keys.rs` has the settings. Read next: `keys.rs`.

pub(crate) mod keys;
mod nodes;
mod noted;
mod payload;
mod records;
mod topic;
mod types;
mod value;
mod waiting;
mod wire;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipette_api::{Blob, ConnectError, Datum, Headers, Kind, Result, Schema, Value};

use self::keys::{Mode, Rebirth, SparkplugSettings};
use self::nodes::{Nodes, Table, bd_seq};
use self::noted::rebirth_of;
use self::payload::{Allowance, Metric, Payload};
use self::records::{Heading, Shapes};
use self::topic::{MessageKind, Place, Topic};
use self::types::DataType;
use self::value::{Typed, typed};
use self::waiting::Waiting;
use crate::client::{Message, Packet, Qos};
use crate::json;

pub(crate) use self::noted::Noted;
pub(crate) use self::waiting::Numbered;

/// The names of the headers.
const GROUP: &str = "sparkplug.group";
const NODE: &str = "sparkplug.node";
const DEVICE: &str = "sparkplug.device";
const KIND: &str = "sparkplug.message.type";
const SEQ: &str = "sparkplug.seq";
const GAP: &str = "sparkplug.seq.gap";

/// Makes records of messages.
pub(crate) struct Sparkplug {
    settings: SparkplugSettings,
    nodes: Nodes,
    shapes: Shapes,
    noted: Noted,
    /// Where data waits for births.
    waiting: Option<Waiting>,
}

/// What a message becomes.
#[derive(Debug)]
pub(crate) struct Parts {
    /// A key, where the configuration leaves it to us, and a value for each record.
    pub(crate) records: Vec<(Option<Datum>, Datum)>,
    /// Headers of each of them.
    pub(crate) headers: Headers,
}

impl Sparkplug {
    pub(crate) fn new(settings: SparkplugSettings) -> Result<Self> {
        let nodes = Nodes::new(settings.state_bytes);
        let waiting = settings.waits.filter(|_| settings.mode != Mode::Raw);
        let waiting = waiting.map(|(patience, limit)| Waiting::new(patience, limit));
        Ok(Self { settings, nodes, shapes: Shapes::new()?, noted: Noted::default(), waiting })
    }

    pub(crate) fn noted(&mut self) -> Noted {
        std::mem::take(&mut self.noted)
    }

    /// The message, unless it waits for the birth of its node.
    pub(crate) fn waits(&mut self, message: Numbered, now: Instant) -> Option<Numbered> {
        let Some(waiting) = &self.waiting else { return Some(message) };
        let topic = message.message.topic.clone();
        let Some(place) = place_of(&topic) else { return Some(message) };
        let (is_behind, of_data) = (waiting.has(&place), place.kind == MessageKind::Data);
        let is_known = !of_data || self.knows(&message.message);
        let waits = (is_behind && (of_data || place.kind == MessageKind::Death)) || !is_known;
        let Some(waiting) = self.waiting.as_mut().filter(|_| waits) else { return Some(message) };
        // Its number counts where it came.
        let mut allowance = Allowance::new(self.settings.max_values);
        let payload = Payload::read(&message.message.payload, &mut allowance).ok();
        let seq = payload.and_then(|payload| u8::try_from(payload.seq?).ok());
        let dup = message.message.dup;
        let has_gap = counts(&place) && seq.is_some_and(|seq| self.nodes.has_gap(&place, seq, dup));
        waiting.hold(&place, Numbered { has_gap: Some(has_gap), ..message }, now);
        if !of_data {
            waiting.died(&place);
        }
        if !is_known && self.settings.rebirth != Rebirth::Off && self.nodes.may_ask(&place, now, self.settings.interval)
        {
            self.noted.commands.push(rebirth_of(&place));
        }
        None
    }

    /// What waits no more, in its order.
    pub(crate) fn ready(&mut self) -> Vec<Numbered> {
        self.waiting.as_mut().map(Waiting::take_ready).unwrap_or_default()
    }

    /// What has waited for too long.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Numbered> {
        if let Some(waiting) = &mut self.waiting {
            waiting.overdue(now);
        }
        self.ready()
    }

    /// When something will have waited for too long.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.waiting.as_ref().and_then(Waiting::until)
    }

    /// True when all metrics have a name and a type. What cannot be read waits for nothing.
    fn knows(&self, message: &Message) -> bool {
        let Some(place) = place_of(&message.topic) else { return true };
        let Ok(payload) = Payload::read(&message.payload, &mut Allowance::new(self.settings.max_values)) else {
            return true;
        };
        let table = self.nodes.table(&place);
        payload.metrics.iter().all(|metric| {
            let (name, data_type) = resolved(table, metric);
            name.is_some() && data_type != DataType::Unknown
        })
    }

    /// The records of a message; the error says what of it is no Sparkplug B. Whether messages before it are missing may be
    /// known already.
    pub(crate) fn parts(&mut self, topic: &str, message: &Message, has_gap: Option<bool>) -> Result<Parts> {
        let made = match Topic::parse(topic) {
            Ok(Topic::Host(host)) => self.host(host, &message.payload),
            Ok(Topic::Node(place)) => self.node(place, message, has_gap),
            Err(reason) => Err(reason),
        };
        let forgotten = self.nodes.shrink();
        if forgotten > 0 {
            tracing::warn!(
                forgotten,
                "Names of Sparkplug nodes take more than mqtt.sparkplug.state.max.bytes: those of the nodes that were \
                 silent longest are forgotten until their next birth"
            );
        }
        made.map_err(ConnectError::data)
    }

    fn node(&mut self, place: Place<'_>, message: &Message, has_gap: Option<bool>) -> Result<Parts, String> {
        let mut allowance = Allowance::new(self.settings.max_values);
        let payload = Payload::read(&message.payload, &mut allowance)?;
        let seq =
            payload.seq.map(|seq| u8::try_from(seq).map_err(|_| format!("its sequence number is {seq}, not 0 to 255")));
        let seq = seq.transpose()?;
        let heading = Heading { place, timestamp: payload.timestamp, seq };
        if self.settings.mode == Mode::Raw {
            let value = Datum::new(Schema::of(Kind::Bytes), Value::Bytes(whole(&message.payload)?));
            return Ok(Parts { records: vec![(None, value)], headers: headers(&heading, false) });
        }
        let has_gap = has_gap
            .unwrap_or_else(|| counts(&place) && seq.is_some_and(|seq| self.nodes.has_gap(&place, seq, message.dup)));
        self.noted.gaps += usize::from(has_gap);
        let mut records = self.states(&heading, &payload.metrics);
        let unknown = if self.settings.mode == Mode::Payload {
            records.clear();
            self.in_one(&heading, &payload.metrics, &mut allowance, &mut records)?
        } else {
            self.metrics(&heading, &payload.metrics, &mut allowance, &mut records)?
        };
        self.noted.unknown += unknown;
        let wanted = match self.settings.rebirth {
            Rebirth::Off => false,
            Rebirth::Names => unknown > 0,
            Rebirth::Gaps => unknown > 0 || has_gap,
        };
        if wanted
            && place.kind == MessageKind::Data
            && self.nodes.may_ask(&place, Instant::now(), self.settings.interval)
        {
            self.noted.commands.push(rebirth_of(&place));
        }
        if place.kind == MessageKind::Birth
            && let Some(mut waiting) = self.waiting.take()
        {
            waiting.born(&place, |message| self.knows(message));
            self.waiting = Some(waiting);
        }
        Ok(Parts { records, headers: headers(&heading, has_gap) })
    }

    /// What births and deaths say of who is there.
    fn states(&mut self, heading: &Heading<'_>, metrics: &[Metric<'_>]) -> Vec<(Option<Datum>, Datum)> {
        let Heading { place, .. } = *heading;
        let bd_seq = bd_seq(metrics);
        let key = |place: &Place<'_>, named: bool| named.then(|| text(&place.full_name()));
        let named = self.settings.names_are_keys;
        match place.kind {
            MessageKind::Birth => {
                self.nodes.born(&place, heading.seq, metrics);
                vec![(key(&place, named), self.shapes.state(heading, true, bd_seq))]
            }
            MessageKind::Death => {
                let death = self.nodes.died(&place, metrics);
                let mut states = vec![(key(&place, named), self.shapes.state(heading, !death.counts, bd_seq))];
                for device in &death.devices {
                    let place = Place { device: Some(device), ..place };
                    let state = self.shapes.state(&Heading { place, ..*heading }, false, bd_seq);
                    states.push((key(&place, named), state));
                }
                states
            }
            MessageKind::Data | MessageKind::Command => Vec::new(),
        }
    }

    /// A record for each metric. Says how many have no name or no type.
    fn metrics(
        &mut self,
        heading: &Heading<'_>,
        metrics: &[Metric<'_>],
        allowance: &mut Allowance,
        records: &mut Vec<(Option<Datum>, Datum)>,
    ) -> Result<usize, String> {
        let owner = heading.place.full_name();
        let table = self.nodes.table(&heading.place);
        records.reserve(metrics.len());
        each(table, metrics, allowance, |metric, known, value, shown| {
            let key = self.settings.names_are_keys.then(|| text(&format!("{owner}/{shown}")));
            records.push((key, self.shapes.metric(heading, metric, known, value)?));
            Ok(())
        })
    }

    /// One record of all metrics. Says how many have no name or no type.
    fn in_one(
        &self,
        heading: &Heading<'_>,
        metrics: &[Metric<'_>],
        allowance: &mut Allowance,
        records: &mut Vec<(Option<Datum>, Datum)>,
    ) -> Result<usize, String> {
        let mut members = Vec::with_capacity(metrics.len());
        let unknown = each(self.nodes.table(&heading.place), metrics, allowance, |metric, known, (_, value), _| {
            members.push(self.shapes.member(metric, known, value)?);
            Ok(())
        })?;
        let key = self.settings.names_are_keys.then(|| text(&heading.place.full_name()));
        records.push((key, self.shapes.payload(heading, members)));
        Ok(unknown)
    }

    /// The state of a host application: JSON, and in version 2.2 a word.
    fn host(&self, host: &str, payload: &Bytes) -> Result<Parts, String> {
        let (is_online, timestamp) = match &payload[..] {
            b"ONLINE" => (true, None),
            b"OFFLINE" => (false, None),
            _ => state_of(payload)?,
        };
        let (key, value) = if self.settings.mode == Mode::Raw {
            (None, Datum::new(Schema::of(Kind::Bytes), Value::Bytes(whole(payload)?)))
        } else {
            let key = self.settings.names_are_keys.then(|| text(&format!("STATE/{host}")));
            (key, self.shapes.host(host, is_online, timestamp))
        };
        Ok(Parts { records: vec![(key, value)], headers: Headers::default() })
    }
}

/// Whose message it is, if a node's.
fn place_of(topic: &Bytes) -> Option<Place<'_>> {
    match Topic::parse(std::str::from_utf8(topic).ok()?) {
        Ok(Topic::Node(place)) => Some(place),
        _ => None,
    }
}

/// Whether a message has a place in the count of its node: births of nodes begin it, their deaths and commands have none.
fn counts(place: &Place<'_>) -> bool {
    match place.kind {
        MessageKind::Data => true,
        MessageKind::Birth | MessageKind::Death => place.device.is_some(),
        MessageKind::Command => false,
    }
}

/// Takes each metric with its name, its type, its value, and what it is called in an error. Says how many have no name or no
/// type.
fn each<'a>(
    table: Option<&'a Table>,
    metrics: &'a [Metric<'a>],
    allowance: &mut Allowance,
    mut take: impl FnMut(&'a Metric<'a>, (Option<&'a str>, DataType), Typed, &str) -> Result<()>,
) -> Result<usize, String> {
    let mut unknown = 0;
    for metric in metrics {
        let (name, data_type) = resolved(table, metric);
        unknown += usize::from(name.is_none() || data_type == DataType::Unknown);
        let shown: Cow<'_, str> = match (name, metric.alias) {
            (Some(name), _) => name.into(),
            (None, Some(alias)) => format!("alias:{alias}").into(),
            (None, None) => return Err("a metric has neither name nor alias".into()),
        };
        let value = metric.value.as_ref().filter(|_| !metric.null);
        let value = typed(data_type, value, allowance).map_err(|reason| format!("in the metric '{shown}' {reason}"))?;
        let taken = take(metric, (name, data_type), value, &shown);
        taken.map_err(|error| format!("in the metric '{shown}' {error}"))?;
    }
    Ok(unknown)
}

/// Name and type of a metric, from itself or from the birth.
fn resolved<'a>(table: Option<&'a Table>, metric: &Metric<'a>) -> (Option<&'a str>, DataType) {
    let own = metric.datatype.map_or(DataType::Unknown, DataType::of);
    let known = table.zip(metric.alias).and_then(|(table, alias)| table.by_alias(alias));
    let name = metric.name.filter(|name| !name.is_empty());
    let of_birth = match (known, name) {
        (Some(known), _) => Some(known.data_type),
        (None, Some(name)) => table.and_then(|table| table.by_name(name)),
        (None, None) => None,
    };
    let data_type = if own == DataType::Unknown { of_birth.unwrap_or(own) } else { own };
    (name.or_else(|| known.map(|known| &*known.name)), data_type)
}

fn state_of(payload: &Bytes) -> Result<(bool, Option<u64>), String> {
    let json = json::read(&whole(payload)?).map_err(|error| format!("the state of a host is no JSON: {error}"))?;
    let Value::Map(map) = json else { return Err("the state of a host is no JSON object".into()) };
    let Some(Value::Bool(is_online)) = map.get("online") else {
        return Err("the state of a host has no \"online\" that is true or false".into());
    };
    let timestamp = match map.get("timestamp") {
        Some(Value::I64(millis)) => u64::try_from(*millis).ok(),
        _ => None,
    };
    Ok((*is_online, timestamp))
}

fn whole(payload: &Bytes) -> Result<Blob, String> {
    Blob::whole(payload.clone()).map_err(|error| error.to_string())
}

fn text(text: &str) -> Datum {
    Datum::new(Schema::of(Kind::String), Value::text(text))
}

fn headers(heading: &Heading<'_>, has_gap: bool) -> Headers {
    let Heading { place, seq, .. } = heading;
    let mut headers = Headers::default();
    headers.add(GROUP, text(place.group));
    headers.add(NODE, text(place.node));
    if let Some(device) = place.device {
        headers.add(DEVICE, text(device));
    }
    headers.add(KIND, text(place.kind_name()));
    if let Some(seq) = seq {
        headers.add(SEQ, Datum::new(Schema::of(Kind::Int16), Value::I16((*seq).into())));
    }
    if has_gap {
        headers.add(GAP, Datum::new(Schema::of(Kind::Boolean), Value::Bool(true)));
    }
    headers
}

/// The reader by itself, for tests with bytes of strangers.
pub struct SparkplugReader(Sparkplug);

impl SparkplugReader {
    /// A reader that asks no node for anything. A message may have so many values, what is remembered so many bytes.
    pub fn new(max_values: usize, state_bytes: usize) -> Result<Self> {
        let settings = SparkplugSettings {
            mode: Mode::Flat,
            rebirth: Rebirth::Off,
            interval: Duration::ZERO,
            max_values,
            state_bytes,
            waits: None,
            names_are_keys: true,
        };
        Sparkplug::new(settings).map(Self)
    }

    /// The values of the records of a message; a data error when it is no Sparkplug B.
    pub fn values(&mut self, topic: &str, payload: &[u8]) -> Result<Vec<Datum>> {
        let message = Message {
            packet: Packet { id: 0, qos: Qos::AtMostOnce },
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload: Bytes::copy_from_slice(payload),
            dup: false,
            retained: false,
            properties: None,
        };
        Ok(self.0.parts(topic, &message, None)?.records.into_iter().map(|(_, value)| value).collect())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
