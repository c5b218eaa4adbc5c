//! The crash rig: lab files → topic → sink file on Apache Kafka, while the worker is killed again and again.
//!
//! `PIPETTE_CRASH_SEED=… ./test` repeats a run's file sizes and its moments of death, as far as the machine's own timing
//! allows. `checker.rs` holds what must be true afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pipette_kit::Dice;
use serde_json::json;

use crate::checker::Handed;
use crate::support::death::{Lives, count, last_change, size};
use crate::support::feeder::{drop_in, name};
use crate::support::kafka::ApacheKafka;
use crate::support::topic::Group;
use crate::support::worker::{DIRECT, Worker};
use crate::support::{figures, topic, wait};

const TOPIC: &str = "crash-short";

/// A worker that shows no progress of the kind waited for is killed all the same.
const LIFE: Duration = Duration::from_secs(6);

/// A sink file that has not grown for so long will not: what is missing is lost.
const REST: Duration = Duration::from_secs(20);

/// How much a run does.
struct Plan {
    kills: usize,
    files_per_kill: usize,
    limit: Duration,
}

#[test]
fn crash_short() {
    let plan = Plan { kills: 20, files_per_kill: 3, limit: Duration::from_mins(4) };
    let seed = std::env::var("PIPETTE_CRASH_SEED").map_or_else(
        |_| SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs(),
        |seed| seed.parse().expect("PIPETTE_CRASH_SEED is a whole number"),
    );
    println!("PIPETTE_CRASH_SEED={seed}");
    run(&plan, &mut Dice(seed));
    println!("seed {seed} done");
}

/// The broker dies in the middle and comes back on its folder: the worker waits for it and goes on, by itself.
#[test]
fn a_broker_that_is_killed_loses_no_row_and_fails_no_task() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = ApacheKafka::start(&folder.path().join("kafka"), &[]);
    let site = Site::lay_out(folder.path(), &kafka.bootstrap());
    let mut worker = Worker::prepare(folder.path(), &kafka.bootstrap(), &[DIRECT]);
    worker.start();
    site.create_connectors(&worker);
    let handed = Handed { rows: vec![20_000; 6] };
    let patience = Duration::from_mins(2);
    for file in 0..4 {
        drop_in(&site.inbox, file, &handed.file(file));
    }
    wait::until(
        "rows in the sink file",
        patience,
        || if size(&site.sink_file) > 0 { Ok(()) } else { Err(String::new()) },
    );
    kafka.crash(|| {
        // What comes while there is no broker is taken as well.
        for file in 4..6 {
            drop_in(&site.inbox, file, &handed.file(file));
        }
        wait::moment(Duration::from_secs(3));
    });
    wait::until("all files in finished", patience, || {
        worker.assert_lives();
        site.all_finished(&handed)
    });
    let in_topic = topic::values(&kafka.bootstrap(), TOPIC);
    handed.check(in_topic.iter().map(String::as_str)).assert_kept("the topic");
    let sink = wait::until("every row in the sink file", patience, || {
        worker.assert_lives();
        let bytes = fs::read(&site.sink_file).map_err(|error| error.to_string())?;
        let verdict = handed.check(String::from_utf8_lossy(&bytes).lines());
        if verdict.lost_count == 0 { Ok(verdict) } else { Err(verdict.to_string()) }
    });
    sink.assert_kept("the sink file");
    for name in ["crash-source", "crash-sink"] {
        let status = worker.rest().get(&format!("/connectors/{name}/status")).expect("REST answers").body;
        assert!(!status.to_string().contains("FAILED"), "{status}");
    }
    assert!(worker.stop().success(), "SIGTERM must end the worker with exit code 0");
}

