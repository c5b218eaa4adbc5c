//! HasHeaderKey: true for records with a header of a name.

use pipette_api::config::checks;
use pipette_api::{ConfigDef, Key, Predicate, Record, Result, Settings};

pub(crate) const ABOUT: &str = "Matches records with at least one header of that name.";

static NAME: Key<String> = Key::new("name", "The header's name.").check(checks::not_empty);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&NAME.info]);

pub(crate) fn make(settings: &Settings) -> Result<Box<dyn Predicate>> {
    Ok(Box::new(HasHeaderKey { name: settings.get(&NAME)? }))
}

struct HasHeaderKey {
    name: String,
}

impl Predicate for HasHeaderKey {
    fn test(&self, record: &Record) -> bool {
        record.headers.last(&self.name).is_some()
    }
}
