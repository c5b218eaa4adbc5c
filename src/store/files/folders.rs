//! Folders of plugins under `state.dir/plugins`: one per connector, and in it what it and its tasks ask for. Beside them, with
//! a dot in their names, are files of the whole worker.
//!
//! Plugins ask through `pipette_api::Folder`; `herder/mod.rs` takes a connector's away when it is deleted.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipette_api::folder::Disk;
use pipette_api::{Folder, Result};

use super::failed;

/// File systems take 255 bytes in a name.
const LONGEST: usize = 200;

/// The folders of a worker's plugins.
#[derive(Debug)]
pub struct PluginFolders {
    root: PathBuf,
}

impl PluginFolders {
    /// Those under a `state.dir`; nothing is made yet.
    pub fn new(state_dir: &Path) -> Arc<Self> {
        Arc::new(Self { root: state_dir.join("plugins") })
    }

    /// The folder of a connector.
    pub fn of(self: &Arc<Self>, connector: &Arc<str>) -> Folder {
        let disk: Arc<Self> = Arc::clone(self);
        Folder::new(disk).within(Arc::clone(connector))
    }

    /// Takes away what a connector has left. A folder that stays is a warning: it is no reason to keep the connector.
    pub fn forget(&self, connector: &str) {
        let path = self.at(&[connector.into()]);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let error = failed(&path, "remove", error);
                tracing::warn!(connector, error = error.chain(), "A folder of a deleted connector is left behind");
            }
            _ => {}
        }
    }

    fn at(&self, names: &[Arc<str>]) -> PathBuf {
        names.iter().fold(self.root.clone(), |path, name| path.join(file_name(name)))
    }
}

impl Disk for PluginFolders {
    fn make(&self, names: &[Arc<str>]) -> Result<PathBuf> {
        let path = self.at(names);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map(|()| path.clone()).map_err(|error| failed(&path, "make the folder", error))
    }
}

/// Any text as a relative path: what is not plain is escaped as in addresses. One too long for a file system goes on in a
/// folder within, whose parents end in `+`, so that none of them is the folder of somebody else.
fn file_name(name: &str) -> PathBuf {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    if escaped.is_empty() {
        escaped.push('%');
    }
    let mut path = PathBuf::new();
    while escaped.len() > LONGEST {
        let rest = escaped.split_off(LONGEST);
        path.push(escaped + "+");
        escaped = rest;
    }
    path.join(escaped)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn named(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[test]
    fn a_folder_is_made_when_it_is_asked_for_and_goes_with_its_connector() {
        let state = tempfile::tempdir().unwrap();
        let folders = PluginFolders::new(state.path());
        let task = folders.of(&named("a")).within("task-0");
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0, "nothing before it is asked for");
        let path = task.path().unwrap().unwrap();
        fs::write(path.join("journal"), "x").unwrap();
        let mut each = path.clone();
        while each != state.path() {
            assert_eq!(fs::metadata(&each).unwrap().permissions().mode() & 0o777, 0o700, "{}", each.display());
            each.pop();
        }
        let other = folders.of(&named("a/b")).path().unwrap().unwrap();
        assert_eq!(task.path().unwrap().unwrap(), path);
        // What is of the whole worker stays.
        let mark = task.of_worker().path().unwrap().unwrap().join("a.store");
        fs::write(&mark, "x").unwrap();
        folders.forget("a");
        folders.forget("never seen");
        assert!(!path.exists() && other.exists() && mark.exists());
    }

    #[test]
    fn any_name_is_a_folder_of_its_own_under_the_root() {
        let state = tempfile::tempdir().unwrap();
        let folders = PluginFolders::new(state.path());
        let long = "l".repeat(200);
        let names =
            ["", ".", "..", "a", "A b", "a%20b", "../a", "/etc", "ä", "a\0b", &long, &format!("{long}l"), "%", "a+"];
        let paths: HashSet<PathBuf> =
            names.iter().map(|name| folders.of(&named(name)).path().unwrap().unwrap()).collect();
        assert_eq!(paths.len(), names.len());
        for path in &paths {
            let inside = fs::canonicalize(path).unwrap();
            assert!(inside.starts_with(fs::canonicalize(state.path().join("plugins")).unwrap()), "{inside:?}");
            assert!(inside.file_name().unwrap().len() <= 255);
            let within = paths.iter().filter(|other| other.starts_with(path)).count();
            assert_eq!(within, 1, "{} holds the folder of another connector", path.display());
            let below = path.strip_prefix(state.path().join("plugins")).unwrap().to_str().unwrap();
            assert!(!below.contains('.'), "{below} may be a file of the whole worker");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("plugins"), "a file").unwrap();
        let error = PluginFolders::new(state.path()).of(&named("a")).path().unwrap_err();
        assert!(error.chain().contains("Cannot make the folder") && error.chain().contains("plugins/a"), "{error}");
    }
}
