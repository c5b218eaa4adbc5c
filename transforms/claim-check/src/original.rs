//! What a value was before it became a reference: text or bytes, and its schema where that says more. It stands among the
//! metadata of the reference, so that what comes back is what went.

use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::{Blob, ConnectError, Kind, Result, Schema, SchemaBuilder, Text, Value};

const TYPE: &str = "original.type";
const ENCODING: &str = "original.encoding";
const OPTIONAL: &str = "original.optional";
const NAME: &str = "original.name";
const VERSION: &str = "original.version";
const DOC: &str = "original.doc";
const DEFAULT: &str = "original.default";
const PARAM: &str = "original.param.";

/// Larger defaults and documentation are left out.
const LONGEST: usize = 1024;

/// Schemas that are known at a time.
const SCHEMAS: usize = 16;

/// How bytes become a value again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bytes,
    Text,
    /// Text whose bytes are stored.
    Base64,
}

/// Writes what is not to be taken for granted: bytes with a plain schema write nothing.
pub(crate) fn note(form: Form, schema: Option<&Schema>, meta: &mut Vec<(String, String)>) {
    let mut put = |name: &str, text: &str| {
        if text.len() <= LONGEST {
            meta.push((name.to_owned(), text.to_owned()));
        }
    };
    if form != Form::Bytes {
        put(TYPE, "string");
    }
    if form == Form::Base64 {
        put(ENCODING, "base64");
    }
    let Some(schema) = schema else { return };
    if schema.is_optional() {
        put(OPTIONAL, "yes");
    }
    for (name, text) in [(NAME, schema.name()), (DOC, schema.doc())] {
        if let Some(text) = text {
            put(name, text);
        }
    }
    if let Some(version) = schema.version() {
        put(VERSION, &format!("v{version}"));
    }
    for (name, text) in schema.params() {
        put(&format!("{PARAM}{name}"), text);
    }
    match schema.default() {
        Some(Value::String(text)) => put(DEFAULT, &encoded(text.as_bytes())),
        Some(Value::Bytes(bytes)) => put(DEFAULT, &encoded(bytes.as_bytes())),
        _ => {}
    }
}

fn encoded(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    pipette_json::write_base64(bytes, &mut out);
    String::from_utf8(out).unwrap_or_else(|_| unreachable!("base64 is ASCII"))
}

fn get<'m>(meta: &'m [(String, String)], name: &str) -> Option<&'m str> {
    meta.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
}

/// What the bytes were.
pub(crate) fn form(meta: &[(String, String)]) -> Form {
    match (get(meta, TYPE), get(meta, ENCODING)) {
        (Some("string"), Some("base64")) => Form::Base64,
        (Some("string"), _) => Form::Text,
        _ => Form::Bytes,
    }
}

/// The schema it had. A data error when what is noted makes none.
fn schema(meta: &[(String, String)]) -> Result<Arc<Schema>> {
    let kind = if form(meta) == Form::Bytes { Kind::Bytes } else { Kind::String };
    let ours = |(name, _): &(String, String)| name.starts_with("original.") && name != TYPE && name != ENCODING;
    if !meta.iter().any(ours) {
        return Ok(Schema::of(kind));
    }
    let mut builder = SchemaBuilder::new(kind).nullable(get(meta, OPTIONAL).is_some());
    if let Some(name) = get(meta, NAME) {
        builder = builder.name(name);
    }
    if let Some(doc) = get(meta, DOC) {
        builder = builder.doc(doc);
    }
    if let Some(version) = get(meta, VERSION).and_then(|text| text.strip_prefix('v')?.parse().ok()) {
        builder = builder.version(version);
    }
    for (name, text) in meta.iter().filter_map(|(name, text)| Some((name.strip_prefix(PARAM)?, text))) {
        builder = builder.param(name, text.as_str());
    }
    if let Some(text) = get(meta, DEFAULT) {
        let bytes = pipette_json::decode_base64(text.as_bytes())
            .ok_or_else(|| ConnectError::data("a reference cannot be read: its original.default is no base64"))?;
        let blob = Blob::whole(bytes)?;
        builder =
            builder.default(if kind == Kind::Bytes { Value::Bytes(blob) } else { Value::String(Text::new(blob)?) });
    }
    let schema = builder.build()?;
    let shared = if schema.is_optional() { Schema::optional(kind) } else { Schema::of(kind) };
    Ok(if *schema == *shared { shared } else { schema })
}

/// Schemas that came back, each once: what is worked out for a schema goes by its address.
#[derive(Default)]
pub(crate) struct Schemas(Mutex<Vec<Arc<Schema>>>);

impl Schemas {
    /// The schema a value had, the same object as the last time.
    pub(crate) fn of(&self, meta: &[(String, String)]) -> Result<Arc<Schema>> {
        let schema = schema(meta)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().find(|known| Schema::same(known, &schema)) {
            return Ok(Arc::clone(same));
        }
        known.truncate(SCHEMAS - 1);
        known.insert(0, Arc::clone(&schema));
        Ok(schema)
    }
}

/// What is stored of text that is base64, if its bytes make the same text again.
pub(crate) fn bytes_of_base64(text: &Text) -> Option<Vec<u8>> {
    let bytes = pipette_json::decode_base64(text.as_bytes())?;
    (encoded(&bytes).as_bytes() == text.as_bytes()).then_some(bytes)
}

/// The value again. A data error when the bytes are no text.
pub(crate) fn value(form: Form, bytes: Vec<u8>) -> Result<Value> {
    Ok(match form {
        Form::Bytes => Value::Bytes(Blob::whole(bytes)?),
        Form::Text => Value::String(Text::new(Blob::whole(bytes)?)?),
        Form::Base64 => Value::text(encoded(&bytes)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_comes_back_as_it_was() {
        let text = |builder: SchemaBuilder| builder.build().unwrap();
        for (form, schema) in [
            (Form::Bytes, Schema::of(Kind::Bytes)),
            (Form::Bytes, Schema::optional(Kind::Bytes)),
            (Form::Text, Schema::of(Kind::String)),
            (
                Form::Base64,
                text(SchemaBuilder::new(Kind::String).name("io.debezium.data.Json").version(1).optional().doc("a doc")),
            ),
            (Form::Text, text(SchemaBuilder::new(Kind::String).default(Value::text("-")).param("a", "b"))),
        ] {
            let mut meta = Vec::new();
            note(form, Some(&schema), &mut meta);
            assert_eq!((self::form(&meta), self::schema(&meta).unwrap()), (form, schema), "{meta:?}");
        }
        let mut nothing = Vec::new();
        note(Form::Bytes, Some(&Schema::of(Kind::Bytes)), &mut nothing);
        assert_eq!(nothing, [], "plain bytes need no words");
    }

    #[test]
    fn only_base64_in_its_usual_form_is_taken_apart() {
        assert_eq!(bytes_of_base64(&Text::from("AJw=")), Some(vec![0, 156]));
        for text in ["AJx=", "AJw", " AJw=", "hello world", "AJw=AAAA"] {
            assert_eq!(bytes_of_base64(&Text::from(text)), None, "{text}");
        }
        assert_eq!(value(Form::Base64, vec![0, 156]).unwrap(), Value::text("AJw="));
    }
}
