//! `StringConverter`: plain text. UTF-8 strings pass without a copy in either direction; `charset.rs` does the others.

use pipette_api::config::{ConfigDef, Importance, Width};
use pipette_api::{Blob, ConnectError, Datum, Key, Kind, Result, Schema, Settings, Text, Value};

use super::charset::{self, Charset};
use super::{CONVERTER_TYPE, Form, java, payload_refused};

static ENCODING: Key<String> =
    Key::new("converter.encoding", "The character set that text is written in and read as, by any of Java's names.")
        .default("UTF-8")
        .check(|name| charset::find(name.unwrap_or_default()).map(drop))
        .importance(Importance::High)
        .width(Width::Medium)
        .display("Encoding");

pub(super) static CONFIG: ConfigDef = ConfigDef::new(&[&CONVERTER_TYPE.info, &ENCODING.info]);

#[derive(Debug)]
pub(super) struct StringConverter {
    /// None is UTF-8.
    charset: Option<&'static Charset>,
}

impl StringConverter {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let charset = charset::find(&settings.get(&ENCODING)?);
        let charset = charset.map_err(|error| ConnectError::config(format!("{}: {error}", ENCODING.info.name)))?;
        Ok(Self { charset })
    }
}

impl Form for StringConverter {
    fn write<'a>(&mut self, datum: &'a Datum, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        match self.charset {
            None => write(datum, buffer),
            Some(charset) => recode(charset, datum, buffer),
        }
    }

    fn read(&mut self, bytes: Option<&Blob>) -> Result<Datum> {
        let value = bytes.map_or(Value::Null, |bytes| {
            let text = self.charset.map(|charset| Text::from(charset.decode(bytes.as_bytes())));
            Value::String(text.unwrap_or_else(|| decode(bytes)))
        });
        Ok(Datum::new(Schema::optional(Kind::String), value))
    }
}

fn write<'a>(datum: &'a Datum, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
    match &datum.value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_bytes())),
        other => {
            buffer.clear();
            java::append_text(other, buffer, no_text)?;
            Ok(Some(buffer))
        }
    }
}

fn no_text(value: &Value, _: &mut Vec<u8>) -> Result<()> {
    Err(match value {
        Value::Payload(payload) => payload_refused("StringConverter", &**payload),
        _ => ConnectError::data(
            "bytes have no text form: use ByteArrayConverter, or JsonConverter for bytes inside of a struct or map",
        ),
    })
}

fn recode<'a>(charset: &Charset, datum: &'a Datum, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
    let mut other = Vec::new();
    let Some(text) = write(datum, &mut other)? else { return Ok(None) };
    buffer.clear();
    charset.encode(std::str::from_utf8(text).unwrap_or_else(|_| unreachable!("text is UTF-8")), buffer);
    Ok(Some(buffer))
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

    fn utf8() -> StringConverter {
        with("utf-8").unwrap()
    }

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
        assert_eq!(utf8().read(None).unwrap(), Datum::new(Schema::optional(Kind::String), Value::Null));
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

    fn with(name: &str) -> Result<StringConverter> {
        let config = ConfigMap::from([("converter.encoding".into(), name.into())]);
        StringConverter::new(&Settings::new(config, &CONFIG))
    }

    #[test]
    fn text_is_written_and_read_in_its_encoding() {
        let text = Datum::schemaless(Value::text("é€日"));
        let list = Datum::schemaless(Value::Array(Box::new([Value::text("é"), Value::I8(1)])));
        for (name, bytes, listed, back) in [
            ("latin1", &b"\xE9??"[..], &b"[\xE9, 1]"[..], "é??"),
            ("UTF-16LE", b"\xE9\0\xAC\x20\xE5\x65", b"[\0\xE9\0,\0 \x001\0]\0", "é€日"),
            ("Shift_JIS", b"??\x93\xFA", b"[?, 1]", "??日"),
            ("UTF-8", "é€日".as_bytes(), "[é, 1]".as_bytes(), "é€日"),
        ] {
            let mut converter = with(name).unwrap();
            let mut buffer = Vec::new();
            assert_eq!(converter.write(&text, &mut buffer).unwrap().unwrap(), bytes, "{name}");
            assert_eq!(converter.write(&list, &mut Vec::new()).unwrap().unwrap(), listed, "{name}");
            let read = converter.read(Some(&Blob::whole(bytes.to_vec()).unwrap())).unwrap();
            assert_eq!(read.value.as_str(), Some(back), "{name}");
            assert_eq!(converter.read(None).unwrap().value, Value::Null);
            assert_eq!(converter.write(&Datum::NULL, &mut Vec::new()).unwrap(), None);
        }
    }

    #[test]
    fn an_unknown_encoding_is_an_error_that_names_the_key() {
        let error = with("EUC-JP").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("converter.encoding: EUC-JP is no character set"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_become_text_and_text_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let datum = utf8().read(Some(&Blob::whole(bytes.clone()).unwrap())).unwrap();
            let again = write(&datum, &mut Vec::new()).unwrap().unwrap().to_vec();
            prop_assert!(again == bytes || std::str::from_utf8(&bytes).is_err());
        }
    }
}
