//! The JSON shapes of answers, field for field in Java's order.

use std::collections::BTreeMap;

use pipette_api::config::KeyType;
use pipette_api::{ConfigMap, OffsetMap, Plugin, Primitive};
use serde::Serialize;
use serde_json::Value;

use crate::herder::form::{Definition, Entry, Validation};
use crate::herder::offsets::ConnectorOffsets;
use crate::herder::state::Connector;
use crate::plugins::ConnectorPlugin;
use crate::store::statuses::UsedTopic;

#[derive(Serialize)]
pub(super) struct Root<'a> {
    version: &'static str,
    commit: &'static str,
    kafka_cluster_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipette_version: Option<&'static str>,
}

pub(super) fn root(cluster_id: Option<&str>, strict: bool) -> Root<'_> {
    Root {
        version: super::KAFKA_VERSION,
        commit: "unknown",
        kafka_cluster_id: cluster_id,
        pipette_version: (!strict).then_some(env!("CARGO_PKG_VERSION")),
    }
}

#[derive(Serialize)]
pub(super) struct Health {
    pub(super) status: &'static str,
    pub(super) message: String,
}

#[derive(Serialize)]
pub(super) struct TaskName<'a> {
    connector: &'a str,
    task: usize,
}

#[derive(Serialize)]
pub(super) struct Info<'a> {
    name: &'a str,
    config: &'a ConfigMap,
    tasks: Vec<TaskName<'a>>,
    #[serde(rename = "type")]
    kind: &'static str,
}

pub(super) fn info<'a>(name: &'a str, connector: &'a Connector) -> Info<'a> {
    let tasks = (0..connector.tasks.len()).map(|task| TaskName { connector: name, task }).collect();
    Info { name, config: &connector.config, tasks, kind: kind(connector) }
}

#[derive(Serialize)]
pub(super) struct TaskInfo<'a> {
    id: TaskName<'a>,
    config: TaskConfig<'a>,
}

#[derive(Serialize)]
struct TaskConfig<'a> {
    #[serde(flatten)]
    config: &'a ConfigMap,
    #[serde(rename = "task.class", skip_serializing_if = "Option::is_none")]
    class: Option<String>,
}

pub(super) fn tasks<'a>(name: &'a str, connector: &'a Connector) -> Vec<TaskInfo<'a>> {
    let class = connector.plugin.map(ConnectorPlugin::task_class);
    let task = |(task, found): (usize, &'a crate::herder::state::Task)| TaskInfo {
        id: TaskName { connector: name, task },
        config: TaskConfig {
            config: &found.config,
            class: class.clone().filter(|_| !found.config.contains_key("task.class")),
        },
    };
    connector.tasks.iter().enumerate().map(task).collect()
}

#[derive(Serialize)]
pub(super) struct Topics<'a> {
    topics: Vec<&'a str>,
}

pub(super) fn topics<'a>(name: &'a str, topics: &'a [UsedTopic]) -> BTreeMap<&'a str, Topics<'a>> {
    BTreeMap::from([(name, Topics { topics: topics.iter().map(|used| &*used.topic).collect() })])
}

pub(super) fn kind(connector: &Connector) -> &'static str {
    connector.plugin.map_or("unknown", |plugin| plugin.kind())
}

/// One connector of `GET /connectors?expand=…`.
#[derive(Serialize)]
pub(super) struct Expanded<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<super::status::StateInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) info: Option<Info<'a>>,
}

#[derive(Serialize)]
pub(super) struct PluginInfo {
    class: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
}

pub(super) fn plugin(plugin: &'static Plugin) -> PluginInfo {
    PluginInfo { class: plugin.info().class, kind: plugin.kind(), version: plugin.info().version }
}

