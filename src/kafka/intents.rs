//! What stands beside a committed offset: nothing, as in Apache's worker, or an open intent of the sink. Pure.
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
    let metadata = format!("{{\"intent\":{intent}}}");
    if metadata.len() > MOST {
        let length = metadata.len();
        let text = format!("The sink's intent is {length} bytes long, and Kafka keeps {MOST} beside an offset");
        return Err(ConnectError::fatal(text));
    }
    Ok(metadata.into())
}

/// The open intents of a consumer's partitions: the offset each stands at, and the metadata it is kept as.
#[derive(Debug, Default)]
pub(super) struct Intents(BTreeMap<TopicPartition, (i64, Arc<str>)>);

impl Intents {
    /// Partitions come with what the last owner has left open.
    pub(super) fn assigned(&mut self, assigned: &[Assigned]) {
        for Assigned { tp, committed } in assigned {
            match committed {
                Some((offset, metadata)) if metadata.starts_with("{\"intent\":") => {
                    self.0.insert(tp.clone(), (*offset, Arc::clone(metadata)));
                }
                _ => drop(self.0.remove(tp)),
            }
        }
    }

    /// What goes beside an offset that is committed now. `new` is an intent that begins with it.
    pub(super) fn beside<'a>(&'a self, tp: &TopicPartition, offset: i64, new: Option<&'a Arc<str>>) -> Option<&'a str> {
        let open = || self.0.get(tp).filter(|(at, _)| offset <= *at).map(|(_, metadata)| metadata);
        new.or_else(open).map(|metadata| &**metadata)
    }

    /// The offset is committed.
    pub(super) fn committed(&mut self, tp: &TopicPartition, offset: i64, new: Option<&Arc<str>>) {
        if let Some(new) = new {
            self.0.insert(tp.clone(), (offset, Arc::clone(new)));
        } else if self.0.get(tp).is_some_and(|(at, _)| offset > *at) {
            self.0.remove(tp);
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
        assert_eq!(intents.beside(&tp, 5, Some(&flush)), Some(r#"{"intent":{"last":9}}"#));
        intents.committed(&tp, 5, Some(&flush));
        intents.committed(&tp, 5, None);
        assert_eq!(intents.beside(&tp, 5, None), Some(&*flush));
        assert_eq!(intents.beside(&tp, 6, None), None, "passed");
        let mut next = Intents::default();
        next.assigned(&[Assigned { tp: tp.clone(), committed: Some((5, Arc::clone(&flush))) }]);
        assert_eq!(next.beside(&tp, 5, None), Some(&*flush));
        next.committed(&tp, 10, None);
        assert_eq!(next.beside(&tp, 5, None), None);
        next.assigned(&[Assigned { tp: tp.clone(), committed: Some((5, "of another client".into())) }]);
        assert_eq!(next.beside(&tp, 5, None), None);
    }

    #[test]
    fn what_kafka_would_not_keep_is_refused() {
        assert!(metadata("{").unwrap_err().to_string().contains("no JSON text"));
        assert!(metadata(&format!("\"{}\"", "x".repeat(MOST))).unwrap_err().to_string().contains("Kafka keeps 4096"));
    }
}
