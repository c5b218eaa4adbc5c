//! The laws, with drivers that read and write the file themselves.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use connector_file::{SINK, SOURCE};
use pipette_api::{ConfigMap, Datum, Payload, PayloadReader, Result, SinkPlugin, SourcePlugin, Value, async_trait};
use pipette_kit::{
    Capability, Redelivery, SinkDriver, SinkTraits, SourceDriver, SourceTraits, build, config_laws, sink_laws,
    source_laws,
};
use tempfile::TempDir;

#[test]
fn configurations_keep_their_laws() {
    config_laws::hold(&SOURCE.info, &[("topic", "lines")]);
    config_laws::hold(&SINK.info, &[]);
}

#[test]
fn the_source_keeps_its_laws() {
    source_laws::check(File::new);
}

#[test]
fn the_sink_keeps_its_laws() {
    sink_laws::check(File::new);
}

struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("lines.txt")
    }

    /// Open files of this process below the folder.
    fn open_files(&self) -> Vec<String> {
        let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|file| file.starts_with(self.folder.path())).map(|file| file.display().to_string()).collect()
    }
}

impl SourceDriver for File {
    fn plugin(&self) -> &'static SourcePlugin {
        &SOURCE
    }

    fn config(&self) -> ConfigMap {
        build::config(&[("file", self.path().to_str().unwrap()), ("topic", "lines"), ("batch.size", "40")])
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits {
            resumable: Capability::Yes,
            ordered: Capability::Yes,
            outage: Capability::No("a missing file is waited for, which is no error"),
            bad_input: Capability::Yes,
            most_per_poll: 40,
        }
    }

    fn write(&mut self, texts: &[String]) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all((texts.join("\n") + "\n").as_bytes()).unwrap();
    }

    fn write_bad(&mut self) -> Vec<String> {
        let begin = fs::metadata(self.path()).unwrap().len();
        self.write(&["x".repeat((16 << 20) + 1)]);
        vec![self.path().display().to_string(), format!("from byte {begin} ")]
    }

    fn left_behind(&mut self) -> Vec<String> {
        self.open_files()
    }
}

impl SinkDriver for File {
    fn plugin(&self) -> &'static SinkPlugin {
        &SINK
    }

    fn config(&self) -> ConfigMap {
        build::config(&[("file", self.path().to_str().unwrap())])
    }

    fn traits(&self) -> SinkTraits {
        SinkTraits {
            ordered: Capability::Yes,
            redelivery: Redelivery::Duplicates("a file of lines has no place for positions: at least once"),
            outage: Capability::Yes,
            poison: Capability::Yes,
        }
    }

    fn contents(&mut self) -> Vec<String> {
        fs::read_to_string(self.path()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// A full disk.
    fn outage(&mut self, away: bool) {
        if away {
            std::os::unix::fs::symlink("/dev/full", self.path()).unwrap();
        } else {
            fs::remove_file(self.path()).unwrap();
        }
    }

    fn poison(&self) -> Datum {
        // Half of its text is made before it turns out to have none.
        let list = [Value::text("half"), Value::Payload(std::sync::Arc::new(Large))];
        Datum::schemaless(Value::Array(Box::new(list)))
    }

    fn left_behind(&mut self) -> Vec<String> {
        self.open_files()
    }
}

#[derive(Debug)]
struct Large;

#[async_trait]
impl Payload for Large {
    fn len(&self) -> Option<u64> {
        Some(1 << 40)
    }

    async fn open(&self, _: u64, _: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        unreachable!("nobody reads a payload of a tebibyte into a line")
    }
}
