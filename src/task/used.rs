//! Which topics each connector has used, for `GET /connectors/{name}/topics` (KIP-558).
//!
//! Tasks note what they send to or have put (`topics.rs`, `progress.rs`); the herder's door reads and clears it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The topics of all connectors, since the worker's start or the last reset.
#[derive(Debug, Default)]
pub struct UsedTopics {
    topics: Mutex<HashMap<Arc<str>, BTreeSet<Arc<str>>>>,
    /// Counted, so that tasks see that what they have noted is gone.
    resets: AtomicU64,
}

impl UsedTopics {
    /// What a connector has used.
    pub fn of(&self, connector: &str) -> Vec<Arc<str>> {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.get(connector).into_iter().flatten().map(Arc::clone).collect()
    }

    /// Begins anew for a connector.
    pub fn forget(&self, connector: &str) {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).remove(connector);
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    /// What a task of a connector notes topics with.
    pub fn notes(self: &Arc<Self>, connector: Arc<str>) -> Notes {
        Notes { of: Some((Arc::clone(self), connector)), ..Notes::default() }
    }
}

/// Notes the topics of one task; by default for nobody.
#[derive(Debug, Default)]
pub struct Notes {
    of: Option<(Arc<UsedTopics>, Arc<str>)>,
    last: Option<Arc<str>>,
    seen: HashSet<Arc<str>>,
    resets: u64,
}

impl Notes {
    /// The task has used the topic. Cheap for one that it has used before.
    pub fn note(&mut self, topic: &Arc<str>) {
        let Some((all, connector)) = &self.of else { return };
        let resets = all.resets.load(Ordering::Relaxed);
        if resets == self.resets {
            if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, topic)) {
                return;
            }
        } else {
            self.resets = resets;
            self.seen.clear();
        }
        self.last = Some(Arc::clone(topic));
        if self.seen.insert(Arc::clone(topic)) {
            let mut topics = all.topics.lock().unwrap_or_else(PoisonError::into_inner);
            topics.entry(Arc::clone(connector)).or_default().insert(Arc::clone(topic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_comes_back_behind_a_reset_once_it_is_used_again() {
        let all = Arc::new(UsedTopics::default());
        let (mut notes, topic) = (all.notes("c".into()), Arc::<str>::from("t"));
        notes.note(&topic);
        notes.note(&"u".into());
        assert_eq!(all.of("c"), ["t".into(), "u".into()]);
        all.forget("c");
        assert_eq!(all.of("c").len(), 0);
        notes.note(&topic);
        assert_eq!(all.of("c"), [Arc::clone(&topic)]);
        Notes::default().note(&topic);
    }
}
