//! `ByteArrayConverter`: bytes as they are, no copy in either direction.

use pipette_api::config::ConfigDef;
use pipette_api::{Blob, ConnectError, Datum, Kind, Result, Schema, Value};

use super::{CONVERTER_TYPE, Form, java, payload_refused};

pub(super) static CONFIG: ConfigDef = ConfigDef::new(&[&CONVERTER_TYPE.info]);

#[derive(Debug)]
pub(super) struct ByteArrayConverter;

impl Form for ByteArrayConverter {
    fn write<'a>(&mut self, datum: &'a Datum, _buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        write(datum)
    }

    fn read(&mut self, bytes: Option<&Blob>) -> Result<Datum> {
        Ok(read(bytes))
    }
}

fn write(datum: &Datum) -> Result<Option<&[u8]>> {
    if let Some(schema) = &datum.schema
        && schema.kind() != Kind::Bytes
    {
        return Err(ConnectError::data(format!(
            "Invalid schema type for ByteArrayConverter: {}",
            java::kind(schema.kind())
        )));
    }
    match &datum.value {
        Value::Null => Ok(None),
        Value::Bytes(bytes) => Ok(Some(bytes.as_bytes())),
        Value::Payload(payload) => Err(payload_refused("ByteArrayConverter", &**payload)),
        other => Err(ConnectError::data(format!(
            "ByteArrayConverter is not compatible with objects of type {}",
            java::class(other)
        ))),
    }
}

fn read(bytes: Option<&Blob>) -> Datum {
    Datum::new(Schema::optional(Kind::Bytes), bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_and_nothing_else_does() {
        let blob = Blob::whole(vec![0, 255, 7]).unwrap();
        let datum = read(Some(&blob));
        assert_eq!(write(&datum).unwrap(), Some(blob.as_bytes()));
        assert_eq!(write(&datum).unwrap().unwrap().as_ptr(), blob.as_bytes().as_ptr(), "no copy");
        assert_eq!(write(&read(None)).unwrap(), None);
        assert_eq!(write(&Datum::schemaless(Value::Bytes(blob.clone()))).unwrap(), Some(blob.as_bytes()));
        let refused = |datum: Datum| write(&datum).unwrap_err().to_string();
        assert_eq!(
            refused(Datum::new(Schema::of(Kind::String), Value::text("x"))),
            "Invalid schema type for ByteArrayConverter: STRING"
        );
        assert_eq!(
            refused(Datum::schemaless(Value::text("x"))),
            "ByteArrayConverter is not compatible with objects of type class java.lang.String"
        );
    }
}
