//! The laws, with drivers that put files into the folder as a careful lab server does: complete, by renaming; and that read
//! the files of an output folder.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use connector_lab_files::{SINK, SOURCE};
use pipette_api::{ConfigMap, Datum, Record, SinkPlugin, SourcePlugin, Value};
use pipette_kit::config_laws;
use pipette_kit::{
    Bench, Capability, Redelivery, SinkDriver, SinkTraits, SourceDriver, SourceTraits, build, sink_laws, source_laws,
};
use tempfile::TempDir;

/// How long a thread that was told to end may take.
const ENDING: Duration = Duration::from_secs(2);

#[test]
fn configuration_keeps_its_laws() {
    config_laws::hold(&SOURCE.info, &[("input.path", "/lab"), ("topic", "reads"), ("cleanup.policy", "NONE")]);
    config_laws::hold(&SINK.info, &[("output.path", "/lab")]);
}

#[test]
fn tables_that_are_moved_keep_the_laws() {
    source_laws::check(|| Inbox::new("csv", "MOVE", usize::MAX));
}

#[test]
fn lines_of_files_that_stay_keep_the_laws() {
    source_laws::check(|| Inbox::new("lines", "NONE", 7));
}

#[test]
fn a_file_for_each_record_that_is_deleted_keeps_the_laws() {
    source_laws::check(|| Inbox::new("lines", "DELETE", 1));
}

#[test]
fn whole_files_keep_the_laws() {
    source_laws::check(|| Inbox::new("whole", "MOVE", 1));
}

#[test]
fn files_in_one_piece_keep_the_laws() {
    source_laws::check(|| Inbox::new("chunks", "MOVE", 1));
}

#[test]
fn files_in_a_store_keep_the_laws() {
    source_laws::check(|| Inbox::new("claim-check", "MOVE", 1));
}

#[test]
fn the_sink_keeps_its_laws() {
    sink_laws::check(Outbox::new);
}

/// What of a folder this process has open.
fn open_below(folder: &Path) -> Vec<PathBuf> {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|file| file.starts_with(folder)).collect()
}

/// A folder inside of which the output folder is.
struct Outbox {
    folder: TempDir,
}

impl Outbox {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        Self { folder }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out")
    }
}

impl SinkDriver for Outbox {
    fn plugin(&self) -> &'static SinkPlugin {
        &SINK
    }

    fn config(&self) -> ConfigMap {
        build::config(&[("output.path", self.output().to_str().unwrap())])
    }

    fn traits(&self) -> SinkTraits {
        SinkTraits {
            ordered: Capability::Yes,
            redelivery: Redelivery::Idempotent,
            outage: Capability::Yes,
            poison: Capability::Yes,
        }
    }

    /// Names have the offset in them, so that their order is that of their partition.
    fn contents(&mut self) -> Vec<String> {
        let (mut folders, mut files) = (vec![self.output()], Vec::new());
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() { &mut folders } else { &mut files }.push(path);
            }
        }
        files.sort();
        files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    /// The share is not mounted.
    fn outage(&mut self, away: bool) {
        let (here, elsewhere) = (self.output(), self.folder.path().join("away"));
        let (from, to) = if away { (here, elsewhere) } else { (elsewhere, here) };
        fs::rename(from, to).unwrap();
    }

    fn poison(&self) -> Datum {
        build::map(&[("content", Value::text("x"))])
    }

    fn left_behind(&mut self) -> Vec<String> {
        open_below(self.folder.path()).iter().map(|path| path.display().to_string()).collect()
    }
}

/// A watched folder, and the way its files are written.
struct Inbox {
    folder: TempDir,
    config: ConfigMap,
    /// Records per file.
    per_file: usize,
    files: usize,
}

