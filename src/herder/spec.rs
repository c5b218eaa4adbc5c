//! Makes a task's specification from its configuration. Plain data; no plugin code runs here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use pipette_api::{
    ConfigMap, ConnectError, ConverterPlugin, HeaderConverterPlugin, Info, Plugin, PredicatePlugin, Reach, Result,
    Settings, Shared, TaskId,
};

use super::{Parts, client_keys};
use crate::kafka::consumer::Subscription;
use crate::kafka::pattern;
use crate::kafka::properties::{self, ClientProperties};
use crate::plugins::{ConnectorPlugin, Family, Plugins};
use crate::settings::connector::{self, ConnectorConfig, Part, Step, offsets_topic};
use crate::settings::dead_letters as letters;
use crate::settings::providers::Providers;
use crate::settings::worker::WorkerConfig;
use crate::task::spec::{
    Converters, DeadLetterSpec, ErrorPolicy, PredicateSpec, Role, StepPlugin, TaskSpec, Transactions, TransformSpec,
    Until,
};
use crate::task::topics::Rules;

/// The specification of a task. The error names the key to mend. `gone` are tasks that the connector had and has no
/// more: with exactly-once this one fences them.
pub(super) fn task(
    parts: &Parts,
    id: &TaskId,
    plugin: ConnectorPlugin,
    config: &Arc<ConfigMap>,
    shared: Shared,
    gone: Range<usize>,
) -> Result<TaskSpec> {
    let config = &Arc::new(parts.worker.providers.resolve(config)?);
    client_keys::check(plugin, &parts.worker, config)?;
    let own = if parts.worker.strict { without_additions(config, plugin)? } else { ConnectorConfig::read(config)? };
    Ok(TaskSpec {
        role: role(parts, id, plugin, config, &own, gone)?,
        settings: Settings::new(Arc::clone(config), plugin.info().config).within(parts.worker.reach.clone()),
        converters: converters(&parts.plugins, &parts.worker, &own)?,
        transforms: chain(&parts.plugins, &own, &parts.worker.reach)?,
        errors: ErrorPolicy {
            tolerate: own.tolerate,
            refusals_max: own.refusals_max,
            retry_timeout: own.retry_timeout,
            retry_delay_max: own.retry_delay_max,
            log: own.log,
            log_messages: own.log_messages,
        },
        dead_letters: letters(parts, id, config, &own)?,
        flush_interval: parts.worker.flush_interval,
        // A task that is told to stop is to be through with it before it is abandoned.
        flush_timeout: parts.worker.flush_timeout.min(parts.worker.grace * 3 / 5),
        id: id.clone(),
        shared,
        memory_cap: own.memory_cap.or(parts.worker.connector_memory),
        inline: own.inline.unwrap_or(parts.worker.inline),
    })
}

/// What Apache's worker reads of it: keys that it ignores are not even looked at, whatever they say.
fn without_additions(config: &ConfigMap, plugin: ConnectorPlugin) -> Result<ConnectorConfig> {
    let of_source = [&letters::NAME.info, &letters::COPIES.info, &letters::CONTEXT.info];
    let of_source = of_source.iter().filter(|_| matches!(plugin, ConnectorPlugin::Source(_)));
    let additions = letters::SINK_ADDED.keys().iter().chain(connector::ADDED.keys()).chain(of_source);
    let mut config = config.clone();
    additions.for_each(|key| drop(config.remove(key.name)));
    Ok(ConnectorConfig { refusals_max: 0, ..ConnectorConfig::read(&config)? })
}

/// The consumer properties of a sink's task, from its configuration as it is written.
pub(super) fn consumer(parts: &Parts, name: &str, config: &ConfigMap, task: usize) -> Result<ClientProperties> {
    reader(parts, name, &parts.worker.providers.resolve(config)?, task)
}

/// The same with everything in place of its placeholders.
fn reader(parts: &Parts, name: &str, config: &ConfigMap, task: usize) -> Result<ClientProperties> {
    let client_id = format!("connector-consumer-{name}-{task}");
    properties::consumer(&parts.worker.values, config, &client_id, &format!("connect-{name}"))
}

