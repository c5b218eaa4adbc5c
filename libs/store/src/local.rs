//! A folder as a store: drafts that become objects by a rename, and files that are read in pieces. Everything here blocks;
//! `store.rs` and `upload/folder.rs` call it on threads that may.
//!
//! Drafts stand in one folder of the store, `.uploads`, under the name of their owner: so what a crash leaves is found
//! again without a walk through everything.
//!
//! The store's own folder is made at the first upload when it is missing, with `.uploads` in it, and a mark in the worker's
//! `state.dir` says so. From then on the store is there only while `.uploads` is: a share that is not mounted is waited for,
//! even where its mount point looks like an empty folder, and nothing is said of its objects meanwhile.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use pipette_api::{ConnectError, Reach, Result};
use uuid::Uuid;

use crate::config::StoreSettings;
use crate::digest::Digest;
use crate::fault::{self, Act};
use crate::store::Object;

const DRAFTS: &str = ".uploads";

/// The folder of a store. Keys are whole paths without the slash in front.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    reach: Reach,
    /// Whether the folder was there at the start.
    found: bool,
    /// Whether it was a store once, in this process; `mark` is of all.
    used: AtomicBool,
    mark: Option<Mark>,
}

/// A file that says that a folder was used as a store.
#[derive(Debug)]
struct Mark {
    path: PathBuf,
    /// Whether it was seen in this process.
    made: AtomicBool,
}

/// What became of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    New,
    /// An object stood there already and still does.
    Present,
}

impl Folder {
    /// Asks whether the folder may be used; it need not exist yet.
    pub(crate) fn at(settings: &StoreSettings) -> Result<Self> {
        let (root, reach) = (path(&settings.uri.key), settings.reach.clone());
        reach.path(&root)?;
        let mark = settings.memory.path()?.map(|folder| Mark::of(&root, &folder));
        let used = AtomicBool::new(root.join(DRAFTS).is_dir());
        Ok(Self { found: root.is_dir(), root, reach, used, mark })
    }

    /// Makes the folder a store if it never was one: a look whether it is there.
    pub(crate) fn probe(&self) -> Result<()> {
        let drafts = self.root.join(DRAFTS);
        let there = match fs::metadata(&drafts) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.is_lost() {
                    return Err(self.away());
                }
                make_folders(&drafts)
            }
            there => there.map(drop),
        };
        there.map_err(|error| self.fault(Act::Write, &drafts, &error))?;
        self.used.store(true, Ordering::Relaxed);
        self.mark.as_ref().map_or(Ok(()), |mark| mark.make(&self.root))
    }

    /// Whether it was there once and is not now.
    fn is_lost(&self) -> bool {
        let marked = || self.mark.as_ref().is_some_and(|mark| mark.path.exists());
        let used = || self.used.load(Ordering::Relaxed) || marked();
        (self.found && !self.root.is_dir()) || (!self.root.join(DRAFTS).is_dir() && used())
    }

    /// Whether what is missing may be there: others may have made the folder, but a reference to something in it comes from
    /// nowhere when it is empty, as the mount point of a share is.
    fn is_away(&self) -> bool {
        let is_empty = || fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_none());
        self.is_lost() || !self.root.is_dir() || is_empty()
    }

    fn away(&self) -> ConnectError {
        let root = self.root.display();
        ConnectError::retriable(format!(
            "The store in the folder {root} is not there: is its share mounted? Mount it. If the store is to go on in \
             this folder as it is, make the folder {root}/{DRAFTS}"
        ))
    }

    pub(crate) fn draft(&self, owner: &str) -> Result<Draft> {
        self.probe()?;
        let path = self.root.join(DRAFTS).join(format!("{owner}.{}", Uuid::now_v7()));
        let file = File::create_new(&path).map_err(|error| self.fault(Act::Write, &path, &error))?;
        let draft = Draft { file: Some(file), path };
        self.reach.opened(draft.file())?;
        Ok(draft)
    }

    /// Makes a draft durable and gives it its name; what has the name already stays.
    pub(crate) fn keep(&self, mut draft: Draft, key: &str) -> Result<Kept> {
        let target = path(key);
        let parent = target.parent().unwrap_or(&self.root);
        self.probe()?;
        let kept = (|| {
            self.hold_inside(parent)?;
            make_folders(parent)?;
            if target.try_exists()? {
                return Ok(Kept::Present);
            }
            draft.file().sync_data()?;
            let kept = draft.name(&target)?;
            File::open(parent)?.sync_all()?;
            Ok(kept)
        })();
        kept.map_err(|error| self.fault(Act::Write, &target, &error))
    }

    /// Removes what an owner left when it was killed; says how many there were.
    pub(crate) fn clear_drafts(&self, owner: &str) -> Result<usize> {
        let folder = self.root.join(DRAFTS);
        let cleared = (|| {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_lost() => return Ok(0),
                entries => entries?,
            };
            let mut cleared = 0;
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let theirs =
                    name.to_str().and_then(|name| name.rsplit_once('.')).is_some_and(|(whose, _)| whose == owner);
                if theirs {
                    fs::remove_file(entry.path())?;
                    cleared += 1;
                }
            }
            Ok(cleared)
        })();
        cleared.map_err(|error| self.fault(Act::Delete, &folder, &error))
    }

    /// Opens an object, and says what it is.
    pub(crate) fn open(&self, key: &str) -> Result<(File, Object)> {
        let path = path(key);
        let found = self.find(&path)?;
        let opened = found.and_then(|found| {
            let file = File::open(found)?;
            let object = describe(key, &file.metadata()?)?;
            Ok((file, object))
        });
        let (file, object) = opened.map_err(|error| self.fault(Act::Read, &path, &error))?;
        self.reach.opened(&file)?;
        Ok((file, object))
    }

    /// What an object is, without opening it.
    pub(crate) fn head(&self, key: &str) -> Result<Option<Object>> {
        let path = path(key);
        let found = self.find(&path)?;
        match found.and_then(fs::metadata).and_then(|metadata| describe(key, &metadata)) {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_away() => Ok(None),
            Err(error) => Err(self.fault(Act::Read, &path, &error)),
        }
    }

    /// Where an object stands. A data error when that is a link into another folder.
    fn find(&self, path: &Path) -> Result<io::Result<PathBuf>> {
        let folder = path.parent().unwrap_or(&self.root);
        let found = fs::canonicalize(folder).and_then(|folder| {
            let target = fs::canonicalize(path)?;
            let stays = target.parent() == Some(&folder) && folder.starts_with(fs::canonicalize(&self.root)?);
            Ok((target, stays))
        });
        match found {
            Ok((_, false)) => {
                Err(ConnectError::data(format!("Cannot read {}: a link leads elsewhere", path.display())))
            }
            found => Ok(found.map(|(target, _)| target)),
        }
    }

    /// Deletes an object; one that is gone is deleted.
    pub(crate) fn delete(&self, key: &str) -> Result<()> {
        let path = path(key);
        let deleted = self.hold_inside(path.parent().unwrap_or(&self.root)).and_then(|()| fs::remove_file(&path));
        match deleted {
            Err(error) if error.kind() != io::ErrorKind::NotFound || self.is_away() => {
                Err(self.fault(Act::Delete, &path, &error))
            }
            _ => Ok(()),
        }
    }

    /// The objects in one folder, and the folders in it.
    pub(crate) fn list(&self, folder: &Path) -> Result<(Vec<Object>, Vec<PathBuf>)> {
        let (mut objects, mut folders) = (Vec::new(), Vec::new());
        let listed = (|| {
            let entries = match fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_away() => return Ok(()),
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() && entry.file_name() != DRAFTS {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    let path = entry.path();
                    let key = path.to_str().ok_or_else(|| io::Error::other("its name is not UTF-8"))?;
                    objects.push(describe(key.trim_start_matches('/'), &entry.metadata()?)?);
                }
            }
            Ok(())
        })();
        listed.map_err(|error| self.fault(Act::List, folder, &error))?;
        Ok((objects, folders))
    }

    pub(crate) fn path_of(key: &str) -> PathBuf {
        path(key)
    }

    /// Links inside of the store may not lead out of it. Of a folder that is not there, the one that it would be made in.
    fn hold_inside(&self, folder: &Path) -> io::Result<()> {
        let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(folder);
        if fs::canonicalize(there)?.starts_with(fs::canonicalize(&self.root)?) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "a link leads out of the store's folder"))
    }

    fn fault(&self, act: Act, path: &Path, error: &io::Error) -> ConnectError {
        if error.kind() == io::ErrorKind::NotFound && self.is_away() {
            return self.away();
        }
        let error = fault::of_file(act, &path.display().to_string(), error);
        if path.starts_with(&self.root) { error } else { error.within("outside of the store's folder") }
    }
}

