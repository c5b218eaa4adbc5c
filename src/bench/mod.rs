//! `pipette bench`: what the worker costs beside bare librdkafka, and what it costs when it does nothing.
//!
//! Each measured thing is a process of its own, so that the CPU time of one cannot be mistaken for that of another. The
//! command line calls [`command`] and [`run`]; docs/proofs/README.md tells how figures are recorded. The bare loops are
//! hidden modes of the same command; the proof `tests/it/beside_java` starts them too, beside Apache's worker.

pub mod discard;
pub mod process;
pub mod record;
#[cfg(feature = "connector-file")]
pub mod troubled;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgMatches, value_parser};
use serde_json::json;

use self::process::{cpu_seconds, peak_mib, resident_mib};
use self::record::{RECORD_BYTES, record};
use crate::kafka::loop_bench::{TopicSize, bare_consumer_loop, bare_producer_loop};
use crate::kafka::properties::ClientProperties;

/// A worker that has just started still frees what starting took.
const IDLE: Duration = Duration::from_secs(3);

/// The subcommand, for the command line.
pub fn command() -> clap::Command {
    let number = |name, default, help| {
        Arg::new(name).long(name).value_parser(value_parser!(u32).range(1..)).default_value(default).help(help)
    };
    clap::Command::new("bench")
        .about("Measure the worker against bare librdkafka on a Kafka of yours")
        .long_about(
            "Reads a generated file with FileStreamSource into Kafka and sends the same lines with a bare librdkafka \
             loop: records/s, CPU per record, ratio. Then starts idle workers: time to the first REST answer, memory. \
             Topics named pipette-bench-* stay on the broker.",
        )
        .arg(Arg::new("bootstrap").long("bootstrap").value_name("HOST:PORT").required(true).help("The Kafka to fill"))
        .arg(number("records", "300000", "Lines of 720 bytes in the file"))
        .arg(number("rounds", "3", "How often both are measured, in turns; the median counts"))
        .arg(Arg::new("bare-loop").long("bare-loop").num_args(2).value_names(["FILE", "TOPIC"]).hide(true))
        .arg(Arg::new("bare-consumer").long("bare-consumer").value_name("TOPIC").hide(true))
}

/// The librdkafka properties that the worker gives its clients, without `bootstrap.servers`: the bare loops use the same.
pub struct Clients {
    /// Of a source task.
    pub producer: ClientProperties,
    /// Of a sink task.
    pub consumer: ClientProperties,
}

/// Runs the benchmark.
pub fn run(arguments: &ArgMatches, clients: Clients) -> Result<()> {
    let bootstrap: &String = arguments.get_one("bootstrap").context("--bootstrap is missing")?;
    if let Some(mut parts) = arguments.get_many::<String>("bare-loop") {
        let (file, topic) = (parts.next().context("FILE is missing")?, parts.next().context("TOPIC is missing")?);
        return bare_loop_child(Path::new(file), topic, bootstrap, clients.producer);
    }
    if let Some(topic) = arguments.get_one::<String>("bare-consumer") {
        return bare_consumer_child(topic, bootstrap, clients.consumer);
    }
    let records = *arguments.get_one::<u32>("records").context("--records is missing")?;
    let rounds = *arguments.get_one::<u32>("rounds").context("--rounds is missing")?;
    let folder = Folder::create()?;
    let file = folder.0.join("lines.txt");
    write_lines(&file, records)?;

    let (mut workers, mut loops) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let topic = format!("pipette-bench-{}-{round}", std::process::id());
        let worker = measure_worker(&folder.0.join(format!("worker-{round}")), bootstrap, &file, &topic, records)?;
        say(&format!("round {round}: worker     {}", worker.show(records)))?;
        let bare = measure_bare_loop(bootstrap, &file, &format!("{topic}-bare"))?;
        say(&format!("round {round}: librdkafka {}", bare.show(records)))?;
        workers.push(worker);
        loops.push(bare);
    }
    let (worker, bare) = (median(workers)?, median(loops)?);
    say(&format!("bench: {records} records of {RECORD_BYTES} bytes, median of {rounds} rounds"))?;
    say(&format!("bench: worker     {}", worker.show(records)))?;
    say(&format!("bench: librdkafka {}", bare.show(records)))?;
    say(&format!(
        "bench: worker / librdkafka: CPU {:.2}, records/s {:.2}",
        worker.cpu / bare.cpu,
        bare.seconds / worker.seconds
    ))?;
    say(&measure_idle(&folder.0.join("idle"), bootstrap, &[])?)?;
    let port = free_port()?;
    say(&measure_idle(&folder.0.join("embedded"), &format!("127.0.0.1:{port}"), &["--embedded"])?)
}

/// What one round took, both in seconds; `cpu` is user and system time of the whole process.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    seconds: f64,
    cpu: f64,
}

impl Cost {
    fn show(self, records: u32) -> String {
        let records = f64::from(records);
        format!("{:9.0} records/s, {:6.2} µs CPU per record", records / self.seconds, self.cpu * 1e6 / records)
    }
}

/// By CPU time: it is less shaken by neighbours than wall time.
fn median(mut costs: Vec<Cost>) -> Result<Cost> {
    costs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    costs.get(costs.len() / 2).copied().context("no round was measured")
}

