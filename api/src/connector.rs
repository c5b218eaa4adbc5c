//! Connectors: the planning half of a plugin, for sources and sinks alike.

use std::sync::Arc;

use async_trait::async_trait;

use crate::config::ConfigMap;
use crate::context::Context;
use crate::error::Result;
use crate::position::{OffsetMap, OffsetReader, Partition};

/// What a connector is started with.
#[derive(Clone)]
pub struct ConnectorContext {
    /// What connectors and tasks have in common.
    pub common: Context,
    /// The committed offsets of a source; a sink's reader has none.
    pub offsets: Arc<dyn OffsetReader>,
}

/// Plans the tasks of one connector. All calls come from the connector's own thread, one after another, each with a
/// deadline: a connector that never returns is reported as hung and holds nobody up.
#[async_trait]
pub trait Connector: Send {
    /// Before anything else.
    async fn start(&mut self, _context: ConnectorContext) -> Result<()> {
        Ok(())
    }

    /// Between 1 and `max` task configurations. Each is laid over the connector's configuration as written, so that no
    /// secret of a provider comes back; an empty map is the connector's configuration itself.
    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>>;

    /// Resolves when `task_configs` should be asked again. May be dropped at any await and called again.
    async fn changed(&mut self) -> Result<()> {
        std::future::pending().await
    }

    /// Before offsets are altered (`Some`) or deleted (`None`) through REST: the last chance to refuse or to follow
    /// (a broker session to drop, say).
    async fn alter_offsets(&mut self, _offsets: &[(Partition, Option<OffsetMap>)]) -> Result<()> {
        Ok(())
    }

    /// After the last call.
    async fn stop(&mut self) {}
}
