//! The laws of sources, S5 to S14, over a driver that talks to the outside system directly.
//!
//! A connector's `tests/acceptance.rs` implements [`SourceDriver`] and calls [`check`]. Each law gets a fresh driver.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipette_api::{ConfigMap, ErrorKind, ExactlyOnce, Partition, Record, Result, Settings, SourceEntry, SourcePlugin};

use crate::bench::{Bench, DEADLINE};
use crate::law::{
    Broken, Capability, Judgement, Ruling, applies, ensure, exactly_once, judge, names, nothing_left, nothing_missing,
};
use crate::source_harness::{SourceHarness, bad, position, record};

/// How long a waiting poll may take to return when the task is stopped.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// How long a source may hand over nothing although something was written. Waited for in full only when a law fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a source claims; the laws hold it to that, and print the reason of what it does not claim.
#[derive(Debug, Clone, Copy)]
pub struct SourceTraits {
    /// After a restart it goes on at what was committed: laws S7, S8 and S9 (busy).
    pub resumable: Capability,
    /// Records of one source partition come in the order they were written: law S6 (order).
    pub ordered: Capability,
    /// The driver can take the outside system away and bring it back: law S10.
    pub outage: Capability,
    /// There is input that cannot become a record: law S11.
    pub bad_input: Capability,
    /// The most entries one poll hands over with the driver's configuration: law S13.
    pub most_per_poll: usize,
}

/// The outside system of one law's run, made afresh for each.
pub trait SourceDriver {
    /// The plugin under test.
    fn plugin(&self) -> &'static SourcePlugin;

    /// A configuration of the connector that reads this driver's outside system.
    fn config(&self) -> ConfigMap;

    /// What the source claims.
    fn traits(&self) -> SourceTraits;

    /// Writes one record for each text into the outside system. The texts are short, plain and unique.
    fn write(&mut self, texts: &[String]);

    /// The text a record was written from.
    fn text(&self, record: &Record) -> String {
        record.value.value.as_str().unwrap_or_default().to_owned()
    }

    /// Takes the outside system away or brings it back. Called only with [`SourceTraits::outage`].
    fn outage(&mut self, _away: bool) {}

