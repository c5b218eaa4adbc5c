//! The metrics of one task, bundled: asked for when it starts, touched once per batch by its thread.

use std::collections::VecDeque;
use std::time::Instant;

use pipette_api::{Metric, Metrics};

use super::table::{self, Row};
use crate::settings::metrics::Sampling;

/// Of a source task.
#[derive(Debug)]
#[allow(missing_docs, reason = "the rows of the table say it")]
pub struct SourceMeters {
    pub polled: Metric,
    pub written: Metric,
    pub active: Level,
    pub transactions: Option<Sampled>,
    pub traffic: Option<TrafficMeters>,
    pub commits: Metric,
    pub commit_failures: Metric,
    pub poll_ms: Sampled,
    pub batch_size: Sampled,
    pub commit_ms: Sampled,
}

impl SourceMeters {
    /// All at zero: Java's counters begin again with each start of a task.
    pub fn new(metrics: &Metrics, task: usize, sampling: Sampling) -> Self {
        let of = |row| fresh(metrics, task, row);
        let sampled = |max, avg| Sampled::new(of(max), of(avg), sampling);
        Self {
            polled: of(&table::SOURCE_POLLED),
            written: of(&table::SOURCE_WRITTEN),
            active: Level {
                now: of(&table::SOURCE_ACTIVE),
                late: sampled(&table::SOURCE_ACTIVE_MAX, &table::SOURCE_ACTIVE_AVG),
            },
            transactions: None,
            traffic: None,
            commits: of(&table::COMMITS),
            commit_failures: of(&table::COMMIT_FAILURES),
            poll_ms: sampled(&table::POLL_MAX, &table::POLL_AVG),
            batch_size: sampled(&table::BATCH_MAX, &table::BATCH_AVG),
            commit_ms: sampled(&table::COMMIT_MAX, &table::COMMIT_AVG),
        }
    }
}

impl SourceMeters {
    /// A commit that began then has succeeded, or not.
    pub fn commit_ended(&mut self, made: bool, began: Instant) {
        if made { &self.commits } else { &self.commit_failures }.add(1);
        self.commit_ms.record_time(began, Instant::now());
    }

    /// So many records were written in a transaction.
    pub fn transaction_ended(&mut self, records: usize) {
        self.written.count(records);
        if let Some(sizes) = self.transactions.as_mut().filter(|_| records > 0) {
            sizes.record(i64::try_from(records).unwrap_or(i64::MAX), Instant::now());
        }
    }

    /// Of a task that writes in transactions.
    #[must_use]
    pub fn with_transactions(mut self, metrics: &Metrics, task: usize, sampling: Sampling) -> Self {
        let of = |row| fresh(metrics, task, row);
        let sizes = Sampled::new(of(&table::TRANSACTION_MAX), of(&table::TRANSACTION_AVG), sampling);
        self.transactions = Some(sizes.with_least(of(&table::TRANSACTION_MIN)));
        self
    }
}

/// Of a sink task.
#[derive(Debug)]
#[allow(missing_docs, reason = "the rows of the table say it")]
pub struct SinkMeters {
    pub read: Metric,
    pub sent: Metric,
    pub active: Level,
    pub all_commits: Metric,
    pub commit_failures: Metric,
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
    pub fn new(metrics: &Metrics, task: usize, sampling: Sampling) -> Self {
        let of = |row| fresh(metrics, task, row);
        let sampled = |max, avg| Sampled::new(of(max), of(avg), sampling);
        Self {
            read: of(&table::SINK_READ),
            sent: of(&table::SINK_SENT),
            active: Level {
                now: of(&table::SINK_ACTIVE),
                late: sampled(&table::SINK_ACTIVE_MAX, &table::SINK_ACTIVE_AVG),
            },
            all_commits: of(&table::COMMITS),
            commit_failures: of(&table::COMMIT_FAILURES),
            partitions: of(&table::SINK_PARTITIONS),
            commit_sequence: of(&table::SINK_COMMIT_SEQUENCE),
            commits: of(&table::SINK_COMMITS),
            commits_skipped: of(&table::SINK_COMMITS_SKIPPED),
            put_ms: sampled(&table::PUT_MAX, &table::PUT_AVG),
            batch_size: sampled(&table::BATCH_MAX, &table::BATCH_AVG),
            commit_ms: sampled(&table::COMMIT_MAX, &table::COMMIT_AVG),
        }
    }
}

/// Of a task's Kafka client.
#[derive(Debug)]
pub struct TrafficMeters([Option<Metric>; 4]);

impl TrafficMeters {
    /// Of a sink's consumer.
    pub fn consumer(metrics: &Metrics, task: usize, client: &str) -> Self {
        let of = |row: &'static Row| Some(metrics.register(&row.info, &[&task.to_string(), client]));
        let rows = [&table::CONSUMER_IN, &table::CONSUMER_OUT, &table::CONSUMER_CONNECTIONS, &table::CONSUMER_LAG];
        Self(rows.map(of))
    }

