//! DropHeaders: takes headers away by their names.

use pipette_api::config::{Importance, checks};
use pipette_api::{ConfigDef, Key, Record, Result, Settings, Transform, Verdict};

pub(crate) const ABOUT: &str = "Takes headers away by their names.";

static HEADERS: Key<Vec<String>> =
    Key::new("headers", "The names of the headers to take away, all of each name; compared exactly.")
        .importance(Importance::High)
        .check(names);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&HEADERS.info]);

fn names(text: Option<&str>) -> std::result::Result<(), String> {
    crate::some_elements(HEADERS.info.name, text)?;
    checks::distinct(text)
}

pub(crate) fn make(settings: &Settings) -> Result<Box<dyn Transform>> {
    Ok(Box::new(DropHeaders { names: settings.get(&HEADERS)? }))
}

struct DropHeaders {
    names: Vec<String>,
}

impl Transform for DropHeaders {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        record.headers.0.retain(|(name, _)| !self.names.iter().any(|dropped| **dropped == **name));
        Ok(Verdict::Keep)
    }
}
