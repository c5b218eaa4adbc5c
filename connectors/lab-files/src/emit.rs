//! From cells to records: value, key and headers.
//!
//! `reading.rs` makes one [`Emitter`] per open file; what is the same for all its records is made once. Read next:
//! `reading.rs`.

use std::path::Path;
use std::sync::Arc;

use pipette_api::{Datum, Headers, Kind, Record, Result, Schema, SchemaBuilder, Struct, Text, Value};
use xxhash_rust::xxh3::xxh3_128;

use crate::formats::columns::Columns;
use crate::identity::{FileKey, Fingerprint, Look, shown};
use crate::settings::{KeyChoice, LabFilesSettings};

/// What `headers.include` may name.
pub(crate) const HEADER_NAMES: &[&str] = &[
    "file.name",
    "file.name.without.extension",
    "file.path",
    "file.relative.path",
    "file.parent.dir.name",
    "file.length",
    "file.last.modified",
    "file.root",
    "file.id",
    "file.charset",
    "file.record",
    "file.offset",
];

#[derive(Debug)]
enum HeaderValue {
    Fixed(Datum),
    /// The number of the record in the file, from 1.
    Record,
    /// The byte at which the record begins.
    Offset,
}

/// What is known of a file when it is opened.
pub(crate) struct FileFacts<'a> {
    pub(crate) key: &'a FileKey,
    pub(crate) path: &'a Path,
    pub(crate) look: &'a Look,
    pub(crate) fingerprint: &'a Fingerprint,
    pub(crate) charset: &'static str,
}

#[derive(Debug)]
pub(crate) struct Emitter {
    topic: Arc<str>,
    headers: Vec<(Arc<str>, HeaderValue)>,
    key: Datum,
    /// The column that is the key.
    key_column: Option<usize>,
}

/// Where a record stands in its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) record: u64,
    pub(crate) offset: u64,
}

impl Emitter {
    pub(crate) fn new(settings: &LabFilesSettings, facts: &FileFacts<'_>) -> Self {
        let headers = settings.headers.iter().map(|name| {
            let value = match name.as_str() {
                "file.record" => HeaderValue::Record,
                "file.offset" => HeaderValue::Offset,
                name => HeaderValue::Fixed(fixed_header(name, settings, facts)),
            };
            (Arc::from(name.as_str()), value)
        });
        let key = match &settings.key {
            KeyChoice::Path => text(facts.key.shown_path()),
            KeyChoice::Name => text(facts.key.name()),
            KeyChoice::None | KeyChoice::Field(_) => Datum::NULL,
        };
        Self { topic: Arc::clone(&settings.topic), headers: headers.collect(), key, key_column: None }
    }

    /// Takes the key from that column of each row.
    pub(crate) fn key_from(&mut self, column: Option<usize>) {
        self.key_column = column;
    }

    pub(crate) fn row(&self, columns: &mut Columns, mut cells: Vec<Value>, place: Place) -> Result<Record> {
        let schema = columns.schema_for(cells.len())?;
        cells.resize(schema.fields().len(), Value::Null);
        let key = self.key_column.map(|column| cells[column].clone());
        let value = Value::Struct(Box::new(Struct::from_parts(Arc::clone(schema), cells)));
        let mut record = self.record(Datum::new(Arc::clone(schema), value), place);
        if let Some(key) = key {
            record.key = Datum::new(Schema::optional(Kind::String), key);
        }
        Ok(record)
    }

    pub(crate) fn line(&self, line: Text, place: Place) -> Record {
        self.record(Datum::new(Schema::of(Kind::String), Value::String(line)), place)
    }

    pub(crate) fn record(&self, value: Datum, place: Place) -> Record {
        let number = |value: u64| int64(i64::try_from(value).unwrap_or(i64::MAX));
        let headers = self.headers.iter().map(|(name, value)| {
            let datum = match value {
                HeaderValue::Fixed(datum) => datum.clone(),
                HeaderValue::Record => number(place.record),
                HeaderValue::Offset => number(place.offset),
            };
            (Arc::clone(name), datum)
        });
        Record {
            key: self.key.clone(),
            headers: Headers(headers.collect()),
            ..Record::new(Arc::clone(&self.topic), value)
        }
    }
}

fn fixed_header(header: &str, settings: &LabFilesSettings, facts: &FileFacts<'_>) -> Datum {
    let (name, root) = (facts.key.name(), &settings.roots[facts.key.root]);
    match header {
        "file.name" => text(name),
        "file.name.without.extension" => text(stem(&name)),
        "file.path" => text(shown(facts.path)),
        "file.relative.path" => text(facts.key.shown_path()),
        "file.parent.dir.name" => text(facts.path.parent().and_then(Path::file_name).map_or_else(String::new, shown)),
        "file.length" => int64(i64::try_from(facts.look.size).unwrap_or(i64::MAX)),
        "file.last.modified" => timestamp(facts.look.mtime_ns.div_euclid(1_000_000)),
        "file.root" => text(&*root.id),
        "file.id" => text(file_id(&root.id, facts)),
        _ => text(facts.charset),
    }
}

/// The name up to its last dot; a name that only begins with a dot is all stem.
pub(crate) fn stem(name: &str) -> &str {
    name.rsplit_once('.').map(|(stem, _)| stem).filter(|stem| !stem.is_empty()).unwrap_or(name)
}

/// The same for every record of one generation of a file, and for no other: with `file.record` it tells repeats.
pub(crate) fn file_id(root: &str, facts: &FileFacts<'_>) -> String {
    let print = facts.fingerprint;
    let text = format!("{root}\0{}\0{}\0{}\0{}", facts.key.path, print.size, print.mtime_ns, print.head);
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

pub(crate) fn text(text: impl Into<Text>) -> Datum {
    Datum::new(Schema::of(Kind::String), Value::text(text))
}

fn int64(value: i64) -> Datum {
    Datum::new(Schema::of(Kind::Int64), Value::I64(value))
}

fn timestamp(milliseconds: i64) -> Datum {
    let schema = SchemaBuilder::timestamp().build().unwrap_or_else(|_| unreachable!("a timestamp has no fields"));
    Datum::new(schema, Value::Timestamp(milliseconds))
}
