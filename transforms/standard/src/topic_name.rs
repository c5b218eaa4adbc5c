//! New topics of records.

use std::sync::Arc;

use pipette_api::{ConnectError, Record, Result};

/// Kafka's limit.
const LONGEST: usize = 249;

/// Gives a record another topic. A data error for a name that Kafka does not allow, if the record is on its way to Kafka: a
/// sink may take any name for something else.
pub(crate) fn send_to(record: &mut Record, topic: &Arc<str>) -> Result<()> {
    if record.offset.is_none() && !is_legal(topic) {
        return Err(ConnectError::data(format!(
            "\"{topic}\", made of topic {}, is no name that Kafka allows for a topic: up to {LONGEST} letters of ASCII, \
             digits, dots, underscores and hyphens, and more than dots alone",
            record.topic
        )));
    }
    record.topic = Arc::clone(topic);
    Ok(())
}

fn is_legal(topic: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(topic, "" | "." | "..") && topic.len() <= LONGEST && topic.bytes().all(legal)
}
