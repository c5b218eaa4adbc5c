//! What a plugin looks at besides keys: files, folders, and others whom it would connect to when it is asked to.
//!
//! `PUT …/config/validate` and `pipette validate` both ask here, so that they say the same. It takes its time and runs code of
//! the plugin, so that REST has it run on a thread of its own with a deadline.

use pipette_api::{ConfigMap, Settings};

use super::form::Validation;
use super::validate::{Draft, validate};
use crate::plugins::{ConnectorPlugin, Plugins};
use crate::settings::worker::WorkerConfig;

/// Validates a configuration, and has the plugin look at what a valid one leads to.
pub fn validate_live(plugins: &Plugins, worker: &WorkerConfig, draft: &Draft) -> Result<Validation, String> {
    let mut validation = validate(plugins, worker, draft)?;
    if validation.error_count == 0 {
        look(plugins, worker, draft, &mut validation);
    }
    Ok(validation)
}

fn look(plugins: &Plugins, worker: &WorkerConfig, draft: &Draft, validation: &mut Validation) {
    let (probe, info) = match plugins.connector(&validation.class) {
        Ok(ConnectorPlugin::Source(plugin)) => (plugin.probe, &plugin.info),
        Ok(ConnectorPlugin::Sink(plugin)) => (plugin.probe, &plugin.info),
        Err(_) => return,
    };
    let (Some(probe), Ok(runtime)) = (probe, tokio::runtime::Builder::new_current_thread().enable_all().build()) else {
        return;
    };
    let config: ConfigMap = draft.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    // It was resolved for the validation before.
    let Ok(config) = worker.providers.resolve(&config) else { return };
    let settings = Settings::new(config, info.config).within(worker.reach.clone());
    for (key, mut reason) in runtime.block_on(probe(settings)) {
        validation.error_count += 1;
        validation.secrets.hide_in(&mut reason);
        if let Some(entry) = validation.entries.iter_mut().find(|entry| entry.name == key) {
            entry.errors.push(format!("{key}: {reason}"));
        }
    }
}
