//! A source on the bench, and what becomes of it.
#![allow(dead_code, clippy::unwrap_used)] // each test takes what it needs

use std::time::{Duration, Instant};

use connector_mqtt::SOURCE;
use pipette_api::{ConfigMap, ConnectError, ErrorKind};
use pipette_kit::SourceHarness;
use pipette_kit::source_harness::record;

/// How long a fault may stay without a reason that can be read.
pub(crate) const TOLD: Duration = Duration::from_secs(10);

pub(crate) fn source(config: ConfigMap) -> SourceHarness {
    let mut harness = SourceHarness::new(&SOURCE, config).unwrap();
    harness.start().unwrap();
    harness
}

pub(crate) fn number(harness: &SourceHarness, name: &'static str) -> i64 {
    harness.bench.numbers.get(name, &["0"]).unwrap_or(0)
}

/// Polls, through errors that ask for patience, until the condition holds; each batch is settled.
pub(crate) fn poll_until(
    harness: &mut SourceHarness,
    seen: &mut Vec<String>,
    mut enough: impl FnMut(&SourceHarness, &[String]) -> bool,
) {
    let begun = Instant::now();
    while !enough(harness, seen) {
        assert!(begun.elapsed() < 2 * TOLD, "{} seen: {:?}", seen.len(), seen.last());
        match harness.poll() {
            Ok(entries) => seen.extend(
                entries.iter().filter_map(record).map(|record| record.value.value.as_str().unwrap().to_owned()),
            ),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retriable, "{}", error.chain()),
        }
        harness.settle();
    }
}

/// Starts and polls until the task fails for good.
pub(crate) fn failure(config: ConfigMap) -> ConnectError {
    let mut harness = SourceHarness::new(&SOURCE, config).unwrap();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < TOLD, "no failure within {TOLD:?}");
        match harness.start_unless_running().and_then(|()| harness.poll()) {
            Err(error) if error.kind() != ErrorKind::Retriable => {
                harness.stop().unwrap();
                return error;
            }
            _ => harness.settle(),
        }
    }
}

/// The first offset comes when the broker has answered the subscription.
pub(crate) fn subscribed(harness: &SourceHarness, _: &[String]) -> bool {
    !harness.offsets.all().is_empty()
}
