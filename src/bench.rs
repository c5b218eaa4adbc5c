//! `pipette bench`: what the worker costs beside bare librdkafka, and what it costs when it does nothing.
//!
//! Each measured thing is a process of its own, so that the CPU time of one cannot be mistaken for that of another. The
//! command line calls [`command`] and [`run`]; docs/proofs/README.md tells how figures are recorded.

use std::collections::BTreeMap;
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

use crate::kafka::loop_bench::{TopicSize, bare_producer_loop};

/// A line of a laboratory export; the newline comes on top.
const LINE_BYTES: usize = 720;

/// `/proc` counts CPU time in these, on every Linux that Rust's standard library supports.
const TICKS_PER_SECOND: f64 = 100.0;

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
}

/// Runs the benchmark. `producer` are the librdkafka properties that the worker gives its producers, without
/// `bootstrap.servers`: the bare loop uses the same.
pub fn run(arguments: &ArgMatches, producer: &BTreeMap<String, String>) -> Result<()> {
    let bootstrap: &String = arguments.get_one("bootstrap").context("--bootstrap is missing")?;
    if let Some(mut parts) = arguments.get_many::<String>("bare-loop") {
        let (file, topic) = (parts.next().context("FILE is missing")?, parts.next().context("TOPIC is missing")?);
        return bare_loop_child(Path::new(file), topic, bootstrap, producer);
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
    say(&format!("bench: {records} records of {LINE_BYTES} bytes, median of {rounds} rounds"))?;
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

/// In the child: prints seconds and CPU seconds of the loop alone, without reading the file.
fn bare_loop_child(file: &Path, topic: &str, bootstrap: &str, producer: &BTreeMap<String, String>) -> Result<()> {
    let text = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut properties = producer.clone();
    properties.insert("bootstrap.servers".into(), bootstrap.into());
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let (began, cpu) = (Instant::now(), cpu_seconds("self")?);
    bare_producer_loop(&properties, topic, lines)?;
    say(&format!("{} {}", began.elapsed().as_secs_f64(), cpu_seconds("self")? - cpu))
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
        let status = read_proc(&self.0.id().to_string(), "status")?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        kib.map(|kib: f64| kib / 1024.0).context("the kernel does not tell the process's memory")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// User and system time so far, of all threads.
fn cpu_seconds(pid: &str) -> Result<f64> {
    ticks(&read_proc(pid, "stat")?).map(|ticks| ticks / TICKS_PER_SECOND).context("an unknown form of /proc/PID/stat")
}

/// Fields 14 and 15. The program's name, field 2, may hold blanks and brackets: counting starts behind the last one.
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn read_proc(pid: &str, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| {
        format!("/proc/{pid}/{file} cannot be read: the process has ended, or this is not Linux, which bench needs")
    })
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
            file.write_all(line(n).as_bytes())?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// A row of measured values, different in each line so that nothing compresses or caches it away.
fn line(n: u32) -> String {
    let mut seed = u64::from(n) + 1;
    let cells = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!(",{}.{:04}", seed >> 54, (seed >> 40) % 10_000)
    });
    // A cell has six bytes or more.
    let mut text = format!("sample-{n:08}{}", cells.take(LINE_BYTES / 6).collect::<Vec<_>>().concat());
    text.truncate(LINE_BYTES);
    text
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
    fn lines_are_of_one_length_and_differ() {
        assert_eq!((line(0).len(), line(7_000_000).len()), (LINE_BYTES, LINE_BYTES));
        assert_ne!(line(1)[20..], line(2)[20..]);
        assert!(!line(3).contains('\n'));
    }

    #[test]
    fn cpu_time_is_read_behind_a_name_with_brackets() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(ticks(stat), Some(200.0));
        assert_eq!(ticks("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_has_used_cpu_time() {
        let before = cpu_seconds("self").unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(60) {}
        assert!(cpu_seconds("self").unwrap() > before);
    }

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
