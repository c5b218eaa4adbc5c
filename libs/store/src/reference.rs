//! What travels through Kafka in the place of a large value: the one native form, version 1.
//!
//! As a struct where records have schemas, as a map with the same fields where they have none, and as JSON in the header
//! `claim-check`, where every tool finds it. All three are read from records that anybody may have written: a reference is
//! believed only after [`crate::Allowed`] has looked at its address.

mod header;

use std::fmt;
use std::sync::{Arc, LazyLock};

use pipette_api::{Blob, ConnectError, Datum, Kind, Map, Result, Schema, SchemaBuilder, Struct, Value};
use serde_json::json;

use crate::compression::Compression;
use crate::digest::Digest;

/// The header with the references of a record: a JSON array.
pub const HEADER: &str = "claim-check";

/// The name of the struct's schema.
pub const SCHEMA_NAME: &str = "io.pipette.claimcheck.Reference";

/// More than anybody means; beyond it a reference is an attack or a mistake.
const LONGEST_TEXT: usize = 4096;
const LONGEST_HEADER: usize = 1 << 20;
const MOST_REFERENCES: usize = 1000;
const MOST_META: usize = 256;

/// Where a payload is, and what it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Reference {
    /// The address, without credentials or query.
    pub uri: String,
    /// The size of the payload before compression; foreign forms may not tell it, the native one does.
    pub size: Option<u64>,
    /// The digest of the payload before compression; foreign forms may not have one.
    pub digest: Option<Digest>,
    /// The media type.
    pub content_type: Option<String>,
    /// How the object is compressed.
    pub content_encoding: Option<Compression>,
    /// The object's entity tag, so that another object under the same key is noticed.
    pub etag: Option<String>,
    /// The object's version likewise.
    pub version_id: Option<String>,
    /// The path of the field it was taken from.
    pub path: Option<String>,
    /// The name of the file it came from.
    pub name: Option<String>,
    /// When it was stored, in milliseconds since 1970.
    pub created_at: Option<i64>,
    /// What else is known of it.
    pub meta: Vec<(String, String)>,
    /// An address with a signature in it: a secret for as long as it is valid.
    pub url: Option<String>,
}

