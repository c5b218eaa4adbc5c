//! Which store keeps the offsets of which source: the worker's, or a topic of the connector's own
//! (`offsets.storage.topic`) with the worker's behind it.
//!
//! Made by `worker.rs`; tasks, connectors and REST ask here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::{ConfigMap, OffsetMap, Partition, Result, async_trait};

use super::topic::TopicOffsets;
use super::{OffsetEntry, OffsetStore};
use crate::settings::group::{InternalTopic, OffsetsTopic};

/// The offset stores of a worker.
pub struct OffsetStores(Kind);

enum Kind {
    /// One for all; no topics.
    One(Arc<dyn OffsetStore>),
    Topics(Box<Topics>),
}

struct Topics {
    worker: ConfigMap,
    how: OffsetsTopic,
    common: Arc<TopicOffsets>,
    own: Mutex<HashMap<String, Chosen>>,
}

/// Offsets in topics: the one that counts, and the worker's if that is another.
#[derive(Clone)]
pub struct Chosen {
    /// Where offsets are read first, and written.
    pub main: Arc<TopicOffsets>,
    /// Where they are looked for next, and copied to, so that a connector can do without its own topic again.
    common: Option<Arc<TopicOffsets>>,
}

impl OffsetStores {
    /// One store for all connectors.
    pub fn one(store: Arc<dyn OffsetStore>) -> Self {
        Self(Kind::One(store))
    }

    /// The worker's topic, and topics of connectors that are made like it. Answers the worker's as well.
    pub fn topics(worker: ConfigMap, how: OffsetsTopic) -> Result<(Self, Arc<TopicOffsets>)> {
        let common = Arc::new(TopicOffsets::new(&worker, &how)?);
        let topics = Topics { worker, how, common: Arc::clone(&common), own: Mutex::default() };
        Ok((Self(Kind::Topics(Box::new(topics))), common))
    }

    /// The store of a connector that names this topic, or none.
    pub fn of(&self, named: Option<&str>) -> Result<Arc<dyn OffsetStore>> {
        match &self.0 {
            Kind::One(store) => Ok(Arc::clone(store)),
            Kind::Topics(topics) => Ok(Arc::new(topics.of(named)?)),
        }
    }

    /// The same, when offsets are in topics: transactions write there.
    pub fn topic_of(&self, named: Option<&str>) -> Result<Option<Chosen>> {
        match &self.0 {
            Kind::One(_) => Ok(None),
            Kind::Topics(topics) => topics.of(named).map(Some),
        }
    }
}

impl Topics {
    fn of(&self, named: Option<&str>) -> Result<Chosen> {
        let Some(name) = named.filter(|name| *name != self.how.topic.name) else {
            return Ok(Chosen { main: Arc::clone(&self.common), common: None });
        };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chosen) = own.get(name) {
            return Ok(chosen.clone());
        }
        let topic = InternalTopic { name: name.to_owned(), ..self.how.topic.clone() };
        let how = OffsetsTopic { topic, ..self.how.clone() };
        let main = Arc::new(TopicOffsets::new(&self.worker, &how)?);
        let chosen = Chosen { main, common: Some(Arc::clone(&self.common)) };
        own.insert(name.to_owned(), chosen.clone());
        Ok(chosen)
    }
}

impl Chosen {
    /// The offsets of a worker's topic.
    #[cfg(test)]
    pub fn only(main: Arc<TopicOffsets>) -> Self {
        Self { main, common: None }
    }

    /// To be called before the offsets are written. What is taken away has to be gone from the worker's topic first: it
    /// would come back from there.
    pub async fn before(&self, connector: &str, offsets: &[OffsetEntry]) -> Result<()> {
        let gone: Vec<_> = offsets.iter().filter(|entry| entry.offset.is_none()).cloned().collect();
        match &self.common {
            Some(common) if !gone.is_empty() => common.put(connector, gone).await,
            _ => Ok(()),
        }
    }

    /// To be called when the offsets are written: the worker's topic gets a copy, if it can.
    pub async fn after(&self, connector: &str, offsets: &[OffsetEntry]) {
        let Some(common) = &self.common else { return };
        let kept = offsets.iter().filter(|entry| entry.offset.is_some()).cloned().collect();
        if let Err(error) = common.put(connector, kept).await {
            let topic = common.name();
            tracing::warn!(topic, error = error.chain(), "Offsets are not copied to the worker's topic");
        }
    }
}

#[async_trait]
impl OffsetStore for Chosen {
    async fn get(&self, connector: &str, partition: &Partition) -> Result<Option<OffsetMap>> {
        match (self.main.get(connector, partition).await?, &self.common) {
            (None, Some(common)) => common.get(connector, partition).await,
            (found, _) => Ok(found),
        }
    }

    async fn scan(&self, connector: &str) -> Result<Vec<(Partition, OffsetMap)>> {
        let mut all: HashMap<_, _> = match &self.common {
            Some(common) => common.scan(connector).await?.into_iter().collect(),
            None => HashMap::new(),
        };
        all.extend(self.main.scan(connector).await?);
        Ok(all.into_iter().collect())
    }

    async fn put(&self, connector: &str, offsets: Vec<OffsetEntry>) -> Result<()> {
        self.before(connector, &offsets).await?;
        self.main.put(connector, offsets.clone()).await?;
        self.after(connector, &offsets).await;
        Ok(())
    }
}
