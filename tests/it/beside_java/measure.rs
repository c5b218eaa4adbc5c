//! What one connector costs, counted from outside: records a second, CPU time per record, peak of memory.
//!
//! Wall time runs from the first record seen at the destination to the last, so nobody's start counts. CPU time is that of
//! the whole process. A source finds its file only when it idles already, so CPU counts from there. A sink that begins
//! has fetched ahead before its first record shows: Java's CPU counts from its first record, Pipette's from the request
//! that creates the connector, so whatever this leaves out is to Java's advantage.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pipette::bench::process::{cpu_seconds, forget_peak, peak_mib};
use pipette::kafka::loop_bench::TopicSize;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use super::contender::Contender;
use super::report::Who;
use super::workload::{End, PLAIN, Workload};
use crate::support::wait;

/// The longest a workload may take.
const LIMIT: Duration = Duration::from_mins(2);
/// A topic's size is asked for no more often: the broker has other things to do.
const GLANCE: Duration = Duration::from_millis(20);
/// A file that has not grown for so long is taken for whole, if its lines say so too.
const QUIET: Duration = Duration::from_millis(300);
/// No line that a sink writes has more bytes.
const LINE: u64 = 800;

/// What all measurements share.
pub(super) struct Stage {
    pub(super) bootstrap: String,
    pub(super) folder: PathBuf,
    /// In each topic and file.
    pub(super) records: u32,
}

impl Stage {
    /// A virtual machine may have given the memory that nobody used for a while back to its host. The kernel gets it again
    /// page by page, within the `write` of whoever fills a file, at ten times the price of the copy: whoever is measured
    /// would be charged for that, so it is done before, for everybody.
    fn take_pages_back(&self) {
        let scratch = self.folder.join("scratch");
        let (mut file, piece) = (fs::File::create(&scratch).expect("a file"), vec![b'x'; 1 << 20]);
        for _ in 0..=u64::from(self.records) * LINE / piece.len() as u64 {
            file.write_all(&piece).expect("room for the file");
        }
        fs::remove_file(scratch).expect("the file goes");
    }
}

/// Records a second, CPU µs per record, MiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) rate: f64,
    pub(super) micros: f64,
    pub(super) peak: f64,
}

impl Cost {
    pub(super) fn show(&self) -> String {
        format!("{:.0} records/s, {:.2} µs CPU, peak {:.0} MiB", self.rate, self.micros, self.peak)
    }
}

/// A cost, and what a file sink wrote.
pub(super) struct Measured {
    pub(super) cost: Cost,
    pub(super) output: Option<PathBuf>,
}

/// A look at a run.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    cpu: f64,
    /// How much had arrived: records, bytes or steps, as the destination counts.
    arrived: u64,
}

/// Creates the connector, waits until all has arrived, and deletes it.
pub(super) fn connector(stage: &Stage, who: &Contender, workload: &Workload, run: &str) -> Measured {
    let pid = who.pid();
    let cpu = || cpu_seconds(&pid).expect("its CPU time");
    let name = format!("{}-{}-{run}", who.name().to_lowercase(), workload.key);
    let place = stage.folder.join(&name);
    let path = format!("/connectors/{name}");
    forget_peak(&pid).expect("a new peak");
    if workload.end == End::File {
        stage.take_pages_back();
    }
    let mut began = cpu();
    let answer = who.rest().put(&format!("{path}/config"), &workload.config(&place, &name, stage.records));
    let answer = answer.expect("an answer");
    assert!(answer.status < 300, "{} refuses {name}: {answer:?}", who.name());
    if workload.end == End::Topic {
        await_task(who, &path);
        began = cpu();
        fs::hard_link(stage.lines(PLAIN), &place).expect("the file for the source");
    }
    let (first, last) = match workload.end {
        End::Topic => watch_topic(stage, &name, &cpu),
        End::File => watch_file(&place, stage.records, &cpu),
        End::Nowhere => watch_marks(&place, &cpu),
    };
    let peak = peak_mib(&pid).expect("its memory");
    who.rest().send("DELETE", &path, None).expect("an answer");
    wait::until("the connector's end", LIMIT, || match who.rest().get(&path) {
        Ok(answer) if answer.status == 404 => Ok(()),
        other => Err(format!("{other:?}")),
    });

    let records = f64::from(stage.records);
    // The marks say when, not how much.
    let missed = if workload.end == End::Nowhere { 0.0 } else { share(first, last) * records };
    let from_first = workload.end != End::Topic && who.who() == Who::Java;
    let micros =
        if from_first { (last.cpu - first.cpu) / (records - missed) } else { (last.cpu - began) / records } * 1e6;
    let rate = (records - missed) / (last.at - first.at).as_secs_f64();
    let output = tidy_up(stage, workload, &name, place);
    Measured { cost: Cost { rate, micros, peak }, output }
}

/// What had arrived already when the first look saw something.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn share(first: Look, last: Look) -> f64 {
    first.arrived as f64 / last.arrived as f64
}