impl Mark {
    /// Its name has a dot, as files in the worker's folder have.
    fn of(root: &Path, folder: &Path) -> Self {
        let name = Digest::of(root.as_os_str().as_encoded_bytes()).hex();
        Self { path: folder.join(format!("{name}.store")), made: AtomicBool::new(false) }
    }

    /// Durable before the first object is. It holds the folder, for people.
    fn make(&self, root: &Path) -> Result<()> {
        if self.made.load(Ordering::Relaxed) {
            return Ok(());
        }
        let made = (|| {
            if self.path.exists() {
                return Ok(());
            }
            let mut file = File::create(&self.path)?;
            writeln!(file, "{}", root.display())?;
            file.sync_all()?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        })();
        made.map_err(|error: io::Error| {
            let told = format!("Cannot note in {} that a folder is used as a store", self.path.display());
            ConnectError::retriable(told).because(error)
        })?;
        self.made.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn path(key: &str) -> PathBuf {
    Path::new("/").join(key)
}

fn describe(key: &str, metadata: &fs::Metadata) -> io::Result<Object> {
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is no file"));
    }
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis());
    Ok(Object {
        key: key.to_owned(),
        size: metadata.len(),
        etag: None,
        version: None,
        modified: i64::try_from(modified).unwrap_or(i64::MAX),
    })
}

/// Makes folders so that they survive a power cut: each is known to the one it stands in.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    make_folders(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

/// A file without a name yet; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Draft {
    file: Option<File>,
    path: PathBuf,
}

impl Draft {
    fn file(&self) -> &File {
        self.file.as_ref().unwrap_or_else(|| unreachable!("the file is there until the draft is dropped"))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file().write_all(bytes);
        written.map_err(|error| fault::of_file(Act::Write, &self.path.display().to_string(), &error))
    }

    /// A second name instead of a rename, because that fails when the name is taken. Not every file system has them.
    fn name(&mut self, target: &Path) -> io::Result<Kept> {
        match fs::hard_link(&self.path, target) {
            Ok(()) => Ok(Kept::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Kept::Present),
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
                fs::rename(&self.path, target).map(|()| Kept::New)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.file = None;
        // Gone already when it was renamed; what cannot be removed now is by `clear_drafts`.
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads up to `most` bytes at a place, fewer at the end of the file.
pub(crate) fn read_at(file: &mut File, start: u64, most: u64) -> io::Result<Bytes> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::with_capacity(usize::try_from(most).map_err(io::Error::other)?);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
