//! What stands beside a committed offset: nothing, as in Apache's worker, or a JSON object with an open intent of the sink
//! and with a note of what is already durable behind the offset (`task/stage/collect.rs`). Pure.
//!
//! A sink may write down what it is about to do behind an offset (`SinkRuntime::commit`). Every later commit of that offset
//! would wipe it out, so it is repeated until the offset passes it. `conversation.rs` commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipette_api::{Assigned, ConnectError, Result, TopicPartition};
use serde_json::value::RawValue;

/// What brokers take (`offset.metadata.max.bytes`).
const MOST: usize = 4_096;

/// The metadata of a commit with this intent, which is a JSON text.
pub(crate) fn metadata(intent: &str) -> Result<Arc<str>> {
    if let Err(error) = serde_json::from_str::<&RawValue>(intent) {
        return Err(ConnectError::fatal(format!("The sink's intent is no JSON text: {intent}")).because(error));
    }
    let metadata = with_intent(intent);
    if metadata.len() > MOST {
        let length = metadata.len();
        let text = format!("The sink's intent is {length} bytes long, and Kafka keeps {MOST} beside an offset");
        return Err(ConnectError::fatal(text));
    }
    Ok(metadata.into())
}

fn with_intent(intent: &str) -> String {
    format!("{{\"intent\":{intent}}}")
}

/// The note in a metadata.
pub(crate) fn note(metadata: &str) -> Option<Arc<str>> {
    serde_json::from_str::<String>(&member(metadata, "reassemble")?).ok().map(Arc::from)
}

fn member(metadata: &str, name: &str) -> Option<String> {
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(metadata).ok()?;
    members.remove(name).map(|value| value.get().to_owned())
}

/// An open intent as metadata, and a note. A note that does not fit beside the intent is left out: what it is about comes
/// again after a restart.
fn beside(intent: Option<&str>, note: Option<&str>) -> Option<String> {
    let note = note.map(|note| format!("\"reassemble\":{}", serde_json::Value::from(note)));
    let both = match (intent.and_then(|intent| intent.strip_suffix('}')), &note) {
        (Some(intent), Some(note)) => format!("{intent},{note}}}"),
        (None, Some(note)) => format!("{{{note}}}"),
        (_, None) => return intent.map(str::to_owned),
    };
    if both.len() <= MOST {
        return Some(both);
    }
    tracing::debug!(length = both.len(), "What is already put behind an offset does not fit beside it");
    intent.map(str::to_owned)
}

/// What stands beside the offsets of a consumer's partitions: the offset each is for, and the intent as metadata, or the
/// note.
#[derive(Debug, Default)]
pub(super) struct Intents {
    open: BTreeMap<TopicPartition, (i64, Arc<str>)>,
    notes: BTreeMap<TopicPartition, (i64, Arc<str>)>,
}

impl Intents {
    /// Partitions come with what the last owner has left.
    pub(super) fn assigned(&mut self, assigned: &[Assigned]) {
        for Assigned { tp, committed } in assigned {
            self.open.remove(tp);
            self.notes.remove(tp);
            let Some((offset, metadata)) = committed else { continue };
            let intent = member(metadata, "intent").map(|intent| Arc::from(with_intent(&intent)));
            self.open.extend(intent.map(|intent| (tp.clone(), (*offset, intent))));
            self.notes.extend(note(metadata).map(|note| (tp.clone(), (*offset, note))));
        }
    }

    /// These stand beside their offsets from now on.
    pub(super) fn note(&mut self, notes: BTreeMap<TopicPartition, (i64, Arc<str>)>) {
        self.notes.extend(notes);
    }

    /// What goes beside an offset that is committed now. `new` is an intent that begins with it.
    pub(super) fn beside(&self, tp: &TopicPartition, offset: i64, new: Option<&Arc<str>>) -> Option<String> {
        let open = || self.open.get(tp).filter(|(at, _)| offset <= *at).map(|(_, metadata)| metadata);
        let note = self.notes.get(tp).filter(|(at, _)| offset == *at).map(|(_, note)| &**note);
        beside(new.or_else(open).map(|metadata| &**metadata), note)
    }

    /// The offset is committed.
    pub(super) fn committed(&mut self, tp: &TopicPartition, offset: i64, new: Option<&Arc<str>>) {
        if let Some(new) = new {
            self.open.insert(tp.clone(), (offset, Arc::clone(new)));
        } else if self.open.get(tp).is_some_and(|(at, _)| offset > *at) {
            self.open.remove(tp);
        }
        if self.notes.get(tp).is_some_and(|(at, _)| offset > *at) {
            self.notes.remove(tp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_repeated_until_it_is_passed_and_survives_a_rebalance() {
        let (tp, mut intents) = (TopicPartition::new("t", 0), Intents::default());
        let flush = metadata(r#"{"last":9}"#).unwrap();
        assert_eq!(intents.beside(&tp, 5, None), None);
        assert_eq!(intents.beside(&tp, 5, Some(&flush)).as_deref(), Some(r#"{"intent":{"last":9}}"#));
        intents.committed(&tp, 5, Some(&flush));
        intents.committed(&tp, 5, None);
        assert_eq!(intents.beside(&tp, 5, None).as_deref(), Some(&*flush));
        assert_eq!(intents.beside(&tp, 6, None), None, "passed");
        let mut next = Intents::default();
        next.assigned(&[Assigned { tp: tp.clone(), committed: Some((5, Arc::clone(&flush))) }]);
        assert_eq!(next.beside(&tp, 5, None).as_deref(), Some(&*flush));
        next.committed(&tp, 10, None);
        assert_eq!(next.beside(&tp, 5, None), None);
        next.assigned(&[Assigned { tp: tp.clone(), committed: Some((5, "of another client".into())) }]);
        assert_eq!(next.beside(&tp, 5, None), None);
    }

    #[test]
    fn a_note_stands_beside_its_offset_with_the_intent_and_survives_a_rebalance() {
        let (tp, mut intents) = (TopicPartition::new("t", 0), Intents::default());
        let flush = metadata("[1]").unwrap();
        intents.note(BTreeMap::from([(tp.clone(), (5, "7,\"9\"".into()))]));
        assert_eq!(intents.beside(&tp, 4, None), None, "of another offset");
        let both = intents.beside(&tp, 5, Some(&flush)).unwrap();
        assert_eq!(both, r#"{"intent":[1],"reassemble":"7,\"9\""}"#);
        assert_eq!(note(&both).as_deref(), Some("7,\"9\""));
        assert_eq!((note("7"), note(""), note(&flush)), (None, None, None));
        let mut next = Intents::default();
        next.assigned(&[Assigned { tp: tp.clone(), committed: Some((5, both.as_str().into())) }]);
        assert_eq!(next.beside(&tp, 5, None), Some(both));
        next.note(BTreeMap::from([(tp.clone(), (5, "x".repeat(MOST).into()))]));
        assert_eq!(next.beside(&tp, 5, None).as_deref(), Some(&*flush), "it does not fit");
        next.committed(&tp, 6, None);
        assert_eq!(next.beside(&tp, 5, None), None, "passed");
    }

    #[test]
    fn what_kafka_would_not_keep_is_refused() {
        assert!(metadata("{").unwrap_err().to_string().contains("no JSON text"));
        assert!(metadata(&format!("\"{}\"", "x".repeat(MOST))).unwrap_err().to_string().contains("Kafka keeps 4096"));
    }
}
