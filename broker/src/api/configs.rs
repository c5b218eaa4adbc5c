//! Topic configuration: kept and shown so that clients find what they set. Only `max.message.bytes` has an effect.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_request::AlterConfigsRequest;
use kafka_protocol::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};
use kafka_protocol::messages::create_topics_response::CreatableTopicConfigs;
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterableConfig, IncrementalAlterConfigsRequest};
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse as OneByOneResourceResponse, IncrementalAlterConfigsResponse,
};

use super::{Call, NODE_ID, text};
use crate::node::Node;
use crate::storage::Refused;
use crate::storage::catalogue::Topic;

const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// Resource types of the protocol.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Config sources of the protocol.
const SET_ON_TOPIC: i8 = 1;
const SET_AT_START: i8 = 4;
const DEFAULT: i8 = 5;

/// Config operations of the protocol.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Version from which answers carry the type of a value.
const GIVES_TYPE: i16 = 3;

/// How a value is written, with the protocol's number for it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// The topic configurations of Kafka 4 and their defaults there, with compression left to the producer. But for the
/// retention, which is endless here: whoever keeps objects as long as records asks for it.
const TOPIC_CONFIGS: &[(&str, &str, Kind)] = &[
    ("cleanup.policy", "delete", Kind::List),
    ("compression.type", "producer", Kind::String),
    ("delete.retention.ms", "86400000", Kind::Long),
    ("file.delete.delay.ms", "60000", Kind::Long),
    ("flush.messages", "9223372036854775807", Kind::Long),
    ("flush.ms", "9223372036854775807", Kind::Long),
    ("index.interval.bytes", "4096", Kind::Int),
    ("local.retention.bytes", "-2", Kind::Long),
    ("local.retention.ms", "-2", Kind::Long),
    ("max.compaction.lag.ms", "9223372036854775807", Kind::Long),
    (MAX_MESSAGE_BYTES, "1048588", Kind::Int),
    ("message.timestamp.after.max.ms", "3600000", Kind::Long),
    ("message.timestamp.before.max.ms", "9223372036854775807", Kind::Long),
    ("message.timestamp.type", "CreateTime", Kind::String),
    ("min.cleanable.dirty.ratio", "0.5", Kind::Double),
    ("min.compaction.lag.ms", "0", Kind::Long),
    ("min.insync.replicas", "1", Kind::Int),
    ("preallocate", "false", Kind::Boolean),
    ("remote.storage.enable", "false", Kind::Boolean),
    ("retention.bytes", "-1", Kind::Long),
    ("retention.ms", "-1", Kind::Long),
    ("segment.bytes", "1073741824", Kind::Int),
    ("segment.index.bytes", "10485760", Kind::Int),
    ("segment.jitter.ms", "0", Kind::Long),
    ("segment.ms", "604800000", Kind::Long),
    ("unclean.leader.election.enable", "false", Kind::Boolean),
];

/// One row of a description: name, value, kind, source.
type Row = (String, String, Kind, i8);

fn kind(name: &str) -> Result<Kind, Refused> {
    let found = TOPIC_CONFIGS.iter().find(|(known, ..)| *known == name).map(|(_, _, kind)| *kind);
    found.ok_or_else(|| Refused::new(ResponseError::InvalidConfig, format!("unknown topic config name: {name}")))
}

/// Checks a name and that its value is of the right kind.
pub(super) fn check(name: &str, value: &str) -> Result<(), Refused> {
    let sound = match kind(name)? {
        Kind::Boolean => matches!(value, "true" | "false"),
        Kind::Int => value.parse::<i32>().is_ok(),
        Kind::Long => value.parse::<i64>().is_ok(),
        Kind::Double => value.parse::<f64>().is_ok(),
        Kind::List | Kind::String => true,
    };
    let policies = |value: &str| value.split(',').all(|policy| matches!(policy.trim(), "compact" | "delete"));
    if sound && (name != "cleanup.policy" || policies(value)) {
        return Ok(());
    }
    Err(Refused::new(ResponseError::InvalidConfig, format!("invalid value {value} for configuration {name}")))
}

/// What a client is told about the topic it has just created.
pub(super) fn of_created(configs: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let row = |(name, value, _, source): Row| {
        CreatableTopicConfigs::default().with_name(text(name)).with_value(Some(text(value))).with_config_source(source)
    };
    topic_rows(configs).into_iter().map(row).collect()
}

fn topic_rows(configs: &BTreeMap<String, String>) -> Vec<Row> {
    let row = |(name, default, kind): &(&str, &str, Kind)| match configs.get(*name) {
        Some(value) => ((*name).to_owned(), value.clone(), *kind, SET_ON_TOPIC),
        None => ((*name).to_owned(), (*default).to_owned(), *kind, DEFAULT),
    };
    TOPIC_CONFIGS.iter().map(row).collect()
}

impl Node {
    /// The largest batch that the topic takes.
    pub(super) fn max_message_bytes(&self, topic: &str) -> usize {
        const DEFAULT: usize = 1_048_588;
        let configured = self.catalogue.topics.get(topic).and_then(|topic| topic.configs.get(MAX_MESSAGE_BYTES));
        configured.and_then(|value| value.parse().ok()).unwrap_or(DEFAULT)
    }

