//! The connector: plans one task, and looks at the folders when a configuration is checked.
//!
//! One task reads all folders; the plan of several tasks by directory comes with the keys for it. Read next:
//! `source.rs`.

use std::fs;
use std::path::Path;

use pipette_api::config::ConfigMap;
use pipette_api::plugin::BoxFuture;
use pipette_api::{Connector, Result, Settings, async_trait};

use crate::config::{ERROR_PATH, FINISHED_PATH, INPUT_PATH};
use crate::settings::{Cleanup, FileError, LabFilesSettings};

pub(crate) struct LabFilesConnector;

#[async_trait]
impl Connector for LabFilesConnector {
    async fn task_configs(&mut self, _max: usize) -> Result<Vec<ConfigMap>> {
        Ok(vec![ConfigMap::new()])
    }
}

/// The live check at validate: the folders are there and can be used.
pub(crate) fn probe(settings: Settings) -> BoxFuture<Vec<(&'static str, String)>> {
    Box::pin(async move {
        let Ok(settings) = LabFilesSettings::read(&settings) else { return Vec::new() };
        folders(&settings)
    })
}

/// What is wrong with the folders, by key.
pub(crate) fn folders(settings: &LabFilesSettings) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let clears = settings.cleanup != Cleanup::Leave;
    for root in &settings.roots {
        if let Err(reason) = if clears { writable(&root.path) } else { readable(&root.path) } {
            wrong.push((INPUT_PATH.info.name, reason));
        }
    }
    let quarantines = settings.file_error == FileError::Quarantine;
    for (name, path, used) in [
        (FINISHED_PATH.info.name, &settings.finished, settings.cleanup == Cleanup::Move),
        (ERROR_PATH.info.name, &settings.error, quarantines),
    ] {
        if let Some(path) = path.as_ref().filter(|_| used)
            && let Err(reason) = writable(path)
        {
            wrong.push((name, reason));
        }
    }
    wrong
}

/// Whether the worker lets connectors use the folders. Validation has asked before; its file may have changed since.
pub(crate) fn allowed(settings: &LabFilesSettings) -> Result<()> {
    let roots = settings.roots.iter().map(|root| (INPUT_PATH.info.name, &root.path));
    let others = [(FINISHED_PATH.info.name, &settings.finished), (ERROR_PATH.info.name, &settings.error)];
    let others = others.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?)));
    roots.chain(others).try_for_each(|(key, path)| settings.reach.path(path).map_err(|error| error.within(key)))
}

fn readable(path: &Path) -> std::result::Result<(), String> {
    let folder = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("folder {folder} does not exist: create it, or mount the share it is on"))
        }
        Err(error) => Err(format!("folder {folder} cannot be looked at: {error}")),
        Ok(metadata) if !metadata.is_dir() => Err(format!("{folder} is not a folder")),
        Ok(_) => fs::read_dir(path)
            .map(drop)
            .map_err(|error| format!("folder {folder} cannot be listed: {error}. Give the worker's user read rights")),
    }
}

/// Whether files can be put into the folder; the error is the reason.
pub(crate) fn writable(path: &Path) -> std::result::Result<(), String> {
    readable(path)?;
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).map_err(|error| {
        format!("files cannot be moved in folder {}: {error}. Give the worker's user write rights", path.display())
    })
}
