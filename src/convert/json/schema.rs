//! Schemas to and from the `schema` part of an envelope. Once per schema, not per record.

use std::sync::Arc;

use pipette_api::{ConnectError, Kind, Result, Schema, SchemaBuilder, Value};
use pipette_json::{Parser, Reader, Shape, unique, write_i64, write_string};

use super::decode::Decoder;
use super::encode::Encoder;

/// Schemas are walked recursively; Java overflows its stack instead of having a limit.
const MAX_NESTING: usize = 100;

fn too_deep() -> ConnectError {
    ConnectError::data(format!("a schema nested deeper than {MAX_NESTING} levels is refused"))
}

/// The schema that is next; `None` for `null`.
pub(super) fn read(reader: &mut Reader<'_>, parser: &mut Parser) -> Result<Option<Arc<Schema>>> {
    if reader.shape()? == Shape::Null {
        reader.null()?;
        return Ok(None);
    }
    let members = Members::read(reader)?;
    members.schema(parser, 0).map(Some)
}

/// Where the members of a schema object stand: their order is free, and which of them count depends on `type`.
#[derive(Default)]
struct Members<'a> {
    kind: Option<Reader<'a>>,
    items: Option<Reader<'a>>,
    keys: Option<Reader<'a>>,
    values: Option<Reader<'a>>,
    fields: Option<Reader<'a>>,
    optional: Option<Reader<'a>>,
    name: Option<Reader<'a>>,
    version: Option<Reader<'a>>,
    doc: Option<Reader<'a>>,
    parameters: Option<Reader<'a>>,
    default: Option<Reader<'a>>,
    field: Option<Reader<'a>>,
}

impl<'a> Members<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self> {
        let mut members = Self::default();
        if reader.shape()? != Shape::Object {
            reader.skip()?;
            return Ok(members);
        }
        reader.open_object()?;
        let mut first = true;
        while let Some(name) = reader.member(first)? {
            first = false;
            if let Some(place) = members.place(reader.bytes_of(&name)) {
                *place = Some(reader.clone());
            }
            reader.skip()?;
        }
        Ok(members)
    }

    fn place(&mut self, name: &[u8]) -> Option<&mut Option<Reader<'a>>> {
        Some(match name {
            b"type" => &mut self.kind,
            b"items" => &mut self.items,
            b"keys" => &mut self.keys,
            b"values" => &mut self.values,
            b"fields" => &mut self.fields,
            b"optional" => &mut self.optional,
            b"name" => &mut self.name,
            b"version" => &mut self.version,
            b"doc" => &mut self.doc,
            b"parameters" => &mut self.parameters,
            b"default" => &mut self.default,
            b"field" => &mut self.field,
            _ => return None,
        })
    }

    fn schema(self, parser: &mut Parser, depth: usize) -> Result<Arc<Schema>> {
        if depth == MAX_NESTING {
            return Err(too_deep());
        }
        let Some(kind) = text(self.kind.as_ref())? else {
            return Err(ConnectError::data("Schema must contain 'type' field"));
        };
        let kind = kind_of(&kind).ok_or_else(|| ConnectError::data(format!("Unknown schema type: {kind}")))?;
        let optional = match of_shape(self.optional.as_ref(), Shape::Boolean)? {
            Some(mut reader) => reader.boolean()?,
            None => false,
        };
        if self.is_bare() && !matches!(kind, Kind::Array | Kind::Map | Kind::Struct) {
            return Ok(if optional { Schema::optional(kind) } else { Schema::of(kind) });
        }
        let mut builder = SchemaBuilder::new(kind).nullable(optional);
        match kind {
            Kind::Array => {
                let element = part(self.items, "Array schema did not specify the element type", parser, depth)?;
                builder = builder.element(Some(element));
            }
            Kind::Map => {
                let key = part(self.keys, "Map schema did not specify the key type", parser, depth)?;
                let value = part(self.values, "Map schema did not specify the value type", parser, depth)?;
                builder = builder.key(Some(key)).element(Some(value));
            }
            Kind::Struct => builder = fields(builder, self.fields.as_ref(), parser, depth)?,
            _ => {}
        }
        if let Some(name) = text(self.name.as_ref())? {
            builder = builder.name(name);
        }
        if let Some(version) = version(self.version.as_ref())? {
            builder = builder.version(version);
        }
        if let Some(doc) = text(self.doc.as_ref())? {
            builder = builder.doc(doc);
        }
        builder = parameters(builder, self.parameters.as_ref())?;
        match self.default {
            Some(reader) => with_default(builder, reader, parser),
            None => builder.build(),
        }
    }

    fn is_bare(&self) -> bool {
        let extras = [&self.name, &self.version, &self.doc, &self.parameters, &self.default];
        extras.iter().all(|member| member.is_none())
    }
}

fn part(member: Option<Reader<'_>>, missing: &str, parser: &mut Parser, depth: usize) -> Result<Arc<Schema>> {
    let missing = || ConnectError::data(missing);
    let mut reader = member.ok_or_else(missing)?;
    if reader.shape()? == Shape::Null {
        return Err(missing());
    }
    Members::read(&mut reader)?.schema(parser, depth + 1)
}