    pub(super) fn describe_configs(&self, request: DescribeConfigsRequest, call: &Call) -> DescribeConfigsResponse {
        let results = request.resources.into_iter().map(|resource| self.describe_resource(resource, call));
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    fn describe_resource(&self, resource: DescribeConfigsResource, call: &Call) -> DescribeConfigsResult {
        let found = match resource.resource_type {
            TOPIC => self.topic(&resource.resource_name).map(|topic| topic_rows(&topic.configs)),
            BROKER if resource.resource_name.as_str() == NODE_ID.0.to_string() => Ok(self.broker_rows()),
            _ => Err(no_such_resource(resource.resource_type, &resource.resource_name)),
        };
        let mut answer = DescribeConfigsResult::default().with_resource_type(resource.resource_type);
        let rows = found.unwrap_or_else(|refused| {
            answer.error_code = refused.code.code();
            answer.error_message = Some(text(refused.why));
            Vec::new()
        });
        let wanted = |name: &str| {
            let keys = resource.configuration_keys.as_ref();
            keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
        };
        let row = |(name, value, kind, source): Row| {
            let mut row = DescribeConfigsResourceResult::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
                .with_read_only(resource.resource_type == BROKER)
                .with_config_source(source);
            if call.version >= GIVES_TYPE {
                row.config_type = kind as i8;
            }
            row
        };
        let configs = rows.into_iter().filter(|(name, ..)| wanted(name)).map(row).collect();
        answer.with_resource_name(resource.resource_name).with_configs(configs)
    }

    fn broker_rows(&self) -> Vec<Row> {
        let row = |name: &str, value: String, kind| (name.to_owned(), value, kind, SET_AT_START);
        vec![
            row("auto.create.topics.enable", self.config.auto_create_topics.to_string(), Kind::Boolean),
            row("default.replication.factor", "1".into(), Kind::Int),
            row("max.connections", self.config.max_connections.to_string(), Kind::Int),
            row("num.partitions", self.config.default_partitions.to_string(), Kind::Int),
            row("socket.request.max.bytes", self.config.max_request_bytes.to_string(), Kind::Int),
        ]
    }

    fn topic(&self, name: &str) -> Result<&Topic, Refused> {
        self.catalogue.topics.get(name).ok_or_else(|| no_such_resource(TOPIC, name))
    }

    /// The older request: what it does not name falls back to its default.
    pub(super) fn alter_configs(&mut self, request: AlterConfigsRequest) -> AlterConfigsResponse {
        let validate_only = request.validate_only;
        let results = request.resources.into_iter().map(|resource| {
            let pairs = resource.configs.iter().map(|config| {
                (config.name.to_string(), config.value.as_ref().map(ToString::to_string).unwrap_or_default())
            });
            let pairs = pairs.collect();
            let altered =
                self.reconfigure(resource.resource_type, &resource.resource_name, validate_only, |_| Ok(pairs));
            let answer = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name);
            match altered {
                Ok(()) => answer,
                Err(refused) => answer.with_error_code(refused.code.code()).with_error_message(Some(text(refused.why))),
            }
        });
        AlterConfigsResponse::default().with_responses(results.collect())
    }

    pub(super) fn alter_configs_one_by_one(
        &mut self,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let validate_only = request.validate_only;
        let results = request.resources.into_iter().map(|resource| {
            let change = |configs: &BTreeMap<String, String>| {
                let mut configs = configs.clone();
                for config in &resource.configs {
                    alter(&mut configs, config)?;
                }
                Ok(configs)
            };
            let altered = self.reconfigure(resource.resource_type, &resource.resource_name, validate_only, change);
            let answer = OneByOneResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match altered {
                Ok(()) => answer,
                Err(refused) => answer.with_error_code(refused.code.code()).with_error_message(Some(text(refused.why))),
            }
        });
        IncrementalAlterConfigsResponse::default().with_responses(results.collect())
    }

    fn reconfigure(
        &mut self,
        resource_type: i8,
        name: &str,
        validate_only: bool,
        change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused>,
    ) -> Result<(), Refused> {
        if resource_type != TOPIC {
            let why = "only topics can be configured; the broker's settings are given at its start";
            return Err(Refused::new(ResponseError::InvalidRequest, why));
        }
        let topic = self.topic(name)?;
        let configs = change(&topic.configs)?;
        for (name, value) in &configs {
            check(name, value)?;
        }
        if validate_only {
            return Ok(());
        }
        let topic = Topic { configs, ..topic.clone() };
        self.change_topic(name, topic)
    }
}

/// One operation on one configuration; lists know appending and subtracting.
fn alter(configs: &mut BTreeMap<String, String>, config: &AlterableConfig) -> Result<(), Refused> {
    let name = config.name.to_string();
    let value = config.value.as_ref().map(ToString::to_string).unwrap_or_default();
    let is_list = kind(&name)? == Kind::List;
    match config.config_operation {
        SET => {
            configs.insert(name, value);
        }
        DELETE => {
            configs.remove(&name);
        }
        APPEND | SUBTRACT if is_list => {
            let current = configs.get(&name).cloned().unwrap_or_default();
            let mut items: Vec<&str> = current.split(',').filter(|item| !item.is_empty()).collect();
            items.retain(|item| !value.split(',').any(|gone| gone == *item));
            if config.config_operation == APPEND {
                items.extend(value.split(','));
            }
            configs.insert(name, items.join(","));
        }
        operation => {
            let why = format!("operation {operation} is not possible on {name}");
            return Err(Refused::new(ResponseError::InvalidRequest, why));
        }
    }
    Ok(())
}

fn no_such_resource(resource_type: i8, name: &str) -> Refused {
    let code =
        if resource_type == TOPIC { ResponseError::UnknownTopicOrPartition } else { ResponseError::InvalidRequest };
    Refused::new(code, format!("there is no resource of type {resource_type} named '{name}'"))
}
