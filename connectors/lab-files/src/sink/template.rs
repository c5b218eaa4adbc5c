//! `file.name`: how the name of a file is made of its record.
//!
//! Pure; parsed when settings are read, filled once per record by `../sink.rs`. What comes out is not trusted yet:
//! `name.rs` makes a name of it that cannot leave the folder.

use pipette_api::{SinkRecord, Value};
use pipette_java::DateFormat;

/// A text with places for what a record knows of itself.
pub(crate) struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Place(Place),
}

enum Place {
    Topic,
    /// Digits at least, zeros in front.
    Partition(usize),
    /// Digits at least, zeros in front.
    Offset(usize),
    Key,
    /// As milliseconds since 1970, or by a pattern.
    Timestamp(Option<DateFormat>),
    Header(String),
    Field(String),
}

impl Template {
    /// The template of a text such as `${topic}/${header:file.name}`; the error is the reason.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            let Some((place, after)) = behind.split_once('}') else {
                return Err(format!("the ${{ before '{behind}' is never closed"));
            };
            pieces.push(Piece::Text(literal(before)?));
            pieces.push(Piece::Place(Place::parse(place)?));
            rest = after;
        }
        pieces.push(Piece::Text(literal(rest)?));
        Ok(Self(pieces))
    }

    /// The text for a record; the error names the place that nothing can be put into.
    pub(crate) fn fill(&self, record: &SinkRecord) -> Result<String, String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Place(place) => place.fill(record, &mut out)?,
            }
        }
        Ok(out)
    }
}

/// What stands between places is the user's own word, so that what would be changed later is refused at once.
fn literal(text: &str) -> Result<String, String> {
    let bad = text.chars().find(|char| super::name::is_replaced(*char));
    match bad {
        Some(char) => Err(format!("{char:?} cannot be in the name of a file on every system")),
        None if text.split('/').any(|part| part == "..") => Err("'..' would lead out of output.path".into()),
        None => Ok(text.to_owned()),
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
        match (name, argument) {
            ("topic", None) => Ok(Self::Topic),
            ("key", None) => Ok(Self::Key),
            ("partition", digits) => width(digits).map(Self::Partition),
            ("offset", digits) => width(digits).map(Self::Offset),
            ("timestamp", None) => Ok(Self::Timestamp(None)),
            ("timestamp", Some(pattern)) => DateFormat::new(pattern).map(|format| Self::Timestamp(Some(format))),
            ("header", Some(name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            ("field", Some(path)) if !path.is_empty() => Ok(Self::Field(path.to_owned())),
            _ => Err(format!(
                "${{{text}}} is no place of a name: known are topic, partition, offset, offset:20 (so many digits), \
                 key, timestamp, timestamp:PATTERN, header:NAME and field:PATH"
            )),
        }
    }

    fn fill(&self, record: &SinkRecord, out: &mut String) -> Result<(), String> {
        let origin = &record.origin;
        match self {
            Self::Topic => out.push_str(&record.record.topic),
            Self::Partition(width) => out.push_str(&padded(origin.tp.partition.into(), *width)),
            Self::Offset(width) => out.push_str(&padded(origin.offset, *width)),
            Self::Key => scalar(&record.record.key.value, "key", out)?,
            Self::Timestamp(format) => {
                let time = record.record.timestamp.ok_or("the record has no timestamp")?;
                match format {
                    Some(format) => format.format(time, out),
                    None => out.push_str(&time.to_string()),
                }
            }
            Self::Header(name) => {
                let header = record.record.headers.last(name);
                let header = header.ok_or_else(|| format!("the record has no header {name}"))?;
                scalar(&header.value, &format!("header {name}"), out)?;
            }
            Self::Field(path) => {
                let value = field(&record.record.value.value, path);
                let value = value.ok_or_else(|| format!("the record has no field {path}"))?;
                scalar(value, &format!("field {path}"), out)?;
            }
        }
        Ok(())
    }
}

fn width(digits: Option<&str>) -> Result<usize, String> {
    let Some(digits) = digits else { return Ok(0) };
    let width = digits.parse().ok().filter(|width| (1..=20).contains(width));
    width.ok_or_else(|| format!("'{digits}' is no number of digits from 1 to 20"))
}

fn padded(number: i64, width: usize) -> String {
    format!("{number:0width$}")
}

/// The field at the end of a path with dots, in structs and maps.
pub(crate) fn field<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| match value {
        Value::Struct(row) => row.get(name),
        Value::Map(map) => map.get(name),
        _ => None,
    })
}

/// Appends the text of a value that is one thing.
fn scalar(value: &Value, what: &str, out: &mut String) -> Result<(), String> {
    let mut plain = Vec::new();
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Bytes(bytes) => std::str::from_utf8(bytes.as_bytes()).map_err(|_| format!("the {what} is no text"))?,
        value if pipette_java::append_plain(value, &mut plain) => std::str::from_utf8(&plain).unwrap_or_default(),
        value => return Err(format!("the {what} is of type {}, which is no name", value.type_name())),
    };
    if text.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    out.push_str(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use pipette_api::{Datum, TopicPartition};
    use pipette_kit::build;

    use super::*;

    fn fill(template: &str) -> Result<String, String> {
        let row = build::map(&[("id", Value::I64(7)), ("in", build::map(&[("name", Value::text("deep"))]).value)]);
        let mut record = build::sink_record(&TopicPartition::new("reads", 3), 42, row);
        record.record.key = build::text("plate 1");
        record.record.timestamp = Some(951_782_400_000);
        record.record.headers.add("file.path", Datum::schemaless(Value::text("a/b.csv")));
        record.record.headers.add("none", Datum::NULL);
        Template::parse(template)?.fill(&record)
    }

    #[test]
    fn places_are_filled_from_the_record() {
        for (template, expected) in [
            ("fixed.txt", "fixed.txt"),
            ("${topic}/${partition}/${topic}+${partition}+${offset:20}", "reads/3/reads+3+00000000000000000042"),
            ("${partition:4}-${offset}.bin", "0003-42.bin"),
            ("${key}.txt", "plate 1.txt"),
            ("${timestamp:yyyy/MM}/${timestamp}", "2000/02/951782400000"),
            ("x/${header:file.path}", "x/a/b.csv"),
            ("${field:id}-${field:in.name}", "7-deep"),
        ] {
            assert_eq!(fill(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (template, reason) in [
            ("${header:no}", "has no header no"),
            ("${header:none}", "header none is of type null"),
            ("${field:in.no}", "has no field in.no"),
            ("${field:in}", "field in is of type map"),
            ("${topic", "is never closed"),
            ("${tpoic}", "${tpoic} is no place of a name: known are"),
            ("${offset:x}", "'x' is no number of digits"),
            ("${timestamp:jj}", "Illegal pattern character 'j'"),
            ("../${key}", "would lead out"),
            ("a:b", "':' cannot be in the name"),
        ] {
            let error = fill(template).unwrap_err();
            assert!(error.contains(reason), "{template}: {error}");
        }
    }
}