    /// Of a source's producer.
    pub fn producer(metrics: &Metrics, task: usize, client: &str) -> Self {
        let of = |row: &'static Row| Some(metrics.register(&row.info, &[&task.to_string(), client]));
        Self([of(&table::PRODUCER_IN), of(&table::PRODUCER_OUT), of(&table::PRODUCER_CONNECTIONS), None])
    }

    /// Shows what the client tells of itself from time to time.
    pub fn listener(self) -> Box<dyn Fn([i64; 4]) + Send + Sync> {
        Box::new(move |numbers| {
            for (metric, number) in self.0.iter().zip(numbers) {
                if let Some(metric) = metric {
                    metric.set(number);
                }
            }
        })
    }
}

/// What goes wrong with records, of either kind of task.
#[derive(Debug, Default, Clone)]
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

/// What is in a transformation that waits for something outside.
#[derive(Debug)]
#[allow(missing_docs, reason = "the rows of the table say it")]
pub struct StepMeters {
    pub records: Metric,
    pub bytes: Metric,
}

impl StepMeters {
    /// Both at zero, for the step of that name.
    pub fn new(metrics: &Metrics, task: usize, step: &str) -> Self {
        let of = |row: &'static Row| metrics.register(&row.info, &[&task.to_string(), step]);
        let meters = Self { records: of(&table::STEP_RECORDS), bytes: of(&table::STEP_BYTES) };
        meters.show(0, 0);
        meters
    }

    /// So many records of so many bytes are in it.
    pub fn show(&self, records: usize, bytes: u64) {
        self.records.set(i64::try_from(records).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

fn fresh(metrics: &Metrics, task: usize, row: &'static Row) -> Metric {
    let metric = metrics.register(&row.info, &[&task.to_string()]);
    metric.set(0);
    metric
}

/// Least, maximum and average of what was recorded in the last samples.
#[derive(Debug)]
pub struct Sampled {
    min: Option<Metric>,
    max: Metric,
    avg: Metric,
    sampling: Sampling,
    /// The newest first.
    windows: VecDeque<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    min: i64,
    max: i64,
    sum: i64,
    count: i64,
}

impl Sampled {
    fn new(max: Metric, avg: Metric, sampling: Sampling) -> Self {
        Self { min: None, max, avg, sampling, windows: VecDeque::with_capacity(sampling.samples.min(8)) }
    }

    /// Shows the least as well.
    fn with_least(self, min: Metric) -> Self {
        Self { min: Some(min), ..self }
    }

    /// Records a number, at a time that never goes back.
    pub fn record(&mut self, value: i64, now: Instant) {
        let Sampling { window, samples } = self.sampling;
        if self.windows.front().is_none_or(|newest| now.duration_since(newest.since) >= window) {
            let span = window.saturating_mul(u32::try_from(samples).unwrap_or(u32::MAX));
            self.windows.retain(|old| now.duration_since(old.since) < span);
            self.windows.truncate(samples.saturating_sub(1));
            self.windows.push_front(Window { since: now, min: value, max: value, sum: 0, count: 0 });
        }
        if let Some(newest) = self.windows.front_mut() {
            let Window { since, min, max, sum, count } = *newest;
            *newest = Window { since, min: min.min(value), max: max.max(value), sum: sum + value, count: count + 1 };
        }
        let (mut all, rest) = (self.windows[0], self.windows.iter().skip(1));
        for window in rest {
            all.min = all.min.min(window.min);
            all.max = all.max.max(window.max);
            all.sum += window.sum;
            all.count += window.count;
        }
        self.max.set(all.max);
        self.avg.set(all.sum / all.count);
        self.min.iter().for_each(|min| min.set(all.min));
    }

    /// Records how long something took, in milliseconds.
    pub fn record_time(&mut self, began: Instant, now: Instant) {
        self.record(i64::try_from(now.duration_since(began).as_millis()).unwrap_or(i64::MAX), now);
    }
}

/// How many there are now, with the most and the average of late.
#[derive(Debug)]
pub struct Level {
    now: Metric,
    late: Sampled,
}

impl Level {
    /// So many there are.
    pub fn set(&mut self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.now.set(count);
        self.late.record(count, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::WorkerMetrics;

    const MINUTE: Sampling = Sampling { window: Duration::from_secs(30), samples: 2 };

    #[test]
    fn old_samples_stop_counting() {
        let mut meters = SinkMeters::new(&WorkerMetrics::new().connector("lab"), 0, MINUTE);
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
        let before = SourceMeters::new(&metrics, 0, MINUTE);
        before.polled.add(5);
        let after = SourceMeters::new(&metrics, 0, MINUTE);
        assert_eq!(after.polled.get(), 0);
    }
}
