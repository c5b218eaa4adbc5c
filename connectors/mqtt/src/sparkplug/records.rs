//! The shapes of records: one for metrics, whose value has the metric's type, one for states, one for host applications.
//!
//! Read next: `mod.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use pipette_api::{Datum, Kind, Map, Result, Schema, SchemaBuilder, Struct, Value};

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
}

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
        Ok(Self { metrics: HashMap::new(), timestamp, texts, state, host })
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
            .field("value", Arc::clone(value))
            .field("timestamp", Arc::clone(&self.timestamp))
            .field("historical", Schema::of(Kind::Boolean))
            .field("transient", Schema::of(Kind::Boolean))
            .field("properties", Arc::clone(&self.texts))
            .field("metadata", Arc::clone(&self.texts))
            .field("seq", Schema::optional(Kind::Int16))
            .build()?;
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
        let [group, node, device, kind] = whose(&heading.place);
        let properties = metric.properties.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let metadata = metric.metadata.iter().map(|(name, value)| (*name, Some(value.as_str())));
        let values = [
            group,
            node,
            device,
            kind,
            name.map_or(Value::Null, Value::text),
            metric.alias.map_or(Value::Null, |alias| Value::I64(alias.cast_signed())),
            Value::text(data_type.name()),
            value,
            timestamp(metric.timestamp.or(heading.timestamp)),
            Value::Bool(metric.historical),
            Value::Bool(metric.transient),
            texts(properties),
            texts(metadata),
            seq(heading),
        ];
        Ok(record(schema, Box::new(values)))
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
