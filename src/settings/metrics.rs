//! The worker's keys about metrics: what rates cover, and under whose names numbers are shown.
//!
//! Read by `worker.rs`; `src/metrics/` acts on them.

use std::time::Duration;

use pipette_api::config::checks::{at_least, one_of};
use pipette_api::config::key::Importance;
use pipette_api::{Key, Result, Settings};

pub(super) static WINDOW: Key<Duration> = Key::new(
    "metrics.sample.window.ms",
    "The length of one sample of a metric, in milliseconds. Rates, averages and maxima cover `metrics.num.samples` of them.",
)
.default("30000")
.importance(Importance::Low)
.check(at_least::<0>);
pub(super) static SAMPLES: Key<i32> =
    Key::new("metrics.num.samples", "How many samples rates, averages and maxima cover.")
        .default("2")
        .importance(Importance::Low)
        .check(at_least::<1>);
/// Whose names `metrics.prometheus.dialects` knows; `metrics/dialect.rs` makes them.
pub const DIALECTS: [&str; 4] = ["strimzi", "confluent", "reporter", "jmx-exporter"];
pub(super) static NAMES: Key<Vec<String>> = Key::new(
    "metrics.prometheus.dialects",
    "Under whose names `GET /metrics` shows the numbers of Apache's worker: `strimzi` (the JMX exporter's usual rules), \
     `confluent` (jmx-monitoring-stacks), `reporter` (Strimzi's Metrics Reporter), `jmx-exporter` (that exporter's own \
     example), or several. `?dialect=` asks for others.",
)
.default("strimzi")
.importance(Importance::Low)
.check(dialects);

fn dialects(text: Option<&str>) -> std::result::Result<(), String> {
    let names = text.unwrap_or_default().split(',').map(str::trim);
    names.into_iter().try_for_each(|name| one_of(Some(name), &DIALECTS))
}

/// What the averages, maxima and rates of metrics cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// `metrics.sample.window.ms`.
    pub window: Duration,
    /// `metrics.num.samples`.
    pub samples: usize,
}

impl Sampling {
    pub(super) fn read(settings: &Settings) -> Result<Self> {
        Ok(Self { window: settings.get(&WINDOW)?, samples: usize::try_from(settings.get(&SAMPLES)?).unwrap_or(1) })
    }
}

/// Java's.
impl Default for Sampling {
    fn default() -> Self {
        Self { window: Duration::from_secs(30), samples: 2 }
    }
}
