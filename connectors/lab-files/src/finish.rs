//! What happens to a file at its end: moved, removed, or left; and how files are opened and moved without surprises.
//!
//! Nothing here ever replaces a file, and a file leaves its place only while it is still the one that was read.
//! `source.rs` calls it, once the file's last offset is stored. Read next: `source.rs`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pipette_api::{ConnectError, Reach};
use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with, unlinkat};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use crate::identity::{Fingerprint, Look};

/// How much is copied before others may run.
const BLOCK: u64 = 1024 * 1024;
/// The longest name that file systems take, in bytes.
const LONGEST: usize = 255;
/// A longer extension is none, but a part of the name.
const LONGEST_EXTENSION: usize = 32;

/// How an attempt to clear a file away ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It is gone from its place; the new place, if it has one.
    Away(Option<PathBuf>),
    /// Another file is there under the same name: it is left alone.
    Changed,
    /// The runtime wants the task back; nothing has happened.
    Recalled,
}

/// Asks whether the runtime wants the task back.
pub(crate) type Recalled<'a> = &'a (dyn Fn() -> bool + Sync);

/// The file to clear away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Departing<'a> {
    pub(crate) path: &'a Path,
    /// As it was read.
    pub(crate) look: Look,
    /// Digits that tell generations of one name apart.
    pub(crate) head8: &'a str,
}

/// Opens a regular file for reading, without waiting for a pipe and, unless told, without following a link.
pub(crate) fn open_regular(path: &Path, follow: bool, reach: &Reach) -> io::Result<File> {
    let flags = if follow { OFlags::NONBLOCK } else { OFlags::NONBLOCK | OFlags::NOFOLLOW };
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    reach.opened(&file).map_err(|error| refused(&error))?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// What connectors may not touch, as an error of the file.
pub(crate) fn refused(error: &ConnectError) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, error.to_string())
}

