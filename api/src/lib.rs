//! The contract between the Pipette worker and its plugins, on one page.
//!
//! * A **source task** has `start`, `poll`, `stop`; a **sink task** has `start`, `open`, `put`, `flush`, `close`, `stop`;
//!   both are async and work in batches. A **connector** plans their configurations.
//! * A **transformation** has `apply`, a **predicate** `test`, a **converter** `encode` and `decode`; they are
//!   synchronous, because CPU work does not wait. What waits for something outside is an **asynchronous
//!   transformation**; what makes several records of one, or one of several, an **expander** or a **collector**.
//! * **Acknowledgements travel with the batch**: [`SourceBatch::acked`] runs once it is in Kafka,
//!   [`SourceBatch::committed`] once its offset is stored.
//! * **Errors have four kinds** because the runtime takes four decisions: see [`ErrorKind`].
//! * **One definition per configuration key**: see [`config`].
//! * A crate exports its plugins as `pub static PLUGINS: &[Plugin]`: see [`plugin`].
//!
//! Nothing here knows Kafka clients, HTTP, disks or JSON. `tests/kit` holds the laws every plugin must keep.
//! Read next: [`data`] for values and schemas, [`record`] for records, then [`source`] or [`sink`].
#![warn(missing_docs)]

pub mod config;
pub mod connector;
pub mod context;
pub mod converter;
pub mod data;
pub mod error;
pub mod folder;
pub mod outage;
pub mod pieces;
pub mod plugin;
pub mod position;
pub mod reach;
pub mod record;
pub mod room;
pub mod signal;
pub mod sink;
pub mod source;
pub mod transform;

pub use async_trait::async_trait;

pub use config::{ConfigDef, ConfigMap, Key, Settings};
pub use connector::{Connector, ConnectorContext};
pub use context::{Context, Metric, MetricInfo, MetricKind, Metrics, Registry, Shared, TaskId};
pub use converter::{Converter, HeaderConverter};
pub use data::{
    Blob, Datum, Keys, KeysCache, Kind, Map, Payload, PayloadReader, Schema, SchemaBuilder, SchemaCache, Struct, Text,
    Value,
};
pub use error::{ConnectError, ErrorKind, Result};
pub use folder::Folder;
pub use outage::Outage;
pub use pieces::{Collect, Expand};
pub use plugin::{
    AsyncTransformPlugin, CollectPlugin, ConverterPlugin, Direction, ExactlyOnce, ExpandPlugin, HeaderConverterPlugin,
    Info, Plugin, PredicatePlugin, Question, SinkPlugin, SourcePlugin, TransformPlugin,
};
pub use position::{OffsetMap, OffsetReader, OffsetShape, Partition, Position, Primitive};
pub use reach::{Gate, Place, Reach};
pub use record::{
    Body, EncodedRecord, Headers, KafkaHeaders, RawRecord, Record, SinkRecord, SourceEntry, SourceRecord,
    TimestampType, TopicPartition,
};
pub use room::{Landlord, Room, RoomLease};
pub use signal::{Signal, Wish};
pub use sink::{Assigned, Offsets, Seeks, SinkBatch, SinkContext, SinkRuntime, SinkTask};
pub use source::{Boundary, Hook, SourceBatch, SourceContext, SourceTask};
pub use transform::{AsyncTransform, Predicate, Side, SourcePlace, Transform, TransformContext, Verdict};