fn role(
    parts: &Parts,
    id: &TaskId,
    plugin: ConnectorPlugin,
    config: &ConfigMap,
    own: &ConnectorConfig,
    gone: Range<usize>,
) -> Result<Role> {
    Ok(match plugin {
        ConnectorPlugin::Source(plugin) => Role::Source {
            plugin,
            producer: producer(parts, id, config, own)?,
            offsets_topic: offsets_topic(config).map(str::to_owned),
            transactions: transactions(parts, id, config, own, gone)?,
            topics: if parts.worker.topic_creation { Rules::read(config)? } else { None },
            kept: kept(&parts.worker, config),
        },
        ConnectorPlugin::Sink(plugin) => Role::Sink {
            plugin,
            consumer: reader(parts, &id.connector, config, id.task)?,
            direct: parts.worker.direct,
            subscription: if own.topics_regex.is_empty() {
                Subscription::Topics(own.topics.clone())
            } else {
                Subscription::Pattern(pattern::whole_name(&own.topics_regex).map_err(|error| {
                    let text = &own.topics_regex;
                    ConnectError::config(format!("Invalid value {text} for configuration topics.regex: {error}"))
                })?)
            },
        },
    })
}

/// Topics in which the worker keeps something, the connector's own for its offsets among them.
fn kept(worker: &WorkerConfig, config: &ConfigMap) -> Vec<(String, &'static str)> {
    let offsets = worker.offsets_topic.as_ref().map(|offsets| (offsets.topic.name.as_str(), "offset.storage.topic"));
    let own = offsets_topic(config).filter(|_| offsets.is_some()).map(|own| (own, connector::OFFSETS_TOPIC.info.name));
    let states = worker.state_topics.iter().flat_map(|states| {
        [(&*states.configs.name, "config.storage.topic"), (&*states.statuses.name, "status.storage.topic")]
    });
    offsets.into_iter().chain(own).chain(states).map(|(topic, key)| (topic.to_owned(), key)).collect()
}

fn letters(parts: &Parts, id: &TaskId, config: &ConfigMap, own: &ConnectorConfig) -> Result<Option<DeadLetterSpec>> {
    let Some(topic) = own.dead_letters.clone() else { return Ok(None) };
    let client_id = format!("connector-dlq-producer-{id}");
    let producer = properties::dead_letters(&parts.worker.values, config, &client_id)?;
    Ok(Some(DeadLetterSpec { topic, producer, inline: own.inline.unwrap_or(parts.worker.inline) }))
}

/// The producer properties of a source's task: with exactly-once they name its transactional id, as Apache does.
fn producer(parts: &Parts, id: &TaskId, config: &ConfigMap, own: &ConnectorConfig) -> Result<ClientProperties> {
    let (worker, client) = (&parts.worker, format!("connector-producer-{id}"));
    match worker.transactional_group() {
        None => properties::producer(&worker.values, config, &client),
        Some(group) => {
            let open = until(parts, own).interval().unwrap_or_default();
            properties::transactional(&worker.values, config, &client, &format!("{group}-{id}"), open)
        }
    }
}

fn transactions(
    parts: &Parts,
    id: &TaskId,
    config: &ConfigMap,
    own: &ConnectorConfig,
    gone: Range<usize>,
) -> Result<Option<Transactions>> {
    if parts.worker.transactional_group().is_none() {
        return Ok(None);
    }
    let other = |task| producer(parts, &TaskId { connector: Arc::clone(&id.connector), task }, config, own);
    Ok(Some(Transactions { until: until(parts, own), stale: gone.map(other).collect::<Result<_>>()? }))
}

fn until(parts: &Parts, own: &ConnectorConfig) -> Until {
    match own.boundary.as_str() {
        "interval" => Until::Interval(own.boundary_interval.unwrap_or(parts.worker.flush_interval)),
        "connector" => Until::Connector,
        _ => Until::Poll,
    }
}

/// The connector's converters, or the worker's.
pub(super) fn converters(plugins: &Plugins, worker: &WorkerConfig, own: &ConnectorConfig) -> Result<Converters> {
    let chosen = |own: Option<&Part>, side| choice(worker, own, side);
    Ok(Converters {
        key: converter(plugins, chosen(own.key_converter.as_ref(), "key"), "key")?,
        value: converter(plugins, chosen(own.value_converter.as_ref(), "value"), "value")?,
        header: header_converter(plugins, chosen(own.header_converter.as_ref(), "header"))?,
    })
}

