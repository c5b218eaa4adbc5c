//! A file system of a few megabytes, in memory: it can be filled up and made read-only.
//!
//! Mounting takes root, or a user namespace that nobody else could look into; so without root there is none, and a proof
//! says that it did without.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Gone when dropped.
pub(crate) struct SmallDisk {
    pub(crate) path: PathBuf,
}

impl SmallDisk {
    pub(crate) fn mount(path: &Path, mebibytes: usize) -> Option<Self> {
        fs::create_dir(path).expect("a folder to mount on");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then(|| Self { path: path.to_owned() })
    }

    /// Nothing more goes on it until the file that is returned is removed.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path.join("filling");
        let mut filling = File::create(&path).expect("a file that fills the disk");
        for size in [1 << 16, 1 << 12, 1] {
            while filling.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }

    /// Only while nobody has a file open for writing.
    pub(crate) fn read_only(&self, read_only: bool) {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        let done = Command::new("mount").args(["-o", how]).arg(&self.path).status().expect("mount runs");
        assert!(done.success(), "{how} of {}", self.path.display());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: after a failed test a worker may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
