//! Offsets of connectors: read at any time, changed while the connector is stopped (KIP-875).
//!
//! A part of `handle.rs`. A change asks the plugin first, on a thread of its own, and then goes to where the offsets are
//! kept: the store of sources, or the consumer group of a sink.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipette_api::{ConnectError, ErrorKind, OffsetMap, Offsets, Partition, Primitive, Settings, TopicPartition};

use super::handle::{HerderError, HerderHandle, PATIENCE, timed_out};
use super::spec;
use super::state::Connector;
use crate::plugins::ConnectorPlugin;
use crate::settings::connector::offsets_topic;
use crate::store::{OffsetEntry, TargetState};

/// Committed offsets of a connector.
#[derive(Debug, Clone)]
pub enum ConnectorOffsets {
    /// Of a source.
    Source(Vec<(Partition, OffsetMap)>),
    /// Of a sink's consumer group.
    Sink(Offsets),
}

/// A partition or an offset as somebody wrote it: values, or what it is instead of one (`MAP`, `ARRAY`).
pub type Written = BTreeMap<String, Result<Primitive, &'static str>>;

/// One change that somebody asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where.
    pub partition: Option<Written>,
    /// The offset; `None` takes it away.
    pub offset: Option<Written>,
}

/// By partition of the connector, as its plugin is asked; and what to commit for a sink's group.
type Changes = Vec<(Partition, Option<OffsetMap>)>;
type GroupChanges = BTreeMap<TopicPartition, Option<i64>>;

const TOPIC: &str = "kafka_topic";
const PARTITION: &str = "kafka_partition";
const OFFSET: &str = "kafka_offset";

impl HerderHandle {
    /// The committed offsets of a connector.
    pub async fn offsets(&self, name: &str) -> Result<ConnectorOffsets, HerderError> {
        let connector = self.connector(name).await?;
        let read = async {
            match connector.plugin {
                Some(ConnectorPlugin::Source(_)) => {
                    let store = self.parts().offsets.of(offsets_topic(&connector.config))?;
                    Ok(ConnectorOffsets::Source(store.scan(name).await?))
                }
                Some(ConnectorPlugin::Sink(_)) => Ok(ConnectorOffsets::Sink(self.committed(name, &connector).await?)),
                None => Err(unknown(name)),
            }
        };
        tokio::time::timeout(PATIENCE, read).await.map_err(|_| timed_out())?
    }

    /// Changes some offsets of a stopped connector.
    pub async fn alter_offsets(&self, name: &str, wanted: Vec<Wanted>) -> Result<(), HerderError> {
        let _turn = self.turn(name).await?;
        let connector = self.stopped(name).await?;
        let change = async {
            match connector.plugin {
                Some(ConnectorPlugin::Source(_)) => {
                    let changes = of_source(wanted)?;
                    self.ask_plugin(name, &connector, changes.clone()).await?;
                    self.write(name, &connector, changes).await
                }
                Some(ConnectorPlugin::Sink(_)) => {
                    let (changes, group) = of_sink(wanted)?;
                    self.ask_plugin(name, &connector, changes).await?;
                    let consumer = spec::consumer(self.parts(), name, &connector.config, 0)?;
                    let failed = format!("Failed to alter consumer group offsets for connector {name}");
                    let altered = self.parts().sink_offsets.alter(consumer, group).await;
                    altered.map_err(|error| refused(error.within(failed)))
                }
                None => Err(unknown(name)),
            }
        };
        tokio::time::timeout(PATIENCE, change).await.map_err(|_| timed_out())?
    }

    /// Takes all offsets of a stopped connector away.
    pub async fn reset_offsets(&self, name: &str) -> Result<(), HerderError> {
        let _turn = self.turn(name).await?;
        let connector = self.stopped(name).await?;
        let change = async {
            match connector.plugin {
                Some(ConnectorPlugin::Source(_)) => {
                    let store = self.parts().offsets.of(offsets_topic(&connector.config))?;
                    let all = store.scan(name).await?;
                    let all: Changes = all.into_iter().map(|(partition, _)| (partition, None)).collect();
                    self.ask_plugin(name, &connector, all.clone()).await?;
                    self.write(name, &connector, all).await
                }
                Some(ConnectorPlugin::Sink(_)) => {
                    let committed = self.committed(name, &connector).await?;
                    let all = committed.keys().map(|tp| (group_partition(tp), None)).collect();
                    self.ask_plugin(name, &connector, all).await?;
                    let consumer = spec::consumer(self.parts(), name, &connector.config, 0)?;
                    let failed = format!("Failed to reset consumer group offsets for connector {name}");
                    let reset = self.parts().sink_offsets.reset(consumer).await;
                    reset.map_err(|error| refused(error.within(failed)))
                }
                None => Err(unknown(name)),
            }
        };
        tokio::time::timeout(PATIENCE, change).await.map_err(|_| timed_out())?
    }

    async fn committed(&self, name: &str, connector: &Connector) -> Result<Offsets, HerderError> {
        let group = spec::consumer(self.parts(), name, &connector.config, 0)?;
        let failed = format!("Failed to retrieve consumer group offsets for sink connector {name}");
        Ok(self.parts().sink_offsets.committed(group).await.map_err(|error| error.within(failed))?)
    }

    /// The connector, once nothing of it runs any more; its tasks may take the time they have to stop.
    async fn stopped(&self, name: &str) -> Result<Arc<Connector>, HerderError> {
        let connector = self.connector(name).await?;
        if connector.target == TargetState::Stopped && self.idle(name, self.parts().worker.grace * 2).await {
            return Ok(connector);
        }
        Err(HerderError::Bad(format!(
            "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the \
             specified connector by issuing a 'PUT' request to the '/connectors/{name}/stop' endpoint"
        )))
    }