fn run(plan: &Plan, dice: &mut Dice) {
    let started = Instant::now();
    let left = || plan.limit.saturating_sub(started.elapsed());
    let seed = dice.0;
    let kafka = ApacheKafka::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let site = Site::lay_out(folder.path(), &kafka.bootstrap());
    let mut worker = Worker::prepare(folder.path(), &kafka.bootstrap(), &[]);
    worker.start();
    site.create_connectors(&worker);

    let handed = Handed { rows: (0..plan.kills * plan.files_per_kill).map(|n| rows(dice, n)).collect() };
    let mut amid_work = 0;
    for round in 0..plan.kills {
        for file in round * plan.files_per_kill..(round + 1) * plan.files_per_kill {
            drop_in(&site.inbox, file, &handed.file(file));
        }
        site.await_death(&mut worker, dice, left());
        worker.kill();
        amid_work += usize::from(count(&site.inbox) > 0);
        worker.spawn();
    }
    worker.await_rest();

    wait::until("all files in finished", left(), || {
        worker.assert_lives();
        site.all_finished(&handed)
    });
    let in_topic = topic::values(&kafka.bootstrap(), TOPIC);
    let topic = handed.check(in_topic.iter().map(String::as_str));
    topic.assert_kept("the topic");
    assert!(topic.damaged.is_empty(), "lines that nobody wrote are in the topic: {:?}", topic.damaged);

    let size_handed: u64 = (0..handed.rows.len()).map(|file| size(&site.finished.join(name(file)))).sum();
    let mut grown = (0, Instant::now());
    let sink = wait::until("the sink file to be whole or at rest", left(), || {
        worker.assert_lives();
        let now = size(&site.sink_file);
        if now != grown.0 {
            grown = (now, Instant::now());
        }
        let at_rest = grown.1.elapsed() > REST;
        if now < size_handed && !at_rest {
            return Err(format!("{now} of {size_handed} bytes"));
        }
        let bytes = fs::read(&site.sink_file).map_err(|error| error.to_string())?;
        let verdict = handed.check(String::from_utf8_lossy(&bytes).lines());
        if verdict.lost_count == 0 || at_rest { Ok(verdict) } else { Err(verdict.to_string()) }
    });
    sink.assert_kept("the sink file");
    assert!(sink.damaged.len() <= plan.kills, "more torn lines than kills: {:?}", sink.damaged);
    site.assert_finished_whole(&handed);
    assert!(worker.stop().success(), "SIGTERM must end the worker with exit code 0");

    figures::record(
        "crash_short",
        &format!(
            "seed {seed}, {} kills ({amid_work} amid work), {} files, {} rows, {:.0} s; topic: {topic}; sink file: {sink}",
            plan.kills,
            handed.rows.len(),
            handed.total(),
            started.elapsed().as_secs_f64(),
        ),
    );
}

/// The folders of the run.
struct Site {
    inbox: PathBuf,
    finished: PathBuf,
    failed: PathBuf,
    sink_file: PathBuf,
    /// The worker's `state.dir`.
    state: PathBuf,
    /// The sink's consumer group.
    group: Group,
}

impl Site {
    fn lay_out(folder: &Path, bootstrap: &str) -> Self {
        let site = Self {
            inbox: folder.join("inbox"),
            finished: folder.join("finished"),
            failed: folder.join("failed"),
            sink_file: folder.join("sink.txt"),
            state: folder.join("state"),
            group: Group::watch(bootstrap, "connect-crash-sink", TOPIC),
        };
        for path in [&site.inbox, &site.finished, &site.failed] {
            fs::create_dir(path).expect("a folder");
        }
        site
    }

    fn create_connectors(&self, worker: &Worker) {
        let source = json!({
            "connector.class": "LabFilesSource",
            "tasks.max": "1",
            "topic": TOPIC,
            "input.path": self.inbox,
            "finished.path": self.finished,
            "error.path": self.failed,
            "cleanup.policy": "MOVE",
            "format": "lines",
            "settle.checks": "2",
            "settle.interval.ms": "50",
            "poll.interval.ms": "100",
        });
        let sink = json!({
            "connector.class": "FileStreamSink",
            "tasks.max": "1",
            "topics": TOPIC,
            "file": self.sink_file,
            // A killed consumer stays a member until its session ends, and its successor waits that long: kills would
            // otherwise meet a sink that has not begun. Not shorter than a busy machine keeps a heartbeat waiting.
            "consumer.override.session.timeout.ms": "1500",
            "consumer.override.heartbeat.interval.ms": "300",
        });
        for (name, config) in [("crash-source", source), ("crash-sink", sink)] {
            let answer = worker.rest().put(&format!("/connectors/{name}/config"), &config).expect("REST answers");
            assert_eq!(answer.status, 201, "{name}: {}", answer.body);
        }
    }

    fn await_death(&self, worker: &mut Worker, dice: &mut Dice, left: Duration) {
        let lives = Lives { blind: Duration::from_millis(1_500), longest: LIFE.min(left) };
        let signs: [&dyn Fn() -> u64; 4] =
            [&|| size(&self.sink_file), &|| count(&self.finished) as u64, &|| self.group.committed(), &|| {
                last_change(&self.state)
            }];
        lives.await_death(worker, dice, &signs);
    }

    fn all_finished(&self, handed: &Handed) -> Result<(), String> {
        let finished = count(&self.finished);
        if finished == handed.rows.len() {
            return Ok(());
        }
        Err(format!("{finished} of {} files are in finished", handed.rows.len()))
    }

    /// Every file under its own name with its own content, and nothing left or failed.
    fn assert_finished_whole(&self, handed: &Handed) {
        for file in 0..handed.rows.len() {
            let kept = fs::read_to_string(self.finished.join(name(file))).unwrap_or_default();
            assert!(kept == handed.file(file), "{} in finished is not the file that was handed in", name(file));
        }
        assert_eq!((count(&self.inbox), count(&self.failed)), (0, 0), "files are left in the inbox or have failed");
    }
}

/// Every third file is large enough for a kill in its middle.
fn rows(dice: &mut Dice, file: usize) -> usize {
    let most = if file.is_multiple_of(3) { 30_000 } else { 2_000 };
    usize::try_from(1 + dice.below(most)).expect("a small number")
}
