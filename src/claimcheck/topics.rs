//! Reads topics to their end, and what comes while they are read as well.
//!
//! A record that is copied from one topic to another while both are read (a mirror, a replay of dead letters) may be missed in
//! both: it was not there yet in the one, and is not there any more in the other. So each topic is read on once all have been
//! read: what was copied before a record went is behind the first end.

use std::collections::BTreeMap;

use pipette_api::{ConnectError, RawRecord, Result};

use super::gc::Voice;
use crate::kafka::admin;
use crate::kafka::properties::ClientProperties;
use crate::kafka::stretch::{Start, Stretch};

/// Every record of the topics, as long as each can be read to its end. `gone` are those that must not be there.
pub(super) fn read(
    kafka: &ClientProperties,
    topics: &[&str],
    gone: &[String],
    voice: &mut Voice<'_>,
    each: &mut dyn FnMut(&RawRecord) -> Result<()>,
) -> Result<()> {
    for topic in gone {
        if admin::exists(kafka, topic)? {
            return Err(ConnectError::config(format!(
                "Topic {topic} is there, although --topic-deleted says that it is gone"
            )));
        }
    }
    let mut ends = Vec::new();
    for topic in topics {
        // Looked at first: no client may make a topic by asking for its records.
        if !admin::exists(kafka, topic)? {
            return Err(ConnectError::config(format!(
                "There is no topic {topic}: if it is gone for good and all objects of it may go, say so with \
                 --topic-deleted {topic}"
            )));
        }
        voice.say(&format!("Reading topic {topic}"));
        ends.push(stretch(kafka, topic, Start::Oldest, voice, each)?);
    }
    voice.say("Reading on what has come meanwhile");
    for (topic, first) in topics.iter().zip(&ends) {
        let last = stretch(kafka, topic, Start::Each(first), voice, each)?;
        let shrunk = first.iter().any(|(partition, end)| last.get(partition).is_none_or(|last| last < end));
        if shrunk {
            return Err(ConnectError::retriable(format!(
                "Topic {topic} became shorter while it was read: somebody made it anew, or a broker lost records. Nothing was \
                 deleted; try again"
            )));
        }
    }
    Ok(())
}

/// Where each partition ended.
fn stretch(
    kafka: &ClientProperties,
    topic: &str,
    start: Start<'_>,
    voice: &mut Voice<'_>,
    each: &mut dyn FnMut(&RawRecord) -> Result<()>,
) -> Result<BTreeMap<i32, i64>> {
    let mut stretch = Stretch::open(kafka, topic, start)?;
    let mut records = 0_u64;
    while let Some(record) = stretch.read()? {
        records += 1;
        each(&record)?;
        voice.now_and_then(|| format!("Topic {topic}: {records} records read"));
    }
    Ok(stretch.ends().clone())
}
