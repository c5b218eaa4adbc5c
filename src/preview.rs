//! `pipette preview`: what a chain makes of records, step by step, for people.
//!
//! A record is shown as lines, one for each field; a step shows the lines that it took away and those that it put there.

use std::collections::BTreeMap;
use std::fmt::Write;

use pipette_api::{Datum, Record, Value};

use crate::herder::preview::{Outcome, Stop, Trail};

/// The text of what became of records.
pub(crate) fn text(trails: &[Trail]) -> String {
    let mut out = String::new();
    for (index, trail) in trails.iter().enumerate() {
        let _ = writeln!(out, "Record {}", index + 1);
        match &trail.start {
            Err(error) => {
                let _ = writeln!(out, "  failed before the chain: {}", error.chain());
            }
            Ok(record) => {
                let mut before = Lines::of(record);
                for line in &before.0 {
                    let _ = writeln!(out, "    {}  {}", line.0, line.1);
                }
                for stop in &trail.steps {
                    before = step(stop, before, &mut out);
                }
            }
        }
        out.push('\n');
    }
    out
}

fn step(stop: &Stop, before: Lines, out: &mut String) -> Lines {
    let (alias, class) = (&stop.alias, stop.class.rsplit('.').next().unwrap_or(stop.class));
    let micros = stop.took.as_secs_f64() * 1e6;
    let _ = match &stop.outcome {
        Outcome::Unseen(why) => writeln!(out, "  {alias} ({class}): not shown: {why}"),
        Outcome::Skipped => writeln!(out, "  {alias} ({class}): left out by its predicate"),
        Outcome::Dropped => writeln!(out, "  {alias} ({class}, {micros:.1} µs): dropped"),
        Outcome::Failed(error) => writeln!(out, "  {alias} ({class}, {micros:.1} µs): failed\n  ! {}", error.chain()),
        Outcome::Changed(record) => {
            let after = Lines::of(record);
            let _ = writeln!(out, "  {alias} ({class}, {micros:.1} µs)");
            if stop.rehearsed {
                out.push_str("    a rehearsal: nothing was written outside\n");
            }
            before.differences(&after, out);
            return after;
        }
    };
    before
}

/// A record as lines: a path and what stands there.
struct Lines(Vec<(String, String)>);

impl Lines {
    fn of(record: &Record) -> Self {
        let mut lines = Self(vec![("topic".into(), record.topic.to_string())]);
        let numbers = [
            ("partition", record.partition.map(i64::from)),
            ("offset", record.offset),
            ("timestamp", record.timestamp),
        ];
        for (name, number) in numbers {
            lines.0.extend(number.map(|number| (name.to_owned(), number.to_string())));
        }
        for (index, (name, datum)) in record.headers.0.iter().enumerate() {
            lines.datum(&format!("header {index} {name}"), datum);
        }
        lines.datum("key", &record.key);
        lines.datum("value", &record.value);
        lines
    }

    fn datum(&mut self, path: &str, datum: &Datum) {
        if let Some(schema) = &datum.schema {
            let mut about = schema.kind().name().to_owned();
            if schema.is_optional() {
                about.push('?');
            }
            for part in [schema.name().map(str::to_owned), schema.version().map(|number| format!("version {number}"))] {
                about.extend(part.map(|part| format!(" {part}")));
            }
            self.0.push((format!("{path} schema"), about));
        }
        self.value(path, &datum.value, 0);
    }

    fn value(&mut self, path: &str, value: &Value, depth: usize) {
        match value {
            Value::Struct(record) if depth < pipette_json::MAX_DEPTH && !record.values().is_empty() => {
                for (field, value) in record.schema().fields().iter().zip(record.values()) {
                    self.value(&format!("{path}.{}", field.name), value, depth + 1);
                }
            }
            Value::Map(map) if depth < pipette_json::MAX_DEPTH && !map.is_empty() => {
                for (key, value) in map.iter() {
                    let name = key.as_str().map_or_else(|| plain(key), str::to_owned);
                    self.value(&format!("{path}.{name}"), value, depth + 1);
                }
            }
            Value::Null => self.0.push((path.to_owned(), "null".into())),
            value => self.0.push((path.to_owned(), format!("{} ({})", plain(value), value.type_name()))),
        }
    }

    fn differences(&self, after: &Self, out: &mut String) {
        let before: BTreeMap<&str, &str> = self.0.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let now: BTreeMap<&str, &str> = after.0.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let gone = self.0.iter().filter(|(path, text)| now.get(path.as_str()) != Some(&text.as_str()));
        let new = after.0.iter().filter(|(path, text)| before.get(path.as_str()) != Some(&text.as_str()));
        let mut changes = 0;
        for (sign, (path, text)) in gone.map(|line| ('-', line)).chain(new.map(|line| ('+', line))) {
            changes += 1;
            let _ = writeln!(out, "  {sign} {path}  {text}");
        }
        if changes == 0 {
            out.push_str("    no change\n");
        }
    }
}

fn plain(value: &Value) -> String {
    let mut text = Vec::new();
    match pipette_json::write(value, &mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => error.to_string(),
    }
}