impl Reference {
    /// A reference that tells nothing but where.
    pub fn to(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            size: None,
            digest: None,
            content_type: None,
            content_encoding: None,
            etag: None,
            version_id: None,
            path: None,
            name: None,
            created_at: None,
            meta: Vec::new(),
            url: None,
        }
    }

    /// The schema of the struct.
    pub fn schema() -> Arc<Schema> {
        Arc::clone(&SCHEMA)
    }

    /// As a struct with its schema. A fatal error when the size is not known, which only happens with foreign references.
    pub fn to_struct(&self) -> Result<Datum> {
        let values = self.values()?.map(|(_, value)| value);
        Ok(Datum::new(Self::schema(), Value::Struct(Box::new(Struct::from_parts(Self::schema(), values)))))
    }

    /// As a map without a schema, with those fields that have a value, and with `digest`, by which it is known.
    pub fn to_map(&self) -> Result<Datum> {
        let present = self.values()?.into_iter().filter(|(name, value)| *name == "digest" || !value.is_null());
        let map: Map = present
            .map(|(name, value)| match value {
                Value::Timestamp(millis) => (Value::text(name), Value::I64(millis)),
                value => (Value::text(name), value),
            })
            .collect();
        Ok(Datum::schemaless(Value::Map(Box::new(map))))
    }

    /// The value of the header [`HEADER`]: a JSON array in UTF-8.
    pub fn to_header(references: &[Self]) -> Result<Blob> {
        let array = references.iter().map(Self::to_json).collect();
        Blob::whole(header::to_text(&serde_json::Value::Array(array)))
    }

    fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        let mut put = |name: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        put("uri", Some(json!(self.uri)));
        put("size", self.size.map(|size| json!(size)));
        put("digest", self.digest.map(|digest| json!(digest.to_string())));
        put("content_encoding", self.content_encoding.map(|encoding| json!(encoding.name())));
        for (name, text) in self.texts() {
            put(name, text.as_ref().map(|text| json!(text)));
        }
        put("created_at", self.created_at.map(|at| json!(at)));
        let meta = || self.meta.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        put("meta", (!self.meta.is_empty()).then(|| serde_json::Value::Object(meta())));
        object.into()
    }

    fn texts(&self) -> [(&'static str, &Option<String>); 6] {
        [
            ("content_type", &self.content_type),
            ("etag", &self.etag),
            ("version_id", &self.version_id),
            ("path", &self.path),
            ("name", &self.name),
            ("url", &self.url),
        ]
    }

    /// In the order of the schema.
    fn values(&self) -> Result<[(&'static str, Value); 12]> {
        let size = self.size.and_then(|size| i64::try_from(size).ok()).ok_or_else(|| {
            ConnectError::fatal(format!("a native reference to {} needs the size of the payload", self.uri))
        })?;
        let text = |text: Option<&str>| text.map_or(Value::Null, Value::text);
        let pairs = || self.meta.iter().map(|(name, it)| (Value::text(name.as_str()), Value::text(it.as_str())));
        let meta = || Value::Map(Box::new(pairs().collect()));
        Ok([
            ("uri", Value::text(self.uri.as_str())),
            ("size", Value::I64(size)),
            ("digest", text(self.digest.map(|digest| digest.to_string()).as_deref())),
            ("content_type", text(self.content_type.as_deref())),
            ("content_encoding", text(self.content_encoding.map(Compression::name))),
            ("etag", text(self.etag.as_deref())),
            ("version_id", text(self.version_id.as_deref())),
            ("path", text(self.path.as_deref())),
            ("name", text(self.name.as_deref())),
            ("created_at", self.created_at.map_or(Value::Null, Value::Timestamp)),
            ("meta", if self.meta.is_empty() { Value::Null } else { meta() }),
            ("url", text(self.url.as_deref())),
        ])
    }

    /// The reference that a value is; `None` when it is something else. A data error when it is a broken one.
    pub fn of_value(value: &Value) -> Result<Option<Self>> {
        match value {
            Value::Struct(record) if record.schema().name() == Some(SCHEMA_NAME) => {
                Self::read(&|name| record.get(name).map(Field::Data)).map(Some)
            }
            Value::Map(map) if map.get("uri").is_some() && map.get("digest").is_some() => {
                Self::read(&|name| map.get(name).map(Field::Data)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The references in a header: JSON as bytes or text, or what a header converter made of that.
    pub fn of_header(header: &Datum) -> Result<Vec<Self>> {
        let elements = match &header.value {
            Value::Bytes(bytes) => return Self::of_json(bytes.as_bytes()),
            Value::String(text) => return Self::of_json(text.as_bytes()),
            Value::Array(elements) => &elements[..],
            one => std::slice::from_ref(one),
        };
        if elements.len() > MOST_REFERENCES {
            return Err(broken("it holds too many"));
        }
        let taken_apart = header::is_taken_apart(header);
        let read = |element: &Value| match element {
            Value::Map(map) if taken_apart => Self::of_object(&header::object_of(map)),
            Value::Map(map) => Self::read(&|name| map.get(name).map(Field::Data)),
            Value::Struct(record) => Self::read(&|name| record.get(name).map(Field::Data)),
            other => Err(broken(&format!("it is of type {}", other.type_name()))),
        };
        elements.iter().map(read).collect()
    }

    /// The references in JSON: an array, or one object.
    pub fn of_json(text: &[u8]) -> Result<Vec<Self>> {
        if text.len() > LONGEST_HEADER {
            return Err(broken("it is too long"));
        }
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| broken("it is no JSON").because(error))?;
        let elements = match &value {
            serde_json::Value::Array(elements) => &elements[..],
            one => std::slice::from_ref(one),
        };
        if elements.len() > MOST_REFERENCES {
            return Err(broken("it holds too many"));
        }
        let read = |element: &serde_json::Value| match element {
            serde_json::Value::Object(object) => Self::of_object(object),
            _ => Err(broken("it is no JSON object")),
        };
        elements.iter().map(read).collect()
    }

    fn of_object(object: &serde_json::Map<String, serde_json::Value>) -> Result<Self> {
        Self::read(&|name| object.get(name).map(Field::Json))
    }

    fn read<'a>(get: &dyn Fn(&str) -> Option<Field<'a>>) -> Result<Self> {
        let text = |name: &str| get(name).map_or(Ok(None), |field| field.text(name));
        let number = |name: &str| get(name).map_or(Ok(None), |field| field.number(name));
        let size = number("size")?.map(|size| u64::try_from(size).map_err(|_| broken("its size is negative")));
        Ok(Self {
            uri: text("uri")?.ok_or_else(|| broken("it has no uri"))?,
            size: size.transpose()?,
            digest: text("digest")?.map(|digest| Digest::read(&digest)).transpose()?,
            content_type: text("content_type")?,
            content_encoding: text("content_encoding")?.map_or(Ok(None), |name| Compression::read(&name))?,
            etag: text("etag")?,
            version_id: text("version_id")?,
            path: text("path")?,
            name: text("name")?,
            created_at: number("created_at")?,
            meta: get("meta").map_or(Ok(Vec::new()), Field::pairs)?,
            url: text("url")?,
        })
    }
}

/// Leaves out the address with a signature.
impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference")
            .field("uri", &self.uri)
            .field("size", &self.size)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let text = || Schema::optional(Kind::String);
    let built = |builder: SchemaBuilder| builder.build().unwrap_or_else(|_| unreachable!("a constant schema is sound"));
    SchemaBuilder::record()
        .name(SCHEMA_NAME)
        .version(1)
        .field("uri", Schema::of(Kind::String))
        .field("size", Schema::of(Kind::Int64))
        .field("digest", text())
        .field("content_type", text())
        .field("content_encoding", text())
        .field("etag", text())
        .field("version_id", text())
        .field("path", text())
        .field("name", text())
        .field("created_at", built(SchemaBuilder::timestamp().optional()))
        .field("meta", built(SchemaBuilder::map(Schema::of(Kind::String), Schema::of(Kind::String)).optional()))
        .field("url", text())
        .build()
        .unwrap_or_else(|_| unreachable!("a constant schema is sound"))
});

/// A field of a reference, in either kind of data.
enum Field<'a> {
    Data(&'a Value),
    Json(&'a serde_json::Value),
}

impl Field<'_> {
    fn text(self, name: &str) -> Result<Option<String>> {
        let text = match self {
            Self::Data(Value::Null) | Self::Json(serde_json::Value::Null) => return Ok(None),
            Self::Data(Value::String(text)) => text.as_str(),
            Self::Json(serde_json::Value::String(text)) => text,
            _ => return Err(broken(&format!("its {name} is no text"))),
        };
        if text.len() > LONGEST_TEXT {
            return Err(broken(&format!("its {name} is too long")));
        }
        Ok(Some(text.to_owned()))
    }

    /// Header converters make the smallest integer that fits.
    fn number(self, name: &str) -> Result<Option<i64>> {
        match self {
            Self::Data(Value::Null) | Self::Json(serde_json::Value::Null) => return Ok(None),
            Self::Data(Value::I64(number) | Value::Timestamp(number)) => Some(*number),
            Self::Data(Value::I32(number)) => Some(i64::from(*number)),
            Self::Data(Value::I16(number)) => Some(i64::from(*number)),
            Self::Data(Value::I8(number)) => Some(i64::from(*number)),
            Self::Json(number) => number.as_i64(),
            Self::Data(_) => None,
        }
        .map(Some)
        .ok_or_else(|| broken(&format!("its {name} is no integer")))
    }

    fn pairs(self) -> Result<Vec<(String, String)>> {
        let pairs: Vec<(Option<String>, Option<String>)> = match self {
            Self::Data(Value::Null) | Self::Json(serde_json::Value::Null) => return Ok(Vec::new()),
            Self::Data(Value::Map(map)) if map.len() <= MOST_META => {
                let text = |value: &Value| Field::Data(value).text("meta");
                map.iter().map(|(name, value)| Ok((text(name)?, text(value)?))).collect::<Result<_>>()?
            }
            Self::Json(serde_json::Value::Object(object)) if object.len() <= MOST_META => {
                let pair = |(name, value): (&String, _)| Ok((Some(name.clone()), Field::Json(value).text("meta")?));
                object.iter().map(pair).collect::<Result<_>>()?
            }
            _ => return Err(broken("its meta is no map of texts, or too large")),
        };
        Ok(pairs.into_iter().filter_map(|(name, value)| Some((name?, value?))).collect())
    }
}

fn broken(how: &str) -> ConnectError {
    ConnectError::data(format!("a reference to a large value cannot be read: {how}"))
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
