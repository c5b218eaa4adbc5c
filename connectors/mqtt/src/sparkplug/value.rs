//! The carried values of Sparkplug B as values of Connect, each with its schema, which is always optional.
//!
//! A table becomes an array of structs, a template a struct with its members as fields; both have a schema of their own
//! for each value. Read next: `records.rs`.

use std::sync::Arc;

use pipette_api::data::Decimal;
use pipette_api::{Blob, Kind, Schema, SchemaBuilder, Struct, Value};

use super::payload::{Allowance, Carried, DataSet, Metric, Parameter, Template};
use super::types::DataType;

/// A value with its schema.
pub(super) type Typed = (Arc<Schema>, Value);

/// The value of a metric, a parameter or a cell. `None` is null.
pub(super) fn typed(
    data_type: DataType,
    carried: Option<&Carried<'_>>,
    allowance: &mut Allowance,
) -> Result<Typed, String> {
    let Some(carried) = carried else { return Ok((schema_of_null(data_type)?, Value::Null)) };
    if let Some(element) = data_type.element() {
        return array(element, carried, allowance);
    }
    match (data_type, carried) {
        (_, Carried::DataSet(set)) => table(set, allowance),
        (_, Carried::Template(template)) => structure(template, allowance),
        (DataType::Unknown | DataType::PropertySet | DataType::PropertySetList, carried) => untyped(carried),
        (data_type, carried) => scalar(data_type, carried),
    }
}

fn schema_of_null(data_type: DataType) -> Result<Arc<Schema>, String> {
    if data_type == DataType::DateTime {
        return timestamp();
    }
    if let Some(element) = data_type.element() {
        return list(schema_of_null(element)?);
    }
    Ok(Schema::optional(data_type.kind().unwrap_or(Kind::String)))
}

fn built(schema: SchemaBuilder) -> Result<Arc<Schema>, String> {
    schema.optional().build().map_err(|error| error.to_string())
}

fn timestamp() -> Result<Arc<Schema>, String> {
    built(SchemaBuilder::timestamp())
}

fn list(element: Arc<Schema>) -> Result<Arc<Schema>, String> {
    built(SchemaBuilder::array(element))
}

fn bytes(bytes: &[u8]) -> Result<Value, String> {
    Blob::whole(bytes.to_vec()).map(Value::Bytes).map_err(|error| error.to_string())
}

/// As it travels, when nobody has said what it is.
fn untyped(carried: &Carried<'_>) -> Result<Typed, String> {
    let (kind, value) = match carried {
        Carried::Int(number) => (Kind::Int64, Value::I64((*number).into())),
        Carried::Long(number) => (Kind::Int64, Value::I64(number.cast_signed())),
        Carried::Float(number) => (Kind::Float32, Value::F32(*number)),
        Carried::Double(number) => (Kind::Float64, Value::F64(*number)),
        Carried::Boolean(truth) => (Kind::Boolean, Value::Bool(*truth)),
        Carried::Text(text) => (Kind::String, Value::text(*text)),
        Carried::Bytes(part) => (Kind::Bytes, bytes(part)?),
        Carried::DataSet(_) | Carried::Template(_) => unreachable!("these say themselves what they are"),
    };
    Ok((Schema::optional(kind), value))
}

fn scalar(data_type: DataType, carried: &Carried<'_>) -> Result<Typed, String> {
    if let (Some((size, signed)), Some(raw)) = (data_type.integer(), whole(carried)) {
        return integer(data_type, size, signed, raw);
    }
    let value = match (data_type, carried) {
        (DataType::DateTime, carried) => match whole(carried) {
            Some(millis) => return Ok((timestamp()?, Value::Timestamp(millis.cast_signed()))),
            None => None,
        },
        (DataType::Float, Carried::Float(number)) => Some(Value::F32(*number)),
        (DataType::Double, Carried::Double(number)) => Some(Value::F64(*number)),
        (DataType::Double, Carried::Float(number)) => Some(Value::F64((*number).into())),
        (DataType::Boolean, Carried::Boolean(truth)) => Some(Value::Bool(*truth)),
        (DataType::Boolean, Carried::Int(number)) => Some(Value::Bool(*number != 0)),
        (DataType::String | DataType::Text | DataType::Uuid, Carried::Text(text)) => Some(Value::text(*text)),
        (DataType::Bytes | DataType::File, Carried::Bytes(part)) => Some(bytes(part)?),
        _ => None,
    };
    match (data_type.kind(), value) {
        (Some(kind), Some(value)) => Ok((Schema::optional(kind), value)),
        _ => Err(mismatch(data_type, carried)),
    }
}

