//! The output folder: files are written aside, synced, and given their name in one step, so that nobody ever sees half a
//! file and nothing is written outside, whatever links others put there.
//!
//! Every step goes through handles of folders that were opened one inside the other without following links. A file is
//! safe once its folder is synced too: [`Tree::sync`], which the sink calls before it promises anything. `../sink.rs`
//! uses it; `failure.rs` turns its errors into those of the contract.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pipette_api::{ConnectError, Reach, Result};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::failure::{failed, left_out};
use super::name::Name;
use crate::finish::{rename_no_replace_at, same_content};

/// Where files are written before they have their name. Inside of the output folder, because a name can be given in one
/// step on one device only.
const ASIDE: &str = ".pipette";
/// Folders that wait for their sync; with one more all are synced.
const UNSYNCED: usize = 256;

/// What happens when the name is taken by other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collision {
    Suffix,
    Overwrite,
    Fail,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    New,
    /// It was there with this content.
    Already,
}

/// The output folder of one task.
pub(crate) struct Tree {
    path: PathBuf,
    reach: Reach,
    /// What the temporary files of this task begin with.
    mine: String,
    /// Tells temporary files of one name apart, also those of a task that was given up and still writes.
    next: u128,
    /// Folders with new names in them, by their path.
    unsynced: BTreeMap<PathBuf, OwnedFd>,
}

/// A file that has no name yet; removed when it is dropped.
pub(crate) struct Draft {
    aside: OwnedFd,
    name: String,
    file: File,
    named: bool,
    path: PathBuf,
}

impl Tree {
    /// The folder as the task with that name sees it.
    pub(crate) fn new(path: PathBuf, reach: Reach, mine: String) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { path, reach, mine, next: now.as_nanos(), unsynced: BTreeMap::new() }
    }

    /// Removes what a crash left: temporary files of this task, and of others that are not there any more.
    pub(crate) fn clean(&self, is_gone: impl Fn(&str) -> bool) -> Result<()> {
        let root = self.root()?;
        let aside = match open_folder(root.as_fd(), Path::new(ASIDE)) {
            Err(Errno::NOENT) => return Ok(()),
            found => found.map_err(|errno| self.cannot("open", ASIDE, errno))?,
        };
        let listed = Dir::read_from(&aside).map_err(|errno| self.cannot("list", ASIDE, errno))?;
        for entry in listed {
            let entry = entry.map_err(|errno| self.cannot("list", ASIDE, errno))?;
            let name = entry.file_name().to_string_lossy();
            if name.starts_with(&self.mine) || is_gone(&name) {
                match unlinkat(&aside, entry.file_name(), AtFlags::empty()) {
                    Ok(()) => tracing::info!(file = %name, "Removed what was left of a file that was being written"),
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(self.cannot("remove", &format!("{ASIDE}/{name}"), errno)),
                }
            }
        }
        Ok(())
    }

    /// An empty file that has no name yet.
    pub(crate) fn draft(&mut self) -> Result<Draft> {
        let root = self.root()?;
        let aside = enter(root.as_fd(), ASIDE).map_err(|errno| self.cannot("make", ASIDE, errno))?.0;
        self.next += 1;
        let name = format!("{}{:x}.part", self.mine, self.next);
        let path = self.path.join(ASIDE).join(&name);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&aside, name.as_str(), flags, Mode::from_raw_mode(0o666));
        let file = file.map_err(|errno| failed("write", &path, errno.into()))?.into();
        Ok(Draft { aside, name, file, named: false, path })
    }

    /// Syncs a file and gives it its name; `mark` makes another one of a name that is taken.
    pub(crate) fn place(&mut self, draft: Draft, name: &Name, collision: Collision, mark: &str) -> Result<Placed> {
        draft.file.sync_all().map_err(|error| failed("write", &draft.path, error))?;
        match (self.try_place(&draft, name, collision)?, collision) {
            (Some(placed), _) => return Ok(finished(draft, placed)),
            (None, Collision::Suffix) => {
                if let Some(placed) = self.try_place(&draft, &name.with(mark), collision)? {
                    return Ok(finished(draft, placed));
                }
            }
            (None, Collision::Overwrite | Collision::Fail) => {}
        }
        Err(left_out(&self.path.join(name.to_string()), collision))
    }

    /// `None` when the name is taken by something else.
    fn try_place(&mut self, draft: &Draft, name: &Name, collision: Collision) -> Result<Option<Placed>> {
        let path = self.path.join(name.to_string());
        let folder = self.folder(name)?;
        let (from, to) = (Path::new(&draft.name), Path::new(&name.file));
        let renamed = match collision {
            Collision::Overwrite => renameat(&draft.aside, from, &folder, to).map_err(io::Error::from),
            Collision::Suffix | Collision::Fail => {
                rename_no_replace_at((draft.aside.as_fd(), from), (folder.as_fd(), to))
            }
        };
        let placed = match renamed {
            Ok(()) => Some(Placed::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => is_there(draft, folder.as_fd(), to)
                .map_err(|error| failed("compare", &path, error))?
                .then_some(Placed::Already),
            Err(error) => return Err(failed("give its name to", &path, error)),
        };
        self.remember(path.parent().unwrap_or(&self.path).to_owned(), folder)?;
        Ok(placed)
    }

    /// Makes sure of every name given so far.
    pub(crate) fn sync(&mut self) -> Result<()> {
        while let Some((path, folder)) = self.unsynced.pop_first() {
            if let Err(errno) = sync(folder.as_fd()) {
                self.unsynced.insert(path.clone(), folder);
                return Err(failed("sync", &path, errno.into()));
            }
        }
        Ok(())
    }

    fn remember(&mut self, path: PathBuf, folder: OwnedFd) -> Result<()> {
        self.unsynced.insert(path, folder);
        if self.unsynced.len() > UNSYNCED { self.sync() } else { Ok(()) }
    }

    /// Opened each time: a share that was away is another folder under the same name when it is back.
    fn root(&self) -> Result<OwnedFd> {
        self.reach.path(&self.path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &self.path, flags, Mode::empty());
        let root = root.map_err(|errno| failed("open the folder", &self.path, errno.into()))?;
        self.reach.opened(&root)?;
        Ok(root)
    }

    /// The folder of a name, made if it has to be.
    fn folder(&mut self, name: &Name) -> Result<OwnedFd> {
        let (mut folder, mut path) = (self.root()?, self.path.clone());
        for part in &name.folders {
            let below = path.join(part);
            let (inner, made) =
                enter(folder.as_fd(), part).map_err(|errno| failed("make the folder", &below, errno.into()))?;
            if made {
                self.remember(path, folder)?;
            }
            (folder, path) = (inner, below);
        }
        Ok(folder)
    }

    fn cannot(&self, action: &str, name: &str, errno: Errno) -> ConnectError {
        failed(action, &self.path.join(name), errno.into())
    }
}