    /// The plugin may refuse, or follow.
    async fn ask_plugin(&self, name: &str, connector: &Connector, changes: Changes) -> Result<(), HerderError> {
        let Some(plugin) = connector.plugin else { return Err(unknown(name)) };
        let config = self.parts().worker.providers.resolve(&connector.config)?;
        let span = tracing::error_span!("offsets", connector = %name);
        let code = move || {
            let _entered = span.entered();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| ConnectError::retriable("Cannot make a runtime").because(error))?;
            let settings = Settings::new(config, plugin.info().config);
            let mut connector = match plugin {
                ConnectorPlugin::Source(plugin) => (plugin.connector)(settings),
                ConnectorPlugin::Sink(plugin) => (plugin.connector)(settings),
            }?;
            runtime.block_on(connector.alter_offsets(&changes))
        };
        let what = format!("The change of {name}'s offsets");
        self.aside().call(name, &what, code).await?.map_err(refused)
    }

    async fn write(&self, name: &str, connector: &Connector, changes: Changes) -> Result<(), HerderError> {
        let store = self.parts().offsets.of(offsets_topic(&connector.config))?;
        let entry = |(partition, offset)| OffsetEntry { partition: Arc::new(partition), offset };
        Ok(store.put(name, changes.into_iter().map(entry).collect()).await?)
    }
}

fn unknown(name: &str) -> HerderError {
    HerderError::Internal(format!(
        "The offsets of {name} are out of reach: its connector.class is unknown to this worker"
    ))
}

/// What may pass is the worker's trouble, everything else that of whoever asks.
fn refused(error: ConnectError) -> HerderError {
    match error.kind() {
        ErrorKind::Retriable => HerderError::from(error),
        _ => HerderError::Bad(error.chain()),
    }
}

fn bad<T>(text: impl Into<String>) -> Result<T, HerderError> {
    Err(HerderError::Bad(text.into()))
}

fn of_source(wanted: Vec<Wanted>) -> Result<Changes, HerderError> {
    let mut changes = Changes::new();
    for Wanted { partition, offset } in wanted {
        let offset = offset.map(primitives).transpose()?;
        match partition {
            Some(partition) => changes.push((Partition(primitives(partition)?), offset)),
            // Nothing that could be taken away.
            None if offset.is_none() => {}
            None => return bad("Partition objects cannot be null"),
        }
    }
    Ok(changes)
}

fn primitives(written: Written) -> Result<OffsetMap, HerderError> {
    let value = |(key, value): (String, Result<Primitive, &str>)| match value {
        Ok(value) => Ok((key.as_str().into(), value)),
        Err(kind) => {
            bad(format!("Offsets may only contain primitive types as values, but field {key} contains {kind}"))
        }
    };
    written.into_iter().map(value).collect()
}

/// Of equal partitions the last one counts.
fn of_sink(wanted: Vec<Wanted>) -> Result<(Changes, GroupChanges), HerderError> {
    let mut group = GroupChanges::new();
    for Wanted { partition, offset } in wanted {
        let Some(partition) = partition else {
            return bad("The partition for a sink connector offset cannot be null or missing");
        };
        let (Some(topic), Some(number)) = (partition.get(TOPIC), partition.get(PARTITION)) else {
            return bad(format!(
                "The partition for a sink connector offset must contain the keys '{TOPIC}' and '{PARTITION}'"
            ));
        };
        let Some(topic) = text(topic) else {
            return bad("Kafka topic names must be valid strings and may not be null");
        };
        let Some(number) = text(number) else {
            return bad("Kafka partitions must be valid numbers and may not be null");
        };
        let Ok(partition) = number.parse::<i32>() else {
            return bad(format!(
                "Failed to parse the following Kafka partition value in the provided offsets: '{number}'. Partition \
                 values for sink connectors need to be integers."
            ));
        };
        group.insert(TopicPartition::new(topic.as_str(), partition), offset.as_ref().map(sink_offset).transpose()?);
    }
    let shown = |offset: i64| OffsetMap::from([(OFFSET.into(), Primitive::Int(offset))]);
    Ok((group.iter().map(|(tp, offset)| (group_partition(tp), offset.map(shown))).collect(), group))
}

fn sink_offset(written: &Written) -> Result<i64, HerderError> {
    let Some(value) = written.get(OFFSET) else {
        return bad(format!("The offset for a sink connector should either be null or contain the key '{OFFSET}'"));
    };
    let value = text(value).unwrap_or_else(|| "null".into());
    match value.parse::<i64>() {
        Ok(offset) if offset < 0 => {
            bad(format!("The offset {offset} is negative; the first record of a partition has 0"))
        }
        Ok(offset) => Ok(offset),
        Err(_) => bad(format!(
            "Failed to parse the following Kafka offset value in the provided offsets: '{value}'. Offset values for sink \
             connectors need to be integers."
        )),
    }
}

/// A value as Java would print it; `None` for null.
fn text(value: &Result<Primitive, &'static str>) -> Option<String> {
    match value {
        Ok(Primitive::Null) => None,
        Ok(Primitive::Bool(value)) => Some(value.to_string()),
        Ok(Primitive::Int(value)) => Some(value.to_string()),
        // With its point: a whole number that was written with one is none.
        Ok(Primitive::Float(bits)) => Some(format!("{:?}", f64::from_bits(*bits))),
        Ok(Primitive::Text(text)) => Some(text.to_string()),
        Err(kind) => Some((*kind).to_owned()),
    }
}

fn group_partition(tp: &TopicPartition) -> Partition {
    let number = Primitive::Int(tp.partition.into());
    Partition(OffsetMap::from([(TOPIC.into(), Primitive::Text(Arc::clone(&tp.topic))), (PARTITION.into(), number)]))
}
