//! InsertHeader: adds a header with a fixed value.

use std::sync::Arc;

use pipette_api::config::Importance;
use pipette_api::{ConfigDef, Datum, Key, Record, Result, Settings, Text, Transform, Verdict};
use pipette_java::values::Types;

pub(crate) const ABOUT: &str = "Adds a header with a fixed value.";

static HEADER: Key<String> = Key::new("header", "The name of the header.").importance(Importance::High);
static LITERAL: Key<String> = Key::new(
    "value.literal",
    "The value. Its type is recognised as that of header text: 5 is a number, true a boolean, [1,2] a list.",
)
.importance(Importance::High);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&HEADER.info, &LITERAL.info]);

pub(crate) fn make(settings: &Settings) -> Result<Box<dyn Transform>> {
    let datum = Types::default().parse(&Text::from(settings.get(&LITERAL)?));
    Ok(Box::new(InsertHeader { name: settings.get(&HEADER)?.into(), datum }))
}

struct InsertHeader {
    name: Arc<str>,
    datum: Datum,
}

impl Transform for InsertHeader {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        record.headers.add(Arc::clone(&self.name), self.datum.clone());
        Ok(Verdict::Keep)
    }
}
