//! TopicNameMatches: true for records whose topic a pattern matches as a whole.

use pipette_api::config::checks;
use pipette_api::{ConfigDef, ConnectError, Key, Predicate, Record, Result, Settings};
use pipette_java::{JavaRegex, regex};

pub(crate) const ABOUT: &str = "Matches records by the name of their topic.";

static PATTERN: Key<String> =
    Key::new("pattern", "A Java regular expression that must match the whole name of the topic.").check(pattern);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&PATTERN.info]);

fn pattern(text: Option<&str>) -> std::result::Result<(), String> {
    checks::not_empty(text)?;
    regex::valid(text)
}

pub(crate) fn make(settings: &Settings) -> Result<Box<dyn Predicate>> {
    let regex = JavaRegex::new(&settings.get(&PATTERN)?).map_err(ConnectError::config)?;
    Ok(Box::new(TopicNameMatches { regex }))
}

struct TopicNameMatches {
    regex: JavaRegex,
}

impl Predicate for TopicNameMatches {
    fn test(&self, record: &Record) -> bool {
        self.regex.matches(&record.topic)
    }
}
