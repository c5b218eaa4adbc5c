//! What breaks around a worker: a torn state file, a full disk, a read-only one, a clock that jumps, a plugin that panics.
//!
//! Each ends without loss, with a reason that a person can act on, and nothing else stops: a second pipeline of the same
//! worker moves rows all the while.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::frame::{Proof, Round};
use super::tally::Tally;
use crate::checker::{Handed, Verdict, row};
use crate::support::clock::Clock;
use crate::support::death::size;
use crate::support::feeder::{Feed, Feeder};
use crate::support::kafka::ApacheKafka;
use crate::support::small_disk::SmallDisk;
use crate::support::worker::Worker;
use crate::support::{topic, wait};

const PROOF: Proof = Proof { name: "torn", rounds: 20 };
const PATIENCE: Duration = Duration::from_mins(1);
/// Whatever makes no progress for so long will not.
const REST: Duration = Duration::from_secs(30);
const RATE: usize = 2_000;

#[test]
#[ignore = "a quarter of an hour; the command stands in the module's head"]
fn long() {
    PROOF.long(play);
}

#[test]
fn short() {
    PROOF.short(play);
}

fn play(round: &mut Round) -> Tally {
    let mut tally = Tally::default();
    torn_state(round, &mut tally);
    panics(round, &mut tally);
    clock_jumps(round, &mut tally);
    full_disk(round, &mut tally);
    read_only(round, &mut tally);
    tally
}

/// A worker with two pipelines, file → topic → file. The second one is the calm one.
struct Stage {
    bootstrap: String,
    path: PathBuf,
    /// Of topics and connectors.
    prefix: String,
    /// Where the first pipeline's sink writes, and the worker keeps its state.
    disk: PathBuf,
    worker: Worker,
    feeder: Option<Feeder>,
    /// Goes last: what runs in it must have ended.
    _folder: tempfile::TempDir,
}

/// In seconds.
const DAY: i64 = 24 * 60 * 60;
const TRIED: usize = 0;
const CALM: usize = 1;

