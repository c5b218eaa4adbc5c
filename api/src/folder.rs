//! A place on disk for what a plugin has to know of its own past, such as a journal of uploads under way.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;

/// Makes folders: the worker's under `state.dir`, or the kit's in tests.
pub trait Disk: Send + Sync {
    /// The folder behind these names, one within the other, made if it is not there; each name is one folder, whatever
    /// characters it is of. A retriable error names the folder.
    fn make(&self, names: &[Arc<str>]) -> Result<PathBuf>;
}

/// A folder of the plugin's own. Cheap to clone; nothing is made before it is asked for.
///
/// A connector, each of its tasks, and each step of each task's chain have folders of their own, so that no two of them
/// meet in a file. What is in there outlives restarts of the plugin and of the worker, and is taken away when the
/// connector is deleted; a task that its connector plans no more leaves its folder until then. It is on one machine: a
/// worker that comes back on another, or with an empty `state.dir`, finds nothing. So it is for what spares work or
/// tidies up, and never for what a record's fate depends on: that is what offsets are for.
#[derive(Clone)]
pub struct Folder {
    disk: Option<Arc<dyn Disk>>,
    names: Arc<[Arc<str>]>,
}

impl Folder {
    /// The outermost one of a disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk: Some(disk), names: Arc::default() }
    }

    /// Where nothing is kept: in a preview, which leaves no trace.
    pub fn nowhere() -> Self {
        Self { disk: None, names: Arc::default() }
    }

    /// A folder in this one. Any text is a name.
    #[must_use]
    pub fn within(&self, name: impl Into<Arc<str>>) -> Self {
        let names = self.names.iter().map(Arc::clone).chain([name.into()]).collect();
        Self { disk: self.disk.clone(), names }
    }

    /// The one folder of the whole worker, which outlives every connector: for what is true of the machine, such as a share
    /// that was mounted once. Plugins of all kinds meet there: a file in it has a dot in its name, as no connector's folder
    /// has, and any task may have written it.
    #[must_use]
    pub fn of_worker(&self) -> Self {
        Self { disk: self.disk.clone(), names: Arc::default() }
    }

    /// Its path, made on demand with the rights of the worker's user alone; `None` where nothing is kept, and the plugin
    /// does without. It touches the disk: ask once, at start. A folder that cannot be made is a retriable error.
    pub fn path(&self) -> Result<Option<PathBuf>> {
        self.disk.as_ref().map(|disk| disk.make(&self.names)).transpose()
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Folder").field(&self.names).finish()
    }
}
