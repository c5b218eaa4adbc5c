//! RecordIsTombstone: true for records whose value is null, whatever its schema.

use pipette_api::{ConfigDef, Predicate, Record};

pub(crate) const ABOUT: &str = "Matches tombstones: records whose value is null.";

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[]);

pub(crate) fn make() -> Box<dyn Predicate> {
    Box::new(RecordIsTombstone)
}

struct RecordIsTombstone;

impl Predicate for RecordIsTombstone {
    fn test(&self, record: &Record) -> bool {
        record.value.value.is_null()
    }
}
