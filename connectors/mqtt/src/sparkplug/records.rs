//! The shapes of records: one for metrics, whose value has the metric's type, one for states, one for host applications.
//!
//! Read next: `mod.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use pipette_api::{Blob, Datum, Kind, Map, Result, Schema, SchemaBuilder, Struct, Text, Value};

use super::payload::Metric;
use super::topic::Place;
use super::types::DataType;
use super::value::Typed;

/// What is known of a message beside its metrics.
pub(super) struct Heading<'a> {
    pub(super) place: Place<'a>,
    pub(super) timestamp: Option<u64>,
    pub(super) seq: Option<u8>,
}

/// Makes values of records.
pub(super) struct Shapes {
    /// Of metrics, by data type and the kind of the value. Those of tables and templates differ from value to value.
    metrics: HashMap<(DataType, Kind), Arc<Schema>>,
    timestamp: Arc<Schema>,
    texts: Arc<Schema>,
    state: Arc<Schema>,
    host: Arc<Schema>,
    member: Arc<Schema>,
    payload: Arc<Schema>,
}

/// Where a member of a whole payload has its value, by kind: the members of an array have one schema.
const VALUES: [(&str, Kind); 6] = [
    ("long_value", Kind::Int64),
    ("double_value", Kind::Float64),
    ("boolean_value", Kind::Boolean),
    ("string_value", Kind::String),
    ("bytes_value", Kind::Bytes),
    ("json_value", Kind::String),
];

impl Shapes {
    pub(super) fn new() -> Result<Self> {
        let timestamp = SchemaBuilder::timestamp().optional().build()?;
        let texts = SchemaBuilder::map(Schema::of(Kind::String), Schema::optional(Kind::String)).optional().build()?;
        let state = who("io.pipette.SparkplugState")
            .field("online", Schema::of(Kind::Boolean))
            .field("bd_seq", Schema::optional(Kind::Int64))
            .field("timestamp", Arc::clone(&timestamp))
            .field("seq", Schema::optional(Kind::Int16))
            .build()?;
        let host = SchemaBuilder::record()
            .name("io.pipette.SparkplugHost")
            .version(1)
            .field("host", Schema::of(Kind::String))
            .field("online", Schema::of(Kind::Boolean))
            .field("timestamp", Arc::clone(&timestamp))
            .build()?;
        let member = SchemaBuilder::record()
            .name("io.pipette.SparkplugValue")
            .version(1)
            .field("metric", Schema::optional(Kind::String))
            .field("alias", Schema::optional(Kind::Int64))
            .field("type", Schema::of(Kind::String));
        let member = VALUES.iter().fold(member, |member, (name, kind)| member.field(*name, Schema::optional(*kind)));
        let member = facts(member, &timestamp, &texts).build()?;
        let payload = who("io.pipette.SparkplugPayload")
            .field("timestamp", Arc::clone(&timestamp))
            .field("seq", Schema::optional(Kind::Int16))
            .field("metrics", SchemaBuilder::array(Arc::clone(&member)).build()?)
            .build()?;
        Ok(Self { metrics: HashMap::new(), timestamp, texts, state, host, member, payload })
    }

    fn metric_schema(&mut self, data_type: DataType, value: &Arc<Schema>) -> Result<Arc<Schema>> {
        let fixed = !matches!(data_type, DataType::DataSet | DataType::Template) && value.kind() != Kind::Struct;
        if fixed && let Some(known) = self.metrics.get(&(data_type, value.kind())) {
            return Ok(Arc::clone(known));
        }
        let schema = who("io.pipette.SparkplugMetric")
            .field("metric", Schema::optional(Kind::String))
            .field("alias", Schema::optional(Kind::Int64))
            .field("type", Schema::of(Kind::String))
            .field("value", Arc::clone(value));
        let schema = facts(schema, &self.timestamp, &self.texts).field("seq", Schema::optional(Kind::Int16)).build()?;
        // Of a type that nobody named, a list could be a table as well.
        if fixed && (data_type.element().is_some() || value.kind() != Kind::Array) {
            self.metrics.insert((data_type, value.kind()), Arc::clone(&schema));
        }
        Ok(schema)
    }

    /// A metric with its resolved name and type.
    pub(super) fn metric(
        &mut self,
        heading: &Heading<'_>,
        metric: &Metric<'_>,
        (name, data_type): (Option<&str>, DataType),
        (of_value, value): Typed,
    ) -> Result<Datum> {
        let schema = self.metric_schema(data_type, &of_value)?;
        let values = whose(&heading.place)
            .into_iter()
            .chain(what(metric, name, data_type))
            .chain([value])
            .chain(facts_of(metric, metric.timestamp.or(heading.timestamp)))
            .chain([seq(heading)]);
        Ok(record(schema, values.collect()))
    }