fn fields(
    mut builder: SchemaBuilder,
    member: Option<&Reader<'_>>,
    parser: &mut Parser,
    depth: usize,
) -> Result<SchemaBuilder> {
    let mut reader = of_shape(member, Shape::Array)?
        .ok_or_else(|| ConnectError::data("Struct schema's \"fields\" argument is not an array."))?;
    reader.open_array()?;
    let mut first = true;
    while reader.element(first)? {
        first = false;
        let members = Members::read(&mut reader)?;
        let name = text(members.field.as_ref())?
            .ok_or_else(|| ConnectError::data("Struct schema's field name not specified properly"))?;
        let schema =
            members.schema(parser, depth + 1).map_err(|error| error.within(format_args!("field \"{name}\"")))?;
        builder = builder.field(name, schema);
    }
    Ok(builder)
}

fn text(member: Option<&Reader<'_>>) -> Result<Option<String>> {
    match of_shape(member, Shape::String)? {
        Some(mut reader) => Ok(Some(reader.string()?.as_str().to_owned())),
        None => Ok(None),
    }
}

/// The member, unless it is missing or something else.
fn of_shape<'a>(member: Option<&Reader<'a>>, shape: Shape) -> Result<Option<Reader<'a>>> {
    match member.cloned() {
        Some(mut reader) => Ok((reader.shape()? == shape).then_some(reader)),
        None => Ok(None),
    }
}

fn version(member: Option<&Reader<'_>>) -> Result<Option<i32>> {
    let Some(mut reader) = of_shape(member, Shape::Number)? else { return Ok(None) };
    let number = reader.number()?;
    // Java keeps the low bits.
    Ok(number.is_integer().then(|| number.as_i32()))
}

fn parameters(mut builder: SchemaBuilder, member: Option<&Reader<'_>>) -> Result<SchemaBuilder> {
    let Some(mut reader) = of_shape(member, Shape::Object)? else { return Ok(builder) };
    reader.open_object()?;
    let mut entries = Vec::new();
    while let Some(name) = reader.member(entries.is_empty())? {
        let value = if reader.shape()? == Shape::String {
            Value::String(reader.string()?)
        } else {
            reader.skip()?;
            Value::Null
        };
        entries.push((Value::String(reader.to_text(name)), value));
    }
    for (name, value) in unique(entries).iter() {
        let (Some(name), Some(value)) = (name.as_str(), value.as_str()) else {
            return Err(ConnectError::data("Schema parameters must have string values."));
        };
        builder = builder.param(name, value);
    }
    Ok(builder)
}

/// Java reads the default with the silent coercions of any payload, and cannot read one of a struct at all.
fn with_default(builder: SchemaBuilder, mut reader: Reader<'_>, parser: &mut Parser) -> Result<Arc<Schema>> {
    let schema = builder.clone().build()?;
    let value = Decoder { parser, last_array: &mut 0, replace_null: true }.value(Some(&schema), &mut reader)?;
    match value {
        Value::Null if schema.is_optional() => Ok(schema),
        Value::Null | Value::Struct(_) => Err(ConnectError::data("Invalid default value")),
        value => builder.default(value).build(),
    }
}

fn kind_of(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| json_name(*kind) == name)
}

/// Connect's name of the type in JSON, which differs from the other one for the floating point types only.
fn json_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Float32 => "float",
        Kind::Float64 => "double",
        other => other.name(),
    }
}

/// The text of a schema; defaults are written as payloads are.
pub(super) fn render(schema: &Schema, encoder: Encoder) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    schema_text(schema, None, encoder, &mut out, 0)?;
    Ok(out)
}

fn schema_text(schema: &Schema, field: Option<&str>, encoder: Encoder, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    if depth == MAX_NESTING {
        return Err(too_deep());
    }
    let inner = |part: Option<&Arc<Schema>>, out: &mut Vec<u8>| {
        let Some(part) = part else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        schema_text(part, None, encoder, out, depth + 1)
    };
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(json_name(schema.kind()).as_bytes());
    out.push(b'"');
    match schema.kind() {
        Kind::Array => {
            out.extend_from_slice(b",\"items\":");
            inner(schema.value_schema(), out)?;
        }
        Kind::Map => {
            out.extend_from_slice(b",\"keys\":");
            inner(schema.key_schema(), out)?;
            out.extend_from_slice(b",\"values\":");
            inner(schema.value_schema(), out)?;
        }
        Kind::Struct => {
            out.extend_from_slice(b",\"fields\":[");
            for (index, field) in schema.fields().iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                schema_text(&field.schema, Some(&field.name), encoder, out, depth + 1)?;
            }
            out.push(b']');
        }
        _ => {}
    }
    properties(schema, encoder, out)?;
    if let Some(field) = field {
        out.extend_from_slice(b",\"field\":");
        write_string(field.as_bytes(), out);
    }
    out.push(b'}');
    Ok(())
}

fn properties(schema: &Schema, encoder: Encoder, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(if schema.is_optional() { b",\"optional\":true" } else { b",\"optional\":false" });
    if let Some(name) = schema.name() {
        out.extend_from_slice(b",\"name\":");
        write_string(name.as_bytes(), out);
    }
    if let Some(version) = schema.version() {
        out.extend_from_slice(b",\"version\":");
        write_i64(i64::from(version), out);
    }
    if let Some(doc) = schema.doc() {
        out.extend_from_slice(b",\"doc\":");
        write_string(doc.as_bytes(), out);
    }
    if !schema.params().is_empty() {
        out.extend_from_slice(b",\"parameters\":{");
        for (index, (name, value)) in schema.params().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(name.as_bytes(), out);
            out.push(b':');
            write_string(value.as_bytes(), out);
        }
        out.push(b'}');
    }
    if let Some(default) = schema.default() {
        out.extend_from_slice(b",\"default\":");
        encoder.value_of(schema, default, out)?;
    }
    Ok(())
}
