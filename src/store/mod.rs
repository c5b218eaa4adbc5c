//! What survives a restart, behind two traits: files under `state.dir` (`files/`), or Kafka topics if the worker file
//! names some: `configs.rs` for connectors, `topic.rs` for offsets, and `statuses.rs` for what others may want to know.
//!
//! The herder uses [`ConnectorStore`], tasks and REST use [`OffsetStore`].

pub mod config_log;
pub mod configs;
pub mod files;
pub mod offset_json;
pub mod statuses;
pub mod stores;
pub mod topic;

use std::sync::Arc;

use pipette_api::{ConfigMap, OffsetMap, OffsetReader, Partition, Result, async_trait};

/// Connector configurations and what is wanted of each connector. Replaced atomically (Law 6).
#[async_trait]
pub trait ConnectorStore: Send + Sync {
    /// Every connector, by name.
    async fn load(&self) -> Result<Vec<StoredConnector>>;

    /// Creates or replaces one. Durable when it returns.
    async fn put(&self, connector: &StoredConnector) -> Result<()>;

    /// Takes one away, its offsets stay (as in Java). Durable when it returns.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Whether tasks start only when their plan is stored.
    fn keeps_plans(&self) -> bool {
        false
    }

    /// The plan of a connector that was loaded; an empty one if none is kept.
    fn plan(&self, _name: &str) -> Plan {
        Plan::default()
    }

    /// Stores what a connector has planned, unless it was changed or deleted meanwhile. Durable when it returns.
    async fn put_plan(&self, _plan: &NewPlan) -> Result<()> {
        Ok(())
    }
}

/// What a connector had planned when it was last running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its task configurations.
    pub tasks: Vec<ConfigMap>,
    /// How many of its tasks may have written in transactions.
    pub fenced: usize,
}

/// What a connector plans.
#[derive(Debug, Clone)]
pub struct NewPlan {
    /// Whose.
    pub name: Arc<str>,
    /// The configuration that it was made from.
    pub of: Arc<ConfigMap>,
    /// Whole task configurations.
    pub tasks: Vec<ConfigMap>,
    /// What Apache's worker calls the class of these tasks.
    pub class: String,
    /// Of a source.
    pub is_source: bool,
}

/// A connector as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConnector {
    /// The name.
    pub name: Arc<str>,
    /// The configuration as given, `name` included; providers unresolved.
    pub config: ConfigMap,
    /// What is wanted of it.
    pub target: TargetState,
}

/// What is wanted of a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// Tasks run.
    Started,
    /// Tasks exist and wait.
    Paused,
    /// No tasks; offsets may be altered.
    Stopped,
}

/// Offsets of source connectors.
#[async_trait]
pub trait OffsetStore: Send + Sync {
    /// The committed offset of a partition.
    async fn get(&self, connector: &str, partition: &Partition) -> Result<Option<OffsetMap>>;

    /// Every committed offset of a connector.
    async fn scan(&self, connector: &str) -> Result<Vec<(Partition, OffsetMap)>>;

    /// Stores offsets; `None` takes one away. All are durable when it returns.
    async fn put(&self, connector: &str, offsets: Vec<OffsetEntry>) -> Result<()>;
}

/// One offset to store.
#[derive(Debug, Clone)]
pub struct OffsetEntry {
    /// The source partition.
    pub partition: Arc<Partition>,
    /// The offset, `None` to take it away.
    pub offset: Option<OffsetMap>,
}

/// The offsets of one connector, as it and its tasks may read them.
pub struct OwnOffsets {
    /// Whose.
    pub connector: Arc<str>,
    /// Where they are kept.
    pub store: Arc<dyn OffsetStore>,
}

#[async_trait]
impl OffsetReader for OwnOffsets {
    async fn get(&self, partition: &Partition) -> Result<Option<OffsetMap>> {
        self.store.get(&self.connector, partition).await
    }

    async fn scan(&self) -> Result<Vec<(Partition, OffsetMap)>> {
        self.store.scan(&self.connector).await
    }
}