impl Draft {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| failed("write", &self.path, error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed now is removed by the next start.
            let _ = unlinkat(&self.aside, self.name.as_str(), AtFlags::empty());
        }
    }
}

fn finished(mut draft: Draft, placed: Placed) -> Placed {
    draft.named = placed == Placed::New;
    placed
}

/// Opens a folder inside another, without following a link, and makes it first when it is not there.
fn enter(folder: BorrowedFd<'_>, name: &str) -> rustix::io::Result<(OwnedFd, bool)> {
    match open_folder(folder, Path::new(name)) {
        Err(Errno::NOENT) => {
            let made = match mkdirat(folder, name, Mode::from_raw_mode(0o777)) {
                Err(Errno::EXIST) => false,
                made => made.map(|()| true)?,
            };
            open_folder(folder, Path::new(name)).map(|inner| (inner, made))
        }
        found => found.map(|inner| (inner, false)),
    }
}

fn open_folder(folder: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// Whether a regular file of that name holds what the draft holds; then it is synced, whoever wrote it.
fn is_there(draft: &Draft, folder: BorrowedFd<'_>, name: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let there = match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Ok(false),
        there => File::from(there?),
    };
    let (ours, theirs) = (draft.file.metadata()?, there.metadata()?);
    if !theirs.is_file() || ours.len() != theirs.len() {
        return Ok(false);
    }
    (&draft.file).rewind()?;
    if !same_content(&draft.file, &there)? {
        return Ok(false);
    }
    there.sync_all()?;
    Ok(true)
}

/// Some network file systems cannot sync a folder: there names are the server's matter.
fn sync(folder: BorrowedFd<'_>) -> rustix::io::Result<()> {
    match rustix::fs::fsync(folder) {
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        result => result,
    }
}
