//! The laws of sinks, K5 to K11, over a driver that looks at the outside system directly.
//!
//! A connector's `tests/acceptance.rs` implements [`SinkDriver`] and calls [`check`]. Each law gets a fresh driver.

use std::sync::Arc;
use std::time::Instant;

use pipette_api::{ConfigMap, ConnectError, Datum, ErrorKind, Result, Settings, SinkBatch, SinkPlugin, TopicPartition};

use crate::bench::{Bench, DEADLINE};
use crate::build;
use crate::law::{
    Broken, Capability, Judgement, Ruling, applies, ensure, exactly_once, judge, names, nothing_left, nothing_missing,
};
use crate::sink_harness::SinkHarness;

/// What happens to a record that is delivered twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivery {
    /// It is there once.
    Idempotent,
    /// It is there twice, and why.
    Duplicates(&'static str),
}

/// What a sink claims; the laws hold it to that, and print the reason of what it does not claim.
#[derive(Debug, Clone, Copy)]
pub struct SinkTraits {
    /// Records of one partition are seen in their order: law K5 (order).
    pub ordered: Capability,
    /// The same record twice: laws K6 and K7.
    pub redelivery: Redelivery,
    /// The driver can take the outside system away and bring it back: law K7.
    pub outage: Capability,
    /// There are records that can never be written: law K10.
    pub poison: Capability,
}

/// The outside system of one law's run, made afresh for each.
pub trait SinkDriver {
    /// The plugin under test.
    fn plugin(&self) -> &'static SinkPlugin;

    /// A configuration of the connector that writes into this driver's outside system.
    fn config(&self) -> ConfigMap;

    /// What the sink claims.
    fn traits(&self) -> SinkTraits;

    /// The value of a record for a text. The texts are short, plain and unique.
    fn value(&self, text: &str) -> Datum {
        build::text(text)
    }

    /// The texts that an outside reader sees, in the order they were written where there is one.
    fn contents(&mut self) -> Vec<String>;

    /// Takes the outside system away or brings it back. Called only with [`SinkTraits::outage`].
    fn outage(&mut self, _away: bool) {}

    /// A value that can never be written. Called only with [`SinkTraits::poison`].
    fn poison(&self) -> Datum {
        Datum::NULL
    }

    /// What the stopped task still holds: open files, threads, connections, as far as the driver can see them.
    fn left_behind(&mut self) -> Vec<String> {
        Vec::new()
    }
}

type Lawful = std::result::Result<(), Broken>;

/// One law.
pub type SinkLaw = fn(&mut dyn SinkDriver) -> Judgement;

/// Every law of sinks, with its number and what it says.
pub const LAWS: &[(&str, &str, SinkLaw)] = &[
    ("K5", "what was put and flushed is there, once", k5_writes_what_was_put),
    ("K5o", "in order per partition", k5_keeps_the_order),
    ("K6", "the same records twice, as declared", k6_redelivery_is_as_declared),
    ("K7", "an outage is retriable, and the same batch succeeds afterwards", k7_survives_an_outage),
    ("K8", "flush never promises more than is durable", k8_promises_only_what_is_durable),
    ("K9", "closing and opening keeps the data of other partitions", k9_rebalances_keep_data),
    ("K10", "a poison record is a data error for that record only", k10_poison_hurts_itself_only),
    ("K11", "nothing is left after stop", k11_leaves_nothing),
];

/// Runs every law, prints the table, and panics when one is broken.
pub fn check<D: SinkDriver>(mut make: impl FnMut() -> D) {
    let plugin = make().plugin().info.class;
    let rulings: Vec<_> = LAWS.iter().map(|(id, says, law)| (*id, *says, law(&mut make()))).collect();
    judge(plugin, &rulings);
}

fn k5_writes_what_was_put(driver: &mut dyn SinkDriver) -> Judgement {
    let (a, b) = (partition(0), partition(1));
    let mut harness = started(driver, &[a.clone(), b.clone()])?;
    let mut put = write(driver, &mut harness, &a, "k5a", 20)?;
    put.extend(write(driver, &mut harness, &b, "k5b", 20)?);
    harness.flush()?;
    put.extend(write(driver, &mut harness, &a, "k5c", 5)?);
    harness.flush()?;
    harness.stop()?;
    exactly_once(&put, &driver.contents())
}

