//! Dead letters: records that were bad, on their way to the topic that keeps them (KIP-298).
//!
//! One per task that names such a topic. The loops hand over what was bad under a number of their own; they commit no
//! offset past it before the number has come back as delivered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{
    Blob, Body, ConnectError, KafkaHeaders, Metric, Position, RawRecord, Result, Signal, TaskId, TopicPartition, Wish,
};
use tokio::time::Instant;

use super::guard::Stage;
use super::payload;
use super::pulse::Pulse;
use super::report;
use super::spec::DeadLetterSpec;
use crate::budget::Share;
use crate::kafka::admin::{self, NewTopics};
use crate::kafka::producer::{Delivered, Outgoing, Sent, TaskProducer};
use crate::kafka::sizes;
use crate::metrics::meters::ErrorMeters;
use crate::settings::dead_letters::{COPIES, DeadLetterTopic};
use crate::store::offset_json;

/// What begins the name of every header that tells what went wrong.
pub(super) const HEADER: &str = "__connect.errors.";
/// How soon letters that wait for a batch to fill are sent while somebody waits for them.
const NUDGE: Duration = Duration::from_millis(20);

/// What was bad about a record.
pub struct Blame<'a> {
    /// What was done with it.
    pub stage: Stage,
    /// Who did it, as Java calls it.
    pub class: &'static str,
    /// What came of it.
    pub error: &'a ConnectError,
}

/// A record as it came in.
pub struct Letter<'a> {
    /// Where it was.
    pub origin: Origin<'a>,
    /// The key.
    pub key: Option<&'a Blob>,
    /// The value.
    pub value: Option<&'a Blob>,
    /// The headers.
    pub headers: &'a KafkaHeaders,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// Where a record came from.
pub enum Origin<'a> {
    /// A topic.
    Kafka {
        /// The partition.
        tp: &'a TopicPartition,
        /// The offset there.
        offset: i64,
    },
    /// A source.
    Source {
        /// The topic it was for, when that is known.
        topic: Option<&'a str>,
        /// Where the source goes on behind it.
        position: Option<&'a Position>,
    },
}

/// The dead letters of one task.
pub struct DeadLetters {
    spec: DeadLetterSpec,
    id: TaskId,
    signal: Signal,
    /// The task's memory.
    share: Option<Share>,
    /// Shows the watchdog whether Kafka answers.
    pulse: Option<Arc<Pulse>>,
    /// Made for the first letter: most tasks never write one.
    producer: Option<TaskProducer>,
    delivered: Delivered,
    in_flight: usize,
    requests: Metric,
    failures: Metric,
}

/// Resolves when Kafka has told something about dead letters; never without any.
pub async fn delivered(dead_letters: Option<&DeadLetters>) {
    match dead_letters {
        Some(dead_letters) => dead_letters.delivered().await,
        None => std::future::pending().await,
    }
}

impl DeadLetters {
    /// Those of a task.
    pub fn new(spec: DeadLetterSpec, id: TaskId, signal: Signal, meters: &ErrorMeters) -> Self {
        let (requests, failures) = (meters.dead_letters.clone(), meters.dead_letter_failures.clone());
        let delivered = Delivered::default();
        Self { spec, id, signal, share: None, pulse: None, producer: None, delivered, in_flight: 0, requests, failures }
    }

    /// The same, with what the producer holds counted.
    #[must_use]
    pub fn within(self, share: Share) -> Self {
        Self { share: Some(share), ..self }
    }

    /// The same, with the producer's contact with Kafka watched.
    #[must_use]
    pub fn watched(self, pulse: &Arc<Pulse>) -> Self {
        Self { pulse: Some(Arc::clone(pulse)), ..self }
    }