/// Moves the file into a folder under its relative path.
pub(crate) async fn move_to(
    departing: Departing<'_>,
    folder: &Path,
    relative: &Path,
    recalled: Recalled<'_>,
) -> io::Result<Finished> {
    if !is_as_read(departing.path, &departing.look)? {
        return Ok(Finished::Changed);
    }
    let target = folder.join(relative);
    if let Some(parent) = target.parent().filter(|parent| *parent != folder) {
        // The folder itself is not made: it missing means a share that is not mounted.
        fs::metadata(folder)?;
        fs::create_dir_all(parent).map_err(|error| {
            let text = format!("folder {} cannot be made: {error}. Is a file in its place?", parent.display());
            io::Error::new(error.kind(), text)
        })?;
    }
    for target in names(&target, departing.head8) {
        match rename_no_replace(departing.path, &target) {
            Ok(()) => return moved(departing, target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return move_across(departing, &target, folder, recalled).await;
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("there is always another number")
}

/// Removes the file: first out of sight under a name of ours, then, when it is the one that was read, for good.
pub(crate) fn delete(departing: Departing<'_>) -> io::Result<Finished> {
    if !is_as_read(departing.path, &departing.look)? {
        return Ok(Finished::Changed);
    }
    let hidden = departing.path.with_file_name(temporary_name(departing.path, departing.head8));
    for hidden in names(&hidden, departing.head8) {
        match rename_no_replace(departing.path, &hidden) {
            Ok(()) if is_as_read(&hidden, &departing.look)? => {
                fs::remove_file(&hidden)?;
                return Ok(Finished::Away(None));
            }
            Ok(()) => {
                rename_no_replace(&hidden, departing.path)?;
                return Ok(Finished::Changed);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("there is always another number")
}

/// What a crash in the middle of [`delete`] has left under the name of ours: it goes too, and another file goes back.
pub(crate) fn finish_deleting(path: &Path, print: &Fingerprint) -> io::Result<()> {
    let hidden = path.with_file_name(temporary_name(path, print.head8()));
    let look = match fs::symlink_metadata(&hidden) {
        Ok(metadata) if metadata.is_file() => Look::of(&metadata),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if (look.size, look.mtime_ns) == (print.size, print.mtime_ns) {
        return fs::remove_file(&hidden);
    }
    rename_no_replace(&hidden, path)
}

/// Writes why a file is here beside it, as `NAME.error.txt`.
pub(crate) fn explain(file: &Path, from: &Path, reason: &str) -> io::Result<()> {
    let name = fitting(file.file_name().unwrap_or_default(), ".error.txt".as_ref());
    let mut note = OpenOptions::new().write(true).create_new(true).open(file.with_file_name(name))?;
    writeln!(
        note,
        "This file could not be read.\n\nFile:   {}\nTime:   {}\nReason: {reason}\n\nNothing of it is lost: correct it \
         and put it back into the watched folder, and it is read again.",
        from.display(),
        utc(SystemTime::now())
    )
}

fn is_as_read(path: &Path, look: &Look) -> io::Result<bool> {
    Ok(Look::of(&fs::metadata(path)?).same_content(look))
}

/// The rename has happened; if another file slipped in just before, it goes back.
fn moved(departing: Departing<'_>, target: PathBuf) -> io::Result<Finished> {
    if is_as_read(&target, &departing.look)? {
        return Ok(Finished::Away(Some(target)));
    }
    rename_no_replace(&target, departing.path)?;
    Ok(Finished::Changed)
}

fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    rename_no_replace_at((CWD, from), (CWD, to))
}

/// The same of names inside of open folders.
pub(crate) fn rename_no_replace_at(from: (impl AsFd + Copy, &Path), to: (impl AsFd + Copy, &Path)) -> io::Result<()> {
    match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // File systems that do not know the flag, network ones mostly: a link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?;
            unlinkat(from.0, from.1, AtFlags::empty())?;
            Ok(())
        }
        result => result.map_err(io::Error::from),
    }
}

/// Copy under a temporary name, sync, give it its name without replacing, and only then remove the original.
async fn move_across(
    departing: Departing<'_>,
    target: &Path,
    folder: &Path,
    recalled: Recalled<'_>,
) -> io::Result<Finished> {
    let temporary = target.with_file_name(temporary_name(departing.path, departing.head8));
    if !copy(departing.path, &temporary, recalled).await? {
        fs::remove_file(&temporary)?;
        return Ok(Finished::Recalled);
    }
    let copied = fs::metadata(&temporary)?.len();
    if copied != departing.look.size || !is_as_read(departing.path, &departing.look)? {
        fs::remove_file(&temporary)?;
        return Ok(Finished::Changed);
    }
    for target in names(target, departing.head8) {
        match rename_no_replace(&temporary, &target) {
            Ok(()) => {
                sync_folders(&target, folder)?;
                fs::remove_file(departing.path)?;
                return Ok(Finished::Away(Some(target)));
            }
            // What a crash between the rename and the removal leaves behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && same_bytes(&temporary, &target)? => {
                sync_folders(&target, folder)?;
                fs::remove_file(&temporary)?;
                fs::remove_file(departing.path)?;
                return Ok(Finished::Away(Some(target)));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("there is always another number")
}

/// False when it was broken off.
async fn copy(from: &Path, to: &Path, recalled: Recalled<'_>) -> io::Result<bool> {
    let source = File::open(from)?;
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
    while io::copy(&mut (&source).take(BLOCK), &mut target)? > 0 {
        if recalled() {
            return Ok(false);
        }
        tokio::task::yield_now().await;
    }
    target.set_modified(source.metadata()?.modified()?)?;
    target.sync_all()?;
    Ok(true)
}

/// The name in its folder, and that folder's in those above it that may have been made just now.
fn sync_folders(path: &Path, top: &Path) -> io::Result<()> {
    let mut inside = path.ancestors().skip(1).take_while(|above| above.starts_with(top));
    inside.try_for_each(|above| File::open(above)?.sync_all())
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    same_content(&File::open(one)?, &File::open(other)?)
}

/// From where they stand to their ends.
pub(crate) fn same_content(one: &File, other: &File) -> io::Result<bool> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        { one }.take(BLOCK).read_to_end(&mut a)?;
        { other }.take(BLOCK).read_to_end(&mut b)?;
        if a != b || a.is_empty() {
            return Ok(a == b);
        }
    }
}

/// Hidden and excluded from the scan; the same for each attempt, so that leavings are found.
fn temporary_name(path: &Path, head8: &str) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    fitting(&name, format!(".{head8}.part").as_ref())
}

/// A name with something behind it. One that no file system would take is cut, and a hash of it tells it from others that
/// are cut alike.
fn fitting(name: &OsStr, behind: &OsStr) -> OsString {
    let bytes = name.as_bytes();
    let mut fits = bytes.to_vec();
    if bytes.len() + behind.len() > LONGEST {
        let mark = format!("~{:016x}", xxh3_64(bytes));
        let mut cut = LONGEST.saturating_sub(mark.len() + behind.len()).min(bytes.len());
        // Not inside of a character of UTF-8.
        while cut > 0 && bytes.get(cut).is_some_and(|byte| byte & 0xC0 == 0x80) {
            cut -= 1;
        }
        fits.truncate(cut);
        fits.extend_from_slice(mark.as_bytes());
    }
    fits.extend_from_slice(behind.as_bytes());
    OsString::from_vec(fits)
}

/// The name itself, then `name-<time>-<head>.ext`, then numbered.
fn names(target: &Path, head8: &str) -> impl Iterator<Item = PathBuf> {
    let folder = target.parent().unwrap_or(Path::new("")).to_owned();
    let name = target.file_name().unwrap_or_default().to_owned();
    let extension = target.extension().filter(|extension| extension.len() <= LONGEST_EXTENSION).map(OsStr::to_owned);
    let stem = if extension.is_some() { target.file_stem().unwrap_or_default().to_owned() } else { name.clone() };
    let stamp = utc(SystemTime::now());
    let head8 = head8.to_owned();
    std::iter::once(folder.join(name)).chain((1_u64..).map(move |number| {
        let mut behind = OsString::from(format!("-{stamp}-{head8}"));
        if number > 1 {
            behind.push(format!("-{number}"));
        }
        if let Some(extension) = &extension {
            behind.push(".");
            behind.push(extension);
        }
        folder.join(fitting(&stem, &behind))
    }))
}

/// `20261125T184500Z`.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{:02}{:02}T{hour:02}{minute:02}{second:02}Z", month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(path: &Path, folder: &Path, relative: &str) -> io::Result<Finished> {
        let look = Look::of(&fs::metadata(path)?);
        move_to(Departing { path, look, head8: "0123abcd" }, folder, Path::new(relative), &|| false).await
    }

    #[tokio::test]
    async fn a_file_of_the_same_name_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (inbox, done) = (folder.path().join("in"), folder.path().join("done"));
        fs::create_dir_all(&inbox).unwrap();
        fs::create_dir_all(&done).unwrap();
        for content in ["one", "two", "three"] {
            fs::write(inbox.join("a.csv"), content).unwrap();
            assert!(matches!(run(&inbox.join("a.csv"), &done, "sub/a.csv").await.unwrap(), Finished::Away(Some(_))));
        }
        let mut contents: Vec<_> =
            fs::read_dir(done.join("sub")).unwrap().map(|e| fs::read_to_string(e.unwrap().path()).unwrap()).collect();
        contents.sort();
        assert_eq!(contents, ["one", "three", "two"]);
        assert_eq!(fs::read_dir(&inbox).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_that_changed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        fs::write(&path, "old").unwrap();
        let look = Look::of(&fs::metadata(&path).unwrap());
        fs::write(&path, "newer").unwrap();
        let departing = Departing { path: &path, look, head8: "00" };
        assert_eq!(move_to(departing, folder.path(), Path::new("x"), &|| false).await.unwrap(), Finished::Changed);
        assert_eq!(delete(departing).unwrap(), Finished::Changed);
        assert_eq!(fs::read_to_string(&path).unwrap(), "newer");
    }

    #[tokio::test]
    async fn across_devices_the_copy_is_whole_before_the_original_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, done) = (folder.path().join("a.bin"), folder.path().join("done"));
        fs::create_dir(&done).unwrap();
        let content = vec![7; 3 * 1024 * 1024 + 1];
        fs::write(&from, &content).unwrap();
        let look = Look::of(&fs::metadata(&from).unwrap());
        let departing = Departing { path: &from, look, head8: "00" };
        let target = done.join("a.bin");
        assert_eq!(move_across(departing, &target, &done, &|| true).await.unwrap(), Finished::Recalled);
        assert!(from.exists() && fs::read_dir(&done).unwrap().count() == 0, "nothing is left of a broken-off copy");
        // A crash after the copy got its name: the next attempt sees that they are the same.
        fs::write(&target, &content).unwrap();
        assert_eq!(
            move_across(departing, &target, &done, &|| false).await.unwrap(),
            Finished::Away(Some(target.clone()))
        );
        assert!(!from.exists() && fs::read(&target).unwrap() == content);
        assert_eq!(fs::read_dir(&done).unwrap().count(), 1);
    }

    #[test]
    fn time_is_written_in_utc() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(951_782_400), "20000229T000000Z");
        assert_eq!(at(1_795_632_300), "20261125T184500Z");
    }
}