impl Stage {
    fn new(name: &str, round: &Round, disk: Option<&str>, environment: &[(&'static str, String)]) -> Self {
        let bootstrap = ApacheKafka::shared().bootstrap();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let disk = path.join(disk.unwrap_or_default());
        let keys = [
            ("consumer.session.timeout.ms", "1000".to_owned()),
            ("consumer.heartbeat.interval.ms", "300".to_owned()),
            ("state.dir", disk.join("state").display().to_string()),
        ];
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let worker = Worker::prepare(&path, &bootstrap, &keys).with(&["--bench-plugins"]).in_environment(environment);
        let prefix = format!("torn-{name}-{}", round.number);
        Self { bootstrap, path, prefix, disk, worker, feeder: None, _folder: folder }
    }

    fn start(&mut self) {
        self.worker.start();
        for pipeline in [TRIED, CALM] {
            let source = json!({
                "connector.class": "TroubledFileSource", "topic": self.topic(pipeline), "file": self.input(pipeline),
                "panics.while": self.panics(pipeline, "source"),
            });
            let sink = json!({
                "connector.class": "TroubledFileSink", "topics": self.topic(pipeline), "file": self.output(pipeline),
                "panics.while": self.panics(pipeline, "sink"),
            });
            for (side, config) in [("source", source), ("sink", sink)] {
                let path = format!("/connectors/{}/config", self.name(pipeline, side));
                let answer = self.worker.rest().put(&path, &config).expect("REST answers");
                assert_eq!(answer.status, 201, "{}", answer.body);
            }
        }
        let growing = [TRIED, CALM].map(|pipeline| self.input(pipeline)).to_vec();
        self.feeder = Some(Feeder::start(Feed { growing, inbox: None, rate: RATE, per_file: 1 }));
    }

    fn topic(&self, pipeline: usize) -> String {
        format!("{}-{pipeline}", self.prefix)
    }

    fn name(&self, pipeline: usize, side: &str) -> String {
        format!("{}-{side}", self.topic(pipeline))
    }

    fn input(&self, pipeline: usize) -> PathBuf {
        self.path.join(format!("in-{pipeline}.txt"))
    }

    fn output(&self, pipeline: usize) -> PathBuf {
        let folder = if pipeline == TRIED { &self.disk } else { &self.path };
        folder.join(format!("out-{pipeline}.txt"))
    }

    fn panics(&self, pipeline: usize, side: &str) -> PathBuf {
        self.path.join(format!("panics-{side}-{pipeline}"))
    }

    fn task(&self, pipeline: usize, side: &str) -> Value {
        let path = format!("/connectors/{}/status", self.name(pipeline, side));
        self.worker.rest().get(&path).expect("REST answers").body["tasks"][0].clone()
    }

    /// The reason of a task that fails.
    fn await_failure(&self, pipeline: usize, side: &str) -> String {
        wait::until("the task to fail", PATIENCE, || {
            let task = self.task(pipeline, side);
            if task["state"] == "FAILED" { Ok(task["trace"].to_string()) } else { Err(task.to_string()) }
        })
    }

    fn restart(&self, pipeline: usize, side: &str) {
        let path = format!("/connectors/{}/tasks/0/restart", self.name(pipeline, side));
        let answer = self.worker.rest().send("POST", &path, None).expect("REST answers");
        assert!([202, 204].contains(&answer.status), "{answer:?}");
    }

    /// How far the first source has committed.
    fn committed(&self) -> Option<u64> {
        let path = format!("/connectors/{}/offsets", self.name(TRIED, "source"));
        self.worker.rest().get(&path).expect("REST answers").body["offsets"][0]["offset"]["position"].as_u64()
    }

    /// Some more rows come through a pipeline.
    fn await_flow(&mut self, pipeline: usize) {
        let file = self.output(pipeline);
        let wanted = size(&file) + 100_000;
        wait::until("rows to flow", PATIENCE, || {
            self.worker.assert_lives();
            let now = size(&file);
            if now >= wanted { Ok(()) } else { Err(format!("{now} of {wanted} bytes of {}", file.display())) }
        });
    }

    /// Waits for every row of both pipelines and for calm, and tells what became of the first one's rows in its sink's file.
    fn end(mut self, tally: &mut Tally) -> Verdict {
        let fed = self.feeder.take().expect("it was started").finish();
        let verdicts = [TRIED, CALM].map(|pipeline| self.await_every_row(pipeline, &fed.handed));
        for pipeline in [TRIED, CALM] {
            for side in ["source", "sink"] {
                let task = self.task(pipeline, side);
                assert_eq!(task["state"], "RUNNING", "{task}");
            }
        }
        assert!(self.worker.stop().success(), "SIGTERM must end the worker with exit code 0");
        topic::delete(
            &self.bootstrap,
            &[TRIED, CALM].map(|pipeline| self.topic(pipeline)).each_ref().map(String::as_str),
        );
        let [tried, calm] = verdicts;
        for verdict in [&tried, &calm] {
            tally.add("rows", verdict.arrived);
            tally.add("lost", verdict.lost_count);
            tally.add("out of order", verdict.early);
            tally.add("duplicates", verdict.duplicates);
        }
        tried
    }

    fn await_every_row(&mut self, pipeline: usize, handed: &Handed) -> Verdict {
        let handed = handed.only(pipeline..pipeline + 1);
        let file = self.output(pipeline);
        let whole = u64::try_from(handed.total() * (row(0, 0).len() + 1)).expect("a size");
        let verdict = wait::until_rest("every row in the sink file", REST, || {
            self.worker.assert_lives();
            let now = size(&file);
            if now < whole {
                return Err(now);
            }
            let text = fs::read(&file).unwrap_or_default();
            let verdict = handed.check(String::from_utf8_lossy(&text).lines().filter(|line| !line.is_empty()));
            if verdict.lost_count == 0 { Ok(verdict) } else { Err(now) }
        });
        verdict.assert_kept(&file.display().to_string());
        verdict
    }
}

/// The offsets are cut anywhere, as a crash of the machine may do; the connectors cannot be, and are not guessed at.
fn torn_state(round: &mut Round, tally: &mut Tally) {
    let mut stage = Stage::new("state", round, None, &[]);
    stage.start();
    let log = stage.path.join("state/offsets.log");
    for _ in 0..4 {
        stage.await_flow(TRIED);
        stage.worker.kill();
        let bytes = fs::read(&log).expect("the offsets");
        let header = bytes.iter().position(|byte| *byte == b'\n').expect("a first line") + 1;
        let cut = header + usize::try_from(round.dice.below((bytes.len() - header) as u64 + 1)).expect("a place");
        fs::write(&log, &bytes[..cut]).expect("the offsets are cut");
        stage.worker.start();
        tally.add("state files cut", 1);
    }
    stage.worker.kill();
    let connectors = stage.path.join("state/connectors.json");
    let whole = fs::read(&connectors).expect("the connectors");
    fs::write(&connectors, &whole[..whole.len() / 2]).expect("they are cut");
    stage.worker.spawn();
    assert!(!stage.worker.wait().success(), "a worker must not begin with half of its connectors");
    assert_said(&stage.worker.log(), "connectors.json is damaged");
    fs::write(&connectors, &whole).expect("they are brought back");
    stage.worker.start();
    stage.end(tally);
}

fn assert_said(log: &str, words: &str) {
    let end = log.len().saturating_sub(4_000);
    assert!(log.contains(words), "the log does not say '{words}'; its end: {}", &log[log.floor_char_boundary(end)..]);
}

fn panics(round: &mut Round, tally: &mut Tally) {
    let mut stage = Stage::new("panic", round, None, &[]);
    stage.start();
    for _ in 0..2 {
        stage.await_flow(TRIED);
        // A sink panics over a record, so its source lives until then.
        for side in ["sink", "source"] {
            fs::write(stage.panics(TRIED, side), "").expect("a mark");
            let trace = stage.await_failure(TRIED, side);
            let named =
                trace.contains("a bug in this plugin, made for tests") && trace.contains(&stage.name(TRIED, side));
            assert!(named, "{trace}");
            tally.add("panics", 1);
        }
        stage.await_flow(CALM);
        for side in ["source", "sink"] {
            fs::remove_file(stage.panics(TRIED, side)).expect("the mark goes");
            stage.restart(TRIED, side);
        }
    }
    stage.end(tally);
}

/// The clock of the wall goes ahead, two days back, and is put right; the worker is killed in between. A day ahead is more
/// than Kafka takes from a record: the sources say so, and go on when the clock is right.
fn clock_jumps(round: &mut Round, tally: &mut Tally) {
    let clock = Clock::build();
    let mut stage = Stage::new("clock", round, None, &clock.environment());
    stage.start();
    for (number, seconds) in [3_000, -2 * DAY, 60, 0].into_iter().enumerate() {
        stage.await_flow(TRIED);
        clock.turn(seconds);
        stage.await_flow(TRIED);
        let before = stage.committed();
        wait::until("commits to go on", PATIENCE, || {
            let now = stage.committed();
            if now > before { Ok(()) } else { Err(format!("{now:?}")) }
        });
        if number == 1 {
            stage.worker.kill();
            stage.worker.start();
        }
        tally.add("jumps of the clock", 1);
    }
    clock.turn(DAY);
    for pipeline in [TRIED, CALM] {
        let trace = stage.await_failure(pipeline, "source");
        assert!(trace.contains("Is its time too far from Kafka's (compare the clocks)"), "{trace}");
    }
    clock.turn(0);
    for pipeline in [TRIED, CALM] {
        stage.restart(pipeline, "source");
    }
    stage.await_flow(CALM);
    stage.end(tally);
}

/// The sink's file and the worker's state are on a disk that fills up; the worker is killed while it is full.
fn full_disk(round: &mut Round, tally: &mut Tally) {
    let mut stage = Stage::new("full", round, Some("disk"), &[]);
    let Some(disk) = SmallDisk::mount(&stage.disk, 64) else { return tally.add("full disks (needs root)", 0) };
    stage.start();
    stage.await_flow(TRIED);
    let filling = disk.fill();
    wait::until("a word about the full disk", PATIENCE, || {
        let log = stage.worker.log();
        let told = log.matches("the disk is full").count();
        if told >= 2 { Ok(()) } else { Err(format!("{told} times")) }
    });
    stage.await_flow(CALM);
    for side in ["source", "sink"] {
        let task = stage.task(TRIED, side);
        assert_eq!(task["state"], "RUNNING", "a full disk is tried again: {task}");
    }
    stage.worker.kill();
    fs::remove_file(&filling).expect("room is made");
    stage.worker.start();
    let filling = disk.fill();
    stage.await_flow(CALM);
    fs::remove_file(&filling).expect("room is made");
    stage.await_flow(TRIED);
    stage.end(tally);
    tally.add("full disks", 2);
}

/// A worker does not start on a read-only state, and a sink fails on a read-only folder; both say so and go on afterwards.
fn read_only(round: &mut Round, tally: &mut Tally) {
    let mut stage = Stage::new("read-only", round, Some("disk"), &[]);
    let Some(disk) = SmallDisk::mount(&stage.disk, 64) else { return tally.add("read-only disks (needs root)", 0) };
    stage.start();
    stage.await_flow(TRIED);
    stage.worker.kill();
    disk.read_only(true);
    stage.worker.spawn();
    assert!(!stage.worker.wait().success(), "a worker that cannot keep its state must not start");
    let log = stage.worker.log();
    assert_said(&log, "read-only");
    assert_said(&log, &stage.disk.display().to_string());
    disk.read_only(false);
    stage.worker.start();
    stage.await_flow(TRIED);
    stage.end(tally);
    tally.add("read-only disks", 1);
}
