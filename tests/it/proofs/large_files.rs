//! Which way is the best for large files: the same files from folder to folder on each of the four ways, on Apache Kafka.
//!
//! The connectors are those of `config/connectors`, so what the guide shows is what is measured. The link carries no content:
//! a consumer of ours follows it, as somebody has to. Its figures are in docs/proofs/large_files.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pipette::bench::process::{forget_peak, peak_mib};
use pipette::settings::file;
use pipette_api::ConfigMap;
use pipette_store::Hasher;
use serde_json::{Value, json};

use super::machine::circumstances;
use crate::support::kafka::ApacheKafka;
use crate::support::worker::Worker;
use crate::support::{figures, topic, wait};

const PATIENCE: Duration = Duration::from_mins(3);
const STRING: &str = "org.apache.kafka.connect.storage.StringConverter";
/// `PIPETTE_WAYS=native,link` measures some of them.
const ONLY: &str = "PIPETTE_WAYS";
const WAYS: [Way; 4] = [
    Way { name: "native", source: "lab-files-native-source", sink: Some("lab-files-native-sink") },
    Way { name: "pieces", source: "lab-files-chunks-source", sink: Some("lab-files-chunks-sink") },
    Way { name: "link", source: "lab-files-link-source", sink: None },
    Way { name: "claim-check", source: "claim-check-source", sink: Some("claim-check-sink") },
];

struct Way {
    name: &'static str,
    /// Files in `config/connectors`.
    source: &'static str,
    sink: Option<&'static str>,
}

/// Files of one size: so many at once, then so many one by one.
#[derive(Clone, Copy)]
struct Class {
    name: &'static str,
    size: usize,
    at_once: usize,
    alone: usize,
}

/// What a way took for a class.
struct Figures {
    seconds: f64,
    /// Of each file that came alone.
    latencies: Vec<Duration>,
    kafka: u64,
    peak_mib: f64,
}

#[test]
#[ignore = "six minutes, for an optimised build on an idle machine; the command is in docs/proofs/README.md"]
fn long() {
    let class = |name, size, at_once, alone| Class { name, size, at_once, alone };
    let classes = [
        class("1 KB", 1_000, 400, 5),
        class("100 KB", 100_000, 200, 5),
        class("1 MB", 1_000_000, 60, 5),
        class("10 MB", 10_000_000, 10, 3),
        class("100 MB", 100_000_000, 3, 3),
    ];
    let only = std::env::var(ONLY).unwrap_or_default();
    let ways = WAYS.iter().filter(|way| only.is_empty() || only.split(',').any(|name| name == way.name));
    let table = measure(&ways.collect::<Vec<_>>(), &classes);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/proofs/large_files.md");
    let text = format!(
        "\n| date | commit | machine | build | command |\n|---|---|---|---|---|\n| {} | `{ONLY}={only} cargo test --profile perf \
         -p pipette --test it -- proofs::large_files::long --ignored --nocapture` |\n\n{table}",
        circumstances()
    );
    let mut page = File::options().create(true).append(true).open(page).expect("the proof's page");
    page.write_all(text.as_bytes()).expect("the figures are in the page");
}

#[test]
fn short() {
    let class = |name, size, at_once, alone| Class { name, size, at_once, alone };
    let classes = [class("1 KB", 1_000, 5, 1), class("2 MB", 2_000_000, 3, 1)];
    measure(&WAYS.iter().collect::<Vec<_>>(), &classes);
}

/// The rows of a table.
fn measure(ways: &[&Way], classes: &[Class]) -> String {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let kafka = ApacheKafka::start(&folder.path().join("kafka"), &[]);
    for class in classes {
        let files = folder.path().join("set").join(class.size.to_string());
        fs::create_dir_all(&files).expect("a folder");
        for number in 0..class.at_once + class.alone {
            fs::write(files.join(name(number)), noise(class.size, number)).expect("a file of the set");
        }
    }
    let mut table =
        "| way | size | files | MB/s | files/s | ms for one, median | bytes in Kafka for one | peak memory, MiB |\n\
         |---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for way in ways {
        let own = folder.path().join(way.name);
        fs::create_dir_all(&own).expect("a folder");
        // The largest record has to fit into it, on its way in and out.
        let budget = if way.name == "native" { "1073741824" } else { "134217728" };
        let mut worker = Worker::prepare(&own, &kafka.bootstrap(), &[("memory.budget.bytes", budget)]);
        worker.start();
        for class in classes {
            let run = Run {
                way,
                class: *class,
                set: folder.path().join("set").join(class.size.to_string()),
                own: own.join(class.size.to_string()),
            };
            let figures = run.play(&kafka, &worker);
            let row = run.row(&figures);
            print!("{row}");
            figures::record(&format!("large_files_{}_{}", way.name, class.size), row.trim_end());
            table.push_str(&row);
            fs::remove_dir_all(&run.own).expect("the folders of a run");
        }
        assert!(worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    }
    table
}