    /// One of the metrics of a whole payload: its value stands in the field of its kind, and as JSON what has none.
    pub(super) fn member(
        &self,
        metric: &Metric<'_>,
        (name, data_type): (Option<&str>, DataType),
        value: Value,
    ) -> Result<Value> {
        let (kind, value) = match value {
            Value::I8(number) => (Kind::Int64, Value::I64(number.into())),
            Value::I16(number) => (Kind::Int64, Value::I64(number.into())),
            Value::I32(number) => (Kind::Int64, Value::I64(number.into())),
            Value::I64(number) | Value::Timestamp(number) => (Kind::Int64, Value::I64(number)),
            Value::F32(number) => (Kind::Float64, Value::F64(number.into())),
            Value::F64(number) => (Kind::Float64, Value::F64(number)),
            Value::Bool(truth) => (Kind::Boolean, Value::Bool(truth)),
            Value::String(text) => (Kind::String, Value::String(text)),
            Value::Bytes(bytes) => (Kind::Bytes, Value::Bytes(bytes)),
            Value::Null => (Kind::String, Value::Null),
            other => {
                let mut json = Vec::new();
                pipette_json::write(&other, &mut json)?;
                (Kind::Struct, Value::String(Text::new(Blob::whole(json)?)?))
            }
        };
        let place = VALUES.iter().position(|(_, known)| *known == kind).unwrap_or(VALUES.len() - 1);
        let mut fields = [const { Value::Null }; VALUES.len()];
        fields[place] = value;
        let values = what(metric, name, data_type).into_iter().chain(fields).chain(facts_of(metric, metric.timestamp));
        Ok(Value::Struct(Box::new(Struct::from_parts(Arc::clone(&self.member), values.collect::<Vec<_>>()))))
    }

    /// A whole payload with its members.
    pub(super) fn payload(&self, heading: &Heading<'_>, members: Vec<Value>) -> Datum {
        let rest = [timestamp(heading.timestamp), seq(heading), Value::Array(members.into_boxed_slice())];
        record(Arc::clone(&self.payload), whose(&heading.place).into_iter().chain(rest).collect())
    }

    /// A node or a device that is there now, or gone.
    pub(super) fn state(&self, heading: &Heading<'_>, is_online: bool, bd_seq: Option<u64>) -> Datum {
        let [group, node, device, kind] = whose(&heading.place);
        let values = [
            group,
            node,
            device,
            kind,
            Value::Bool(is_online),
            bd_seq.map_or(Value::Null, |number| Value::I64(number.cast_signed())),
            timestamp(heading.timestamp),
            seq(heading),
        ];
        record(Arc::clone(&self.state), Box::new(values))
    }

    pub(super) fn host(&self, host: &str, is_online: bool, time: Option<u64>) -> Datum {
        let values = [Value::text(host), Value::Bool(is_online), timestamp(time)];
        record(Arc::clone(&self.host), Box::new(values))
    }
}

fn who(name: &str) -> SchemaBuilder {
    SchemaBuilder::record()
        .name(name)
        .version(1)
        .field("group", Schema::of(Kind::String))
        .field("node", Schema::of(Kind::String))
        .field("device", Schema::optional(Kind::String))
        .field("message_type", Schema::of(Kind::String))
}

/// What a metric says of itself besides name, type and value.
fn facts(schema: SchemaBuilder, timestamp: &Arc<Schema>, texts: &Arc<Schema>) -> SchemaBuilder {
    schema
        .field("timestamp", Arc::clone(timestamp))
        .field("historical", Schema::of(Kind::Boolean))
        .field("transient", Schema::of(Kind::Boolean))
        .field("properties", Arc::clone(texts))
        .field("metadata", Arc::clone(texts))
}

fn facts_of(metric: &Metric<'_>, time: Option<u64>) -> [Value; 5] {
    let properties = metric.properties.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    let metadata = metric.metadata.iter().map(|(name, value)| (*name, Some(value.as_str())));
    [timestamp(time), Value::Bool(metric.historical), Value::Bool(metric.transient), texts(properties), texts(metadata)]
}

fn what(metric: &Metric<'_>, name: Option<&str>, data_type: DataType) -> [Value; 3] {
    [
        name.map_or(Value::Null, Value::text),
        metric.alias.map_or(Value::Null, |alias| Value::I64(alias.cast_signed())),
        Value::text(data_type.name()),
    ]
}

fn whose(place: &Place<'_>) -> [Value; 4] {
    [
        Value::text(place.group),
        Value::text(place.node),
        place.device.map_or(Value::Null, Value::text),
        Value::text(place.kind_name()),
    ]
}

fn record(schema: Arc<Schema>, values: Box<[Value]>) -> Datum {
    let record = Struct::from_parts(Arc::clone(&schema), values);
    Datum::new(schema, Value::Struct(Box::new(record)))
}

fn timestamp(millis: Option<u64>) -> Value {
    millis.map_or(Value::Null, |millis| Value::Timestamp(millis.cast_signed()))
}

fn seq(heading: &Heading<'_>) -> Value {
    heading.seq.map_or(Value::Null, |seq| Value::I16(seq.into()))
}

fn texts<'a>(pairs: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Value {
    let map: Map = pairs.map(|(name, value)| (Value::text(name), value.map_or(Value::Null, Value::text))).collect();
    if map.is_empty() { Value::Null } else { Value::Map(Box::new(map)) }
}
