//! Which topics cannot be a connector's dead letter topic. Pure; `validate.rs` asks.

use crate::kafka::pattern;

/// What a configuration says of topics.
pub(super) struct Named<'a> {
    /// The dead letter topic.
    pub dead: &'a str,
    /// What a sink reads.
    pub topics: &'a [String],
    /// The same as a pattern.
    pub regex: Option<&'a str>,
    /// Where source offsets are kept, with the key that says so.
    pub offsets: &'a [(&'static str, &'a str)],
}

/// The keys to blame, and why. No dead letters back in, a loop would not end; and none among offsets.
pub(super) fn errors(named: &Named<'_>) -> Vec<(&'static str, String)> {
    let Named { dead, topics, regex, offsets } = named;
    let mut errors = Vec::new();
    if topics.iter().any(|topic| topic == dead) {
        let shown = topics.join(", ");
        let error = format!(
            "The DLQ topic '{dead}' may not be included in the list of topics ('topics=[{shown}]') consumed by the \
             connector"
        );
        errors.push(("topics", error));
    }
    if let Some(text) = regex.filter(|text| pattern::matches(text, dead)) {
        let error = format!(
            "The DLQ topic '{dead}' may not be matched by the regex for the topics ('topics.regex={text}') consumed by \
             the connector"
        );
        errors.push(("topics.regex", error));
    }
    if let Some((key, _)) = offsets.iter().find(|(_, topic)| topic == dead) {
        let error = format!(
            "The topic '{dead}' keeps the offsets of sources ({key}): letters would not last there, and be taken for \
             offsets. Choose another topic"
        );
        errors.push(("errors.deadletterqueue.topic.name", error));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_read_or_keeps_offsets_takes_no_letters() {
        let topics = ["a".to_owned(), "b".to_owned()];
        let blamed = |dead| {
            let offsets = [("offset.storage.topic", "offsets")];
            let named = Named { dead, topics: &topics, regex: Some("row.*"), offsets: &offsets };
            errors(&named).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(blamed("dead"), [""; 0]);
        assert_eq!(blamed("b"), ["topics"]);
        assert_eq!(blamed("rows"), ["topics.regex"]);
        assert_eq!(blamed("offsets"), ["errors.deadletterqueue.topic.name"]);
    }
}
