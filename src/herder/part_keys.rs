//! Who reads the keys below converters, transformations and predicates, so that those which nobody reads can be told.
//!
//! `instance.rs` asks for a connector, `src/worker.rs` for the worker's own converters; `settings/parts.rs` tells.

use pipette_api::config::FromText;
use pipette_api::{ConfigMap, Info, Plugin};

use crate::plugins::{Family, Plugins};
use crate::settings::connector;
use crate::settings::parts::Owners;
use crate::settings::worker::WorkerConfig;

/// Of a connector: its chain, and the converters that it names itself.
pub(super) fn of_connector(plugins: &Plugins, config: &ConfigMap) -> Owners {
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
