//! Lenses' MQTT connectors: their class names and keys, for what means the same here.
//!
//! A configuration of theirs becomes one of ours, which `settings.rs` reads; keys of ours may stand beside theirs and win.
//! Reading order: `keys.rs`, `kcql.rs`; here one becomes the other. Read next: `keys.rs`.

mod kcql;
mod keys;

use pipette_api::config::KeyInfo;
use pipette_api::plugin::BoxFuture;
use pipette_api::{ConfigMap, ConnectError, Info, Result, Settings, SinkPlugin, SourcePlugin};

use self::kcql::Statement;
use crate::config;
use crate::settings::{SinkSettings, SourceSettings};
use crate::{SINK, SOURCE, plan, sink, source};

/// Keys of theirs that are ours under another name, theirs first.
static SAME: [(&KeyInfo, &KeyInfo); 10] = [
    (&keys::HOSTS.info, &config::SERVER.info),
    (&keys::USERNAME.info, &config::USERNAME.info),
    (&keys::PASSWORD.info, &config::PASSWORD.info),
    (&keys::QUALITY.info, &config::QOS.info),
    (&keys::CLIENT_ID.info, &config::CLIENT_ID.info),
    (&keys::CA.info, &config::CA.info),
    (&keys::CERT.info, &config::CERT.info),
    (&keys::SSL_KEY.info, &config::SSL_KEY.info),
    (&keys::RETAINED.info, &config::RETAIN.info),
    (&keys::RETRY_INTERVAL.info, &config::BACKOFF.info),
];

/// Those in milliseconds that are ours in seconds.
static IN_SECONDS: [(&KeyInfo, &KeyInfo); 2] =
    [(&keys::TIMEOUT.info, &config::CONNECT_TIMEOUT.info), (&keys::KEEP_ALIVE.info, &config::KEEP_ALIVE.info)];

/// What a source does with payloads, by the last part of the converter's name.
const CONVERTERS: [(&str, &str); 2] = [("BytesConverter", "bytes"), ("JsonSimpleConverter", "json")];

/// Lenses' source.
pub(crate) static LENSES_SOURCE: SourcePlugin = SourcePlugin {
    probe: Some(probe),
    info: Info {
        class: "io.lenses.streamreactor.connect.mqtt.source.MqttSourceConnector",
        aliases: &["com.datamountaineer.streamreactor.connect.mqtt.source.MqttSourceConnector"],
        version: env!("CARGO_PKG_VERSION"),
        about: "The same source under Lenses' name and with Lenses' keys, where they mean the same.",
        readme: crate::README,
        config: &keys::SOURCE_CONFIG,
    },
    connector: |settings| Ok(Box::new(plan::SourceConnector::new(&ours(&settings)?)?)),
    task: |settings| Ok(Box::new(source::MqttSource::new(SourceSettings::read(&ours(&settings)?)?))),
    ..SOURCE
};

/// Lenses' sink.
pub(crate) static LENSES_SINK: SinkPlugin = SinkPlugin {
    probe: Some(probe),
    info: Info {
        class: "io.lenses.streamreactor.connect.mqtt.sink.MqttSinkConnector",
        aliases: &["com.datamountaineer.streamreactor.connect.mqtt.sink.MqttSinkConnector"],
        version: env!("CARGO_PKG_VERSION"),
        about: "The same sink under Lenses' name and with Lenses' keys, where they mean the same.",
        readme: crate::README,
        config: &keys::SINK_CONFIG,
    },
    connector: |settings| Ok(Box::new(plan::SinkConnector::new(&ours_of_sink(&settings)?)?)),
    task: |settings| Ok(Box::new(sink::MqttSink::new(SinkSettings::read(&ours_of_sink(&settings)?)?))),
    ..SINK
};

