//! Whether the steps of a chain stand where they can: those that make several records of one, or one of several, have one
//! place each, and some make sense in one direction only. `claim_checks.rs` knows those that keep payloads elsewhere,
//! `validate.rs` shows what is wrong.

use std::collections::BTreeSet;

use pipette_api::config::FromText;
use pipette_api::{ConfigMap, Direction, Plugin};

use super::claim_checks;
use crate::plugins::{ConnectorPlugin, Family, Plugins};
use crate::settings::{connector, parts};

/// The most transformations of a connector, and the most predicates: each takes some 10 KiB of memory to look at.
const MOST: usize = 5_000;

/// The elements of `transforms` or `predicates`, once each, or why they are not looked at.
pub(super) fn aliases(key: &str, mut list: Vec<String>) -> Result<Vec<String>, String> {
    let (count, mut seen) = (list.len(), BTreeSet::new());
    if count > MOST {
        let error = format!("it names {count}, and a connector may have {MOST} {key}");
        return Err(format!("Invalid value for configuration {key}: {error}"));
    }
    list.retain(|alias| seen.insert(alias.clone()));
    Ok(list)
}

/// What is wrong, each with the key to mend. `converter` is the worker's converter of values.
pub(super) fn errors(
    plugins: &Plugins,
    connector: ConnectorPlugin,
    config: &ConfigMap,
    converter: &str,
) -> Vec<(String, String)> {
    let list = |key| Vec::<String>::from_text(config.get(key).map_or("", |list| list.trim())).unwrap_or_default();
    let (aliases, predicates) = (list(connector::TRANSFORMS.info.name), list(connector::PREDICATES.info.name));
    let is_source = matches!(connector, ConnectorPlugin::Source(_));
    let mut errors = claim_checks::errors(plugins, config, &aliases, converter);
    for (place, alias) in aliases.iter().enumerate() {
        let key = format!("transforms.{alias}.type");
        let plugin = config.get(&key).and_then(|class| plugins.find(Family::Transform, class));
        let predicate = format!("transforms.{alias}.predicate");
        let named = config.get(&predicate).map(|name| name.trim());
        if let Some(error) = named.and_then(|name| parts::undeclared(alias, name, &predicates)) {
            errors.push((predicate.clone(), error));
        }
        let wrong = match plugin {
            Some(Plugin::Expand(_)) if !is_source => {
                "it makes several records of one on their way into Kafka: it \
                                                      belongs into a source connector"
            }
            Some(Plugin::Expand(_)) if place + 1 < aliases.len() => {
                "it works on what the converters have written, so it can only be the last of transforms"
            }
            Some(Plugin::Collect(_)) if is_source => {
                "it makes one record of several on their way out of Kafka: it \
                                                      belongs into a sink connector"
            }
            Some(Plugin::Collect(_)) if place > 0 => {
                "it works on what the converters have not read yet, so it can only be the first of transforms"
            }
            Some(Plugin::AsyncTransform(plugin)) => match plugin.direction {
                Direction::IntoKafka if !is_source => {
                    "it is for records on their way into Kafka: it belongs into a \
                                                       source connector"
                }
                Direction::OutOfKafka if is_source => {
                    "it is for records on their way out of Kafka: it belongs into a \
                                                       sink connector"
                }
                _ => continue,
            },
            Some(Plugin::Collect(_)) if config.contains_key(&predicate) => {
                let error = "it stands before the converters, where no predicate can look at the record yet";
                errors.push((predicate, format!("Transformation \"{alias}\" takes no predicate: {error}")));
                continue;
            }
            _ => continue,
        };
        errors.push((key, format!("Transformation \"{alias}\" cannot stand here: {wrong}")));
    }
    errors
}

#[cfg(test)]
mod tests {
    use pipette_api::{
        AsyncTransformPlugin, CollectPlugin, ConfigDef, ConnectError, ExpandPlugin, Info, SinkPlugin, SourcePlugin,
    };

    use super::*;

    static NO_KEYS: ConfigDef = ConfigDef::new(&[]);

    const fn info(class: &'static str) -> Info {
        Info { class, aliases: &[], version: "1", about: "", readme: "", config: &NO_KEYS }
    }

    fn no<T>() -> pipette_api::Result<T> {
        Err(ConnectError::fatal("no"))
    }

    static PLUGINS: &[Plugin] = &[
        Plugin::Expand(ExpandPlugin { info: info("Chunk"), metrics: &[], make: |_, _| no() }),
        Plugin::Collect(CollectPlugin { info: info("Reassemble"), metrics: &[], make: |_, _| no(), then: None }),
        Plugin::AsyncTransform(AsyncTransformPlugin {
            info: info("ClaimCheck"),
            direction: Direction::IntoKafka,
            metrics: &[],
            make: |_, _| no(),
        }),
        Plugin::AsyncTransform(AsyncTransformPlugin {
            info: info("Restore"),
            direction: Direction::OutOfKafka,
            metrics: &[],
            make: |_, _| no(),
        }),
    ];
    static SOURCE: SourcePlugin = SourcePlugin::new(info("Source"), |_| no(), |_| no());
    static SINK: SinkPlugin = SinkPlugin::new(info("Sink"), |_| no(), |_| no());

    /// The keys that are wrong with a chain of these classes, whose aliases are letters from `a` on.
    fn wrong(connector: ConnectorPlugin, classes: &[&str], more: &[(&str, &str)]) -> Vec<String> {
        let alias = |place: usize| char::from(b'a' + u8::try_from(place).unwrap()).to_string();
        let mut config: ConfigMap = classes
            .iter()
            .enumerate()
            .map(|(place, class)| (format!("transforms.{}.type", alias(place)), (*class).to_owned()))
            .collect();
        config.insert("transforms".into(), (0..classes.len()).map(alias).collect::<Vec<_>>().join(", "));
        config.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        errors(&Plugins::of(&[PLUGINS]), connector, &config, "").into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn each_step_stands_where_it_can() {
        let (source, sink) = (ConnectorPlugin::Source(&SOURCE), ConnectorPlugin::Sink(&SINK));
        let (a, b) = ("transforms.a.type", "transforms.b.type");
        for (connector, classes, expected) in [
            (source, &["ClaimCheck", "Chunk"][..], vec![]),
            (source, &["Chunk", "ClaimCheck"], vec![a]),
            (source, &["Unknown", "Reassemble"], vec![b]),
            (source, &["Restore"], vec![a]),
            (sink, &["Reassemble", "Restore"], vec![]),
            (sink, &["Restore", "Reassemble"], vec![b]),
            (sink, &["ClaimCheck", "Chunk"], vec![a, b]),
        ] {
            assert_eq!(wrong(connector, classes, &[]), expected, "{classes:?}");
        }
        let predicate = [("transforms.a.predicate", "p"), ("predicates", "p")];
        assert_eq!(wrong(sink, &["Reassemble"], &predicate), ["transforms.a.predicate"]);
        assert!(wrong(source, &["Chunk"], &predicate).is_empty());
        assert_eq!(wrong(source, &["Chunk"], &predicate[..1]), ["transforms.a.predicate"], "it is declared nowhere");
    }
}
