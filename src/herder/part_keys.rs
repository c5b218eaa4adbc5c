//! Who reads the keys below converters, transformations and predicates, so that those which nobody reads can be told.
//!
//! `instance.rs` and the command line ask for a connector, `src/worker.rs` for the worker's own converters;
//! `settings/parts.rs` and `settings/unused.rs` tell.

use pipette_api::config::FromText;
use pipette_api::{ConfigMap, Info, Plugin};

use crate::plugins::{ConnectorPlugin, Family, Plugins};
use crate::settings::connector;
use crate::settings::parts::Owners;
use crate::settings::unused;
use crate::settings::worker::WorkerConfig;

/// What a connector says in vain, placeholders that nobody resolves among it: `written` is its configuration, `config` the
/// same without placeholders.
pub(super) fn warnings(
    plugins: &Plugins,
    worker: &WorkerConfig,
    plugin: ConnectorPlugin,
    written: &ConfigMap,
    config: &ConfigMap,
) -> Vec<String> {
    let is_source = matches!(plugin, ConnectorPlugin::Source(_));
    let owners = of_connector(plugins, config);
    let mut warnings = unused::of_connector(written, plugin.info().config, &owners, is_source, worker.strict);
    warnings.extend(worker.providers.unresolved(written, config));
    warnings
}

/// The same for a configuration that is looked at without a start. Where it has an error that hides what it means, the
/// error is told by who validates.
pub fn warnings_of(plugins: &Plugins, worker: &WorkerConfig, written: &ConfigMap) -> Vec<String> {
    let Ok(config) = worker.providers.resolve(written) else { return Vec::new() };
    let class = config.get(connector::CLASS.info.name).map(String::as_str).unwrap_or_default();
    let plugin = plugins.connector(class);
    plugin.map(|plugin| warnings(plugins, worker, plugin, written, &config)).unwrap_or_default()
}

/// Of a connector: its chain, and the converters that it names itself.
fn of_connector(plugins: &Plugins, config: &ConfigMap) -> Owners {
    let mut owners = Owners::new();
    let lists = [(&connector::TRANSFORMS, Family::Transform), (&connector::PREDICATES, Family::Predicate)];
    for (list, family) in lists {
        let list = list.info.name;
        let text = config.get(list).map_or("", |text| text.trim());
        for alias in Vec::<String>::from_text(text).unwrap_or_default() {
            let prefix = format!("{list}.{alias}.");
            let class = config.get(&format!("{prefix}type"));
            let info = class.and_then(|class| info(plugins, family, class));
            owners.insert(prefix, info);
        }
    }
    for (key, family) in [
        (connector::KEY_CONVERTER.info.name, Family::Converter),
        (connector::VALUE_CONVERTER.info.name, Family::Converter),
        (connector::HEADER_CONVERTER.info.name, Family::HeaderConverter),
    ] {
        owners.extend(config.get(key).map(|class| (format!("{key}."), info(plugins, family, class))));
    }
    owners
}

/// The worker's converters.
pub fn of_worker(plugins: &Plugins, worker: &WorkerConfig) -> Owners {
    let converters = [
        (connector::KEY_CONVERTER.info.name, Family::Converter, &worker.key_converter),
        (connector::VALUE_CONVERTER.info.name, Family::Converter, &worker.value_converter),
        (connector::HEADER_CONVERTER.info.name, Family::HeaderConverter, &worker.header_converter),
    ];
    converters.map(|(key, family, class)| (format!("{key}."), info(plugins, family, class))).into()
}

fn info(plugins: &Plugins, family: Family, class: &str) -> Option<&'static Info> {
    plugins.find(family, class).map(Plugin::info)
}
