//! The scan: walks the watched folders and tells of every file that is ours. It is the truth; file events only bring it
//! forward.
//!
//! It works in steps, so that a folder with millions of files holds nobody up, and keeps no list of what it has seen:
//! only the first files by path that are new, as many as there is room for. Read next: `ledger.rs`.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, Metadata, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::filter;
use crate::identity::{FileKey, Look, encode_path, shown};
use crate::settings::LabFilesSettings;

/// A folder being listed.
#[derive(Debug)]
struct Level {
    listing: ReadDir,
    /// Relative to the watched folder.
    relative: PathBuf,
    /// Device and inode, to notice loops of links.
    identity: (u64, u64),
}

/// What one step came by.
#[derive(Debug)]
pub(crate) enum Found {
    File(FileKey, Look),
    /// A folder is about to be listed.
    Folder(PathBuf),
    /// A folder that is not listed, because it lies deeper than `input.path.max.depth`.
    TooDeep(PathBuf),
    /// Something below a watched folder could not be looked at; the rest goes on.
    Trouble(PathBuf, io::Error),
    /// A watched folder could not be looked at.
    RootTrouble(usize, io::Error),
}

/// One walk through all watched folders.
#[derive(Debug)]
pub(crate) struct Scan {
    settings: Arc<LabFilesSettings>,
    /// Folders of ours inside the watched ones (finished, error), by device and inode.
    excluded: Vec<(u64, u64)>,
    levels: Vec<Level>,
    /// The watched folder that is walked, or the next one when no level is open.
    root: usize,
    root_path: PathBuf,
    /// The first new files by path.
    pub(crate) candidates: Candidates,
}

impl Scan {
    pub(crate) fn begin(settings: &Arc<LabFilesSettings>, room: usize) -> Self {
        let ours = [&settings.finished, &settings.error];
        let excluded = ours.into_iter().flatten().filter_map(|path| Some(identity(&fs::metadata(path).ok()?)));
        Self {
            excluded: excluded.collect(),
            settings: Arc::clone(settings),
            levels: Vec::new(),
            root: 0,
            root_path: PathBuf::new(),
            candidates: Candidates { files: BTreeMap::new(), room, overflowed: false },
        }
    }

    /// The next thing found; `None` at the end of the walk.
    pub(crate) fn next(&mut self) -> Option<Found> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                let index = self.root;
                let path = self.settings.roots.get(index)?.path.clone();
                self.root += 1;
                self.root_path.clone_from(&path);
                return Some(match self.enter(PathBuf::new(), &path) {
                    Ok(()) => Found::Folder(path),
                    Err(error) => Found::RootTrouble(index, error),
                });
            };
            match level.listing.next() {
                None => {
                    self.levels.pop();
                }
                Some(Err(error)) => {
                    let path = self.root_path.join(&level.relative);
                    self.levels.pop();
                    return Some(Found::Trouble(path, error));
                }
                Some(Ok(entry)) => {
                    if let Some(found) = self.look_at(&entry) {
                        return Some(found);
                    }
                }
            }
        }
    }

    fn enter(&mut self, relative: PathBuf, path: &Path) -> io::Result<()> {
        let identity = identity(&fs::metadata(path)?);
        self.levels.push(Level { listing: fs::read_dir(path)?, relative, identity });
        Ok(())
    }

    fn look_at(&mut self, entry: &DirEntry) -> Option<Found> {
        let path = entry.path();
        let relative = self.levels.last()?.relative.join(entry.file_name());
        let seen = shown(&relative);
        let metadata = match self.metadata(entry, &path) {
            Ok(metadata) => metadata?,
            // Gone between listing and look: nothing to tell.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Found::Trouble(path, error)),
        };
        if metadata.is_dir() {
            let known = |level: &Level| level.identity == identity(&metadata);
            if self.excluded.contains(&identity(&metadata))
                || self.levels.iter().any(known)
                || !filter::wants_folder(&self.settings, &seen)
            {
                return None;
            }
            if self.levels.len() >= self.settings.max_depth {
                return (self.settings.max_depth > 1).then_some(Found::TooDeep(path));
            }
            return Some(match self.enter(relative, &path) {
                Ok(()) => Found::Folder(path),
                Err(error) => Found::Trouble(path, error),
            });
        }
        if !metadata.is_file() || !filter::wants_file(&self.settings, &shown(entry.file_name()), &seen) {
            return None;
        }
        Some(Found::File(FileKey { root: self.root - 1, path: encode_path(&relative).into() }, Look::of(&metadata)))
    }

    /// Of the entry itself or, if links are followed, of what it leads to; `None` for a link that is not followed.
    fn metadata(&self, entry: &DirEntry, path: &Path) -> io::Result<Option<Metadata>> {
        if !entry.file_type()?.is_symlink() {
            return entry.metadata().map(Some);
        }
        let stays_inside =
            || Ok::<_, io::Error>(fs::canonicalize(path)?.starts_with(fs::canonicalize(&self.root_path)?));
        if self.settings.follow && stays_inside()? { fs::metadata(path).map(Some) } else { Ok(None) }
    }
}