impl Inbox {
    fn new(format: &str, cleanup: &str, per_file: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["in", "done", "store"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = build::config(&[
            ("input.path", &path("in")),
            ("finished.path", &path("done")),
            ("topic", "lab"),
            if matches!(format, "csv" | "lines") { ("format", format) } else { ("output.mode", format) },
            ("value.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
            ("store.uri", &format!("file://{}", path("store"))),
            ("store.max.in.flight", "1"),
            ("csv.separator.char", ","),
            ("cleanup.policy", cleanup),
            ("batch.size", "40"),
            ("max.record.bytes", "64"),
            ("poll.interval.ms", "100"),
            ("settle.interval.ms", "20"),
            // What file events leave behind can be told for one test of the process only.
            ("watch.mode", if format == "csv" { "events" } else { "poll" }),
        ]);
        Self { folder, config, per_file, files: 0 }
    }

    fn is_table(&self) -> bool {
        self.config.get("format").is_some_and(|format| format == "csv")
    }

    /// Puts a complete file into the folder; names go up, because files are read in their order.
    fn put(&mut self, lines: &[String]) -> PathBuf {
        let header = if self.is_table() { "plate,text\n" } else { "" };
        let path = self.folder.path().join(format!("in/{:05}.txt", self.files));
        self.files += 1;
        let part = path.with_extension("part");
        fs::write(&part, format!("{header}{}\n", lines.join("\n"))).unwrap();
        fs::rename(part, &path).unwrap();
        path
    }

    /// What this process has open: files of the folder, and what file events need.
    fn held(&self) -> Vec<String> {
        let links = |folder: &str, name: &dyn Fn(PathBuf) -> Option<String>| -> Vec<String> {
            fs::read_dir(folder).unwrap().filter_map(|entry| name(entry.ok()?.path())).collect()
        };
        let mut held = links("/proc/self/fd", &|path| {
            let file = fs::read_link(path).ok()?;
            let events = self.is_table() && file == Path::new("anon_inode:inotify");
            (events || file.starts_with(self.folder.path())).then(|| file.display().to_string())
        });
        if self.is_table() {
            held.extend(links("/proc/self/task", &|path| {
                let name = fs::read_to_string(path.join("comm")).ok()?;
                name.starts_with("notify").then(|| format!("thread {}", name.trim()))
            }));
        }
        held
    }
}

impl SourceDriver for Inbox {
    fn plugin(&self) -> &'static SourcePlugin {
        &SOURCE
    }

    fn config(&self) -> ConfigMap {
        self.config.clone()
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits {
            resumable: Capability::Yes,
            ordered: Capability::Yes,
            outage: Capability::Yes,
            bad_input: match self.config.get("format") {
                Some(_) => Capability::Yes,
                None => Capability::No("any content is a whole file"),
            },
            most_per_poll: 40,
        }
    }

    fn write(&mut self, texts: &[String]) {
        for texts in texts.chunks(self.per_file) {
            let row = |text: &String| if self.is_table() { format!("P1,{text}") } else { text.clone() };
            let rows: Vec<String> = texts.iter().map(row).collect();
            self.put(&rows);
        }
    }

    fn text(&self, record: &Record) -> String {
        match &record.value.value {
            Value::Struct(row) if row.get("uri").is_some() => {
                let file = row.get("uri").unwrap().as_str().unwrap().strip_prefix("file://").unwrap();
                fs::read_to_string(file).unwrap().trim_end().to_owned()
            }
            Value::Bytes(bytes) => String::from_utf8(bytes.as_bytes().to_vec()).unwrap().trim_end().to_owned(),
            Value::Struct(row) => row.get("text").unwrap().as_str().unwrap().to_owned(),
            Value::Payload(payload) => {
                let content = Bench::new().unwrap().run("reading a payload", async {
                    payload.open(0, None).await.unwrap().next().await.unwrap().unwrap()
                });
                String::from_utf8(content.unwrap().to_vec()).unwrap().trim_end().to_owned()
            }
            value => value.as_str().unwrap().to_owned(),
        }
    }

    /// The share is not mounted.
    fn outage(&mut self, away: bool) {
        let (inbox, elsewhere) = (self.folder.path().join("in"), self.folder.path().join("away"));
        let (from, to) = if away { (inbox, elsewhere) } else { (elsewhere, inbox) };
        fs::rename(from, to).unwrap();
    }

    fn write_bad(&mut self) -> Vec<String> {
        let (bad, line) = if self.is_table() { ("a,cell,too many".to_owned(), 2) } else { ("x".repeat(100), 1) };
        vec![format!("{}:{line}: ", self.put(&[bad]).display())]
    }

    fn left_behind(&mut self) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let held = self.held();
            if held.is_empty() || begun.elapsed() > ENDING {
                return held;
            }
            std::thread::yield_now();
        }
    }
}
