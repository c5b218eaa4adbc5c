//! Pipette, Apache's own Connect worker and raw librdkafka over the same records, in one run on Apache Kafka 4.3.1.
//!
//! `./test --bench` runs it: every round measures each workload with all who take part, in turns, so that drift of the
//! machine hits all alike; medians count. `PIPETTE_BENCH=quick` makes it short, `PIPETTE_BENCH_ROUNDS=9` long. Read next:
//! `workload.rs` (what is run), `contender.rs` (who runs it), `measure.rs` (what is counted), `report.rs` (the judgement).

mod contender;
mod measure;
mod report;
mod workload;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use pipette::bench::record::{envelope, record};
use pipette::kafka::loop_bench::TopicSize;

use self::contender::Contender;
use self::measure::{Cost, Stage};
use self::report::{Row, Who};
use self::workload::{ENVELOPES, PLAIN, Raw, WORKLOADS, Workload};
use crate::support::figures;
use crate::support::kafka::ApacheKafka;

/// How much is run.
struct Extent {
    records: u32,
    rounds: usize,
    /// Java's compilers have seen at least 1.5 million records before anything counts.
    warm_up: u32,
}

impl Extent {
    fn asked() -> Self {
        let quick = std::env::var("PIPETTE_BENCH").is_ok_and(|word| word == "quick");
        let given = std::env::var("PIPETTE_BENCH_ROUNDS").ok();
        let rounds = given.map(|text| text.parse().expect("PIPETTE_BENCH_ROUNDS is a number"));
        let (records, usual) = if quick { (150_000, 2) } else { (400_000, 5) };
        Self { records, rounds: rounds.unwrap_or(usual), warm_up: 1_500_000 }
    }
}

#[test]
#[ignore = "a benchmark of minutes, for an optimised build on an idle machine: ./test --bench"]
fn beside_java() {
    let clock = Instant::now();
    let say = |line: &str| println!("[{:4} s] {line}", clock.elapsed().as_secs());
    let extent = Extent::asked();
    let folder = tempfile::Builder::new().prefix("beside-java-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("a folder for the benchmark");
    say("starting Apache Kafka and both workers");
    let kafka = ApacheKafka::start(&folder.path().join("kafka"), &[]);
    let stage = Stage { bootstrap: kafka.bootstrap(), folder: folder.path().to_owned(), records: extent.records };
    let ours = Contender::ours(&stage);
    let java = Contender::java(&stage);
    say(&format!("filling two topics with {} records each", extent.records));
    fill(&stage, PLAIN, record);
    fill(&stage, ENVELOPES, envelope);
    fs::remove_file(stage.lines(ENVELOPES)).expect("the envelopes are in their topic");

    let mut outputs = Vec::new();
    let passes = extent.warm_up.div_ceil(extent.records * u32::try_from(WORKLOADS.len()).unwrap());
    for pass in 1..=passes.max(2) {
        for workload in WORKLOADS {
            let both = [&java, &ours].map(|who| {
                let measured = measure::connector(&stage, who, workload, &format!("warm-up-{pass}"));
                say(&format!("warm-up {pass}, {}: {} {}", workload.title, who.name(), measured.cost.show()));
                measured.output
            });
            if let (1, [Some(java), Some(ours)]) = (pass, &both) {
                outputs.push((workload.title, same(java, ours)));
            }
            both.into_iter().flatten().for_each(|output| fs::remove_file(output).expect("its output goes"));
        }
    }

    let mut rows = Vec::new();
    for round in 1..=extent.rounds {
        for workload in WORKLOADS {
            let costs = turn(&stage, [&java, &ours], workload, round);
            for (who, cost) in costs {
                say(&format!("round {round} of {}, {}: {} {}", extent.rounds, workload.title, who.name(), cost.show()));
                rows.push(Row { workload: workload.title, who, cost });
            }
        }
    }
    figures::record("beside_java", &report::page(&stage, extent.rounds, &rows, &outputs));
}

/// One workload of a round. Who comes first changes from round to round.
fn turn(stage: &Stage, workers: [&Contender; 2], workload: &Workload, round: usize) -> Vec<(Who, Cost)> {
    let mut costs = Vec::new();
    let name = format!("round-{round}");
    for index in [round % 2, (round + 1) % 2] {
        let measured = measure::connector(stage, workers[index], workload, &name);
        measured.output.into_iter().for_each(|output| fs::remove_file(output).expect("its output goes"));
        costs.push((workers[index].who(), measured.cost));
    }
    match workload.raw {
        Some(Raw::Producer) => costs.push((Who::Raw, measure::raw_producer(stage, &name))),
        Some(Raw::Consumer) => costs.push((Who::Raw, measure::raw_consumer(stage))),
        None => {}
    }
    costs
}

/// Writes the records of a topic into a file and sends them.
fn fill(stage: &Stage, topic: &str, record: fn(u32) -> String) {
    let mut file = BufWriter::new(File::create(stage.lines(topic)).expect("a file of records"));
    for n in 0..stage.records {
        writeln!(file, "{}", record(n)).expect("room for the records");
    }
    file.into_inner().expect("room for the records");
    measure::bare_loop(&stage.bootstrap, &["--bare-loop", &stage.lines(topic).to_string_lossy(), topic]);
    let size = TopicSize::watch(&stage.bootstrap, topic).expect("a client");
    assert_eq!(size.records().expect("an answer"), u64::from(stage.records));
}

/// Whether two files hold the same lines; else the first that differ.
fn same(java: &Path, ours: &Path) -> Result<(), String> {
    let read = |path: &Path| fs::read(path).expect("an output");
    let (java, ours) = (read(java), read(ours));
    if java == ours {
        return Ok(());
    }
    let lines = |text: &[u8]| String::from_utf8_lossy(text).lines().map(str::to_owned).collect::<Vec<_>>();
    let (java, ours) = (lines(&java), lines(&ours));
    let at = java.iter().zip(&ours).position(|(java, ours)| java != ours).unwrap_or(java.len().min(ours.len()));
    Err(format!("line {}\n  Java    {:?}\n  Pipette {:?}", at + 1, java.get(at), ours.get(at)))
}

impl Stage {
    /// The file whose lines are the records of a topic.
    fn lines(&self, topic: &str) -> PathBuf {
        self.folder.join(format!("{topic}.jsonl"))
    }
}
