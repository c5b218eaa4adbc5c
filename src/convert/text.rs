//! `StringConverter`: plain text. Strings pass without a copy in either direction.

use pipette_api::config::{ConfigDef, Importance, Width};
use pipette_api::{Blob, ConnectError, Datum, Key, Kind, Result, Schema, Settings, Text, Value};

use super::{CONVERTER_TYPE, Form, java};

static ENCODING: Key<String> =
    Key::new("converter.encoding", "The character set that text is written in and read as. Only UTF-8 for now.")
        .default("UTF-8")
        .importance(Importance::High)
        .width(Width::Medium)
        .display("Encoding");

pub(super) static CONFIG: ConfigDef = ConfigDef::new(&[&CONVERTER_TYPE.info, &ENCODING.info]);

#[derive(Debug)]
pub(super) struct StringConverter;

impl StringConverter {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let encoding = settings.get(&ENCODING)?;
        if ["UTF-8", "UTF8"].iter().any(|name| name.eq_ignore_ascii_case(&encoding)) {
            return Ok(Self);
        }
        Err(ConnectError::config(format!(
            "Unsupported encoding {encoding} in {}: StringConverter reads and writes UTF-8 only; leave the key out, or \
             set it to UTF-8",
            ENCODING.info.name
        )))
    }
}

impl Form for StringConverter {
    fn write<'a>(&mut self, datum: &'a Datum, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        write(datum, buffer)
    }

    fn read(&mut self, bytes: Option<&Blob>) -> Result<Datum> {
        Ok(read(bytes))
    }
}

fn write<'a>(datum: &'a Datum, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
    match &datum.value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_bytes())),
        other => {
            buffer.clear();
            java::append_text(other, buffer)?;
            Ok(Some(buffer))
        }
    }
}

fn read(bytes: Option<&Blob>) -> Datum {
    let value = bytes.map_or(Value::Null, |bytes| Value::String(decode(bytes)));
    Datum::new(Schema::optional(Kind::String), value)
}

/// The bytes as text; U+FFFD where they are not UTF-8.
pub(super) fn decode(bytes: &Blob) -> Text {
    Text::new(bytes.clone()).unwrap_or_else(|_| Text::from(lossy(bytes.as_bytes())))
}

/// As many U+FFFD as Java puts: one for an encoded surrogate, whole or cut, where Rust's own function puts one for each byte.
fn lossy(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    while let Some(chunk) = bytes.utf8_chunks().next() {
        text.push_str(chunk.valid());
        let bad = &bytes[chunk.valid().len()..];
        if bad.is_empty() {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        let skipped = match bad {
            [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => 3,
            [0xED, 0xA0..=0xBF, ..] => 2,
            _ => chunk.invalid().len(),
        };
        bytes = &bad[skipped..];
    }
    text
}

#[cfg(test)]
mod tests {
    use pipette_api::data::Decimal;
    use pipette_api::{ConfigMap, ErrorKind, Map, SchemaBuilder, Struct};
    use proptest::prelude::*;

    use super::*;

    fn text(value: Value) -> String {
        String::from_utf8(write(&Datum::schemaless(value), &mut Vec::new()).unwrap().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn values_print_as_in_java() {
        let schema = SchemaBuilder::record()
            .field("a", Schema::of(Kind::Int32))
            .field("n", Schema::optional(Kind::String))
            .field("b", Schema::of(Kind::String))
            .build()
            .unwrap();
        let mut record = Struct::new(schema);
        record.set("a", Value::I32(1)).unwrap().set("b", Value::text("x")).unwrap();
        assert_eq!(text(Value::Struct(Box::new(record))), "Struct{a=1,b=x}");
        let map = Map::from(vec![(Value::text("a"), Value::I8(1)), (Value::text("b"), Value::Null)]);
        assert_eq!(text(Value::Map(Box::new(map))), "{a=1, b=null}");
        assert_eq!(text(Value::Array(Box::new([Value::I64(1), Value::F64(2.0)]))), "[1, 2.0]");
        assert_eq!(text(Value::Timestamp(1_483_425_001_000)), "Tue Jan 03 06:30:01 UTC 2017");
        assert_eq!(text(Value::Decimal(Box::new(Decimal::new(1, -5)))), "1E+5");
        let bytes = Datum::schemaless(Value::Bytes(Blob::whole("x").unwrap()));
        assert_eq!(write(&bytes, &mut Vec::new()).unwrap_err().kind(), ErrorKind::Data);
    }

    #[test]
    fn null_is_null_both_ways() {
        assert_eq!(write(&Datum::NULL, &mut Vec::new()).unwrap(), None);
        assert_eq!(read(None), Datum::new(Schema::optional(Kind::String), Value::Null));
    }

    #[test]
    fn replacement_characters_are_counted_as_in_java() {
        for (bytes, count) in [
            (&[0xED, 0xA0, 0x80][..], 1),
            (&[0xED, 0xA3], 1),
            (&[0xF0, 0x9F, 0x98], 1),
            (&[0xE2, 0x82], 1),
            (&[0xC0, 0x80], 2),
            (&[0xF4, 0x90, 0x80, 0x80], 4),
        ] {
            let wrapped = [b"a", bytes, b"z"].concat();
            assert_eq!(decode(&Blob::whole(wrapped).unwrap()).as_str(), format!("a{}z", "\u{FFFD}".repeat(count)));
        }
    }

    #[test]
    fn other_encodings_are_refused() {
        let with = |name: &str| {
            let config = ConfigMap::from([("converter.encoding".into(), name.into())]);
            StringConverter::new(&Settings::new(config, &CONFIG))
        };
        assert!(with("utf-8").is_ok());
        let error = with("UTF-16").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with("Unsupported encoding UTF-16"));
    }

    proptest! {
        #[test]
        fn any_bytes_become_text_and_text_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let datum = read(Some(&Blob::whole(bytes.clone()).unwrap()));
            let again = write(&datum, &mut Vec::new()).unwrap().unwrap().to_vec();
            prop_assert!(again == bytes || std::str::from_utf8(&bytes).is_err());
        }
    }
}