fn k5_keeps_the_order(driver: &mut dyn SinkDriver) -> Judgement {
    applies!(driver.traits().ordered);
    let (a, b) = (partition(0), partition(1));
    let mut harness = started(driver, &[a.clone(), b.clone()])?;
    for (tp, prefix) in [(&a, "k5o-a1"), (&b, "k5o-b1"), (&a, "k5o-a2"), (&b, "k5o-b2")] {
        write(driver, &mut harness, tp, prefix, 10)?;
    }
    harness.flush()?;
    harness.stop()?;
    let contents = driver.contents();
    for prefix in ["k5o-a", "k5o-b"] {
        let of_partition: Vec<_> = contents.iter().filter(|text| text.starts_with(prefix)).collect();
        ensure(of_partition.len() == 20 && of_partition.is_sorted(), || {
            format!("the records of a partition are out of order: {of_partition:?}")
        })?;
    }
    Ok(Ruling::Kept)
}

fn k6_redelivery_is_as_declared(driver: &mut dyn SinkDriver) -> Judgement {
    let tp = partition(0);
    let mut harness = started(driver, std::slice::from_ref(&tp))?;
    let put = write(driver, &mut harness, &tp, "k6", 6)?;
    harness.flush()?;
    // The offsets were lost on the way to Kafka: another member reads the same records, as a new batch.
    harness.committed.clear();
    harness.stop()?;
    harness.start()?;
    let seeks = harness.open(std::slice::from_ref(&tp))?;
    harness.committed = seeks;
    harness.redeliver()?;
    harness.flush()?;
    harness.stop()?;
    let contents = driver.contents();
    nothing_missing(&put, &contents)?;
    let twice = contents.len() == put.len() * 2;
    match driver.traits().redelivery {
        Redelivery::Idempotent => exactly_once(&put, &contents),
        Redelivery::Duplicates(_) if twice => Ok(Ruling::Kept),
        Redelivery::Duplicates(_) => Err(Broken(format!(
            "declared to keep duplicates, but {} records put twice are {} records: declare it idempotent",
            put.len(),
            contents.len()
        ))),
    }
}

fn k7_survives_an_outage(driver: &mut dyn SinkDriver) -> Judgement {
    applies!(driver.traits().outage);
    let tp = partition(0);
    driver.outage(true);
    let mut harness = new_harness(driver)?;
    let put = names("k7", 5);
    let values: Vec<_> = put.iter().map(|text| driver.value(text)).collect();
    // The outage may show at start, at put, or, for a sink that buffers, at flush.
    let mut waiting = Waiting { batch: None, put: false };
    let outcome = harness.start().and_then(|()| waiting.step(&mut harness, &tp, &values));
    let outcome = outcome.and_then(|()| harness.flush());
    let error =
        outcome.err().ok_or_else(|| Broken("put and flush succeed though the outside system is away".into()))?;
    retriable(&error)?;
    driver.outage(false);
    let deadline = Instant::now() + DEADLINE;
    while !harness.committed.contains_key(&tp) {
        // As the worker does: what failed for now is called again until it succeeds.
        let outcome = harness.start_unless_running().and_then(|()| waiting.step(&mut harness, &tp, &values));
        match outcome.and_then(|()| harness.flush()) {
            Ok(_) => {}
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(error) => retriable(&error)?,
        }
        ensure(Instant::now() < deadline, || "flush succeeds but commits nothing after an outage".into())?;
    }
    harness.stop()?;
    match driver.traits().redelivery {
        Redelivery::Idempotent => exactly_once(&put, &driver.contents()),
        Redelivery::Duplicates(_) => nothing_missing(&put, &driver.contents()),
    }
}

/// A batch that is put until it is taken, as the same `Arc` each time.
struct Waiting {
    batch: Option<Arc<SinkBatch>>,
    put: bool,
}

impl Waiting {
    fn step(&mut self, harness: &mut SinkHarness, tp: &TopicPartition, values: &[Datum]) -> Result<()> {
        let outcome = match &self.batch {
            _ if self.put => return Ok(()),
            Some(batch) => harness.put_again(&Arc::clone(batch))?,
            None => {
                harness.open(std::slice::from_ref(tp))?;
                let (batch, outcome) = harness.put(tp, values.to_vec())?;
                self.batch = Some(batch);
                outcome
            }
        };
        self.put = outcome.is_ok();
        outcome
    }
}