/// The connector's converter, or the worker's with the worker's settings.
fn choice(worker: &WorkerConfig, own: Option<&Part>, side: &str) -> Part {
    let mut part = own.cloned().unwrap_or_else(|| {
        let prefix = format!("{side}.converter.");
        let class = match side {
            "key" => &worker.key_converter,
            "value" => &worker.value_converter,
            _ => &worker.header_converter,
        };
        let below = |(key, value): (&String, &String)| Some((key.strip_prefix(&prefix)?.to_owned(), value.clone()));
        Part { class: class.clone(), settings: worker.values.iter().filter_map(below).collect() }
    });
    part.settings.insert("converter.type".into(), side.into());
    part
}

fn converter(plugins: &Plugins, part: Part, side: &str) -> Result<(&'static ConverterPlugin, Settings)> {
    let plugin = plugins.converter(&part.class);
    let plugin =
        plugin.ok_or_else(|| unknown(plugins, Family::Converter, &format!("{side}.converter"), &part.class))?;
    Ok((plugin, settings(part, &plugin.info)))
}

fn header_converter(plugins: &Plugins, part: Part) -> Result<(&'static HeaderConverterPlugin, Settings)> {
    let plugin = plugins.header_converter(&part.class);
    let plugin = plugin.ok_or_else(|| unknown(plugins, Family::HeaderConverter, "header.converter", &part.class))?;
    Ok((plugin, settings(part, &plugin.info)))
}

/// The steps of the chain, in order.
pub(super) fn chain(plugins: &Plugins, own: &ConnectorConfig, reach: &Reach) -> Result<Vec<TransformSpec>> {
    own.transforms.iter().map(|step| transform(plugins, step, reach)).collect()
}

fn transform(plugins: &Plugins, step: &Step, reach: &Reach) -> Result<TransformSpec> {
    let key = format!("transforms.{}.type", step.alias);
    let plugin = match plugins.find(Family::Transform, &step.part.class) {
        Some(Plugin::Transform(plugin)) => StepPlugin::Now(plugin),
        Some(Plugin::AsyncTransform(plugin)) => StepPlugin::Later(plugin),
        Some(Plugin::Expand(plugin)) => StepPlugin::Expand(plugin),
        Some(Plugin::Collect(plugin)) => StepPlugin::Collect(plugin),
        _ => return Err(unknown(plugins, Family::Transform, &key, &step.part.class)),
    };
    let predicate = step.predicate.as_ref().map(|(part, negate)| {
        let key = format!("transforms.{}.predicate", step.alias);
        let plugin: Option<&'static PredicatePlugin> = plugins.predicate(&part.class);
        let plugin = plugin.ok_or_else(|| unknown(plugins, Family::Predicate, &key, &part.class))?;
        Ok::<_, ConnectError>(PredicateSpec { plugin, settings: settings(part.clone(), &plugin.info), negate: *negate })
    });
    Ok(TransformSpec {
        alias: step.alias.as_str().into(),
        plugin,
        settings: settings(step.part.clone(), plugin.info()).within(reach.clone()),
        predicate: predicate.transpose()?,
    })
}

fn settings(part: Part, info: &Info) -> Settings {
    Settings::new(part.settings, info.config)
}

fn unknown(plugins: &Plugins, family: Family, key: &str, class: &str) -> ConnectError {
    let hint = plugins.did_you_mean(family, class);
    ConnectError::config(format!(
        "Invalid value {class} for configuration {key}: Class {class} could not be found.{hint}"
    ))
}

/// Task configurations laid over the connector's, or why there are too many. A connector makes its plans from a
/// configuration without placeholders; what had one has it again in them, since they are kept and shown.
pub(super) fn lay_over(
    name: &str,
    connector: &ConfigMap,
    providers: &Providers,
    limit: (usize, bool),
    plans: Vec<ConfigMap>,
) -> Result<Vec<ConfigMap>> {
    let (max, enforce) = limit;
    if plans.len() > max {
        let text = format!(
            "Connector {name} planned {} tasks, more than tasks.max={max} allows. Raise tasks.max, or set \
             tasks.max.enforce=false",
            plans.len()
        );
        if enforce {
            return Err(ConnectError::config(text));
        }
        tracing::warn!(connector = %name, planned = plans.len(), max, "More tasks than tasks.max");
    }
    let hidden: ConfigMap =
        connector.iter().filter(|(_, value)| providers.stands_in(value)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let over = |plan: ConfigMap| -> BTreeMap<_, _> {
        connector.clone().into_iter().chain(plan).chain(hidden.clone()).collect()
    };
    Ok(plans.into_iter().map(over).collect())
}