#[derive(Serialize)]
pub(super) struct KeyShape<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    required: bool,
    default_value: Option<&'a str>,
    importance: &'static str,
    documentation: &'a str,
    group: Option<&'a str>,
    order_in_group: i32,
    width: &'static str,
    display_name: &'a str,
    dependents: &'static [&'static str],
    /// What `order_in_group` was called before Kafka 4.2; older clients look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<i32>,
}

pub(super) fn definition(definition: &Definition, strict: bool) -> KeyShape<'_> {
    KeyShape {
        name: &definition.name,
        kind: definition.kind.name(),
        required: definition.required,
        default_value: hidden(definition.kind, definition.default.as_deref()),
        importance: definition.importance.name(),
        documentation: &definition.doc,
        group: definition.group.as_deref(),
        order_in_group: definition.order,
        width: definition.width.name(),
        display_name: &definition.display,
        dependents: definition.dependents,
        order: (!strict).then_some(definition.order),
    }
}

#[derive(Serialize)]
struct ValueShape<'a> {
    name: &'a str,
    value: Option<&'a str>,
    recommended_values: &'a [String],
    errors: &'a [String],
    visible: bool,
}

#[derive(Serialize)]
struct EntryShape<'a> {
    definition: Option<KeyShape<'a>>,
    value: ValueShape<'a>,
}

#[derive(Serialize)]
pub(super) struct ValidationShape<'a> {
    name: &'a str,
    error_count: usize,
    groups: Vec<String>,
    configs: Vec<EntryShape<'a>>,
}

pub(super) fn validation(validation: &Validation, strict: bool) -> ValidationShape<'_> {
    ValidationShape {
        name: &validation.class,
        error_count: validation.error_count,
        groups: validation.groups(),
        configs: validation.entries.iter().map(|found| entry(found, strict)).collect(),
    }
}

fn entry(entry: &Entry, strict: bool) -> EntryShape<'_> {
    let kind = entry.definition.as_ref().map_or(KeyType::String, |definition| definition.kind);
    EntryShape {
        definition: entry.definition.as_ref().map(|found| definition(found, strict)),
        value: ValueShape {
            name: &entry.name,
            value: hidden(kind, entry.value.as_deref()),
            recommended_values: &entry.recommended,
            errors: &entry.errors,
            visible: entry.visible,
        },
    }
}

/// Law 8: a password never leaves.
fn hidden(kind: KeyType, value: Option<&str>) -> Option<&str> {
    if kind == KeyType::Password { value.map(|_| "[hidden]") } else { value }
}

#[derive(Serialize)]
struct OffsetShape {
    partition: BTreeMap<String, Value>,
    offset: BTreeMap<String, Value>,
}

#[derive(Serialize)]
pub(super) struct OffsetsShape {
    offsets: Vec<OffsetShape>,
}

pub(super) fn offsets(offsets: &ConnectorOffsets) -> OffsetsShape {
    let offsets = match offsets {
        ConnectorOffsets::Source(offsets) => offsets
            .iter()
            .map(|(partition, offset)| OffsetShape { partition: object(&partition.0), offset: object(offset) })
            .collect(),
        ConnectorOffsets::Sink(offsets) => offsets
            .iter()
            .map(|(tp, offset)| OffsetShape {
                partition: BTreeMap::from([
                    ("kafka_partition".into(), tp.partition.into()),
                    ("kafka_topic".into(), (*tp.topic).into()),
                ]),
                offset: BTreeMap::from([("kafka_offset".into(), (*offset).into())]),
            })
            .collect(),
    };
    OffsetsShape { offsets }
}

pub(super) fn object(map: &OffsetMap) -> BTreeMap<String, Value> {
    let value = |value: &Primitive| match value {
        Primitive::Null => Value::Null,
        Primitive::Bool(value) => (*value).into(),
        Primitive::Int(value) => (*value).into(),
        Primitive::Float(bits) => f64::from_bits(*bits).into(),
        Primitive::Text(text) => (**text).into(),
    };
    map.iter().map(|(key, found)| (key.to_string(), value(found))).collect()
}