fn mismatch(data_type: DataType, carried: &Carried<'_>) -> String {
    let carried = match carried {
        Carried::Int(_) | Carried::Long(_) => "a whole number",
        Carried::Float(_) | Carried::Double(_) => "a number with a fraction",
        Carried::Boolean(_) => "a truth value",
        Carried::Text(_) => "a text",
        Carried::Bytes(_) => "bytes",
        Carried::DataSet(_) => "a table",
        Carried::Template(_) => "a template",
    };
    format!("the type is {} and the value {carried}", data_type.name())
}

fn whole(carried: &Carried<'_>) -> Option<u64> {
    match carried {
        Carried::Int(number) => Some((*number).into()),
        Carried::Long(number) => Some(*number),
        _ => None,
    }
}

fn integer(data_type: DataType, size: u8, signed: bool, raw: u64) -> Result<Typed, String> {
    let outside = || format!("{raw} is no {}", data_type.name());
    let value = if signed {
        let number = signed_of(raw, u32::from(size) * 8).ok_or_else(outside)?;
        match size {
            1 => i8::try_from(number).map(Value::I8),
            2 => i16::try_from(number).map(Value::I16),
            4 => i32::try_from(number).map(Value::I32),
            _ => Ok(Value::I64(number)),
        }
    } else {
        match size {
            1 => u8::try_from(raw).map(|number| Value::I16(number.into())),
            2 => u16::try_from(raw).map(|number| Value::I32(number.into())),
            4 => u32::try_from(raw).map(|number| Value::I64(number.into())),
            _ => match i64::try_from(raw) {
                Ok(number) => Ok(Value::I64(number)),
                // Connect has no whole number that is larger.
                Err(_) => {
                    return Ok((built(SchemaBuilder::decimal(0))?, Value::Decimal(Box::new(Decimal::new(raw, 0)))));
                }
            },
        }
    };
    let kind = data_type.kind().unwrap_or(Kind::Int64);
    Ok((Schema::optional(kind), value.map_err(|_| outside())?))
}

/// A signed number from an unsigned field, where some writers leave the two's complement in its own width and others
/// extend it to the width of the field.
fn signed_of(raw: u64, bits: u32) -> Option<i64> {
    let extended = match raw {
        _ if bits == 64 => return Some(raw.cast_signed()),
        raw if raw >> bits == 0 => return Some((raw << (64 - bits)).cast_signed() >> (64 - bits)),
        raw => u32::try_from(raw).map_or(raw.cast_signed(), |short| short.cast_signed().into()),
    };
    // Bits beyond the width must all be the sign.
    (extended < 0 && extended >= -1 << (bits - 1)).then_some(extended)
}

/// Arrays travel as bytes, least significant first.
fn array(element: DataType, carried: &Carried<'_>, allowance: &mut Allowance) -> Result<Typed, String> {
    let Carried::Bytes(packed) = carried else {
        return Err(format!("the type is an array of {} and the value is not in bytes", element.name()));
    };
    let width = match element {
        DataType::Boolean => return booleans(packed, allowance),
        DataType::String => return strings(packed, allowance),
        DataType::Float => 4,
        DataType::Double | DataType::DateTime => 8,
        element => element.integer().map_or(1, |(size, _)| usize::from(size)),
    };
    if !packed.len().is_multiple_of(width) {
        return Err(format!(
            "an array of {} has {} bytes, which is no multiple of {width}",
            element.name(),
            packed.len()
        ));
    }
    allowance.take(packed.len() / width)?;
    let mut values = Vec::with_capacity(packed.len() / width);
    for part in packed.chunks_exact(width) {
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(part);
        let raw = u64::from_le_bytes(wide);
        values.push(match element {
            DataType::Float => Value::F32(f32::from_bits(u32::try_from(raw).unwrap_or(0))),
            DataType::Double => Value::F64(f64::from_bits(raw)),
            // An array has one type: what is too large for it keeps its bits.
            DataType::UInt64 => Value::I64(raw.cast_signed()),
            element => scalar(element, &Carried::Long(raw))?.1,
        });
    }
    Ok((list(schema_of_null(element)?)?, Value::Array(values.into())))
}

fn booleans(packed: &[u8], allowance: &mut Allowance) -> Result<Typed, String> {
    let (count, bits) = packed.split_first_chunk::<4>().ok_or("an array of Boolean has no count")?;
    let count = usize::try_from(u32::from_le_bytes(*count)).unwrap_or(usize::MAX);
    if count.div_ceil(8) != bits.len() {
        return Err(format!("an array of {count} Boolean has {} bytes of bits", bits.len()));
    }
    allowance.take(count)?;
    let values: Vec<Value> =
        (0..count).map(|place| Value::Bool(bits[place / 8] & (0x80 >> (place % 8)) != 0)).collect();
    Ok((list(Schema::optional(Kind::Boolean))?, Value::Array(values.into())))
}