/// Device and inode: good within one walk, never stored.
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// The first files by path, no more than there is room for.
#[derive(Debug)]
pub(crate) struct Candidates {
    files: BTreeMap<FileKey, Look>,
    room: usize,
    /// There was more than there was room for.
    pub(crate) overflowed: bool,
}

impl Candidates {
    pub(crate) fn offer(&mut self, key: FileKey, look: Look) {
        let is_last = || self.files.last_key_value().is_none_or(|(last, _)| *last < key);
        if self.files.len() >= self.room && is_last() {
            self.overflowed = true;
            return;
        }
        self.files.insert(key, look);
        if self.files.len() > self.room {
            self.files.pop_last();
            self.overflowed = true;
        }
    }

    pub(crate) fn take(&mut self) -> BTreeMap<FileKey, Look> {
        std::mem::take(&mut self.files)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folders_that_are_too_deep_are_told_where_folders_are_walked_at_all() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("one/two/three")).unwrap();
        fs::create_dir_all(folder.path().join("one/.hidden")).unwrap();
        fs::write(folder.path().join("one/two/three/deep.csv"), "id").unwrap();
        for (recursive, most, expected) in [("true", "3", vec!["three"]), ("true", "4", vec![]), ("false", "3", vec![])]
        {
            let config = [
                ("input.path", folder.path().to_str().unwrap()),
                ("topic", "t"),
                ("cleanup.policy", "NONE"),
                ("input.path.walk.recursively", recursive),
                ("input.path.max.depth", most),
            ];
            let config: pipette_api::ConfigMap = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let settings = LabFilesSettings::read(&pipette_api::Settings::new(config, &crate::CONFIG)).unwrap();
            let mut scan = Scan::begin(&Arc::new(settings), 9);
            let told: Vec<_> = std::iter::from_fn(|| scan.next())
                .filter_map(|found| match found {
                    Found::TooDeep(path) => Some(path.file_name().unwrap().to_str().unwrap().to_owned()),
                    _ => None,
                })
                .collect();
            assert_eq!(told, expected, "{recursive} {most}");
        }
    }

    proptest! {
        #[test]
        fn candidates_are_the_first_by_path(paths in prop::collection::vec("[a-c]{1,3}", 0..30), room in 0_usize..6) {
            let mut candidates = Candidates { files: BTreeMap::new(), room, overflowed: false };
            for path in &paths {
                candidates.offer(FileKey { root: 0, path: path.as_str().into() }, Look::default());
            }
            let kept: Vec<String> = candidates.take().into_keys().map(|key| key.path.to_string()).collect();
            let mut expected = paths;
            expected.sort();
            expected.dedup();
            expected.truncate(room);
            prop_assert_eq!(kept, expected);
        }
    }
}
