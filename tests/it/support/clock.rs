//! A clock of the wall that is turned while a worker runs, without touching the machine's: `tests/clock/clock.c`, built
//! with the compiler that the tree needs anyway, and preloaded.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The file that says by how much, and the library.
pub(crate) struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
    pub(crate) fn build() -> Self {
        let clock = Self { folder: tempfile::tempdir().expect("a folder for the clock") };
        clock.turn(0);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clock/clock.c");
        let run = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(clock.library()).arg(source).output();
        let output = run.unwrap_or_else(|error| panic!("cc does not start ({error}): apt-get install gcc libc6-dev"));
        assert!(output.status.success(), "the clock is not built: {}", String::from_utf8_lossy(&output.stderr));
        clock
    }

    /// Variables of a process that goes by this clock.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", self.library().display().to_string()), ("PIPETTE_CLOCK", self.file().display().to_string())]
    }

    /// The clock is so many seconds ahead of the machine's from now on.
    pub(crate) fn turn(&self, seconds: i64) {
        use std::io::Write;
        // In place: the process looks at the file's page.
        let mut file =
            fs::File::options().create(true).truncate(false).write(true).open(self.file()).expect("the file");
        file.write_all(&seconds.to_ne_bytes()).expect("the clock is turned");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("seconds")
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }
}
