//! `SimpleHeaderConverter`: header values as text, their type recognised when they are read, by `libs/java`.

use std::sync::Arc;

use pipette_api::config::ConfigDef;
use pipette_api::{Blob, ConnectError, Datum, HeaderConverter, Kind, Result, Schema, Text, Value};

use pipette_java::calendar::iso_text;
use pipette_java::values::Types;

use super::{java, payload_refused};

pub(super) static CONFIG: ConfigDef = ConfigDef::new(&[]);

pub(super) struct SimpleHeaderConverter {
    types: Types,
    bytes: Arc<Schema>,
}

impl SimpleHeaderConverter {
    pub(super) fn new() -> Self {
        Self { types: Types::default(), bytes: Schema::of(Kind::Bytes) }
    }
}

impl HeaderConverter for SimpleHeaderConverter {
    fn encode<'a>(
        &mut self,
        _topic: &str,
        _name: &str,
        datum: &'a Datum,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>> {
        match &datum.value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.as_bytes())),
            Value::Bytes(bytes) => {
                buffer.clear();
                pipette_json::write_base64(bytes.as_bytes(), buffer);
                Ok(Some(buffer))
            }
            other => {
                buffer.clear();
                append(other, buffer, 0)?;
                Ok(Some(buffer))
            }
        }
    }

    fn decode(&mut self, _topic: &str, _name: &str, bytes: Option<&Blob>) -> Result<Datum> {
        let Some(bytes) = bytes else { return Ok(Datum::NULL) };
        match Text::new(bytes.clone()) {
            Ok(text) => Ok(self.types.parse(&text)),
            // Text with replacement characters would come back as other bytes.
            Err(_) => Ok(Datum::new(Arc::clone(&self.bytes), Value::Bytes(bytes.clone()))),
        }
    }
}

/// The text of a value that is no string at the top; strings inside are quoted.
fn append(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    if java::append_plain(value, out) {
        return Ok(());
    }
    if let Some(millis) = java::millis(value) {
        out.extend_from_slice(iso_text(millis).as_bytes());
        return Ok(());
    }
    match value {
        Value::String(text) => quoted(text.as_bytes(), out),
        Value::Bytes(bytes) => {
            out.push(b'"');
            pipette_json::write_base64(bytes.as_bytes(), out);
            out.push(b'"');
        }
        Value::Payload(payload) => return Err(payload_refused("SimpleHeaderConverter", &**payload)),
        _ if depth == pipette_json::MAX_DEPTH => {
            return Err(ConnectError::data(format!("a header value nested deeper than {depth} levels has no text")));
        }
        Value::Array(elements) => {
            java::parts(out, ["[", ",", "]"], elements.iter(), |element, out| append(element, out, depth + 1))?;
        }
        Value::Map(map) => java::parts(out, ["{", ",", "}"], map.iter(), |(key, value), out| {
            append(key, out, depth + 1)?;
            out.push(b':');
            append(value, out, depth + 1)
        })?,
        Value::Struct(record) => {
            let fields = record.schema().fields().iter().zip(record.values());
            java::parts(out, ["{", ",", "}"], fields, |(field, value), out| {
                quoted(field.name.as_bytes(), out);
                out.push(b':');
                let value = field.schema.default().filter(|_| value.is_null()).unwrap_or(value);
                append(value, out, depth + 1)
            })?;
        }
        _ => out.extend_from_slice(b"null"),
    }
    Ok(())
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use pipette_api::data::Decimal;
    use pipette_api::{Map, SchemaBuilder, Struct};
    use proptest::prelude::*;

    use super::*;

    fn write(value: Value) -> String {
        let datum = Datum::schemaless(value);
        let mut buffer = Vec::new();
        let text = SimpleHeaderConverter::new().encode("t", "h", &datum, &mut buffer).unwrap().unwrap().to_vec();
        String::from_utf8(text).unwrap()
    }

    fn read(bytes: &[u8]) -> Datum {
        SimpleHeaderConverter::new().decode("t", "h", Some(&Blob::whole(bytes.to_vec()).unwrap())).unwrap()
    }

    #[test]
    fn values_are_written_as_java_writes_them() {
        let schema = SchemaBuilder::record().field("a", Schema::of(Kind::String)).build().unwrap();
        let seven = SchemaBuilder::new(Kind::Int8).default(Value::I8(7)).build().unwrap();
        let with_default = SchemaBuilder::record().field("d", seven).build().unwrap();
        let mut record = Struct::new(schema);
        record.set("a", Value::text("x\"\\")).unwrap();
        let map = Map::from(vec![(Value::text("k"), Value::Struct(Box::new(record))), (Value::text("n"), Value::Null)]);
        for (value, expected) in [
            (Value::text("as \"is\""), "as \"is\""),
            (Value::F64(1e10), "1.0E10"),
            (Value::Bool(true), "true"),
            (Value::Decimal(Box::new(Decimal::new(150, 2))), "1.50"),
            (Value::Bytes(Blob::whole(vec![0, 156]).unwrap()), "AJw="),
            (Value::Array(Box::new([Value::I8(1), Value::text("a")])), "[1,\"a\"]"),
            (Value::Map(Box::new(map)), "{\"k\":{\"a\":\"x\\\"\\\\\"},\"n\":null}"),
            (Value::Struct(Box::new(Struct::new(with_default))), "{\"d\":7}"),
            (Value::Timestamp(0), "00:00:00.000Z"),
            (Value::Date(1), "1970-01-02"),
            (Value::Timestamp(-1), "23:59:59.999Z"),
            (Value::Timestamp(86_400_001), "1970-01-02T00:00:00.001Z"),
        ] {
            assert_eq!(write(value), expected);
        }
    }

    #[test]
    fn null_is_null_and_what_is_no_text_stays_bytes() {
        let mut converter = SimpleHeaderConverter::new();
        assert_eq!(converter.encode("t", "h", &Datum::NULL, &mut Vec::new()).unwrap(), None);
        assert_eq!(converter.decode("t", "h", None).unwrap(), Datum::NULL);
        let bytes = Value::Bytes(Blob::whole(vec![0xFF, b'1']).unwrap());
        assert_eq!(read(&[0xFF, b'1']), Datum::new(Schema::of(Kind::Bytes), bytes));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "[\\[\\]{}:,\"\\\\0-9eE+. nulltrueTZ-]{0,24}", bytes in any::<Vec<u8>>()) {
            let _ = read(text.as_bytes());
            let _ = read(&bytes);
        }

        #[test]
        fn numbers_come_back(number in any::<i64>()) {
            let value = match read(number.to_string().as_bytes()).value {
                Value::I8(value) => i64::from(value),
                Value::I16(value) => i64::from(value),
                Value::I32(value) => i64::from(value),
                Value::I64(value) => value,
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(value, number);
        }
    }
}
