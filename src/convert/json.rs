//! `JsonConverter`: JSON values, with the schema beside them (`{"schema":…,"payload":…}`) unless `schemas.enable=false`.
//!
//! A schema text is read once and shared by all records that carry it (law C5); a schema is rendered once. Read next:
//! `json/decode.rs`, `json/encode.rs`, `json/schema.rs`.

mod decode;
mod encode;
mod known;
mod schema;
#[cfg(test)]
mod tests;
mod unread;

use std::sync::Arc;

use pipette_api::config::checks::one_of_any_case;
use pipette_api::config::{ConfigDef, Importance, Width};
use pipette_api::{Blob, ConnectError, Datum, Key, Result, Schema, SchemaCache, Settings, Text, Value};
use pipette_json::{Aside, Document, Mark, Parser, Reader, Shape, Step, SyntaxError};

use self::decode::Decoder;
use self::encode::Encoder;
use self::known::KnownSchemas;
use self::unread::Outlines;
use super::{CONVERTER_TYPE, Form};

const SCHEMAS: &str = "Schemas";
const SERIALIZATION: &str = "Serialization";

static SCHEMAS_ENABLE: Key<bool> =
    Key::new("schemas.enable", "Whether each value carries its schema: `{\"schema\":…,\"payload\":…}`.")
        .default("true")
        .importance(Importance::High)
        .group(SCHEMAS)
        .width(Width::Medium)
        .display("Enable Schemas");
static CACHE_SIZE: Key<i32> = Key::new("schemas.cache.size", "How many schemas are remembered by each converter.")
    .default("1000")
    .importance(Importance::High)
    .group(SCHEMAS)
    .width(Width::Medium)
    .display("Schema Cache Size");
static SCHEMA_CONTENT: Key<String> = Key::new(
    "schema.content",
    "A schema, as JSON, that all values are read with; they then come without one. Has an effect only when reading \
     and only with `schemas.enable=true`.",
)
.optional()
.importance(Importance::High)
.group(SCHEMAS)
.width(Width::Medium)
.display("Schema Content");
static DECIMAL_FORMAT: Key<String> =
    Key::new("decimal.format", "How decimals are written: `BASE64` of their digits, or `NUMERIC`. Both are read.")
        .default("BASE64")
        .importance(Importance::Low)
        .group(SERIALIZATION)
        .width(Width::Medium)
        .display("Decimal Format")
        .check(|text| one_of_any_case(text, &["BASE64", "NUMERIC"]));
static REPLACE_NULL: Key<bool> =
    Key::new("replace.null.with.default", "Whether a null of a field that has a default becomes the default.")
        .default("true")
        .importance(Importance::Low)
        .group(SERIALIZATION)
        .width(Width::Medium)
        .display("Replace null with default");

pub(super) static CONFIG: ConfigDef = ConfigDef::new(&[
    &CONVERTER_TYPE.info,
    &SCHEMAS_ENABLE.info,
    &CACHE_SIZE.info,
    &SCHEMA_CONTENT.info,
    &DECIMAL_FORMAT.info,
    &REPLACE_NULL.info,
]);

const NO_ENVELOPE: &str = "JsonConverter with schemas.enable requires \"schema\" and \"payload\" fields and may not \
     contain additional fields. If you are trying to deserialize plain JSON data, set schemas.enable=false in your \
     converter configuration.";

/// Rendered schemas are looked for one after the other: more than this many would cost more than rendering again.
const MAX_RENDERED: usize = 64;

pub(super) struct JsonConverter {
    envelope: bool,
    /// From `schema.content`: every document is a payload of it.
    fixed: Option<Arc<Schema>>,
    encoder: Encoder,
    replace_null: bool,
    parser: Parser,
    last_array: usize,
    known: KnownSchemas,
    outlines: Outlines,
    rendered: SchemaCache<Vec<u8>>,
}