/// One way and one size.
struct Run<'a> {
    way: &'a Way,
    class: Class,
    set: PathBuf,
    own: PathBuf,
}

impl Run<'_> {
    fn play(&self, kafka: &ApacheKafka, worker: &Worker) -> Figures {
        for name in ["in", "out", "store", "spill"] {
            fs::create_dir_all(self.own.join(name)).expect("a folder");
        }
        let topic = format!("{}-{}", self.way.name, self.class.size);
        let put = |name: &str, config: &Value| {
            let answer = worker.rest().put(&format!("/connectors/{topic}-{name}/config"), config).expect("an answer");
            assert_eq!(answer.status, 201, "{answer:?}");
        };
        let pid = worker.pid().to_string();
        forget_peak(&pid).expect("a new peak");
        put("in", &self.source(&topic));
        put("out", &self.sink(&topic));
        self.await_tasks(worker, &topic);
        let mut link = Link { lines: self.own.join("links.jsonl"), read: 0 };
        let began = Instant::now();
        (0..self.class.at_once).for_each(|number| self.drop_in(number));
        self.await_files(&mut link, self.class.at_once);
        let seconds = began.elapsed().as_secs_f64();
        let latencies = (self.class.at_once..self.class.at_once + self.class.alone).map(|number| {
            let began = Instant::now();
            self.drop_in(number);
            self.await_files(&mut link, number + 1);
            began.elapsed()
        });
        let latencies = latencies.collect();
        let peak_mib = peak_mib(&pid).expect("its memory");
        self.compare();
        let kafka_bytes = kafka.stored(&topic);
        for name in ["in", "out"] {
            let answer = worker.rest().send("DELETE", &format!("/connectors/{topic}-{name}"), None).expect("an answer");
            assert_eq!(answer.status, 204, "{answer:?}");
        }
        topic::delete(&kafka.bootstrap(), &[&topic]);
        Figures { seconds, latencies, kafka: kafka_bytes, peak_mib }
    }

    /// As `config/connectors` has it, but for places and for how long a file has to rest.
    fn source(&self, topic: &str) -> Value {
        let mut config = example(self.way.source);
        config.retain(|key, _| {
            key != "name" && !key.ends_with(".aws_region") && key != "finished.path" && key != "error.path"
        });
        let own = |name: &str| self.own.join(name).display().to_string();
        let mut set = |key: &str, value: &str| config.insert(key.to_owned(), value.to_owned());
        set("topic", topic);
        set("input.path", &own("in"));
        set("input.file.pattern", ".*");
        set("key", "name");
        set("cleanup.policy", "NONE");
        set("poll.interval.ms", "100");
        set("settle.interval.ms", "50");
        match self.way.name {
            "native" => {
                set("payload.inline.max.bytes", "100000000");
                set("producer.override.max.request.size", "101000000");
                set("topic.creation.default.max.message.bytes", "101000000");
            }
            "claim-check" => {
                set("transforms.claim.store.uri", &format!("file://{}", own("store")));
            }
            _ => {}
        }
        json!(config)
    }

    fn sink(&self, topic: &str) -> Value {
        let own = |name: &str| self.own.join(name).display().to_string();
        let Some(sink) = self.way.sink else {
            return json!({
                "connector.class": "FileStreamSink", "topics": topic, "file": own("links.jsonl"), "value.converter": STRING,
            });
        };
        let mut config = example(sink);
        config.retain(|key, _| key != "name" && !key.ends_with(".aws_region") && !key.starts_with("errors."));
        let mut set = |key: &str, value: &str| config.insert(key.to_owned(), value.to_owned());
        set("topics", topic);
        set("output.path", &own("out"));
        set("file.name", "${key}");
        match self.way.name {
            "pieces" => {
                set("transforms.whole.disk.dir", &own("spill"));
                set("transforms.whole.disk.bytes", "1000000000");
                set("transforms.whole.on.incomplete", "fail");
            }
            "claim-check" => {
                set("transforms.restore.store.uri", &format!("file://{}", own("store")));
            }
            _ => {}
        }
        json!(config)
    }

    fn await_tasks(&self, worker: &Worker, topic: &str) {
        for name in ["in", "out"] {
            wait::until("the task", PATIENCE, || {
                let answer = worker.rest().get(&format!("/connectors/{topic}-{name}/status")).expect("an answer");
                let state = &answer.body["tasks"][0]["state"];
                if state == "RUNNING" { Ok(()) } else { Err(format!("{}: {answer:?}", self.way.name)) }
            });
        }
    }

    /// A file of the set appears in the inbox, whole from the first moment on.
    fn drop_in(&self, number: usize) {
        fs::hard_link(self.set.join(name(number)), self.own.join("in").join(name(number))).expect("a file is dropped");
    }

    fn await_files(&self, link: &mut Link, wanted: usize) {
        let out = self.own.join("out");
        wait::until("the files", PATIENCE, || {
            if self.way.sink.is_none() {
                link.follow(&out).expect("links lead somewhere");
            }
            let there = fs::read_dir(&out).expect("the folder").flatten();
            let there = there.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")).count();
            if there >= wanted { Ok(()) } else { Err(format!("{there} of {wanted}")) }
        });
    }

    fn compare(&self) {
        for number in 0..self.class.at_once + self.class.alone {
            let read = |folder: &Path| fs::read(folder.join(name(number))).expect("a file");
            let same = read(&self.set) == read(&self.own.join("out"));
            assert!(same, "{}: {} of {} is another file now", self.way.name, name(number), self.class.name);
        }
    }

    fn row(&self, figures: &Figures) -> String {
        let mut latencies = figures.latencies.clone();
        latencies.sort();
        let all = self.class.at_once + self.class.alone;
        #[expect(clippy::cast_precision_loss, reason = "sizes and counts are small")]
        let (files, bytes, each) = (
            self.class.at_once as f64,
            (self.class.at_once * self.class.size) as f64,
            figures.kafka as f64 / all as f64,
        );
        let mut row = String::new();
        let _ = writeln!(
            row,
            "| {} | {} | {} | {:.1} | {:.1} | {} | {each:.0} | {:.0} |",
            self.way.name,
            self.class.name,
            self.class.at_once,
            bytes / 1e6 / figures.seconds,
            files / figures.seconds,
            latencies[latencies.len() / 2].as_millis(),
            figures.peak_mib,
        );
        row
    }
}

