//! The way of a source's records from the chain to the outbox: topics are made, payloads read, converters write.
//!
//! `source.rs` calls it for what comes from the chain, `stage/` for what had to wait.

use std::sync::Arc;

use pipette_api::{
    Blob, Body, ConnectError, Datum, EncodedRecord, ErrorKind, Partition, Payload, Position, Record, SourceEntry,
    Value, Wish,
};

use super::guard::Stage;
use super::ledger::Mark;
use super::outbox::{Bad, PRODUCER, Unsent};
use super::patience;
use super::payload;
use super::raw_input::{Input, RawInput};
use super::report::{Failure, Place};
use super::source::SourceLoop;
use crate::kafka::producer::Outgoing;

/// Attempts to read one payload, about half a minute with the waits between them.
pub(super) const PAYLOAD_ATTEMPTS: u32 = 9;

/// Whoever hands over bad input, as Java calls it.
const SOURCE_TASK: &str = "org.apache.kafka.connect.source.SourceTask";

impl SourceLoop {
    /// Everything but records.
    pub(super) async fn entry(&mut self, batch: u64, entry: SourceEntry) -> Result<(), Unsent> {
        match entry {
            SourceEntry::Encoded(record, position) => self.encoded(batch, &record, position.into()).await?,
            SourceEntry::Position(position) => self.outbox.settled(batch, Mark::At(position)),
            SourceEntry::Forget(partition) => self.outbox.settled(batch, Mark::Forget(partition)),
            SourceEntry::Bad { position, raw, error } => {
                let bad = (Stage::Poll, SOURCE_TASK, error);
                Box::pin(self.bad(batch, position.into(), bad, &Input::Raw(raw))).await?;
            }
            SourceEntry::Record(_) => unreachable!("a record goes through the chain"),
        }
        Ok(())
    }

    /// A record that has come through the chain.
    pub(super) async fn deliver(
        &mut self,
        batch: u64,
        record: Record,
        position: Option<Position>,
    ) -> Result<(), Unsent> {
        if !self.topics.is_known(&record.topic) {
            if let Some(error) = self.topics.refusal(&record.topic) {
                let bad = (Stage::Produce, PRODUCER, error);
                return Box::pin(self.bad(batch, position.into(), bad, &Input::Record(&record))).await;
            }
            self.make_topic(&record.topic).await?;
        }
        if self.expander.is_some() {
            return Box::pin(self.expand(batch, record, position)).await;
        }
        self.deliver_whole(batch, record, position).await
    }

    /// The same in one piece, for a topic that is there.
    pub(super) async fn deliver_whole(
        &mut self,
        batch: u64,
        mut record: Record,
        position: Option<Position>,
    ) -> Result<(), Unsent> {
        if let Err(error) = self.read_payloads(&mut record, position.as_ref()).await? {
            let bad = (Stage::ValueConverter, self.codec.class(Stage::ValueConverter), error);
            return Box::pin(self.bad(batch, position.into(), bad, &Input::Record(&record))).await;
        }
        match self.codec.encode(&record) {
            Ok(outgoing) => {
                self.batch_bytes += outgoing.size();
                self.outbox.send(batch, position.into(), &outgoing, &self.guard).await
            }
            Err((stage, error)) => {
                let bad = (stage, self.codec.class(stage), error);
                Box::pin(self.bad(batch, position.into(), bad, &Input::Record(&record))).await
            }
        }
    }