fn k8_promises_only_what_is_durable(driver: &mut dyn SinkDriver) -> Judgement {
    let tp = partition(0);
    let mut harness = started(driver, std::slice::from_ref(&tp))?;
    let mut put = write(driver, &mut harness, &tp, "k8a", 10)?;
    let promised = harness.flush()?.get(&tp).copied().unwrap_or(0);
    put.extend(write(driver, &mut harness, &tp, "k8b", 10)?);
    harness.kill()?;
    let contents = driver.contents();
    let promised = usize::try_from(promised).unwrap_or(0);
    let lost = put[..promised].iter().find(|text| !contents.contains(text));
    ensure(lost.is_none(), || format!("flush promised up to {promised}, but after a kill {lost:?} is not there"))?;
    harness.start()?;
    harness.open(std::slice::from_ref(&tp))?;
    harness.redeliver()?;
    harness.flush()?;
    harness.stop()?;
    nothing_missing(&put, &driver.contents())
}

fn k9_rebalances_keep_data(driver: &mut dyn SinkDriver) -> Judgement {
    let (a, b) = (partition(0), partition(1));
    let mut harness = started(driver, &[a.clone(), b.clone()])?;
    let mut put = write(driver, &mut harness, &a, "k9a", 4)?;
    put.extend(write(driver, &mut harness, &b, "k9b", 4)?);
    harness.flush()?;
    put.extend(write(driver, &mut harness, &a, "k9c", 4)?);
    harness.close(std::slice::from_ref(&b))?;
    put.extend(write(driver, &mut harness, &a, "k9d", 4)?);
    harness.open(std::slice::from_ref(&b))?;
    put.extend(write(driver, &mut harness, &b, "k9e", 4)?);
    let safe = harness.flush()?;
    ensure(safe.get(&a) == Some(&12) && safe.get(&b) == Some(&8), || {
        format!("after a rebalance flush answers {safe:?}, put were 12 and 8 records")
    })?;
    harness.stop()?;
    exactly_once(&put, &driver.contents())
}

fn k10_poison_hurts_itself_only(driver: &mut dyn SinkDriver) -> Judgement {
    applies!(driver.traits().poison);
    let tp = partition(0);
    let mut harness = started(driver, std::slice::from_ref(&tp))?;
    let good = names("k10", 2);
    let values = vec![driver.value(&good[0]), driver.poison(), driver.value(&good[1])];
    let (_, outcome) = harness.put(&tp, values)?;
    outcome.map_err(|error| Broken(format!("one poison record fails the whole batch: {}", error.chain())))?;
    let safe = harness.flush()?;
    harness.stop()?;
    let reports = harness.runtime.reports();
    let right = reports.len() == 1 && reports[0].offset == 1 && reports[0].kind == ErrorKind::Data;
    ensure(right, || format!("not one data error for the record at offset 1: {reports:?}"))?;
    ensure(safe.get(&tp) == Some(&3), || format!("a reported record holds up the commit: {safe:?}"))?;
    exactly_once(&good, &driver.contents())
}

fn k11_leaves_nothing(driver: &mut dyn SinkDriver) -> Judgement {
    let tp = partition(0);
    let mut harness = started(driver, std::slice::from_ref(&tp))?;
    write(driver, &mut harness, &tp, "k11", 3)?;
    harness.flush()?;
    harness.close(std::slice::from_ref(&tp))?;
    harness.stop()?;
    nothing_left(&harness.bench, &driver.left_behind())
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("laws", number)
}

/// A harness for the first task the connector plans.
fn new_harness(driver: &dyn SinkDriver) -> Result<SinkHarness> {
    let (plugin, config) = (driver.plugin(), driver.config());
    let connector = (plugin.connector)(Settings::new(config.clone(), plugin.info.config))?;
    let first = Bench::new()?.plan(connector, &config, 1)?.into_iter().next().unwrap_or_default();
    SinkHarness::new(plugin, first)
}

fn started(driver: &dyn SinkDriver, partitions: &[TopicPartition]) -> Result<SinkHarness> {
    let mut harness = new_harness(driver)?;
    harness.start()?;
    harness.open(partitions)?;
    Ok(harness)
}

fn write(
    driver: &dyn SinkDriver,
    harness: &mut SinkHarness,
    tp: &TopicPartition,
    prefix: &str,
    count: usize,
) -> Result<Vec<String>> {
    let texts = names(prefix, count);
    let values = texts.iter().map(|text| driver.value(text)).collect();
    let (_, outcome) = harness.put(tp, values)?;
    outcome?;
    Ok(texts)
}

fn retriable(error: &ConnectError) -> Lawful {
    let kind = error.kind();
    ensure(kind == ErrorKind::Retriable, || format!("an outage is a {kind:?} error: {}", error.chain()))
}
