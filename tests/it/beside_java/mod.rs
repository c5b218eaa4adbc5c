//! Pipette, Apache's own Connect worker and raw librdkafka over the same records, in one run on Apache Kafka 4.3.1.
//!
//! `./test --bench` runs it: every round measures each workload with all who take part, in turns, so that drift of the
//! machine hits all alike; medians count. `PIPETTE_BENCH=quick` makes it short, `PIPETTE_BENCH_ROUNDS=9` long,
//! `PIPETTE_BENCH_ONLY=json` leaves out the other workloads. Read next: `workload.rs` (what is run), `contender.rs` (who
//! runs it), `measure.rs` (what is counted), `report.rs` (the judgement).

mod contender;
mod measure;
mod report;
mod sameness;
mod workload;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use pipette::bench::record::{envelope, record};
use pipette::kafka::loop_bench::TopicSize;

use self::contender::Contender;
use self::measure::{Cost, Measured, Stage};
use self::report::{Row, Warmed, Who};
use self::sameness::Sameness;
use self::workload::{ENVELOPES, End, PLAIN, Raw, WORKLOADS, Workload};
use crate::support::figures;
use crate::support::kafka::ApacheKafka;

/// How much is run.
struct Extent {
    records: u32,
    rounds: usize,
    /// Records of a workload that Java's compilers see before it counts: of the source, which shares no code with the
    /// others, and of each sink. They go on until they are through.
    warm_up: [u32; 2],
    /// A part of the key of the workloads to run.
    only: String,
}

const QUICK: Extent = Extent { records: 100_000, rounds: 2, warm_up: [1_000_000, 200_000], only: String::new() };
const FULL: Extent = Extent { records: 1_000_000, rounds: 3, warm_up: [2_000_000, 1_000_000], only: String::new() };

/// Java counts as warm when a pass is not a tenth cheaper than the best before, or after so many.
const PASSES: u32 = 20;

impl Extent {
    fn asked() -> Self {
        let asked = |name: &str| std::env::var(name).ok();
        let usual = if asked("PIPETTE_BENCH").is_some_and(|word| word == "quick") { QUICK } else { FULL };
        let rounds = asked("PIPETTE_BENCH_ROUNDS").map(|text| text.parse().expect("PIPETTE_BENCH_ROUNDS is a number"));
        let only = asked("PIPETTE_BENCH_ONLY").unwrap_or_default();
        Self { rounds: rounds.unwrap_or(usual.rounds), only, ..usual }
    }

    fn warm_up(&self, workload: &Workload) -> u32 {
        self.warm_up[usize::from(workload.end != End::Topic)]
    }

    fn workloads(&self) -> impl Iterator<Item = &'static Workload> {
        WORKLOADS.iter().filter(|workload| workload.key.contains(&self.only))
    }
}

#[test]
#[ignore = "a benchmark of minutes, for an optimised build on an idle machine: ./test --bench"]
fn beside_java() {
    let extent = Extent::asked();
    let folder = tempfile::Builder::new().prefix("beside-java-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("a folder for the benchmark");
    let clock = Instant::now();
    say(clock, "starting Apache Kafka and both workers");
    let kafka = ApacheKafka::start(&folder.path().join("kafka"), &[]);
    let stage = Stage { bootstrap: kafka.bootstrap(), folder: folder.path().to_owned(), records: extent.records };
    let run = Run { ours: Contender::ours(&stage), java: Contender::java(&stage), stage, clock };
    say(clock, &format!("filling two topics with {} records each", extent.records));
    fill(&run.stage, PLAIN, record);
    fill(&run.stage, ENVELOPES, envelope);
    fs::remove_file(run.stage.lines(ENVELOPES)).expect("the envelopes are in their topic");

    let warmed: Vec<_> = extent.workloads().map(|workload| run.warm_up(workload, extent.warm_up(workload))).collect();
    let mut rows = Vec::new();
    for round in 1..=extent.rounds {
        for workload in extent.workloads() {
            run.round(workload, round, &mut rows);
        }
    }
    let settings = report::settings(&run.java.clients_of_java());
    figures::record("beside_java", &report::page(extent.records, extent.rounds, &settings, &rows, &warmed));
}

fn say(clock: Instant, line: &str) {
    println!("[{:4} s] {line}", clock.elapsed().as_secs());
}

/// The benchmark under way.
struct Run {
    stage: Stage,
    ours: Contender,
    java: Contender,
    clock: Instant,
}

impl Run {
    /// Runs Java until it is warm, and Pipette once. What both wrote is compared.
    fn warm_up(&self, workload: &Workload, records: u32) -> Warmed {
        let ours = self.measure(&self.ours, workload, "warm-up").output;
        let (mut best, mut seen) = (f64::INFINITY, 0);
        loop {
            let measured = self.measure(&self.java, workload, &format!("warm-up-{seen}"));
            seen += self.stage.records;
            let warm = seen >= records && measured.cost.micros > best * 0.9;
            best = best.min(measured.cost.micros);
            if warm || seen >= PASSES * self.stage.records {
                let compared =
                    ours.as_deref().zip(measured.output.as_deref()).map(|(ours, java)| Sameness::of(java, ours));
                [ours, measured.output].into_iter().flatten().for_each(remove);
                return Warmed { workload: workload.title, records: seen, compared };
            }
            measured.output.into_iter().for_each(remove);
        }
    }

    /// One workload of a round. Who comes first changes from round to round.
    fn round(&self, workload: &Workload, round: usize, rows: &mut Vec<Row>) {
        let name = format!("round-{round}");
        let mut add = |who, cost| rows.push(Row { workload: workload.title, who, cost });
        let workers = if round.is_multiple_of(2) { [&self.java, &self.ours] } else { [&self.ours, &self.java] };
        for worker in workers {
            let measured = self.measure(worker, workload, &name);
            measured.output.into_iter().for_each(remove);
            add(worker.who(), measured.cost);
        }
        let raw = match workload.raw {
            Some(Raw::Producer) => measure::raw_producer(&self.stage, &name),
            Some(Raw::Consumer) => measure::raw_consumer(&self.stage),
            None => return,
        };
        self.told(Who::Raw, workload, &name, raw);
        add(Who::Raw, raw);
    }

    fn measure(&self, who: &Contender, workload: &Workload, name: &str) -> Measured {
        let measured = measure::connector(&self.stage, who, workload, name);
        self.told(who.who(), workload, name, measured.cost);
        measured
    }

    fn told(&self, who: Who, workload: &Workload, name: &str, cost: Cost) {
        say(self.clock, &format!("{name}, {}, {}: {}", workload.title, who.name(), cost.show()));
    }
}

fn remove(file: PathBuf) {
    fs::remove_file(file).expect("its output goes");
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

impl Stage {
    /// The file whose lines are the records of a topic.
    fn lines(&self, topic: &str) -> PathBuf {
        self.folder.join(format!("{topic}.jsonl"))
    }
}