    /// The same with a producer that is there already.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn over(self, producer: TaskProducer) -> Self {
        Self { producer: Some(producer), ..self }
    }

    /// Makes the topic unless it is there. Before the task starts: a task whose bad records cannot be kept is not to
    /// meet one.
    pub async fn prepare(&self) -> Result<()> {
        let DeadLetterTopic { name, replication_factor, .. } = &self.spec.topic;
        let replication_factor = replication_factor.map(i32::from);
        let how = NewTopics { partitions: 1, replication_factor, config: BTreeMap::new() };
        let made = admin::make_missing(&self.spec.producer, name, &how, COPIES.info.name).await;
        made.map(drop)
            .map_err(|error| error.within(format!("Could not initialize dead letter queue with topic={name}")))
    }

    /// Hands a record to librdkafka under a number; waits while its queue is full. False when the task is wanted back
    /// first: the record has no letter then.
    pub async fn send(&mut self, letter: &Letter<'_>, blame: &Blame<'_>, number: u64) -> Result<bool> {
        let headers = self.headers(letter, blame);
        if self.producer.is_none() {
            let room = sizes::fit_letters(&mut self.spec.producer);
            if let Some(share) = &self.share {
                share.add_clients(room, sizes::LETTERS_KEYS);
            }
            let producer = TaskProducer::start(&self.spec.producer)?;
            if let Some(pulse) = &self.pulse {
                pulse.attach(&producer.contact);
            }
            self.producer = Some(producer);
        }
        loop {
            let Some(producer) = &self.producer else { unreachable!("made above") };
            let record = Outgoing {
                topic: &self.spec.topic.name,
                partition: None,
                key: letter.key.map(Blob::as_bytes),
                value: letter.value.map(Blob::as_bytes),
                headers: &headers,
                timestamp: letter.timestamp,
            };
            match producer.send(&record, number) {
                Ok(Sent::Queued) => {
                    self.requests.add(1);
                    self.in_flight += 1;
                    return Ok(true);
                }
                Ok(Sent::Full) => {}
                Err(error) => {
                    self.requests.add(1);
                    self.failures.add(1);
                    return Err(self.undeliverable(&error));
                }
            }
            tokio::select! {
                () = producer.delivered() => self.gather(),
                () = tokio::time::sleep(NUDGE) => producer.nudge(),
                () = self.signal.until(|wish| wish == Wish::Stop) => return Ok(false),
            }
        }
    }

    /// The same of a record that was consumed.
    pub async fn send_consumed(&mut self, origin: &RawRecord, blame: &Blame<'_>, number: u64) -> Result<bool> {
        let value = match &origin.value {
            None => None,
            Some(Body::Bytes(bytes)) => Some(bytes.clone()),
            Some(Body::Payload(payload)) => Some(payload::materialise(&**payload, self.spec.inline).await?),
        };
        let letter = Letter {
            origin: Origin::Kafka { tp: &origin.tp, offset: origin.offset },
            key: origin.key.as_ref(),
            value: value.as_ref(),
            headers: &origin.headers,
            timestamp: origin.timestamp,
        };
        self.send(&letter, blame, number).await
    }

    /// Resolves when there are deliveries to take; never while no letter was sent.
    pub async fn delivered(&self) {
        match &self.producer {
            Some(producer) => producer.delivered().await,
            None => std::future::pending().await,
        }
    }

    /// What was delivered, and what never will be, since the last call.
    pub fn take(&mut self) -> Delivered {
        self.gather();
        let mut delivered = std::mem::take(&mut self.delivered);
        for refused in &mut delivered.failed {
            refused.error = self.undeliverable(&refused.error);
        }
        delivered
    }

    /// How many letters are on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends what waits for a batch to fill.
    pub fn nudge(&self) {
        if let Some(producer) = &self.producer
            && self.in_flight > 0
        {
            producer.nudge();
        }
    }

    /// Waits until every letter is in Kafka, or one never will be, or the time is up.
    pub async fn settle(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        self.gather();
        while let Some(producer) = &self.producer
            && self.in_flight > 0
            && self.delivered.failed.is_empty()
        {
            if Instant::now() >= deadline {
                let reason = producer.last_error().unwrap_or_else(|| "no answer".into());
                let (waiting, topic) = (self.in_flight, &self.spec.topic.name);
                tracing::warn!(
                    waiting,
                    topic,
                    reason,
                    "Dead letters are not written yet; no offset passes their records"
                );
                return;
            }
            producer.nudge();
            let _ = tokio::time::timeout(NUDGE, producer.delivered()).await;
            self.gather();
        }
    }

    fn gather(&mut self) {
        let Some(producer) = &self.producer else { return };
        let mut news = Delivered::default();
        producer.take(&mut news);
        self.in_flight = self.in_flight.saturating_sub(news.done.len() + news.failed.len());
        self.failures.count(news.failed.len());
        self.delivered.done.append(&mut news.done);
        self.delivered.failed.append(&mut news.failed);
    }

    fn undeliverable(&self, error: &ConnectError) -> ConnectError {
        ConnectError::fatal(format!(
            "its dead letter cannot be written: {}. Nothing is skipped without one: mend the topic {} (the right to \
             write, max.message.bytes, producer.override.max.request.size), then restart the task",
            error.chain(),
            self.spec.topic.name
        ))
    }

    /// The record's own headers, then what went wrong, in Java's order.
    fn headers(&self, letter: &Letter<'_>, blame: &Blame<'_>) -> KafkaHeaders {
        let mut headers = letter.headers.clone();
        // Only the headers tell where in a source it was.
        if !self.spec.topic.context.unwrap_or(matches!(letter.origin, Origin::Source { .. })) {
            return headers;
        }
        let mut tell = |name: &str, text: String| {
            // Texts are far below the limit of a blob; one that is not is told as null.
            headers.push((Arc::from(format!("{HEADER}{name}")), Blob::whole(text).ok()));
        };
        match letter.origin {
            Origin::Kafka { tp, offset } => {
                tell("topic", tp.topic.to_string());
                tell("partition", tp.partition.to_string());
                tell("offset", offset.to_string());
            }
            Origin::Source { topic, position } => {
                if let Some(topic) = topic {
                    tell("topic", topic.into());
                }
                if let Some(position) = position {
                    tell("source.partition", offset_json::encode(&position.partition.0));
                    tell("source.offset", offset_json::encode(&position.render()));
                }
            }
        }
        tell("connector.name", self.id.connector.to_string());
        tell("task.id", self.id.task.to_string());
        tell("stage", blame.stage.java_name().into());
        tell("class.name", blame.class.into());
        tell("exception.class.name", report::java_name(blame.error.kind()).into());
        tell("exception.message", blame.error.chain());
        tell("exception.stacktrace", report::causes(blame.error));
        headers
    }
}
