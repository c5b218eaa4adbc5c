//! Which topics each connector has used, for `GET /connectors/{name}/topics` (KIP-558).
//!
//! Tasks note what they send to or have put (`topics.rs`, `progress.rs`); the herder's door reads and clears it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pipette_api::TaskId;
use tokio::sync::Notify;

use crate::store::statuses::UsedTopic;

/// The topics of all connectors, since the last reset.
#[derive(Debug, Default)]
pub struct UsedTopics {
    all: Mutex<All>,
    /// Counted, so that tasks see that what they have noted is gone.
    resets: AtomicU64,
    news: Notify,
}

#[derive(Debug, Default)]
struct All {
    topics: HashMap<Arc<str>, BTreeMap<Arc<str>, UsedTopic>>,
    changed: BTreeSet<Arc<str>>,
}

impl UsedTopics {
    /// What a connector has used.
    pub fn of(&self, connector: &str) -> Vec<UsedTopic> {
        self.all().topics.get(connector).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Begins anew for a connector.
    pub fn forget(&self, connector: &str) {
        let mut all = self.all();
        if let Some((name, _)) = all.topics.remove_entry(connector) {
            all.changed.insert(name);
        }
        drop(all);
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// A task has used a topic, or a worker before this one knew of it.
    pub fn add(&self, connector: &Arc<str>, used: UsedTopic) {
        let mut all = self.all();
        let own = all.topics.entry(Arc::clone(connector)).or_default();
        if !own.contains_key(&used.topic) {
            own.insert(Arc::clone(&used.topic), used);
            all.changed.insert(Arc::clone(connector));
            self.news.notify_one();
        }
    }

    /// The connectors of which something has changed since the last call.
    pub fn take_changed(&self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.all().changed)
    }

    /// Resolves when something has changed.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// What a task notes topics with.
    pub fn notes(self: &Arc<Self>, task: TaskId) -> Notes {
        Notes { of: Some((Arc::clone(self), task)), ..Notes::default() }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the topics of one task; by default for nobody.
#[derive(Debug, Default)]
pub struct Notes {
    of: Option<(Arc<UsedTopics>, TaskId)>,
    last: Option<Arc<str>>,
    seen: HashSet<Arc<str>>,
    resets: u64,
}

impl Notes {
    /// The task has used the topic. Cheap for one that it has used before.
    pub fn note(&mut self, topic: &Arc<str>) {
        let Some((all, task)) = &self.of else { return };
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
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let since = i64::try_from(since).unwrap_or(i64::MAX);
            all.add(&task.connector, UsedTopic { topic: Arc::clone(topic), task: task.task, since });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_comes_back_behind_a_reset_once_it_is_used_again() {
        let all = Arc::new(UsedTopics::default());
        let id = TaskId { connector: "c".into(), task: 3 };
        let (mut notes, topic) = (all.notes(id), Arc::<str>::from("t"));
        let names = || all.of("c").into_iter().map(|used| used.topic).collect::<Vec<_>>();
        notes.note(&topic);
        notes.note(&"u".into());
        assert_eq!(names(), ["t".into(), "u".into()]);
        assert_eq!(all.of("c")[0].task, 3);
        assert_eq!(all.take_changed().len() + all.take_changed().len(), 1, "told once");
        all.forget("c");
        assert_eq!((names().len(), all.take_changed().len()), (0, 1));
        notes.note(&topic);
        assert_eq!(names(), [Arc::clone(&topic)]);
        Notes::default().note(&topic);
    }
}