    /// Puts the bytes of payloads in their place, or says why they can never be had.
    pub(super) async fn read_payloads(
        &self,
        record: &mut Record,
        position: Option<&Position>,
    ) -> Result<Result<(), ConnectError>, Unsent> {
        for datum in [&mut record.key, &mut record.value] {
            if let Value::Payload(payload) = &datum.value {
                match self.materialise(&**payload, &record.topic, position.map(|at| &at.partition)).await? {
                    Ok(bytes) => *datum = Datum { schema: datum.schema.take(), value: Value::Bytes(bytes) },
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Ok(Ok(()))
    }

    /// A record in Kafka's form.
    pub(super) async fn encoded(&mut self, batch: u64, record: &EncodedRecord, mark: Mark) -> Result<(), Unsent> {
        if !self.topics.is_known(&record.topic) {
            if let Some(error) = self.topics.refusal(&record.topic) {
                return Box::pin(self.bad(batch, mark, (Stage::Produce, PRODUCER, error), &Input::Encoded(record)))
                    .await;
            }
            self.make_topic(&record.topic).await?;
        }
        let value = match &record.value {
            None => None,
            Some(Body::Bytes(bytes)) => Some(bytes.clone()),
            Some(Body::Payload(payload)) => {
                match self.materialise(&**payload, &record.topic, mark.partition()).await? {
                    Ok(bytes) => Some(bytes),
                    Err(error) => {
                        let bad = (Stage::Produce, SOURCE_TASK, error);
                        return Box::pin(self.bad(batch, mark, bad, &Input::Encoded(record))).await;
                    }
                }
            }
        };
        let outgoing = Outgoing {
            topic: &record.topic,
            partition: record.partition,
            key: record.key.as_ref().map(Blob::as_bytes),
            value: value.as_ref().map(Blob::as_bytes),
            headers: &record.headers,
            timestamp: record.timestamp,
        };
        self.batch_bytes += outgoing.size();
        self.outbox.send(batch, mark, &outgoing, &self.guard).await
    }

    /// The bytes of a payload, or why this one can never be had. What may be had later is tried again, and is no bad
    /// record: when it lasts, the task ends, so that a share that is away costs no record.
    async fn materialise(
        &self,
        payload: &dyn Payload,
        topic: &Arc<str>,
        from: Option<&Arc<Partition>>,
    ) -> Result<Result<Blob, ConnectError>, Unsent> {
        let mut attempt = 1;
        loop {
            match payload::materialise(payload, self.inline).await {
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    if self.signal.wish() == Wish::Stop {
                        return Err(Unsent::Recalled);
                    }
                    if attempt == PAYLOAD_ATTEMPTS {
                        let place = Place::Source { topic: Some(Arc::clone(topic)), from: from.cloned() };
                        return Err(Failure::at(Stage::ValueConverter, place, error).into());
                    }
                    patience::rest(&self.signal, &error, attempt, "A file cannot be read for now; trying again").await;
                    attempt += 1;
                }
                outcome => return Ok(outcome),
            }
        }
    }

    /// A record that will not be sent: kept, skipped and counted, or the end of the task.
    pub(super) async fn bad(
        &mut self,
        batch: u64,
        mark: Mark,
        (stage, class, error): (Stage, &'static str, ConnectError),
        input: &Input<'_>,
    ) -> Result<(), Unsent> {
        if error.kind() == ErrorKind::Data && input.is_superseded().await {
            tracing::warn!(
                error = error.chain(),
                "A file changed on its way: what is there now is read, and its earlier state is dropped"
            );
            // Without its position: the earlier state counts as read by nobody.
            self.outbox.settled(batch, Mark::None);
            return Ok(());
        }
        let from = mark.partition().cloned();
        let place = Place::Source { topic: input.topic(), from };
        let input = self.outbox.has_dead_letters().then(|| RawInput::new(input, &mut self.codec));
        self.outbox.bad(batch, mark, Bad { stage, class, place, input, error }, &self.guard).await
    }

    /// Makes a topic, again and again while Kafka is away.
    async fn make_topic(&mut self, topic: &Arc<str>) -> Result<(), Unsent> {
        let mut attempt = 1;
        loop {
            match self.topics.ensure(topic).await {
                Ok(()) => {
                    self.pulse.granted();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    self.pulse.refused("topic", error.chain());
                    patience::rest(&self.signal, &error, attempt, "The topic cannot be made yet; trying again").await;
                    attempt += 1;
                }
                Err(error) => return Err(Failure::new("topic creation", error).into()),
            }
            if self.signal.wish() == Wish::Stop {
                return Err(Unsent::Recalled);
            }
        }
    }
}
