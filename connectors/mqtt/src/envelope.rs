//! The envelope: a message with everything that is known of it, as one struct, for sinks that do not see headers.
//!
//! `mapping.rs` makes one with `mqtt.value.format=envelope`. Read next: `mapping.rs`.

use std::sync::Arc;

use pipette_api::{Blob, Datum, Kind, Map, Result, Schema, SchemaBuilder, Struct, Value};

use crate::client::{Message, Properties};

/// The name of the schema.
const NAME: &str = "io.pipette.MqttMessage";

/// Makes envelopes of one schema.
pub(crate) struct Envelope(Arc<Schema>);

impl Envelope {
    pub(crate) fn new() -> Result<Self> {
        let text = Schema::optional(Kind::String);
        let user = SchemaBuilder::map(Schema::of(Kind::String), Schema::of(Kind::String)).optional().build()?;
        let schema = SchemaBuilder::record()
            .name(NAME)
            .version(1)
            .field("topic", Schema::of(Kind::String))
            .field("payload", Schema::of(Kind::Bytes))
            .field("qos", Schema::of(Kind::Int8))
            .field("retained", Schema::of(Kind::Boolean))
            .field("duplicate", Schema::of(Kind::Boolean))
            .field("id", Schema::optional(Kind::Int32))
            .field("content_type", Arc::clone(&text))
            .field("response_topic", text)
            .field("correlation_data", Schema::optional(Kind::Bytes))
            .field("message_expiry", Schema::optional(Kind::Int64))
            .field("user_properties", user);
        Ok(Self(schema.build()?))
    }

    /// The envelope of a message with its topic as text.
    pub(crate) fn seal(&self, message: &Message, topic: Value, payload: Blob) -> Datum {
        let none = Properties::default();
        let properties = message.properties.as_deref().unwrap_or(&none);
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::text);
        let correlation = properties.correlation.clone().and_then(|bytes| Blob::whole(bytes).ok());
        let user: Map = properties
            .user
            .iter()
            .map(|(name, value)| (Value::text(name.as_str()), Value::text(value.as_str())))
            .collect();
        let values = [
            topic,
            Value::Bytes(payload),
            Value::I8(i8::try_from(message.packet.qos.level()).unwrap_or(0)),
            Value::Bool(message.retained),
            Value::Bool(message.dup),
            if message.packet.id == 0 { Value::Null } else { Value::I32(message.packet.id.into()) },
            text(&properties.content_type),
            text(&properties.response_topic),
            correlation.map_or(Value::Null, Value::Bytes),
            properties.expiry.map_or(Value::Null, |seconds| Value::I64(seconds.into())),
            if user.is_empty() { Value::Null } else { Value::Map(Box::new(user)) },
        ];
        let sealed = Struct::from_parts(Arc::clone(&self.0), values);
        Datum::new(Arc::clone(&self.0), Value::Struct(Box::new(sealed)))
    }
}
