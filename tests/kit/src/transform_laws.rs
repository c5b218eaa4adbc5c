//! Laws T2–T7 of transformations and predicates (T1 is S1–S4, `config_laws.rs`), and T8 of those that wait for something
//! outside, for which the others hold as well.
//!
//! Called from a plugin crate's `tests/acceptance.rs` as a visible list, each with the crate's [`Cases`]. A broken law
//! panics with the case and both sides. `transform_laws/cases.rs` says how a case is written.

mod cases;
mod odd;
mod values;
mod waiting;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use pipette_api::{Datum, Plugin, Predicate, Record, Result, Settings, Transform, Value, Verdict};

pub use cases::{Case, Expected};
pub use waiting::t8_a_cancelled_apply_leaves_nothing;

/// The golden cases of a crate with the plugins they are about.
pub struct Cases {
    plugins: &'static [Plugin],
    cases: Vec<Case>,
}

impl Cases {
    /// Reads every `*.json` in a folder.
    pub fn read(plugins: &'static [Plugin], folder: impl AsRef<Path>) -> Self {
        Self { plugins, cases: cases::read(folder.as_ref()) }
    }

    /// Reads the text of one file.
    pub fn parse(plugins: &'static [Plugin], text: &str) -> Self {
        Self { plugins, cases: cases::parse_all("text", text) }
    }

    fn plugin(&self, case: &Case) -> &'static Plugin {
        let found = self.plugins.iter().find(|plugin| plugin.info().answers_to(&case.plugin));
        found.unwrap_or_else(|| panic!("{}: no plugin answers to {}", case.name, case.plugin))
    }

    fn made(&self) -> impl Iterator<Item = (&Case, Result<Made>)> {
        self.cases.iter().map(|case| (case, make(self.plugin(case), case)))
    }

    /// The transformations whose configuration is sound, each with its case.
    fn transforms(&self) -> impl Iterator<Item = (&Case, Box<dyn Transform>)> {
        self.made().filter_map(|(case, made)| match made {
            Ok(Made::Transform(transform)) => Some((case, transform)),
            _ => None,
        })
    }
}

enum Made {
    Transform(Box<dyn Transform>),
    Predicate(Box<dyn Predicate>),
}

fn make(plugin: &Plugin, case: &Case) -> Result<Made> {
    let settings = Settings::new(case.config.clone(), plugin.info().config);
    match plugin {
        Plugin::Transform(plugin) => (plugin.make)(settings).map(Made::Transform),
        Plugin::AsyncTransform(plugin) => {
            waiting::Waited::new(plugin, settings).map(|waited| Made::Transform(Box::new(waited)))
        }
        Plugin::Predicate(plugin) => (plugin.make)(settings).map(Made::Predicate),
        _ => panic!("{}: {} is neither a transformation nor a predicate", case.name, plugin.info().class),
    }
}

/// T2: every golden case comes out as written, and every plugin of the crate has one.
pub fn t2_golden_cases(cases: &Cases) {
    for (case, made) in cases.made() {
        let mut record = case.input.clone();
        let outcome = made.and_then(|made| match made {
            Made::Transform(mut transform) => transform.apply(&mut record).map(|verdict| match verdict {
                Verdict::Keep => Expected::Record(Box::new(record)),
                Verdict::Drop => Expected::Drop,
            }),
            Made::Predicate(predicate) => Ok(Expected::Answer(predicate.test(&record))),
        });
        match (&case.expected, outcome) {
            (Expected::Error(part), Err(error)) => {
                assert!(error.chain().contains(part), "T2: {}: {part:?} is not in: {}", case.name, error.chain());
            }
            (expected, Err(error)) => panic!("T2: {}: {expected:#?} expected, not: {}", case.name, error.chain()),
            (expected, Ok(found)) => {
                assert!(*expected == found, "T2: {}\nexpected: {expected:#?}\nfound: {found:#?}", case.name);
            }
        }
    }
    for plugin in cases.plugins {
        let info = plugin.info();
        let tested = cases.cases.iter().any(|case| info.answers_to(&case.plugin));
        assert!(tested, "T2: {} has no golden case", info.class);
    }
}

/// T3: an error leaves the record as it was, in the golden cases and for records of every other shape.
pub fn t3_error_leaves_the_record_unchanged(cases: &Cases) {
    for (case, mut transform) in cases.transforms() {
        for record in odd::records().iter().chain([&case.input]) {
            let mut changed = record.clone();
            if let Err(error) = transform.apply(&mut changed) {
                assert!(changed == *record, "T3: {}: {error}\nbefore: {record:#?}\nafter: {changed:#?}", case.name);
            }
        }
    }
}