/// The consumer that follows links, with what a sink does too: it verifies, syncs, and gives the name last.
struct Link {
    lines: PathBuf,
    read: usize,
}

impl Link {
    fn follow(&mut self, out: &Path) -> io::Result<()> {
        let text = fs::read_to_string(&self.lines).unwrap_or_default();
        let new = &text[self.read..];
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        for line in new[..whole].lines() {
            let link: BTreeMap<String, Value> = serde_json::from_str(line)?;
            let from = Path::new(link["path"].as_str().expect("a path"));
            let draft = out.join(".draft");
            let (mut source, mut file, mut digest) = (File::open(from)?, File::create(&draft)?, Hasher::default());
            let mut block = vec![0; 1 << 20];
            loop {
                let read = source.read(&mut block)?;
                if read == 0 {
                    break;
                }
                digest.update(&block[..read]);
                file.write_all(&block[..read])?;
            }
            assert_eq!(link["digest"], format!("sha256:{}", digest.digest().hex()), "{}", from.display());
            file.sync_all()?;
            fs::rename(&draft, out.join(from.file_name().expect("a name")))?;
            File::open(out)?.sync_all()?;
        }
        self.read += whole;
        Ok(())
    }
}

fn example(name: &str) -> ConfigMap {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/connectors").join(format!("{name}.json"));
    file::connector(&path).expect("an example").config
}

fn name(number: usize) -> String {
    format!("image-{number:04}.tif")
}

/// Bytes that do not repeat and that no two files share.
fn noise(len: usize, number: usize) -> Vec<u8> {
    let mut state = ((len + number) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}
