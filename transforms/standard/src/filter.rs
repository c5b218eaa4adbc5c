//! Filter: drops every record it sees; a predicate says which it sees.

use pipette_api::{ConfigDef, Record, Result, Settings, Transform, Verdict};

pub(crate) const ABOUT: &str = "Drops every record it sees: use it with a predicate.";

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[]);

#[expect(clippy::unnecessary_wraps, reason = "every transformation is made so")]
pub(crate) fn make(_: &Settings) -> Result<Box<dyn Transform>> {
    Ok(Box::new(Filter))
}

struct Filter;

impl Transform for Filter {
    fn apply(&mut self, _: &mut Record) -> Result<Verdict> {
        Ok(Verdict::Drop)
    }
}