fn measure_worker(folder: &Path, bootstrap: &str, file: &Path, topic: &str, records: u32) -> Result<Cost> {
    let worker = Worker::start(folder, bootstrap, &[])?;
    let size = TopicSize::watch(bootstrap, topic)?;
    let config = json!({
        "connector.class": "FileStreamSource",
        "tasks.max": "1",
        "file": file,
        "topic": topic,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    });
    let (began, cpu) = (Instant::now(), worker.process.cpu()?);
    ureq::put(format!("{}/connectors/bench/config", worker.url))
        .header("Content-Type", "application/json")
        .send(config.to_string())
        .context("the worker does not take the connector")?;
    // Ten thousand records a second are a failure, not a slow run.
    let limit = Duration::from_secs(30 + u64::from(records) / 10_000);
    loop {
        let there = size.records()?;
        if there >= u64::from(records) {
            return Ok(Cost { seconds: began.elapsed().as_secs_f64(), cpu: worker.process.cpu()? - cpu });
        }
        ensure!(began.elapsed() < limit, "after {limit:?} only {there} of {records} records are in {topic}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn measure_bare_loop(bootstrap: &str, file: &Path, topic: &str) -> Result<Cost> {
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "--bootstrap", bootstrap, "--bare-loop"])
        .arg(file)
        .arg(topic)
        .stderr(Stdio::inherit())
        .output()
        .context("the bare loop does not start")?;
    ensure!(output.status.success(), "the bare loop failed: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seconds)), Some(Ok(cpu))) => Ok(Cost { seconds, cpu }),
        _ => bail!("the bare loop printed {text:?} instead of its cost"),
    }
}

/// In the child: prints seconds and CPU seconds of the loop alone, without reading the file, and its peak of memory
/// without the file's bytes.
fn bare_loop_child(file: &Path, topic: &str, bootstrap: &str, mut properties: ClientProperties) -> Result<()> {
    let text = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    properties.insert("bootstrap.servers".into(), bootstrap.into());
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let (began, cpu) = (Instant::now(), cpu_seconds("self")?);
    bare_producer_loop(&properties, topic, lines)?;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds("self")? - cpu);
    #[expect(clippy::cast_precision_loss, reason = "a file of 2^52 bytes is not benchmarked")]
    let file = text.len() as f64 / f64::from(1 << 20);
    say(&format!("{seconds} {cpu} {}", peak_mib("self")? - file))
}

/// In the child: prints seconds from the first record to the last, CPU seconds of the whole and the peak of memory.
fn bare_consumer_child(topic: &str, bootstrap: &str, mut properties: ClientProperties) -> Result<()> {
    let records = TopicSize::watch(bootstrap, topic)?.records()?;
    properties.insert("bootstrap.servers".into(), bootstrap.into());
    let cpu = cpu_seconds("self")?;
    let seconds = bare_consumer_loop(&properties, topic, records)?.as_secs_f64();
    say(&format!("{seconds} {} {}", cpu_seconds("self")? - cpu, peak_mib("self")?))
}

fn measure_idle(folder: &Path, bootstrap: &str, arguments: &[&str]) -> Result<String> {
    let worker = Worker::start(folder, bootstrap, arguments)?;
    thread::sleep(IDLE);
    let what = if arguments.is_empty() { "idle worker" } else { "idle worker with the embedded broker" };
    Ok(format!(
        "bench: {what}: first REST answer after {} ms, {:.1} MiB resident",
        worker.answered.as_millis(),
        worker.process.resident_mib()?
    ))
}

/// A worker process that answers REST.
struct Worker {
    process: Process,
    url: String,
    /// From the start of the process to its first answer.
    answered: Duration,
}

impl Worker {
    fn start(folder: &Path, bootstrap: &str, arguments: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let port = free_port()?;
        let properties = folder.join("worker.properties");
        let state = folder.join("state");
        let url = format!("http://127.0.0.1:{port}");
        fs::write(
            &properties,
            format!(
                "bootstrap.servers={bootstrap}\nlisteners={url}\nstate.dir={}\n\
                 key.converter=org.apache.kafka.connect.storage.StringConverter\n\
                 value.converter=org.apache.kafka.connect.storage.StringConverter\n",
                state.display()
            ),
        )?;
        let log = File::create(folder.join("worker.log"))?;
        let began = Instant::now();
        let child = Command::new(std::env::current_exe()?)
            .arg("run")
            .args(arguments)
            .arg(&properties)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the worker does not start")?;
        let mut process = Process(child);
        while ureq::get(&url).call().is_err() {
            if let Some(status) = process.0.try_wait()? {
                let said = fs::read_to_string(folder.join("worker.log")).unwrap_or_default();
                bail!("the worker ended ({status}): {said}");
            }
            ensure!(began.elapsed() < Duration::from_secs(30), "the worker's REST does not answer on {url}");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { process, url, answered: began.elapsed() })
    }
}

/// A child that does not outlive the benchmark.
struct Process(Child);

impl Process {
    fn cpu(&self) -> Result<f64> {
        cpu_seconds(&self.0.id().to_string())
    }

    fn resident_mib(&self) -> Result<f64> {
        resident_mib(&self.0.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that goes with the benchmark.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pipette-bench-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind in the worst case, in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write_lines(path: &Path, records: u32) -> Result<()> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        for n in 0..records {
            file.write_all(record(n).as_bytes())?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free loopback port")?;
    Ok(listener.local_addr()?.port())
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("standard output is closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_goes_by_cpu_time() {
        let cost = |cpu| Cost { seconds: 1.0, cpu };
        assert_eq!(median(vec![cost(3.0), cost(1.0), cost(2.0)]).unwrap(), cost(2.0));
        assert!(median(Vec::new()).is_err());
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
        let matches = command().try_get_matches_from(["bench", "--bootstrap", "localhost:9092"]).unwrap();
        assert_eq!(matches.get_one::<u32>("records"), Some(&300_000));
        assert!(command().try_get_matches_from(["bench"]).is_err());
    }
}