/// T4: nulls, missing schemas and unexpected types are answered, never a panic; what goes on is sound: a struct stands
/// under its own schema.
pub fn t4_odd_records_are_answered(cases: &Cases) {
    let records = odd::records();
    for (case, made) in cases.made() {
        let Ok(mut made) = made else { continue };
        for record in &records {
            let mut changed = record.clone();
            let answer = catch_unwind(AssertUnwindSafe(|| match &mut made {
                Made::Transform(transform) => transform.apply(&mut changed).is_ok(),
                Made::Predicate(predicate) => {
                    predicate.test(&changed);
                    true
                }
            }));
            assert!(answer.is_ok(), "T4: {}: panicked on {record:#?}", case.name);
            let sound = odd::is_sound(record) <= odd::is_sound(&changed);
            assert!(sound, "T4: {}: a struct does not stand under its schema: {changed:#?}", case.name);
        }
    }
}

/// T5: a record without a schema comes out as the same record with one does. A case for which Java says otherwise
/// declares the reason, and then really is different.
pub fn t5_schemaless_agrees(cases: &Cases) {
    for (case, mut transform) in cases.transforms() {
        let expected = match &case.expected {
            Expected::Record(record) if has_schema(&case.input) => Some(without_nulls(without_schema(record))),
            Expected::Drop if has_schema(&case.input) => None,
            _ => continue,
        };
        let mut record = without_schema(&case.input);
        let found = match transform.apply(&mut record) {
            Ok(Verdict::Keep) => Ok(Some(without_nulls(without_schema(&record)))),
            Ok(Verdict::Drop) => Ok(None),
            Err(error) => Err(error.chain()),
        };
        let agrees = found.as_ref() == Ok(&expected);
        match &case.schemaless {
            None => assert!(agrees, "T5: {}\nwith schema: {expected:#?}\nwithout: {found:#?}", case.name),
            Some(reason) => {
                eprintln!("T5 does not apply to {}: {reason}", case.name);
                assert!(!agrees, "T5: {} declares a difference that is none", case.name);
            }
        }
    }
}

/// T6: the same schema in gives the same schema out, the same object, so that what stands behind can cache by it; also
/// when records of a few other schemas came in between.
pub fn t6_same_schema_in_same_schema_out(cases: &Cases) {
    for (case, mut transform) in cases.transforms() {
        let (mut first, mut second) = (case.input.clone(), case.input.clone());
        let before = transform.apply(&mut first);
        for mut other in odd::records() {
            // What becomes of these is the matter of T3 and T4.
            let _ = transform.apply(&mut other);
        }
        if let (Ok(_), Ok(_)) = (before, transform.apply(&mut second)) {
            for (first, second) in [(&first.key, &second.key), (&first.value, &second.value)] {
                let same = first.schema.as_ref().map(Arc::as_ptr) == second.schema.as_ref().map(Arc::as_ptr);
                assert!(same, "T6: {}: two schemas made from one: {:#?}", case.name, first.schema);
            }
        }
    }
}

/// T7: what is dropped is reported as dropped, and left whole for the log; no record goes on emptied in its place.
pub fn t7_drop_is_drop(cases: &Cases) {
    for (case, mut transform) in cases.transforms() {
        for record in odd::records().iter().chain([&case.input]) {
            let mut changed = record.clone();
            match transform.apply(&mut changed) {
                Ok(Verdict::Drop) => {
                    assert!(changed == *record, "T7: {}: dropped, and changed: {changed:#?}", case.name);
                }
                Ok(Verdict::Keep) => {
                    let emptied = !record.key.is_null() && !record.value.is_null() && is_empty(&changed);
                    assert!(!emptied, "T7: {}: emptied, not dropped: {record:#?}", case.name);
                }
                Err(_) => {}
            }
        }
    }
}

fn is_empty(record: &Record) -> bool {
    record.key.is_null() && record.value.is_null()
}

fn has_schema(record: &Record) -> bool {
    record.key.schema.is_some() || record.value.schema.is_some()
}

/// The record as a source without schemas would have made it.
fn without_schema(record: &Record) -> Record {
    let plain = |datum: &Datum| Datum::schemaless(plain(&datum.value));
    let mut record = Record { key: plain(&record.key), value: plain(&record.value), ..record.clone() };
    for (_, datum) in &mut record.headers.0 {
        *datum = plain(datum);
    }
    record
}

fn plain(value: &Value) -> Value {
    match value {
        Value::Struct(record) => {
            let names = record.schema().fields().iter().map(|field| Value::text(&*field.name));
            Value::Map(Box::new(names.zip(record.values().iter().map(plain)).collect()))
        }
        Value::Array(elements) => Value::Array(elements.iter().map(plain).collect()),
        Value::Map(map) => Value::Map(Box::new(map.iter().map(|(key, value)| (plain(key), plain(value))).collect())),
        other => other.clone(),
    }
}

/// A struct has a null where a map has nothing.
fn without_nulls(mut record: Record) -> Record {
    for datum in [&mut record.key, &mut record.value] {
        if let Value::Map(map) = &mut datum.value {
            **map = map.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
        }
    }
    record
}

#[cfg(test)]
mod tests;
