//! The table, the ratios and whether each holds.

use std::fmt::Write as _;

use pipette::kafka::{properties, sizes};
use pipette_api::ConfigMap;

use super::contender::JVM;
use super::measure::Cost;
use super::sameness::Sameness;
use super::workload::{
    ENVELOPES_TO_FILE, ENVELOPES_TO_NOWHERE, FILE_TO_KAFKA, JSON_TO_FILE, JSON_TO_NOWHERE, KAFKA_TO_FILE, WORKLOADS,
};

/// Who was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Who {
    Ours,
    Java,
    Raw,
}

impl Who {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "Pipette",
            Self::Java => "Java",
            Self::Raw => "librdkafka",
        }
    }
}

/// One measurement.
pub(super) struct Row {
    pub(super) workload: &'static str,
    pub(super) who: Who,
    pub(super) cost: Cost,
}

/// A workload before it was measured.
pub(super) struct Warmed {
    pub(super) workload: &'static str,
    /// That Java had run by then.
    pub(super) records: u32,
    /// Whether both workers wrote the same, where there is a file to compare.
    pub(super) compared: Option<Sameness>,
}

/// What is promised of a workload.
struct Promise {
    workload: &'static str,
    measure: Measure,
    at_least: f64,
    aim: Option<f64>,
}

/// What is divided by what; more is better.
#[derive(Clone, Copy)]
enum Measure {
    /// Records per CPU second, by Java's.
    PerCpu,
    /// Records a second, by Java's.
    PerSecond,
    /// Records a second, by bare librdkafka's.
    OfRaw,
}

const fn promise(workload: &'static str, measure: Measure, at_least: f64, aim: Option<f64>) -> Promise {
    Promise { workload, measure, at_least, aim }
}

const PROMISES: &[Promise] = &[
    promise(FILE_TO_KAFKA, Measure::PerCpu, 6.0, None),
    promise(FILE_TO_KAFKA, Measure::OfRaw, 0.7, Some(0.85)),
    promise(KAFKA_TO_FILE, Measure::PerCpu, 6.0, None),
    promise(KAFKA_TO_FILE, Measure::OfRaw, 0.4, Some(0.6)),
    promise(JSON_TO_FILE, Measure::PerCpu, 4.0, Some(6.0)),
    promise(JSON_TO_FILE, Measure::PerSecond, 4.0, None),
    promise(JSON_TO_NOWHERE, Measure::PerCpu, 6.0, Some(10.0)),
    promise(JSON_TO_NOWHERE, Measure::PerSecond, 4.0, None),
    promise(ENVELOPES_TO_FILE, Measure::PerCpu, 8.0, None),
    promise(ENVELOPES_TO_NOWHERE, Measure::PerCpu, 8.0, None),
];

/// The most memory Pipette may use under load, in MB.
const MEMORY: f64 = 100.0;

/// The whole page.
pub(super) fn page(records: u32, rounds: usize, settings: &str, rows: &[Row], warmed: &[Warmed]) -> String {
    let mut text = format!("{records} records of 720 bytes, medians of {rounds} rounds\n{settings}\n");
    let _ = writeln!(
        text,
        "{:<50} {:<10} {:>10} {:>9} {:>15} {:>9}",
        "", "", "records/s", "CPU µs", "(from … to)", "peak MiB"
    );
    for workload in WORKLOADS {
        for who in [Who::Ours, Who::Java, Who::Raw] {
            let costs = costs(rows, workload.title, who);
            if !costs.is_empty() {
                let _ = writeln!(text, "{:<50} {}", workload.title, line(who, &costs));
            }
        }
    }
    for promise in PROMISES.iter().filter(|promise| rows.iter().any(|row| row.workload == promise.workload)) {
        let _ = writeln!(text, "{}", judge(promise, rows));
    }
    let peak = rows.iter().filter(|row| row.who == Who::Ours).map(|row| row.cost.peak).fold(0.0, f64::max);
    let peak = peak * f64::from(1 << 20) / 1e6;
    let word = if peak <= MEMORY { "holds" } else { "DOES NOT HOLD" };
    let _ = writeln!(text, "peak memory of Pipette: {peak:.0} MB (at most {MEMORY}): {word}");
    for Warmed { workload, records, compared } in warmed {
        let _ = write!(text, "{workload}: Java was warmed up by {records} records");
        let _ = match compared {
            Some(sameness) => writeln!(text, "; {}", sameness.show()),
            None => writeln!(text),
        };
    }
    text
}