/// Each ends in a zero.
fn strings(packed: &[u8], allowance: &mut Allowance) -> Result<Typed, String> {
    let inner = packed.strip_suffix(b"\0").unwrap_or(packed);
    let count = if packed.is_empty() { 0 } else { inner.split(|byte| *byte == 0).count() };
    allowance.take(count)?;
    let texts = inner.split(|byte| *byte == 0).take(count).map(|part| std::str::from_utf8(part).map(Value::text));
    let texts: Vec<Value> = texts.collect::<Result<_, _>>().map_err(|error| format!("a text is no UTF-8: {error}"))?;
    Ok((list(Schema::optional(Kind::String))?, Value::Array(texts.into())))
}

/// A table: an array with a struct for each row.
fn table(set: &DataSet<'_>, allowance: &mut Allowance) -> Result<Typed, String> {
    if set.columns.len() != set.types.len() {
        return Err(format!("a table has {} columns and {} types", set.columns.len(), set.types.len()));
    }
    let types: Vec<DataType> = set.types.iter().map(|number| DataType::of(*number)).collect();
    let mut schema = SchemaBuilder::record();
    for (name, data_type) in set.columns.iter().zip(&types) {
        if matches!(data_type, DataType::Unknown) || data_type.kind().is_none() {
            return Err(format!("the column {name} of a table has the type {}", data_type.name()));
        }
        schema = schema.field(*name, schema_of_null(*data_type)?);
    }
    let schema = built(schema)?;
    let mut rows = Vec::with_capacity(set.rows.len());
    for cells in &set.rows {
        if cells.len() != types.len() {
            return Err(format!("a row of a table has {} cells for {} columns", cells.len(), types.len()));
        }
        let values = types.iter().zip(cells).map(|(data_type, cell)| {
            let (_, value) = typed(*data_type, cell.as_ref(), allowance)?;
            // One schema for all rows: what is too large for it keeps its bits, as in arrays.
            Ok(match (value, cell) {
                (Value::Decimal(_), Some(Carried::Long(raw))) => Value::I64(raw.cast_signed()),
                (value, _) => value,
            })
        });
        let values: Vec<Value> = values.collect::<Result<_, String>>()?;
        rows.push(Value::Struct(Box::new(Struct::from_parts(Arc::clone(&schema), values))));
    }
    Ok((list(schema)?, Value::Array(rows.into())))
}

/// A template: a struct of what it says of itself, its parameters and its members.
fn structure(template: &Template<'_>, allowance: &mut Allowance) -> Result<Typed, String> {
    let parameter = |parameter: &Parameter<'_>, allowance: &mut Allowance| {
        let data_type = DataType::of(parameter.datatype.unwrap_or(0));
        let name = parameter.name.ok_or("a parameter of a template has no name")?;
        Ok((name.to_owned(), typed(data_type, parameter.value.as_ref(), allowance)?))
    };
    let member = |metric: &Metric<'_>, allowance: &mut Allowance| {
        let data_type = DataType::of(metric.datatype.unwrap_or(0));
        let value = metric.value.as_ref().filter(|_| !metric.null);
        let name = match (metric.name, metric.alias) {
            (Some(name), _) => name.to_owned(),
            (None, Some(alias)) => format!("alias:{alias}"),
            (None, None) => return Err("a member of a template has neither name nor alias".into()),
        };
        Ok((name, typed(data_type, value, allowance)?))
    };
    let parameters = fields(template.parameters.iter().map(|one| parameter(one, allowance)))?;
    let members = fields(template.metrics.iter().map(|one| member(one, allowance)))?;
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::text);
    let schema = SchemaBuilder::record()
        .field("template", Schema::optional(Kind::String))
        .field("version", Schema::optional(Kind::String))
        .field("definition", Schema::of(Kind::Boolean))
        .field("parameters", parameters.0)
        .field("members", members.0);
    let schema = built(schema)?;
    let values = [
        text(template.reference),
        text(template.version),
        Value::Bool(template.is_definition),
        parameters.1,
        members.1,
    ];
    let value = Struct::from_parts(Arc::clone(&schema), values);
    Ok((schema, Value::Struct(Box::new(value))))
}

fn fields(named: impl Iterator<Item = Result<(String, Typed), String>>) -> Result<Typed, String> {
    let (mut schema, mut values) = (SchemaBuilder::record(), Vec::new());
    for one in named {
        let (name, (of, value)) = one?;
        schema = schema.field(name, of);
        values.push(value);
    }
    let schema = built(schema)?;
    let value = Struct::from_parts(Arc::clone(&schema), values);
    Ok((schema, Value::Struct(Box::new(value))))
}