type Broken = Vec<(&'static str, String)>;

/// The configuration of ours, before it is checked.
fn translated(theirs: &ConfigMap, of_statements: ConfigMap) -> ConfigMap {
    let mut ours = of_statements;
    let mut add = |name: &KeyInfo, value: String| ours.insert(name.name.to_owned(), value);
    for (old, new) in SAME {
        theirs.get(old.name).map(|value| add(new, value.clone()));
    }
    for (old, new) in IN_SECONDS {
        let millis = theirs.get(old.name).and_then(|value| value.trim().parse::<u64>().ok());
        millis.map(|millis| add(new, millis.div_ceil(1000).to_string()));
    }
    ours.extend(theirs.iter().map(|(key, value)| (key.clone(), value.clone())));
    ours
}

fn statements(theirs: &ConfigMap) -> Result<Vec<Statement>, String> {
    kcql::parse(theirs.get(keys::KCQL.info.name).map_or("", String::as_str))
}

/// What the statements of a source say, in our keys.
fn source_config(theirs: &ConfigMap) -> Result<ConfigMap, String> {
    let statements = statements(theirs)?;
    let mut mapping = Vec::new();
    for Statement { target, source, target_field, .. } in &statements {
        if target_field.is_some() {
            return Err("has WITHTARGET, which is for sinks".into());
        }
        if source.contains(',') || target.contains(',') || source.contains("=>") {
            return Err(format!("has a name with a comma or an arrow in {source} or {target}"));
        }
        let template = if target == "$" { "${topic:lenses}" } else { target.as_str() };
        if target != "$" && target.contains('$') {
            return Err(format!("has the target {target}: a $ stands alone, for the MQTT topic"));
        }
        mapping.push((source.clone(), template.to_owned()));
    }
    let converter = |statement: &Statement| statement.converter.clone().unwrap_or_else(|| CONVERTERS[0].0.to_owned());
    let first = converter(&statements[0]);
    if statements.iter().any(|statement| converter(statement) != first) {
        return Err("has several converters: make a connector of each".into());
    }
    let known = CONVERTERS.iter().find(|(name, _)| first.rsplit('.').next() == Some(*name));
    let (_, format) = known.ok_or_else(|| {
        format!(
            "has the converter {first}, which has no counterpart here: known are BytesConverter and JsonSimpleConverter"
        )
    })?;
    let filters: Vec<&str> = mapping.iter().map(|(filter, _)| filter.as_str()).collect();
    let routes: Vec<String> = mapping.iter().map(|(filter, topic)| format!("{filter}=>{topic}")).collect();
    let mut ours = ConfigMap::from([
        (config::TOPICS.info.name.to_owned(), filters.join(",")),
        (config::KAFKA_MAPPING.info.name.to_owned(), routes.join(",")),
        (config::VALUE_FORMAT.info.name.to_owned(), (*format).to_owned()),
    ]);
    if let Some(clean) = theirs.get(keys::CLEAN.info.name) {
        ours.insert(config::CLEAN.info.name.to_owned(), clean.clone());
    }
    Ok(ours)
}

/// What the statements of a sink say, in our keys.
fn sink_config(theirs: &ConfigMap) -> Result<ConfigMap, String> {
    let statements = statements(theirs)?;
    let mut templates = Vec::new();
    for Statement { target, source, converter, target_field } in &statements {
        if converter.is_some() {
            return Err(
                "has WITHCONVERTER, which is for sources: values go out as the worker's converter reads them".into()
            );
        }
        let topics = theirs.get("topics").map(|topics| topics.split(',').map(str::trim).collect::<Vec<_>>());
        if topics.is_some_and(|topics| !topics.contains(&source.as_str())) {
            return Err(format!("selects from {source}, which is not in the topics of the connector"));
        }
        templates.push(match (target_field, target.as_str()) {
            (Some(field), _) => format!("${{field:{field}}}"),
            (None, "_key") => "${key}".to_owned(),
            (None, "_topic") => "${topic}".to_owned(),
            (None, target) if target.contains('$') => {
                return Err(format!(
                    "has the target {target}: with WITHTARGET=field the topic is in a field of the value"
                ));
            }
            (None, target) => target.to_owned(),
        });
    }
    let first = templates[0].clone();
    if templates.iter().any(|template| *template != first) {
        return Err("has several targets: make a connector of each".into());
    }
    Ok(ConfigMap::from([(config::MQTT_TOPIC.info.name.to_owned(), first)]))
}

fn read(
    settings: &Settings,
    plugin: &'static Info,
    of_statements: fn(&ConfigMap) -> Result<ConfigMap, String>,
) -> Result<Settings> {
    let name = keys::KCQL.info.name;
    let made = of_statements(settings.values()).map_err(|reason| ConnectError::config(format!("{name} {reason}")))?;
    Ok(Settings::new(translated(settings.values(), made), plugin.config).within(settings.reach().clone()))
}

fn ours(settings: &Settings) -> Result<Settings> {
    read(settings, &SOURCE.info, source_config)
}

fn ours_of_sink(settings: &Settings) -> Result<Settings> {
    read(settings, &SINK.info, sink_config)
}

fn source_rule(settings: &Settings) -> Broken {
    broken(&SOURCE.info, settings.values(), source_config)
}

fn sink_rule(settings: &Settings) -> Broken {
    broken(&SINK.info, settings.values(), sink_config)
}

/// What our connector says of the configuration, under their keys.
fn broken(
    plugin: &'static Info,
    theirs: &ConfigMap,
    of_statements: fn(&ConfigMap) -> Result<ConfigMap, String>,
) -> Broken {
    let ours = match of_statements(theirs) {
        Ok(made) => translated(theirs, made),
        Err(reason) => return vec![(keys::KCQL.info.name, reason)],
    };
    let checked = plugin.config.check(&ours).into_iter();
    let wrong = checked.flat_map(|key| key.errors.into_iter().map(move |error| (key.row.name.clone(), error)));
    wrong.map(|(name, error)| (their_key(&name), error)).collect()
}

/// The key of theirs that ours came from.
fn their_key(ours: &str) -> &'static str {
    let mut same = SAME.iter().chain(&IN_SECONDS);
    same.find(|(_, new)| new.name == ours).map_or(keys::KCQL.info.name, |(old, _)| old.name)
}

/// The live look at validate.
fn probe(settings: Settings) -> BoxFuture<Broken> {
    Box::pin(async move {
        let Ok(ours) = ours(&settings).or_else(|_| ours_of_sink(&settings)) else { return Vec::new() };
        let wrong = plan::probe(ours).await.into_iter();
        wrong.map(|(name, reason)| (their_key(name), reason)).collect()
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
