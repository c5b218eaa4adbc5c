//! Writes statuses and used topics where Apache's workers look for them, beside the herder: a Kafka that is away holds
//! nothing up, and what was between two writes is never told.
//!
//! `mod.rs` starts it when connectors are kept in Kafka; `store/statuses.rs` knows the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::handle::{Stage, View};
use super::state::{Connector, State};
use super::status::{Condition, Status};
use super::{KafkaState, Parts};
use crate::store::statuses::{Rows, Said, TopicStatuses};

/// How long Kafka is left alone when it did not take rows.
const REST: Duration = Duration::from_secs(1);
/// How much of a trace is told: a row must not become too large for its topic.
const TRACE: usize = 64 * 1024;

/// Answers true when the last status is written, or will never be.
pub(super) fn start(parts: &Arc<Parts>, kafka: &KafkaState, view: watch::Receiver<View>) -> watch::Receiver<bool> {
    let (done, recorded) = watch::channel(false);
    let (parts, statuses) = (Arc::clone(parts), Arc::clone(&kafka.statuses));
    tokio::spawn(async move {
        Recorder { parts, statuses, told: State::default(), changed: BTreeSet::new() }.run(view).await;
        done.send_replace(true);
    });
    recorded
}

struct Recorder {
    parts: Arc<Parts>,
    statuses: Arc<TopicStatuses>,
    /// What stands in the topic.
    told: State,
    /// What may not stand in the topic, whatever is told.
    changed: BTreeSet<Arc<str>>,
}

impl Recorder {
    async fn run(&mut self, mut view: watch::Receiver<View>) {
        if view.wait_for(|view| view.stage != Stage::Starting).await.is_err() {
            return;
        }
        let mut failed = false;
        self.changed = self.statuses.connectors();
        self.go_on(&view.borrow().state);
        loop {
            let View { state, stage } = view.borrow_and_update().clone();
            if let Stage::Broken(_) = stage {
                return;
            }
            let closed = stage == Stage::Closing && state.is_quiet();
            self.changed.append(&mut self.parts.used.take_changed());
            let rows = self.statuses.changes(&self.wanted(&state, closed));
            match self.statuses.write(&rows).await {
                Ok(()) => {
                    (self.told, failed) = (state, false);
                    self.changed.clear();
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(error = error.chain(), "Statuses are not written; trying again");
                    }
                    tokio::time::sleep(REST).await;
                    continue;
                }
            }
            if closed {
                return;
            }
            tokio::select! {
                more = view.changed() => if more.is_err() { return },
                () = self.parts.used.changed() => {}
            }
        }
    }

    /// Topics that were used under an earlier worker count.
    fn go_on(&self, state: &State) {
        for name in self.changed.iter().filter(|name| state.get(name).is_some()) {
            self.statuses.topics(name).into_iter().for_each(|used| self.parts.used.add(name, used));
        }
    }

    /// What should be said of every connector of which something has changed.
    fn wanted(&self, state: &State, closed: bool) -> BTreeMap<Arc<str>, Rows> {
        let same = |name: &str, connector: &Arc<Connector>| {
            self.told.get(name).is_some_and(|told| Arc::ptr_eq(told, connector))
        };
        let changed = state.connectors().iter().filter(|(name, connector)| closed || !same(name, connector));
        let gone = self.told.connectors().keys().filter(|name| state.get(name).is_none());
        let names: BTreeSet<&Arc<str>> = changed.map(|(name, _)| name).chain(gone).chain(&self.changed).collect();
        let rows = |name: &Arc<str>| state.get(name).map(|found| self.rows(name, found, closed)).unwrap_or_default();
        names.into_iter().map(|name| (Arc::clone(name), rows(name))).collect()
    }

    fn rows(&self, name: &Arc<str>, connector: &Connector, closed: bool) -> Rows {
        let said = |status| self.said(connector, status, closed);
        let tasks = connector.tasks.iter().enumerate();
        let tasks = tasks.map(|(task, found)| said(&found.status).of_task(name, task));
        // Those that are not tracked any more stay, as in Apache's worker.
        let tracked = self.parts.worker.rest.tracks_topics;
        let topics = if tracked { self.parts.used.of(name) } else { self.statuses.topics(name) };
        let topics = topics.iter().map(|used| used.of(name));
        tasks.chain(topics).chain([said(&connector.status).of_connector(name)]).collect()
    }

    /// When the worker has `closed`, nothing runs or waits here any more.
    fn said<'a>(&'a self, connector: &Connector, status: &'a Status, closed: bool) -> Said<'a> {
        let condition = match status.condition {
            Condition::Failed | Condition::Stopped => status.condition,
            _ if closed => Condition::Unassigned,
            condition => condition,
        };
        let short = |text: &'a Arc<str>| text.char_indices().nth(TRACE).map_or(&**text, |(end, _)| &text[..end]);
        Said {
            state: condition.name(),
            trace: status.trace.as_ref().map(short),
            worker: &self.parts.worker_id,
            version: condition.version(connector.plugin),
        }
    }
}