/// Removes what the run left, but for the file a sink wrote.
fn tidy_up(stage: &Stage, workload: &Workload, name: &str, place: PathBuf) -> Option<PathBuf> {
    match workload.end {
        End::File => return Some(place),
        End::Topic => {
            delete_topic(&stage.bootstrap, name);
            fs::remove_file(place).expect("the source's file goes");
        }
        End::Nowhere => {
            for ending in ["first", "done"] {
                fs::remove_file(mark(&place, ending)).expect("the mark goes");
            }
        }
    }
    None
}

/// Waits until the task runs.
fn await_task(who: &Contender, path: &str) {
    wait::until("the task to run", LIMIT, || {
        let answer = who.rest().get(&format!("{path}/status")).map_err(|error| error.to_string())?;
        if answer.body["tasks"][0]["state"] == "RUNNING" { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// Looks until `probe` says that all is there. It answers what has arrived.
fn watch(what: &str, cpu: &impl Fn() -> f64, mut probe: impl FnMut() -> (u64, bool)) -> (Look, Look) {
    let (mut first, mut last): (Option<Look>, Option<Look>) = (None, None);
    wait::until(what, LIMIT, || {
        let (arrived, done) = probe();
        if arrived > last.map_or(0, |look| look.arrived) {
            let look = Look { at: Instant::now(), cpu: cpu(), arrived };
            first.get_or_insert(look);
            last = Some(look);
        }
        first.zip(last).filter(|_| done).ok_or_else(|| format!("{arrived} have arrived"))
    })
}

fn watch_topic(stage: &Stage, topic: &str, cpu: &impl Fn() -> f64) -> (Look, Look) {
    let size = TopicSize::watch(&stage.bootstrap, topic).expect("a client");
    let (mut glanced, mut records) = (Instant::now(), 0);
    watch(&format!("records in {topic}"), cpu, || {
        if glanced.elapsed() >= GLANCE {
            // A topic that was just made has no leader for a moment; the wait has an end of its own.
            (records, glanced) = (size.records().unwrap_or(records), Instant::now());
        }
        (records, records >= u64::from(stage.records))
    })
}

fn watch_file(file: &Path, records: u32, cpu: &impl Fn() -> f64) -> (Look, Look) {
    let (mut grown, mut bytes) = (Instant::now(), 0);
    watch(&format!("lines in {}", file.display()), cpu, || {
        let now = fs::metadata(file).map_or(0, |found| found.len());
        if now != bytes {
            (bytes, grown) = (now, Instant::now());
        }
        let quiet = bytes > 0 && grown.elapsed() > QUIET;
        (bytes, quiet && count_lines(file) >= u64::from(records))
    })
}

fn watch_marks(marks: &Path, cpu: &impl Fn() -> f64) -> (Look, Look) {
    watch(&format!("the marks {}", marks.display()), cpu, || {
        let done = mark(marks, "done").exists();
        (u64::from(mark(marks, "first").exists()) + u64::from(done), done)
    })
}

fn mark(marks: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}.{ending}", marks.display()))
}

fn count_lines(file: &Path) -> u64 {
    let mut file = fs::File::open(file).expect("the output");
    let (mut buffer, mut lines) = (vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut buffer).expect("the output can be read");
        if read == 0 {
            return lines;
        }
        lines += buffer[..read].split(|byte| *byte == b'\n').count() as u64 - 1;
    }
}

/// The loop that sends; how fast, is seen at the topic as for the workers.
pub(super) fn raw_producer(stage: &Stage, run: &str) -> Cost {
    let topic = format!("raw-in-{run}");
    let lines = stage.lines(PLAIN);
    let cost = std::thread::scope(|scope| {
        let sender = scope.spawn(|| bare_loop(&stage.bootstrap, &["--bare-loop", &lines.to_string_lossy(), &topic]));
        let (first, last) = watch_topic(stage, &topic, &|| 0.0);
        let [_, cpu, peak] = sender.join().expect("the bare loop");
        let records = f64::from(stage.records);
        let rate = records * (1.0 - share(first, last)) / (last.at - first.at).as_secs_f64();
        Cost { rate, micros: cpu * 1e6 / records, peak }
    });
    delete_topic(&stage.bootstrap, &topic);
    cost
}

/// The loop that reads.
pub(super) fn raw_consumer(stage: &Stage) -> Cost {
    let [seconds, cpu, peak] = bare_loop(&stage.bootstrap, &["--bare-consumer", PLAIN]);
    let records = f64::from(stage.records);
    Cost { rate: records / seconds, micros: cpu * 1e6 / records, peak }
}

/// Runs a bare loop in a process of its own: seconds, CPU seconds, peak of memory in MiB.
pub(super) fn bare_loop(bootstrap: &str, arguments: &[&str]) -> [f64; 3] {
    let output = Command::new(env!("CARGO_BIN_EXE_pipette"))
        .args(["bench", "--bootstrap", bootstrap])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("pipette starts");
    assert!(output.status.success(), "the bare loop failed: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("its cost");
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    numbers.try_into().expect("three numbers")
}

fn delete_topic(bootstrap: &str, topic: &str) {
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(client.delete_topics(&[topic], &AdminOptions::new())).expect("the topic goes");
}