fn costs(rows: &[Row], workload: &str, who: Who) -> Vec<Cost> {
    rows.iter().filter(|row| row.workload == workload && row.who == who).map(|row| row.cost).collect()
}

fn line(who: Who, costs: &[Cost]) -> String {
    let cpu: Vec<f64> = costs.iter().map(|cost| cost.micros).collect();
    let (low, high) = (cpu.iter().copied().fold(f64::INFINITY, f64::min), cpu.iter().copied().fold(0.0, f64::max));
    let spread = format!("({low:.2} … {high:.2})");
    let rate = median(costs.iter().map(|cost| cost.rate));
    let peak = costs.iter().map(|cost| cost.peak).fold(0.0, f64::max);
    format!("{:<10} {rate:>10.0} {:>9.2} {spread:>15} {peak:>9.0}", who.name(), median(cpu.iter().copied()))
}

fn judge(promise: &Promise, rows: &[Row]) -> String {
    let of = |who, figure: fn(&Cost) -> f64| median(costs(rows, promise.workload, who).iter().map(figure));
    let (ratio, unit) = match promise.measure {
        Measure::PerCpu => {
            (of(Who::Java, |cost| cost.micros) / of(Who::Ours, |cost| cost.micros), "× Java's records per CPU second")
        }
        Measure::PerSecond => (of(Who::Ours, |cost| cost.rate) / of(Who::Java, |cost| cost.rate), "× Java's records/s"),
        Measure::OfRaw => {
            (of(Who::Ours, |cost| cost.rate) / of(Who::Raw, |cost| cost.rate), "× bare librdkafka's records/s")
        }
    };
    format!("{}: {ratio:.2} {unit} ({})", promise.workload, verdict(ratio, promise.at_least, promise.aim))
}

fn verdict(ratio: f64, at_least: f64, aim: Option<f64>) -> String {
    let word = if ratio >= at_least { "holds" } else { "DOES NOT HOLD" };
    match aim {
        Some(aim) if ratio >= aim => format!("at least {at_least}: {word}; aim {aim} reached"),
        Some(aim) => format!("at least {at_least}: {word}; aim {aim} not reached"),
        None => format!("at least {at_least}: {word}"),
    }
}

/// The middle one; the lower of two middle ones, so that a ratio is not flattered.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() - 1) / 2]
}

/// What a reader must know to repeat it. `java` is what Java's clients were told.
pub(super) fn settings(java: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let nothing = ConfigMap::new();
    let show = |properties: properties::ClientProperties| {
        let kept = properties
            .iter()
            .filter(|(key, _)| !["client.id", "group.id", "bootstrap.servers"].contains(&key.as_str()));
        kept.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    let producer = show(sizes::alone_producer(properties::producer(&nothing, &nothing, "").expect("defaults")));
    let consumer = show(sizes::alone_consumer(properties::consumer(&nothing, &nothing, "", "").expect("defaults")));
    format!(
        "{cores} cores, SHARED with the broker: wall time is a race for them, CPU per record is what counts.\n\
         One connector at a time, one task, one partition, no compression, the same configuration for both workers.\n\
         Java: {} {java}\n\
         Pipette and librdkafka: {producer} {consumer}",
        JVM.join(" ")
    )
}

#[test]
fn a_verdict_says_what_holds() {
    assert_eq!(verdict(4.0, 4.0, None), "at least 4: holds");
    assert_eq!(verdict(3.99, 4.0, None), "at least 4: DOES NOT HOLD");
    assert_eq!(verdict(0.85, 0.7, Some(0.85)), "at least 0.7: holds; aim 0.85 reached");
    assert_eq!(verdict(5.0, 4.0, Some(6.0)), "at least 4: holds; aim 6 not reached");
}

#[test]
fn ratios_compare_medians_and_more_is_better() {
    let row = |who, micros, rate| Row { workload: JSON_TO_FILE, who, cost: Cost { rate, micros, peak: 1.0 } };
    let rows = [
        row(Who::Java, 15.0, 70.0),
        row(Who::Java, 99.0, 70.0),
        row(Who::Java, 10.0, 70.0),
        row(Who::Ours, 3.0, 280.0),
        row(Who::Raw, 1.0, 560.0),
    ];
    let check = |measure, expected: &str| {
        let text = judge(&promise(JSON_TO_FILE, measure, 4.0, None), &rows);
        assert!(text.contains(expected), "{text}");
    };
    check(Measure::PerCpu, ": 5.00 × Java's records per CPU second (at least 4: holds)");
    check(Measure::PerSecond, ": 4.00 × Java's records/s");
    check(Measure::OfRaw, ": 0.50 × bare librdkafka's");
}