impl JsonConverter {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let capacity = usize::try_from(settings.get(&CACHE_SIZE)?).unwrap_or(0);
        let replace_null = settings.get(&REPLACE_NULL)?;
        let base64 = settings.get(&DECIMAL_FORMAT)?.eq_ignore_ascii_case("BASE64");
        let envelope = settings.get(&SCHEMAS_ENABLE)?;
        let mut parser = Parser::default();
        let fixed = match settings.find(&SCHEMA_CONTENT)? {
            Some(text) if envelope => fixed_schema(&text, &mut parser)?,
            _ => None,
        };
        Ok(Self {
            envelope,
            fixed,
            encoder: Encoder { base64, replace_null },
            replace_null,
            parser,
            last_array: 0,
            known: KnownSchemas::new(capacity),
            outlines: Outlines::new(replace_null),
            rendered: SchemaCache::new(capacity.clamp(1, MAX_RENDERED)),
        })
    }

    fn document(&mut self, document: &Document) -> Result<Datum> {
        let reader = &mut document.reader();
        if reader.at_end() {
            return match &self.fixed {
                // compat: surprises, row 4.
                None if !self.envelope => Ok(Datum::NULL),
                None => Err(ConnectError::data(NO_ENVELOPE)),
                Some(_) => {
                    Err(ConnectError::data("the document should be a payload of schema.content but found MISSING"))
                }
            };
        }
        let shape = reader.shape()?;
        let datum = match &self.fixed {
            None if self.envelope && shape == Shape::Object => self.envelope(reader)?,
            None if self.envelope => return Err(ConnectError::data(NO_ENVELOPE)),
            fixed => {
                let fixed = fixed.clone();
                let value = self.decoder().value(fixed.as_ref(), reader)?;
                Datum { schema: fixed, value }
            }
        };
        reader.finish_leniently(shape)?;
        Ok(datum)
    }

    fn decoder(&mut self) -> Decoder<'_> {
        Decoder { parser: &mut self.parser, last_array: &mut self.last_array, replace_null: self.replace_null }
    }

    /// One pass when the schema comes first, as every writer has it; otherwise the payload is visited twice. Of members that
    /// come again the last one counts: what is wrong with those before it does not matter.
    fn envelope(&mut self, reader: &mut Reader<'_>) -> Result<Datum> {
        let mut schema: Option<Result<Option<Arc<Schema>>, Aside>> = None;
        let mut payload: Option<(Reader<'_>, Option<Result<Value, Aside>>)> = None;
        let mut strangers = false;
        let mut first = true;
        reader.open_object()?;
        while let Some(name) = reader.member(first)? {
            first = false;
            match reader.bytes_of(&name) {
                b"schema" => {
                    let start = reader.mark();
                    let read = self.known.read(reader, &mut self.parser);
                    schema = Some(match read {
                        Ok(schema) => Ok(schema),
                        Err(error) => Err(self.set_aside(error, b"schema", start, reader)?),
                    });
                    if let Some((_, value)) = &mut payload {
                        *value = None;
                    }
                }
                b"payload" => {
                    let start = reader.clone();
                    if let (Some(Ok(Some(schema))), None, false) = (&schema, &payload, strangers) {
                        self.outlines.remember(reader.since(0), schema);
                    }
                    let value = match &schema {
                        Some(Ok(schema)) => self.decoder().value(schema.as_ref(), reader).map(|value| Some(Ok(value))),
                        _ => reader.skip().map(|()| None),
                    };
                    let value = match value {
                        Ok(value) => value,
                        Err(error) => Some(Err(self.set_aside(error, b"payload", start.mark(), reader)?)),
                    };
                    payload = Some((start, value));
                }
                _ => {
                    strangers = true;
                    reader.skip()?;
                }
            }
        }
        let (Some(schema), Some((mut start, value)), false) = (schema, payload, strangers) else {
            return Err(ConnectError::data(NO_ENVELOPE));
        };
        let schema = schema.map_err(|misfit| self.parser.take_up(misfit))?;
        let value = if let Some(value) = value {
            value.map_err(|misfit| self.parser.take_up(misfit))?
        } else {
            let value = self.decoder().value(schema.as_ref(), &mut start);
            value.map_err(|error| self.inside(b"payload", error))?
        };
        Ok(Datum { schema, value })
    }

    #[cold]
    fn set_aside(
        &mut self,
        error: ConnectError,
        member: &'static [u8],
        start: Mark,
        reader: &mut Reader<'_>,
    ) -> Result<Aside> {
        let error = self.inside(member, error);
        self.parser.set_aside(error, Step::Member(member), start, reader)
    }

    #[cold]
    fn inside(&mut self, member: &[u8], error: ConnectError) -> ConnectError {
        self.parser.inside(Step::Member(member));
        error
    }
}

impl Form for JsonConverter {
    fn write<'a>(&mut self, datum: &'a Datum, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        buffer.clear();
        if datum.is_null() {
            return Ok(None);
        }
        let schema = datum.schema.as_ref();
        if !self.envelope {
            self.encoder.value(schema, &datum.value, buffer, 0)?;
            return Ok(Some(buffer));
        }
        buffer.extend_from_slice(b"{\"schema\":");
        match schema {
            None => buffer.extend_from_slice(b"null"),
            Some(schema) => {
                let encoder = self.encoder;
                let rendered = self.rendered.get_or_try(schema, |schema| schema::render(schema, encoder))?;
                buffer.extend_from_slice(rendered);
            }
        }
        buffer.extend_from_slice(b",\"payload\":");
        self.encoder.value(schema, &datum.value, buffer, 1)?;
        buffer.push(b'}');
        Ok(Some(buffer))
    }

    fn read(&mut self, bytes: Option<&Blob>) -> Result<Datum> {
        let Some(bytes) = bytes else { return Ok(Datum::NULL) };
        // What follows an object is ignored, so that nothing is left to be looked at.
        if !self.envelope
            && let Some(value) = self.outlines.map(bytes, &mut self.parser)
        {
            return Ok(Datum::schemaless(value));
        }
        let mut decoder =
            Decoder { parser: &mut self.parser, last_array: &mut self.last_array, replace_null: self.replace_null };
        if self.envelope
            && let Some(datum) = self.outlines.envelope(bytes, &mut decoder)
        {
            return Ok(datum);
        }
        let read = Document::new(bytes).and_then(|document| self.document(&document));
        read.map_err(|error| {
            let error = self.parser.locate(error);
            if SyntaxError::is_cause_of(&error) {
                let message = "Converting byte[] to Kafka Connect data failed due to serialization error";
                return ConnectError::data(message).because(error);
            }
            error
        })
    }
}

fn fixed_schema(text: &str, parser: &mut Parser) -> Result<Option<Arc<Schema>>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let document = Document::new(&Text::from(text).to_blob())?;
    schema::read(&mut document.reader(), parser).map_err(|error| {
        let message = if SyntaxError::is_cause_of(&error) {
            format!("Failed to parse schema in converter config due to serialization error: {error}")
        } else {
            format!("{}: {error}", SCHEMA_CONTENT.info.name)
        };
        ConnectError::config(message)
    })
}