    /// Writes something that cannot become a record; answers what the error must name (the file, the line, the id).
    /// Called only with [`SourceTraits::bad_input`].
    fn write_bad(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What the stopped task still holds: open files, threads, connections, as far as the driver can see them.
    fn left_behind(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// One law.
pub type SourceLaw = fn(&mut dyn SourceDriver) -> Judgement;

/// Every law of sources, with its number and what it says.
pub const LAWS: &[(&str, &str, SourceLaw)] = &[
    ("S5", "task configurations are valid and share the work, nothing lost or doubled", s5_tasks_share_the_work),
    ("S6", "what was written is polled, once", s6_delivers_what_was_written),
    ("S6o", "in order per source partition", s6_keeps_the_order),
    ("S7", "stopped after some commits, it goes on without a gap", s7_goes_on_at_the_commit),
    ("S8", "unsettled batches come again, settled ones do not", s8_unsettled_comes_again),
    ("S9", "a waiting poll returns within a second of stop", s9_stops_while_waiting),
    ("S9b", "stopped while busy, it loses nothing", s9_stops_while_busy),
    ("S10", "an outage is retriable, then it goes on", s10_survives_an_outage),
    ("S11", "bad input is a data error that names it, and the rest goes on", s11_names_bad_input),
    ("S12", "nothing is left after stop", s12_leaves_nothing),
    ("S13", "a poll is bounded, however much was written while polls paused", s13_polls_are_bounded),
    ("S14", "an empty batch is harmless", s14_empty_batches_are_harmless),
];

/// Runs every law, prints the table, and panics when one is broken.
pub fn check<D: SourceDriver>(mut make: impl FnMut() -> D) {
    let plugin = make().plugin().info.class;
    let rulings: Vec<_> = LAWS.iter().map(|(id, says, law)| (*id, *says, law(&mut make()))).collect();
    judge(plugin, &rulings);
}

fn s5_tasks_share_the_work(driver: &mut dyn SourceDriver) -> Judgement {
    for max in [1, 2, 3, 7] {
        let configs = task_configs(driver, max)?;
        ensure((1..=max).contains(&configs.len()), || {
            format!("asked for at most {max} tasks, it plans {}", configs.len())
        })?;
        for config in &configs {
            let errors = driver.plugin().info.config.check(config).into_iter().flat_map(|key| key.errors);
            let errors: Vec<String> = errors.collect();
            ensure(errors.is_empty(), || format!("a task configuration is not valid: {}", errors.join("; ")))?;
        }
    }
    let written = write(driver, "s5", 20);
    let mut seen = Vec::new();
    let configs = task_configs(driver, 3)?;
    let tasks = configs.into_iter().map(|config| SourceHarness::new(driver.plugin(), config));
    let mut tasks = tasks.collect::<Result<Vec<_>>>()?;
    tasks.iter_mut().try_for_each(SourceHarness::start)?;
    let deadline = Instant::now() + DEADLINE;
    let mut rounds_after = 0;
    while rounds_after < 2 && Instant::now() < deadline {
        for task in &mut tasks {
            seen.extend(texts(driver, &task.poll()?));
            task.settle();
        }
        // One more round when all have come, which is where a second copy would show.
        rounds_after += usize::from(seen.len() >= written.len());
    }
    tasks.iter_mut().try_for_each(SourceHarness::stop)?;
    exactly_once(&written, &seen)
}

fn s6_delivers_what_was_written(driver: &mut dyn SourceDriver) -> Judgement {
    let mut harness = started(driver)?;
    let mut written = write(driver, "s6a", 30);
    let mut seen = texts(driver, &gather(&mut harness, at_least(30))?);
    harness.settle();
    written.extend(write(driver, "s6b", 5));
    seen.extend(texts(driver, &gather(&mut harness, at_least(5))?));
    seen.extend(texts(driver, &harness.poll()?));
    exactly_once(&written, &seen)
}

fn s6_keeps_the_order(driver: &mut dyn SourceDriver) -> Judgement {
    applies!(driver.traits().ordered);
    let mut harness = started(driver)?;
    let written = write(driver, "s6o", 50);
    let mut last: BTreeMap<Option<Arc<Partition>>, usize> = BTreeMap::new();
    for entry in gather(&mut harness, at_least(50))? {
        let Some(text) = record(&entry).map(|record| driver.text(record)) else { continue };
        let Some(index) = written.iter().position(|known| *known == text) else { continue };
        let partition = position(&entry).map(|position| Arc::clone(&position.partition));
        let before = last.insert(partition, index);
        ensure(before.is_none_or(|before| before < index), || {
            format!("{text} comes behind a record that was written after it")
        })?;
    }
    Ok(Ruling::Kept)
}

fn s7_goes_on_at_the_commit(driver: &mut dyn SourceDriver) -> Judgement {
    applies!(driver.traits().resumable);
    let exact = exactly_once_supported(driver);
    let mut harness = started(driver)?;
    for committed in [1, 7, 19, 20] {
        let written = write(driver, &format!("s7-{committed}"), 20);
        let entries = gather(&mut harness, at_least(20))?;
        let upto = end_of_record(&entries, committed);
        harness.settle_entries(upto);
        let mut seen = texts(driver, &entries[..upto]);
        harness.stop()?;
        harness.start()?;
        // Not counted: settled records may come again, before those that were not.
        let missing = |entries: &[SourceEntry]| {
            let again = texts(driver, entries);
            written.iter().any(|text| !seen.contains(text) && !again.contains(text))
        };
        let again = gather(&mut harness, |entries| !missing(entries))?;
        seen.extend(texts(driver, &again));
        seen.extend(texts(driver, &harness.poll()?));
        harness.settle();
        let kept = if exact { exactly_once(&written, &seen) } else { nothing_missing(&written, &seen) };
        kept.map_err(|Broken(reason)| {
            Broken(format!("committed behind record {committed} of 20 and started again: {reason}"))
        })?;
    }
    Ok(Ruling::Kept)
}

fn s8_unsettled_comes_again(driver: &mut dyn SourceDriver) -> Judgement {
    applies!(driver.traits().resumable);
    let mut harness = started(driver)?;
    let written = write(driver, "s8", 12);
    let first = texts(driver, &gather(&mut harness, at_least(12))?);
    nothing_missing(&written, &first)?;
    harness.kill()?;
    harness.start()?;
    let again = texts(driver, &gather(&mut harness, at_least(12))?);
    nothing_missing(&written, &again)
        .map_err(|Broken(reason)| Broken(format!("killed before its batches were settled: {reason}")))?;
    harness.settle();
    ensure(harness.unsettled() == 0, || "batches stay open though all entries are settled".into())?;
    // What the committed hooks queued is done by a poll or by stop.
    harness.poll()?;
    harness.settle();
    harness.stop()?;
    harness.start()?;
    let fresh = write(driver, "s8-fresh", 1);
    let after = texts(driver, &gather(&mut harness, at_least(1))?);
    ensure(after == fresh, || format!("settled records come again: {after:?} instead of {fresh:?}"))?;
    Ok(Ruling::Kept)
}

fn s9_stops_while_waiting(driver: &mut dyn SourceDriver) -> Judgement {
    let mut harness = started(driver)?;
    write(driver, "s9", 1);
    gather(&mut harness, at_least(1))?;
    harness.settle();
    let (_, took) = harness.stop_while_waiting()?;
    ensure(took <= STOP_LIMIT, || format!("a waiting poll took {took:?} to return after stop (limit {STOP_LIMIT:?})"))?;
    Ok(Ruling::Kept)
}

fn s9_stops_while_busy(driver: &mut dyn SourceDriver) -> Judgement {
    applies!(driver.traits().resumable);
    let mut harness = started(driver)?;
    let written = write(driver, "s9b", 200);
    let mut seen = texts(driver, &gather(&mut harness, at_least(1))?);
    harness.settle();
    let (entries, _) = harness.stop_while_waiting()?;
    seen.extend(texts(driver, &entries));
    harness.start()?;
    let missing = written.len().saturating_sub(seen.len());
    seen.extend(texts(driver, &gather(&mut harness, at_least(missing))?));
    nothing_missing(&written, &seen)
}

fn s10_survives_an_outage(driver: &mut dyn SourceDriver) -> Judgement {
    applies!(driver.traits().outage);
    driver.outage(true);
    let mut harness = new_harness(driver)?;
    let Err(error) = harness.start().and_then(|()| harness.poll()) else {
        return Err(Broken("start and poll succeed though the outside system is away".into()));
    };
    ensure(error.kind() == ErrorKind::Retriable, || {
        format!("an outage is a {:?} error: {}", error.kind(), error.chain())
    })?;
    driver.outage(false);
    let written = write(driver, "s10", 3);
    let mut seen = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while seen.len() < written.len() && Instant::now() < deadline {
        match harness.start_unless_running().and_then(|()| harness.poll()) {
            Ok(entries) => seen.extend(texts(driver, &entries)),
            // What has just come back may need more than one attempt, as the worker makes them.
            Err(error) if error.kind() == ErrorKind::Retriable => {}
            Err(error) => return Err(error.into()),
        }
    }
    nothing_missing(&written, &seen)
}

fn s11_names_bad_input(driver: &mut dyn SourceDriver) -> Judgement {
    applies!(driver.traits().bad_input);
    let mut harness = started(driver)?;
    let mut written = write(driver, "s11a", 2);
    let names = driver.write_bad();
    written.extend(write(driver, "s11b", 2));
    let entries = gather(&mut harness, |seen| at_least(4)(seen) && seen.iter().any(|entry| bad(entry).is_some()))?;
    nothing_missing(&written, &texts(driver, &entries))?;
    let errors: Vec<_> = entries.iter().filter_map(bad).collect();
    ensure(errors.len() == 1, || format!("one bad input makes {} errors", errors.len()))?;
    let (kind, message) = (errors[0].kind(), errors[0].chain());
    ensure(kind == ErrorKind::Data, || format!("bad input is a {kind:?} error: {message}"))?;
    for name in names {
        ensure(message.contains(&name), || format!("the error does not name {name}: {message}"))?;
    }
    if driver.traits().resumable == Capability::Yes {
        let passes = entries.iter().any(|entry| bad(entry).is_some() && position(entry).is_some());
        ensure(passes, || "bad input has no position, so a restart meets it again".into())?;
    }
    Ok(Ruling::Kept)
}

fn s12_leaves_nothing(driver: &mut dyn SourceDriver) -> Judgement {
    let mut harness = started(driver)?;
    write(driver, "s12", 3);
    gather(&mut harness, at_least(3))?;
    harness.settle();
    harness.stop_while_waiting()?;
    nothing_left(&harness.bench, &driver.left_behind())
}

fn s13_polls_are_bounded(driver: &mut dyn SourceDriver) -> Judgement {
    let most = driver.traits().most_per_poll;
    let mut harness = started(driver)?;
    harness.poll()?;
    let written = write(driver, "s13", most * 2 + 1);
    let mut seen = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    let mut rounds_after = 0;
    // What a source says of records that are settled, all at once, is bounded too.
    while rounds_after < 3 && Instant::now() < deadline {
        let entries = harness.poll()?;
        ensure(entries.len() <= most, || format!("a poll hands over {} entries, declared are {most}", entries.len()))?;
        seen.extend(texts(driver, &entries));
        if seen.len() >= written.len() {
            harness.settle();
            rounds_after += 1;
        }
    }
    nothing_missing(&written, &seen)
}

fn s14_empty_batches_are_harmless(driver: &mut dyn SourceDriver) -> Judgement {
    let mut harness = started(driver)?;
    let mut written = write(driver, "s14a", 2);
    let mut seen = texts(driver, &gather(&mut harness, at_least(2))?);
    harness.settle();
    for _ in 0..2 {
        seen.extend(texts(driver, &harness.poll()?));
        harness.pause_and_resume()?;
    }
    written.extend(write(driver, "s14b", 2));
    seen.extend(texts(driver, &gather(&mut harness, at_least(2))?));
    exactly_once(&written, &seen)
}

fn task_configs(driver: &dyn SourceDriver, max: usize) -> Result<Vec<ConfigMap>> {
    let (plugin, config) = (driver.plugin(), driver.config());
    let connector = (plugin.connector)(Settings::new(config.clone(), plugin.info.config))?;
    Bench::new()?.plan(connector, &config, max)
}

/// A harness for the only task.
fn new_harness(driver: &dyn SourceDriver) -> Result<SourceHarness> {
    let config = task_configs(driver, 1)?.into_iter().next().unwrap_or_default();
    SourceHarness::new(driver.plugin(), config)
}

fn started(driver: &dyn SourceDriver) -> Result<SourceHarness> {
    let mut harness = new_harness(driver)?;
    harness.start()?;
    Ok(harness)
}

fn exactly_once_supported(driver: &dyn SourceDriver) -> bool {
    let settings = Settings::new(driver.config(), driver.plugin().info.config);
    (driver.plugin().exactly_once)(&settings) == ExactlyOnce::Supported
}

fn write(driver: &mut dyn SourceDriver, prefix: &str, count: usize) -> Vec<String> {
    let texts = names(prefix, count);
    driver.write(&texts);
    texts
}

fn texts(driver: &dyn SourceDriver, entries: &[SourceEntry]) -> Vec<String> {
    entries.iter().filter_map(record).map(|record| driver.text(record)).collect()
}

/// Polls until there is enough, or until nothing has come for a while: what is missing then is for the law to say.
fn gather(harness: &mut SourceHarness, enough: impl Fn(&[SourceEntry]) -> bool) -> Result<Vec<SourceEntry>> {
    let (mut seen, mut last) = (Vec::new(), Instant::now());
    while !enough(&seen) && last.elapsed() < PATIENCE {
        let entries = harness.poll()?;
        if !entries.is_empty() {
            last = Instant::now();
        }
        seen.extend(entries);
    }
    Ok(seen)
}

fn at_least(count: usize) -> impl Fn(&[SourceEntry]) -> bool {
    move |entries| entries.iter().filter_map(record).count() >= count
}

/// How many entries it takes to reach the end of that many records.
fn end_of_record(entries: &[SourceEntry], records: usize) -> usize {
    let ends = entries.iter().enumerate().filter(|(_, entry)| record(entry).is_some());
    ends.map(|(index, _)| index + 1).nth(records - 1).unwrap_or(entries.len())
}
