//! A thousand connectors on one worker: how long their creation takes, how soon REST answers, and what they hold.
//!
//! `FileStreamSource` over files that stay empty, created through REST one after the other.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pipette::bench::process::{cpu_seconds, resident_mib};
use serde_json::{Value, json};

use super::edge::whole;
use super::frame::Proof;
use super::tally::Tally;
use crate::support::wait;
use crate::support::worker::Worker;

const PROOF: Proof = Proof { name: "thousand", rounds: 1 };

/// What a thousand connectors may take.
const MIB: f64 = 1_024.0;

/// How many there are, and what must hold.
struct Extent {
    connectors: usize,
    created_within: Duration,
    asks: usize,
    /// How many in a hundred answers count.
    percentile: usize,
    answer_within: Duration,
}

#[test]
#[ignore = "wants two cores for itself; the command is in docs/proofs/README.md"]
fn thousand() {
    let (created_within, answer_within) = (Duration::from_secs(12), Duration::from_millis(100));
    let extent = Extent { connectors: 1_000, created_within, asks: 300, percentile: 99, answer_within };
    PROOF.long(|_| play(&extent));
}

/// A fifth of it, beside other tests: of the answers the one in the middle counts, and they may take as long.
#[test]
fn thousand_short() {
    let (created_within, answer_within) = (Duration::from_mins(1), Duration::from_millis(100));
    let extent = Extent { connectors: 200, created_within, asks: 50, percentile: 50, answer_within };
    PROOF.short(|_| play(&extent));
}

fn play(extent: &Extent) -> Tally {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let config = pipette_broker::BrokerConfig::on_any_port(folder.path().join("broker"));
    let broker = pipette_broker::Broker::start(config).expect("a broker");
    let mut worker = Worker::prepare(folder.path(), &broker.address().to_string(), &[]);
    worker.start();

    let pid = worker.pid().to_string();
    let before = resident_mib(&pid).expect("its memory");
    let created = create(&worker, folder.path(), extent);
    let answers = ask(&worker, extent.asks);
    let answer = answers[extent.asks * extent.percentile / 100 - 1];
    let (memory, threads, descriptors) =
        (resident_mib(&pid).expect("its memory"), count(&pid, "task"), count(&pid, "fd"));
    let idle = idle(&pid);
    assert!(worker.stop().success(), "it stops");

    let mut tally = Tally::default();
    tally.add("connectors", extent.connectors);
    tally.most("ms until all of them run", millis(created));
    tally.most("µs p50 of GET /connectors?expand=info&expand=status", micros(answers[extent.asks / 2]));
    tally.most("µs p99 of it", micros(answers[extent.asks * 99 / 100]));
    tally.most("KiB of memory", whole(memory * 1024.0));
    tally.most("threads", threads);
    tally.most("descriptors", descriptors);
    tally.most("% of a core while nothing happens", whole(idle * 100.0));
    assert!(created <= extent.created_within, "{tally}");
    assert!(answer <= extent.answer_within, "p{} is {answer:?}: {tally}", extent.percentile);
    // What the worker takes by itself does not grow with connectors.
    let connectors = f64::from(u32::try_from(extent.connectors).expect("a small number"));
    let of_a_thousand = before + (memory - before) * 1_000.0 / connectors;
    assert!(of_a_thousand <= MIB, "a thousand would take {of_a_thousand:.0} MiB: {tally}");
    tally
}

/// Until every task runs.
fn create(worker: &Worker, folder: &Path, extent: &Extent) -> Duration {
    let start = Instant::now();
    for number in 0..extent.connectors {
        let file = folder.join(format!("in-{number}"));
        fs::write(&file, "").expect("an empty file");
        let config = json!({
            "name": format!("connector-{number}"),
            "config": { "connector.class": "FileStreamSource", "file": file, "topic": format!("rows-{number}") },
        });
        let answer = worker.rest().send("POST", "/connectors", Some(&config)).expect("an answer");
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    wait::until("every task", extent.created_within * 2, || {
        let all = everything(worker);
        let runs = |one: &&Value| one["status"]["tasks"][0]["state"] == "RUNNING";
        match all.as_object().map_or(0, |all| all.values().filter(runs).count()) {
            running if running == extent.connectors => Ok(()),
            running => Err(format!("{running} run")),
        }
    });
    start.elapsed()
}

fn everything(worker: &Worker) -> Value {
    worker.rest().get("/connectors?expand=info&expand=status").expect("an answer").body
}

/// How long answers take, shortest first.
fn ask(worker: &Worker, asks: usize) -> Vec<Duration> {
    let took = |_| {
        let asked = Instant::now();
        everything(worker);
        asked.elapsed()
    };
    let mut all: Vec<Duration> = (0..asks).map(took).collect();
    all.sort();
    all
}

/// Cores in use for some seconds, once the sources have found that nothing comes.
fn idle(pid: &str) -> f64 {
    const LENGTH: Duration = Duration::from_secs(5);
    let cpu = || cpu_seconds(pid).expect("its CPU time");
    let pass = || {
        let began = Instant::now();
        wait::until("time", LENGTH * 2, || if began.elapsed() >= LENGTH { Ok(()) } else { Err(String::new()) });
        began.elapsed()
    };
    pass();
    let before = cpu();
    let passed = pass();
    (cpu() - before) / passed.as_secs_f64()
}

fn count(pid: &str, what: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{what}")).expect("the kernel tells").count()
}

fn millis(time: Duration) -> usize {
    usize::try_from(time.as_millis()).expect("a short time")
}

fn micros(time: Duration) -> usize {
    usize::try_from(time.as_micros()).expect("a short time")
}
