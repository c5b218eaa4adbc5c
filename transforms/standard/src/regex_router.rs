//! RegexRouter: gives a record another topic when a pattern matches the whole name of its topic.

use std::sync::Arc;

use pipette_api::config::Importance;
use pipette_api::{ConfigDef, ConnectError, Key, Record, Result, Settings, Transform, Verdict};
use pipette_java::{JavaRegex, Replacement, regex};

use crate::topic_cache::TopicCache;
use crate::topic_name::send_to;

pub(crate) const ABOUT: &str = "Changes the topic by a regular expression and its replacement.";

static REGEX: Key<String> =
    Key::new("regex", "A Java regular expression; topics that it matches as a whole are renamed.")
        .importance(Importance::High)
        .check(regex::valid);
static REPLACEMENT: Key<String> = Key::new(
    "replacement",
    "What takes the place of the first match. $1 and ${name} stand for groups; \\ takes the meaning from $ and \\.",
)
.importance(Importance::High);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&REGEX.info, &REPLACEMENT.info]).rule(groups_exist);

/// Java finds out when the first topic matches; here a wrong group is refused before anything runs.
fn groups_exist(settings: &Settings) -> Vec<(&'static str, String)> {
    let (Ok(regex), Ok(replacement)) = (settings.get(&REGEX), settings.get(&REPLACEMENT)) else { return vec![] };
    match Rename::new(&regex, &replacement) {
        Ok(_) => vec![],
        Err(reason) => vec![(REPLACEMENT.info.name, reason)],
    }
}

pub(crate) fn make(settings: &Settings) -> Result<Box<dyn Transform>> {
    crate::hold_rules(&CONFIG, settings)?;
    let rename = Rename::new(&settings.get(&REGEX)?, &settings.get(&REPLACEMENT)?).map_err(ConnectError::config)?;
    Ok(Box::new(RegexRouter { rename, topics: TopicCache::new() }))
}

struct RegexRouter {
    rename: Rename,
    /// The new name per topic; `None` for a topic that keeps its own.
    topics: TopicCache<Option<Arc<str>>>,
}

struct Rename {
    regex: JavaRegex,
    replacement: Replacement,
}

impl Transform for RegexRouter {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let rename = &self.rename;
        if let Some(topic) = self.topics.get(&record.topic, |topic| rename.apply(topic)) {
            send_to(record, topic)?;
        }
        Ok(Verdict::Keep)
    }
}

impl Rename {
    fn new(regex: &str, replacement: &str) -> std::result::Result<Self, String> {
        let regex = JavaRegex::new(regex)?;
        let replacement = Replacement::parse(replacement, regex.anywhere())?;
        Ok(Self { regex, replacement })
    }

    /// Java asks for a match of the whole name, then searches again from the start: the first match may be shorter.
    fn apply(&self, topic: &str) -> Option<Arc<str>> {
        if !self.regex.matches(topic) {
            return None;
        }
        let captures = self.regex.anywhere().captures(topic)?;
        let matched = captures.get_match();
        let mut renamed = topic[..matched.start()].to_owned();
        self.replacement.expand(&captures, &mut renamed);
        renamed.push_str(&topic[matched.end()..]);
        Some(renamed.into())
    }
}
