//! The memory budget, measured on the real worker: small and large records, several connectors, a slow sink, a broker
//! that stands still and one that is away.
//!
//! The figures are recorded; docs/proofs/memory.md keeps those that were quoted.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipette::bench::process::{forget_peak, peak_mib};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::worker::Worker;
use crate::support::{figures, free_ports, topic, wait};

const PATIENCE: Duration = Duration::from_mins(2);
/// A decimal megabyte in the MiB that the kernel tells.
const MEGABYTE: f64 = 1_000_000.0 / 1_048_576.0;
const SMALL: usize = 1_000;
const LARGE: usize = 2_000_000;
/// Large ones in each half of a file.
const LINES: usize = 25;

/// The embedded broker in a process of its own, so that it can be stopped and so that its memory is not the worker's.
struct Broker {
    address: String,
    folder: PathBuf,
    child: Option<Child>,
}

impl Broker {
    fn start(folder: &Path) -> Self {
        let [port] = free_ports();
        let mut broker = Self { address: format!("127.0.0.1:{port}"), folder: folder.join("broker"), child: None };
        broker.launch();
        broker
    }

    fn launch(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_pipette"))
            .args(["broker", "--listen", &self.address, "--dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the broker starts");
        self.child = Some(child);
        wait::until("the broker", PATIENCE, || {
            std::net::TcpStream::connect(&self.address).map(drop).map_err(|error| error.to_string())
        });
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("a running broker").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs").success());
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

/// A worker and a broker.
struct Scene {
    worker: Worker,
    broker: Broker,
    folder: TempDir,
}

impl Scene {
    fn new(keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let broker = Broker::start(folder.path());
        let mut worker = Worker::prepare(folder.path(), &broker.address, keys);
        worker.start();
        Self { worker, broker, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn topics(&self, count: usize) -> Vec<String> {
        let names = (0..count).map(|number| format!("rows-{number}")).collect::<Vec<_>>();
        for name in &names {
            topic::create(&self.broker.address, name, 2, &[("max.message.bytes", "8000000")]);
        }
        names
    }

    fn connector(&self, name: &str, config: &Value) {
        let answer = self.worker.rest().put(&format!("/connectors/{name}/config"), config).expect("an answer");
        assert!(answer.status < 300, "{answer:?}");
    }

    /// Writes the file, and has it read.
    fn source(&self, name: &str, topic: &str, lines: usize, size: usize) {
        write_lines(&self.path(name), lines, size);
        self.connector(
            name,
            &json!({
                "connector.class": "FileStreamSource", "tasks.max": "1", "file": self.path(name), "topic": topic,
                "producer.override.max.request.size": "4000000",
            }),
        );
    }

    fn sink(&self, name: &str, topic: &str, into: &Path) {
        let config = json!({ "connector.class": "FileStreamSink", "tasks.max": "1", "file": into, "topics": topic });
        self.connector(name, &config);
    }

    /// So many records in each.
    fn await_topics(&self, topics: &[String], records: usize) {
        for name in topics {
            wait::until(&format!("records in {name}"), PATIENCE, || {
                match usize::try_from(topic::size(&self.broker.address, name)).expect("a size") {
                    there if there >= records => Ok(()),
                    there => Err(format!("{there}")),
                }
            });
        }
    }

    fn peak(&self) -> f64 {
        peak_mib(&self.worker.pid().to_string()).expect("its memory")
    }

    /// The peak since the last call.
    fn phase(&self, what: &'static str) -> Peak {
        let peak = self.peak();
        forget_peak(&self.worker.pid().to_string()).expect("a new peak");
        (what, peak)
    }

    /// What the dashboards are told of a connector.
    fn metric(&self, metric: &str, connector: &str) -> i64 {
        let answer = self.worker.rest().get("/metrics").expect("metrics");
        let text = answer.body.as_str().expect("a text").to_owned();
        let begin = format!("{metric}{{connector=\"{connector}\"");
        let line = text.lines().find(|line| line.starts_with(&begin));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }
}

fn write_lines(path: &Path, lines: usize, size: usize) {
    let mut file = BufWriter::new(File::options().create(true).append(true).open(path).expect("a file"));
    let line = "x".repeat(size - 1) + "\n";
    for _ in 0..lines {
        file.write_all(line.as_bytes()).expect("the file is written");
    }
    file.flush().expect("the file is written");
}

fn await_bytes(path: &Path, bytes: usize) {
    wait::until(&format!("{bytes} bytes in {}", path.display()), PATIENCE, || {
        match fs::metadata(path).map_or(0, |found| found.len()) {
            there if there >= bytes as u64 => Ok(()),
            there => Err(format!("{there}")),
        }
    });
}

/// Waits until something is the same for a while: nothing moves any more.
fn settled(what: &str, mut look: impl FnMut() -> String) {
    let (mut last, mut since) = (look(), Instant::now());
    wait::until(what, PATIENCE, || {
        let now = look();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(2) { Ok(()) } else { Err(last.clone()) }
    });
}

#[test]
fn small_records_take_less_than_100_megabytes() {
    let scene = Scene::new(&[]);
    let out = scene.path("out");
    let records = 150_000;
    scene.source("in", "rows", records, SMALL);
    scene.sink("out", "rows", &out);
    await_bytes(&out, records * SMALL);
    let peak = scene.peak();
    figures::record("memory_small", &format!("{records} records of {SMALL} bytes in and out: peak {peak:.1} MiB"));
    assert!(peak <= 100.0 * MEGABYTE, "{peak} MiB");
}

/// A source that sends in pieces what is larger than all the memory there is, and the sink that puts it together, wait for
/// each other for ever if either takes what the other needs to go on.
#[test]
fn what_goes_in_pieces_and_comes_together_in_one_worker_gets_on() {
    let scene = Scene::new(&[]);
    let [inbox, outbox] = ["inbox", "outbox"].map(|name| scene.path(name));
    for folder in [&inbox, &outbox] {
        fs::create_dir(folder).expect("a folder");
    }
    // Somebody's value of which the last piece never comes: the sink keeps it all the time.
    topic::create(&scene.broker.address, "pieces", 1, &[]);
    let piece = "x".repeat(800_000);
    for number in 0..5 {
        let (index, offset) = (number.to_string(), (number * piece.len()).to_string());
        let headers = [
            ("chunk-v", "1"),
            ("chunk-id", "00112233445566778899aabbccddeeff"),
            ("chunk-index", &index),
            ("chunk-count", "6"),
            ("chunk-offset", &offset),
        ];
        topic::write_with(&scene.broker.address, "pieces", 0, &headers, &piece);
    }
    let sizes = [60_000_000, 20_000_000];
    for (number, size) in sizes.into_iter().enumerate() {
        fs::write(inbox.join(format!("{number}.bin")), vec![b'0' + u8::try_from(number).unwrap(); size])
            .expect("a file");
    }
    scene.connector(
        "in",
        &json!({
            "connector.class": "LabFilesSource", "topic": "pieces", "input.path": inbox, "cleanup.policy": "NONE",
            "output.mode": "whole", "key": "name", "settle.interval.ms": "50", "poll.interval.ms": "100",
            "value.converter": "ByteArrayConverter", "transforms": "chunk", "transforms.chunk.type": "Chunk",
        }),
    );
    scene.connector(
        "out",
        &json!({
            "connector.class": "LabFilesSink", "topics": "pieces", "output.path": outbox, "file.name": "${key}",
            "value.converter": "ByteArrayConverter", "transforms": "whole", "transforms.whole.type": "Reassemble",
        }),
    );
    for (number, size) in sizes.into_iter().enumerate() {
        await_bytes(&outbox.join(format!("{number}.bin")), size);
    }
}

/// Every way in which 2 MB records may pile up, one after the other. The sinks are one more than the sources.
fn large_records(budget: u32, files: usize) {
    let bytes = (u64::from(budget) << 20).to_string();
    let scene = Scene::new(&[("memory.budget.bytes", &bytes)]);
    let topics = scene.topics(files);
    let mut peaks = into_kafka(&scene, &topics);
    peaks.extend(out_of_kafka(&scene, &topics));

    let told: Vec<String> = peaks.iter().map(|(what, peak)| format!("{what} {peak:.1}")).collect();
    let line =
        format!("budget {budget} MiB, {files} sources, {} sinks, 2 MB; peak MiB: {}", files + 1, told.join(", "));
    figures::record(&format!("memory_large_{budget}"), &line);
    let limit = f64::from(budget) * 1.2;
    assert!(peaks.iter().all(|(_, peak)| *peak <= limit), "more than {limit} MiB: {told:?}");
}

type Peak = (&'static str, f64);

/// Sources, the broker standing still meanwhile, then away.
fn into_kafka(scene: &Scene, topics: &[String]) -> Vec<Peak> {
    for topic in topics {
        scene.source(&format!("in-{topic}"), topic, LINES, LARGE);
    }
    scene.await_topics(topics, LINES);
    let sources = scene.phase("sources");

    scene.broker.signal("STOP");
    for topic in topics {
        write_lines(&scene.path(&format!("in-{topic}")), LINES, LARGE);
    }
    settled("sources that wait", || format!("{:.0}", scene.peak()));
    let still = scene.phase("broker stands still");
    scene.broker.signal("CONT");
    scene.await_topics(topics, 2 * LINES);
    vec![sources, still, scene.phase("goes on")]
}

/// Sinks, one of which writes into a pipe that nobody reads for a while.
fn out_of_kafka(scene: &Scene, topics: &[String]) -> Vec<Peak> {
    let slow = scene.path("slow");
    assert!(Command::new("mkfifo").arg(&slow).status().expect("mkfifo runs").success());
    scene.sink("out-slow", &topics.join(","), &slow);
    for topic in topics {
        scene.sink(&format!("out-{topic}"), topic, &scene.path(&format!("out-{topic}")));
    }
    let mut pipe = File::open(&slow).expect("the pipe");
    for topic in topics {
        await_bytes(&scene.path(&format!("out-{topic}")), 2 * LINES * LARGE);
    }
    wait::until("the culprit in the metrics", PATIENCE, || {
        match scene.metric("pipette_memory_held_bytes", "out-slow") {
            held if held > i64::try_from(2 * LARGE).unwrap() => Ok(()),
            held => Err(format!("{held}")),
        }
    });
    let sinks = scene.phase("sinks with a slow one");
    let all = topics.len() * 2 * LINES * LARGE;
    let (mut buffer, mut read) = (vec![0; 1 << 20], 0);
    while read < all {
        read += pipe.read(&mut buffer).expect("the pipe can be read");
    }
    vec![sinks, scene.phase("it goes on")]
}

#[test]
fn large_records_keep_to_the_default_budget() {
    large_records(128, 3);
}

#[test]
fn large_records_keep_to_a_small_budget() {
    large_records(64, 2);
}

#[test]
fn a_replay_of_large_letters_keeps_to_the_budget() {
    let budget = 64_u32;
    let scene = Scene::new(&[("memory.budget.bytes", &(u64::from(budget) << 20).to_string())]);
    let letters = 100;
    scene.source("in", "rows", letters, 900_000);
    scene.connector(
        "out",
        &json!({
            "connector.class": "FileStreamSink", "file": scene.path("out"), "topics": "rows",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter", "errors.tolerance": "all",
            "errors.deadletterqueue.topic.name": "dead", "errors.deadletterqueue.context.headers.enable": "true",
        }),
    );
    scene.await_topics(&["dead".to_owned()], letters);
    let path = "/connectors/out/dlq/replay";
    let answer = scene.worker.rest().send("POST", path, Some(&json!({ "dry_run": true }))).expect("an answer");
    assert_eq!(answer.status, 202, "{answer:?}");
    wait::until("the end of the replay", PATIENCE, || {
        let report = scene.worker.rest().get(path).expect("an answer").body;
        if report["failed"] == letters && report["state"] == "DONE" { Ok(()) } else { Err(report["state"].to_string()) }
    });
    let peak = scene.peak();
    figures::record("memory_replay", &format!("budget {budget} MiB, {letters} letters of 0.9 MB: peak {peak:.1} MiB"));
    assert!(peak <= f64::from(budget) * 1.2, "{peak} MiB");
}
