//! TimestampRouter: puts the record's timestamp into the name of its topic.

use pipette_api::config::Importance;
use pipette_api::{ConfigDef, ConnectError, Key, Record, Result, Settings, Transform, Verdict};
use pipette_java::DateFormat;

use crate::topic_name::send_to;

pub(crate) const ABOUT: &str = "Changes the topic to one with the record's timestamp in its name.";

static TOPIC_FORMAT: Key<String> = Key::new(
    "topic.format",
    "The new name; ${topic} stands for the topic and ${timestamp} for the record's timestamp.",
)
.default("${topic}-${timestamp}")
.importance(Importance::High);
static TIMESTAMP_FORMAT: Key<String> =
    Key::new("timestamp.format", "How the timestamp is written: a pattern of Java's SimpleDateFormat, in UTC.")
        .default("yyyyMMdd")
        .importance(Importance::High)
        .check(crate::date_pattern);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&TOPIC_FORMAT.info, &TIMESTAMP_FORMAT.info]);

pub(crate) fn make(settings: &Settings) -> Result<Box<dyn Transform>> {
    let format = DateFormat::new(&settings.get(&TIMESTAMP_FORMAT)?).map_err(ConnectError::config)?;
    Ok(Box::new(TimestampRouter { topic: settings.get(&TOPIC_FORMAT)?, format, text: String::new() }))
}

struct TimestampRouter {
    topic: String,
    format: DateFormat,
    /// The timestamp as text, kept for its memory.
    text: String,
}

impl Transform for TimestampRouter {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let Some(timestamp) = record.timestamp else {
            return Err(ConnectError::data(format!(
                "Timestamp missing on record: the topic of a record from {} cannot be made from it",
                record.topic
            )));
        };
        self.text.clear();
        self.format.format(timestamp, &mut self.text);
        // One after the other: a topic that says ${timestamp} gets one.
        let topic = self.topic.replace("${topic}", &record.topic).replace("${timestamp}", &self.text);
        send_to(record, &topic.into())?;
        Ok(Verdict::Keep)
    }
}
