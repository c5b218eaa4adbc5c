//! The metrics of one task, bundled: asked for when it starts, touched once per batch by its thread.

use std::time::{Duration, Instant};

use pipette_api::{Metric, Metrics};

use super::table::{self, Row};

/// Java's `metrics.sample.window.ms`; two of them are looked at.
const WINDOW: Duration = Duration::from_secs(30);

/// Of a source task.
#[derive(Debug)]
#[allow(missing_docs, reason = "the rows of the table say it")]
pub struct SourceMeters {
    pub polled: Metric,
    pub written: Metric,
    pub active: Metric,
    pub poll_ms: Sampled,
    pub batch_size: Sampled,
    pub commit_ms: Sampled,
}

impl SourceMeters {
    /// All at zero: Java's counters begin again with each start of a task.
    pub fn new(metrics: &Metrics, task: usize) -> Self {
        let of = |row| fresh(metrics, task, row);
        Self {
            polled: of(&table::SOURCE_POLLED),
            written: of(&table::SOURCE_WRITTEN),
            active: of(&table::SOURCE_ACTIVE),
            poll_ms: Sampled::new(of(&table::POLL_MAX), of(&table::POLL_AVG)),
            batch_size: Sampled::new(of(&table::BATCH_MAX), of(&table::BATCH_AVG)),
            commit_ms: Sampled::new(of(&table::COMMIT_MAX), of(&table::COMMIT_AVG)),
        }
    }
}

/// Of a sink task.
#[derive(Debug)]
#[allow(missing_docs, reason = "the rows of the table say it")]
pub struct SinkMeters {
    pub read: Metric,
    pub sent: Metric,
    pub active: Metric,
    pub partitions: Metric,
    pub commit_sequence: Metric,
    pub commits: Metric,
    pub commits_skipped: Metric,
    pub put_ms: Sampled,
    pub batch_size: Sampled,
    pub commit_ms: Sampled,
}

impl SinkMeters {
    /// All at zero.
    pub fn new(metrics: &Metrics, task: usize) -> Self {
        let of = |row| fresh(metrics, task, row);
        Self {
            read: of(&table::SINK_READ),
            sent: of(&table::SINK_SENT),
            active: of(&table::SINK_ACTIVE),
            partitions: of(&table::SINK_PARTITIONS),
            commit_sequence: of(&table::SINK_COMMIT_SEQUENCE),
            commits: of(&table::SINK_COMMITS),
            commits_skipped: of(&table::SINK_COMMITS_SKIPPED),
            put_ms: Sampled::new(of(&table::PUT_MAX), of(&table::PUT_AVG)),
            batch_size: Sampled::new(of(&table::BATCH_MAX), of(&table::BATCH_AVG)),
            commit_ms: Sampled::new(of(&table::COMMIT_MAX), of(&table::COMMIT_AVG)),
        }
    }
}

/// What goes wrong with records, of either kind of task.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the rows of the table say it")]
pub struct ErrorMeters {
    pub failures: Metric,
    pub errors: Metric,
    pub skipped: Metric,
    pub retries: Metric,
    pub logged: Metric,
    pub dead_letters: Metric,
    pub dead_letter_failures: Metric,
    pub last_error: Metric,
}

impl ErrorMeters {
    /// All at zero.
    pub fn new(metrics: &Metrics, task: usize) -> Self {
        let of = |row| fresh(metrics, task, row);
        Self {
            failures: of(&table::FAILURES),
            errors: of(&table::ERRORS),
            skipped: of(&table::SKIPPED),
            retries: of(&table::RETRIES),
            logged: of(&table::LOGGED),
            dead_letters: of(&table::DEAD_LETTERS),
            dead_letter_failures: of(&table::DEAD_LETTER_FAILURES),
            last_error: of(&table::LAST_ERROR),
        }
    }
}

/// The memory of either kind of task.
#[derive(Debug)]
#[allow(missing_docs, reason = "the rows of the table say it")]
pub struct MemoryMeters {
    pub held: Metric,
    pub waits: Metric,
}

impl MemoryMeters {
    /// All at zero.
    pub fn new(metrics: &Metrics, task: usize) -> Self {
        let of = |row| fresh(metrics, task, row);
        Self { held: of(&table::MEMORY_HELD), waits: of(&table::MEMORY_WAITS) }
    }
}

fn fresh(metrics: &Metrics, task: usize, row: &'static Row) -> Metric {
    let metric = metrics.register(&row.info, &[&task.to_string()]);
    metric.set(0);
    metric
}

/// Maximum and average of what was recorded in this window and the one before.
#[derive(Debug)]
pub struct Sampled {
    max: Metric,
    avg: Metric,
    windows: [Window; 2],
    since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    max: i64,
    sum: i64,
    count: i64,
}

impl Sampled {
    fn new(max: Metric, avg: Metric) -> Self {
        Self { max, avg, windows: [Window::default(); 2], since: None }
    }

    /// Records a number, at a time that never goes back.
    pub fn record(&mut self, value: i64, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.duration_since(since);
        if age >= WINDOW {
            let before = if age < WINDOW * 2 { self.windows[0] } else { Window::default() };
            self.windows = [Window::default(), before];
            self.since = Some(now);
        }
        let window = &mut self.windows[0];
        *window = Window { max: window.max.max(value), sum: window.sum + value, count: window.count + 1 };
        let [this, before] = self.windows;
        self.max.set(this.max.max(before.max));
        self.avg.set((this.sum + before.sum) / (this.count + before.count));
    }

    /// Records how long something took, in milliseconds.
    pub fn record_time(&mut self, began: Instant, now: Instant) {
        self.record(i64::try_from(now.duration_since(began).as_millis()).unwrap_or(i64::MAX), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::WorkerMetrics;

    #[test]
    fn old_samples_stop_counting() {
        let mut meters = SinkMeters::new(&WorkerMetrics::new().connector("lab"), 0);
        let start = Instant::now();
        let mut check = |second, value, max, avg| {
            meters.batch_size.record(value, start + Duration::from_secs(second));
            assert_eq!((meters.batch_size.max.get(), meters.batch_size.avg.get()), (max, avg), "second {second}");
        };
        check(0, 10, 10, 10);
        check(10, 20, 20, 15);
        check(35, 6, 20, 12);
        check(70, 4, 6, 5);
        check(200, 1, 1, 1);
    }

    #[test]
    fn a_restarted_task_counts_from_zero() {
        let metrics = WorkerMetrics::new().connector("lab");
        let before = SourceMeters::new(&metrics, 0);
        before.polled.add(5);
        let after = SourceMeters::new(&metrics, 0);
        assert_eq!(after.polled.get(), 0);
    }
}
