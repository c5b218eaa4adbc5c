//! HashField: replaces fields by a keyed hash of them, so that people can be told apart and joined, not recognised.

use pipette_api::config::{Importance, Password, checks};
use pipette_api::{ConfigDef, ConnectError, Key, Record, Result, Settings, Side, Transform, Value, Verdict};
use ring::hmac;

use crate::fields::{self, Change, Fields, REPLACE_NULL, java_class};

pub(crate) const ABOUT: &str = "Replaces fields by a keyed hash (HMAC) of them, to pseudonymise.";

static FIELDS: Key<Vec<String>> =
    Key::new("fields", "The names of the fields to hash; each becomes text.").importance(Importance::High).check(names);
static SECRET: Key<Password> = Key::new(
    "secret",
    "The key of the hash, 16 characters or more. Who has it can find out which value a hash is of; the same key gives \
     the same hashes.",
)
.importance(Importance::High)
.check(long_enough);
static ALGORITHM: Key<String> =
    Key::new("algorithm", "The hash.").default("HmacSHA256").recommended(ALGORITHMS).check(algorithm);
static ENCODING: Key<String> =
    Key::new("encoding", "How the hash is written.").default("hex").recommended(ENCODINGS).check(encoding);

pub(crate) static CONFIG: ConfigDef =
    ConfigDef::new(&[&FIELDS.info, &SECRET.info, &ALGORITHM.info, &ENCODING.info, &REPLACE_NULL.info]);

const ALGORITHMS: &[&str] = &["HmacSHA256", "HmacSHA384", "HmacSHA512"];
const ENCODINGS: &[&str] = &["hex", "base64"];

fn names(text: Option<&str>) -> std::result::Result<(), String> {
    crate::some_elements(FIELDS.info.name, text)?;
    checks::distinct(text)
}

fn long_enough(text: Option<&str>) -> std::result::Result<(), String> {
    match text {
        Some(text) if text.len() < 16 => Err("a key of fewer than 16 characters can be guessed".into()),
        _ => Ok(()),
    }
}

fn algorithm(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of(text, ALGORITHMS)
}

fn encoding(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of(text, ENCODINGS)
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let algorithm = match settings.get(&ALGORITHM)?.as_str() {
        "HmacSHA384" => hmac::HMAC_SHA384,
        "HmacSHA512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let hasher = Hasher {
        key: hmac::Key::new(algorithm, settings.get(&SECRET)?.0.as_bytes()),
        hex: settings.get(&ENCODING)? == "hex",
        text: Vec::new(),
    };
    let fields = settings.get(&FIELDS)?.into_iter().map(|name| (name, ()));
    Ok(Box::new(HashField { side, hasher, change: Change::of(fields, settings)? }))
}

struct HashField {
    side: Side,
    hasher: Hasher,
    change: Change<()>,
}

struct Hasher {
    key: hmac::Key,
    hex: bool,
    /// What is hashed, kept for its memory.
    text: Vec<u8>,
}

impl Transform for HashField {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let Self { side, hasher, change } = self;
        let datum = side.of_mut(record);
        if datum.value.is_null() {
            return Ok(Verdict::Keep);
        }
        match fields::of(datum, "hashing fields")? {
            Fields::Struct(schema, value) => {
                change.in_struct(schema, value, fields::as_text, |value, (), _| hasher.hash(value))?;
            }
            Fields::Map(map) => change.in_members(map, |value, ()| hasher.hash(value))?,
        }
        Ok(Verdict::Keep)
    }
}

impl Hasher {
    /// Of texts and bytes as they are, of everything else as it is written: 5 and "5" have one hash, whatever table they
    /// come from.
    fn hash(&mut self, value: &Value) -> Result<Value> {
        self.text.clear();
        let tag = match value {
            Value::Null => return Ok(Value::Null),
            Value::String(text) => hmac::sign(&self.key, text.as_bytes()),
            Value::Bytes(bytes) => hmac::sign(&self.key, bytes.as_bytes()),
            value => {
                if let Some(millis) = pipette_java::millis(value) {
                    pipette_json::write_i64(millis, &mut self.text);
                } else if !pipette_java::append_plain(value, &mut self.text) {
                    return Err(ConnectError::data(format!("a value of class {} cannot be hashed", java_class(value))));
                }
                hmac::sign(&self.key, &self.text)
            }
        };
        self.text.clear();
        if self.hex {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            self.text.extend(tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        } else {
            pipette_json::write_base64(tag.as_ref(), &mut self.text);
        }
        Ok(Value::text(str::from_utf8(&self.text).unwrap_or_else(|_| unreachable!("digits and letters"))))
    }
}
