//! Where a consumer is in its partitions: which of them are its own, what is committed for those, and how they are sent
//! back.
//!
//! `conversation.rs` keeps it and calls from the consumer's thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipette_api::{Assigned, ConnectError, Offsets, Result, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::conversation::lock;
use super::intents::Intents;
use super::sys;

/// How often somebody else is looked after while an offset commit waits for its answer.
const LOOK: Duration = Duration::from_millis(100);
/// How long librdkafka may take to note where it is to read: it asks nobody for that.
const SEEK: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Positions {
    owned: Mutex<BTreeSet<TopicPartition>>,
    /// Partitions taken away or sent back since the thread asked last: what it holds of them must not reach the sink any
    /// more.
    stale: Mutex<Vec<TopicPartition>>,
    /// How often partitions were sent back.
    generation: AtomicU64,
    /// What the sink has written beside offsets.
    intents: Mutex<Intents>,
}

impl Positions {
    /// Partitions come.
    pub(super) fn assigned(&self, assigned: &[Assigned]) {
        lock(&self.intents).assigned(assigned);
        lock(&self.owned).extend(assigned.iter().map(|partition| partition.tp.clone()));
    }

    /// Partitions go, but may still be committed for.
    pub(super) fn leaving(&self, leaving: &[TopicPartition]) {
        lock(&self.stale).extend(leaving.iter().cloned());
    }

    /// Partitions are gone.
    pub(super) fn gone(&self, gone: &[TopicPartition]) {
        lock(&self.owned).retain(|tp| !gone.contains(tp));
    }

    /// Partitions taken away or sent back since the last call.
    pub(super) fn take_stale(&self) -> Vec<TopicPartition> {
        std::mem::take(&mut *lock(&self.stale))
    }

    /// These stand beside their offsets from now on.
    pub(super) fn note(&self, notes: BTreeMap<TopicPartition, (i64, Arc<str>)>) {
        lock(&self.intents).note(notes);
    }

    /// How often partitions were sent back.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Reads on from these offsets, in those of the partitions that are still here. A partition that is paused stays so.
    pub(super) fn rewind<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        mut offsets: Offsets,
        generation: u64,
    ) -> Result<()> {
        self.leave_out_others(&mut offsets);
        lock(&self.stale).extend(offsets.keys().cloned());
        self.generation.store(generation, Ordering::Relaxed);
        if offsets.is_empty() {
            return Ok(());
        }
        seek(consumer, offsets.iter().map(|(tp, offset)| (tp, *offset, -1))).map_err(|error| {
            // Reading on would leave a gap behind the sink's back.
            let text = format!("Cannot go back to the committed offsets after a flush that failed: {error}");
            ConnectError::fatal(text)
        })
    }

    /// How many partitions are here.
    pub(super) fn count(&self) -> usize {
        lock(&self.owned).len()
    }

    /// Commits, with the open intents beside. Kafka takes what a member commits for partitions of others, so they are
    /// left out: a loop that has yet to hear of it may name some.
    pub(super) fn commit<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        mut offsets: Offsets,
        new: Option<&Arc<str>>,
        meanwhile: impl Fn(),
    ) -> Result<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        let asked = offsets.keys().next().cloned();
        self.leave_out_others(&mut offsets);
        if let Some(other) = asked.filter(|_| offsets.is_empty()) {
            return Err(ConnectError::retriable(format!("{other} is no longer a partition of this task")));
        }
        let mut intents = lock(&self.intents);
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (tp, offset) in &offsets {
            let mut element = list.add_partition(&tp.topic, tp.partition);
            let _ = element.set_offset(Offset::Offset(*offset));
            if let Some(metadata) = intents.beside(tp, *offset, new) {
                element.set_metadata(&metadata);
            }
        }
        match sys::commit(consumer.client().native_ptr(), &list, LOOK, meanwhile) {
            // Nothing new to commit.
            Ok(()) | Err(RDKafkaErrorCode::NoOffset) => {}
            Err(code) => {
                let error = KafkaError::ConsumerCommit(code);
                return Err(ConnectError::retriable(format!("Kafka did not take the offsets: {error}")));
            }
        }
        for (tp, offset) in &offsets {
            intents.committed(tp, *offset, new);
        }
        Ok(())
    }

    fn leave_out_others(&self, offsets: &mut Offsets) {
        let owned = lock(&self.owned);
        offsets.retain(|tp, _| owned.contains(tp));
    }
}

/// Has librdkafka read on from these offsets. The epoch is that of the leader which had the record before, so that an offset
/// which is no longer what it was can be told; -1 when it is not known.
pub(super) fn seek<'a, C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    places: impl Iterator<Item = (&'a TopicPartition, i64, i32)>,
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    let mut epochs = Vec::new();
    for (tp, offset, epoch) in places {
        let _ = list.add_partition(&tp.topic, tp.partition).set_offset(Offset::Offset(offset));
        epochs.push(epoch);
    }
    sys::set_epochs(&mut list, &epochs);
    let sought = consumer.seek_partitions(list, SEEK)?;
    sought.elements().iter().try_for_each(TopicPartitionListElem::error)
}
