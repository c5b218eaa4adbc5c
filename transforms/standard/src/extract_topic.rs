//! ExtractTopic: takes the name of the topic from a field or a header.

use std::sync::Arc;

use pipette_api::config::Importance;
use pipette_api::{ConfigDef, ConnectError, Datum, Key, Record, Result, Settings, Side, Transform, Value, Verdict};

use crate::path::FieldPath;
use crate::topic_name::send_to;

pub(crate) const ABOUT: &str = "Takes the topic from a field of the key or value, or from a header.";

static FIELD: Key<String> = Key::new(
    "field",
    "The path to the field: dots lead into fields, backticks hold a name with dots together. Empty takes the whole key \
     or value.",
)
.optional()
.importance(Importance::High)
.check(path);
static HEADER: Key<String> =
    Key::new("header", "The name of the header, instead of a field; the last one of that name.")
        .optional()
        .importance(Importance::High);
static SKIP: Key<bool> = Key::new(
    "skip.missing",
    "true leaves the topic of a record as it is that has no such field or header; else it is an error.",
)
.default("false");

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&FIELD.info, &HEADER.info, &SKIP.info]).rule(one_of_both);

fn path(text: Option<&str>) -> std::result::Result<(), String> {
    text.filter(|text| !text.is_empty()).map_or(Ok(()), |text| FieldPath::nested(text).map(drop))
}

fn one_of_both(settings: &Settings) -> Vec<(&'static str, String)> {
    match (settings.raw(FIELD.info.name), settings.raw(HEADER.info.name)) {
        (None, None) => vec![(FIELD.info.name, "either field or header says where the topic stands".into())],
        (Some(_), Some(_)) => vec![(HEADER.info.name, "only one of field and header can be given".into())],
        _ => vec![],
    }
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    crate::hold_rules(&CONFIG, settings)?;
    let place = match (settings.find(&HEADER)?, settings.find(&FIELD)?.unwrap_or_default()) {
        (Some(header), _) => Place::Header(header),
        (None, field) if field.is_empty() => Place::Whole,
        (None, field) => Place::Field(FieldPath::nested(&field).map_err(ConnectError::config)?),
    };
    Ok(Box::new(ExtractTopic { side, place, skips: settings.get(&SKIP)?, last: Arc::from("") }))
}

struct ExtractTopic {
    side: Side,
    place: Place,
    skips: bool,
    /// The topic of the record before, which most have too.
    last: Arc<str>,
}

enum Place {
    Whole,
    Field(FieldPath),
    Header(String),
}

impl Place {
    fn find<'r>(&self, record: &'r Record, side: Side) -> Option<&'r Value> {
        let there = |datum: &'r Datum| Some(&datum.value).filter(|value| !value.is_null());
        match self {
            Self::Whole => there(side.of(record)),
            Self::Field(path) => path.find(&side.of(record).value),
            Self::Header(name) => there(record.headers.last(name)?),
        }
    }

    fn named(&self) -> String {
        match self {
            Self::Whole => "the whole key or value".into(),
            Self::Field(path) => format!("the field {}", path.text()),
            Self::Header(name) => format!("the header {name}"),
        }
    }
}

impl Transform for ExtractTopic {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        match self.place.find(record, self.side) {
            Some(Value::String(text)) => {
                if text.as_bytes() != self.last.as_bytes() {
                    self.last = text.as_str().into();
                }
                send_to(record, &self.last)?;
            }
            Some(other) => {
                return Err(ConnectError::data(format!(
                    "{} is of type {}: a topic is a text",
                    self.place.named(),
                    other.type_name()
                )));
            }
            None if self.skips => {}
            None => {
                return Err(ConnectError::data(format!(
                    "{} is missing or null: no topic can be made of it (skip.missing=true keeps the record's own)",
                    self.place.named()
                )));
            }
        }
        Ok(Verdict::Keep)
    }
}
