//! The sink of the simulator's sink tasks, and the outside system behind it: it buffers, refuses, is away, and what it could
//! not flush it has forgotten.
//!
//! `sink.rs` has the world that it lives in.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::panic_any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pipette_api::{
    Assigned, ConnectError, Offsets, Result, Seeks, Signal, SinkBatch, SinkContext, SinkTask, TopicPartition,
    async_trait,
};
use pipette_kit::Dice;

use super::kafka::{Cluster, LETTERS};
use super::life::{End, Planned};

/// The outside system of the sink.
#[expect(clippy::struct_excessive_bools, reason = "each is a fault or a habit of its own")]
pub(super) struct Pool {
    pub(super) chance: u64,
    pub(super) spoils: bool,
    pub(super) letters: bool,
    /// Records are durable with `put`, or with `flush` only.
    pub(super) at_once: bool,
    /// A flush that fails leaves nothing of what was put before it, as that of a sink does which has handed its buffer on.
    pub(super) forgets: bool,
    /// In a hundred flushes.
    pub(super) fails_to_flush: u64,
    /// Until the next attempt after one that found it away.
    pub(super) stays_away: Duration,
    pub(super) durable: BTreeSet<(i32, i64)>,
    /// Put at least once, durable or not.
    pub(super) put: BTreeSet<(i32, i64)>,
    pub(super) calm: bool,
    pub(super) fails: Option<End>,
    pub(super) away: u64,
    pub(super) dice: Dice,
}

/// What becomes of a flush.
#[derive(PartialEq, Eq)]
enum Fate {
    Fails,
    Partial,
    Succeeds,
}

#[derive(Clone)]
pub(super) struct Shore {
    pub(super) pool: Arc<Mutex<Pool>>,
    pub(super) cluster: Cluster,
}

impl Shore {
    pub(super) fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_dealt_with(&self, partition: i32, offset: i64) -> bool {
        let pool = self.lock();
        if !pool.is_bad(partition, offset) {
            return pool.durable.contains(&(partition, offset));
        }
        !pool.letters || self.cluster.lock().sees(LETTERS, value(partition, offset).as_bytes())
    }
}

impl Pool {
    fn is_bad(&self, partition: i32, offset: i64) -> bool {
        let seed = self.chance ^ u64::from(partition.unsigned_abs()) << 40 ^ offset.cast_unsigned() << 8;
        self.spoils && Dice(seed).percent(10)
    }
}

pub(super) fn value(partition: i32, offset: i64) -> String {
    format!("{partition}:{offset}")
}

pub(super) fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// The sink plugin.
pub(super) struct Bucket {
    shore: Shore,
    signal: Signal,
    buffer: Vec<(i32, i64)>,
    /// The next record to come, by partition that is open.
    next: BTreeMap<i32, i64>,
    /// Partitions whose records come again: from `next` on, or from before it.
    again: BTreeSet<i32>,
}

impl Bucket {
    pub(super) fn new(shore: Shore, signal: Signal) -> Self {
        Self { shore, signal, buffer: Vec::new(), next: BTreeMap::new(), again: BTreeSet::new() }
    }

    /// The flush fails.
    fn fail(&mut self) -> ConnectError {
        for (partition, next) in &mut self.next {
            let unwritten = self.buffer.iter().filter(|(of, _)| of == partition).map(|(_, offset)| *offset);
            *next = unwritten.fold(*next, i64::min);
        }
        self.again.extend(self.next.keys());
        if self.shore.lock().forgets {
            self.buffer.clear();
        }
        ConnectError::retriable("the sink cannot flush")
    }
}

#[async_trait]
impl SinkTask for Bucket {
    async fn start(&mut self, _: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, assigned: &[Assigned]) -> Result<Seeks> {
        for Assigned { tp, committed } in assigned {
            let begin = committed.as_ref().map_or(0, |(offset, _)| *offset);
            assert!(self.next.insert(tp.partition, begin).is_none(), "{tp} is opened twice");
        }
        Ok(Seeks::new())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        assert!(!batch.records.is_empty(), "an empty batch is put");
        let mut pool = self.shore.lock();
        match pool.fails.take() {
            Some(End::Failed) => return Err(ConnectError::fatal("the sink broke")),
            Some(End::Panicked) => {
                drop(pool);
                panic_any(Planned)
            }
            _ => {}
        }
        if pool.away > 0 {
            pool.away -= 1;
            return Err(ConnectError::retriable("the sink is away").retry_after(pool.stays_away));
        }
        let all = batch.records.iter().map(|record| (record.origin.tp.partition, record.origin.offset));
        if all.clone().any(|(partition, offset)| pool.is_bad(partition, offset)) {
            return Err(ConnectError::data("one of them is bad"));
        }
        for (partition, offset) in all {
            let next = self.next.get_mut(&partition).expect("records of partitions that are open");
            if self.again.remove(&partition) {
                *next = offset.min(*next);
            }
            assert!(offset >= *next, "{partition}:{offset} comes again within one assignment, or out of order");
            for skipped in *next..offset {
                assert!(pool.is_bad(partition, skipped), "{partition}:{skipped} was skipped");
            }
            *next = offset + 1;
            pool.put.insert((partition, offset));
            if pool.at_once {
                pool.durable.insert((partition, offset));
            } else {
                self.buffer.push((partition, offset));
            }
        }
        Ok(())
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        let (time, fate) = {
            let mut pool = self.shore.lock();
            let fate = if pool.calm { 99 } else { pool.dice.below(100) };
            let fate = if fate < pool.fails_to_flush {
                Fate::Fails
            } else if fate < pool.fails_to_flush + 15 {
                Fate::Partial
            } else {
                Fate::Succeeds
            };
            (Duration::from_millis(pool.dice.below(20)), fate)
        };
        tokio::time::sleep(time).await;
        if fate == Fate::Fails {
            return Err(self.fail());
        }
        let mut pool = self.shore.lock();
        if fate == Fate::Succeeds {
            pool.durable.extend(self.buffer.drain(..));
            return Ok(upto.clone());
        }
        // Only some of it became durable: the lowest that is not is what may be said.
        let most = pool.dice.index(self.buffer.len() + 1);
        pool.durable.extend(self.buffer.drain(..most));
        let lowest =
            |tp: &TopicPartition| self.buffer.iter().filter(|(of, _)| *of == tp.partition).map(|(_, at)| *at).min();
        Ok(upto.iter().map(|(tp, offset)| (tp.clone(), lowest(tp).map_or(*offset, |low| low.min(*offset)))).collect())
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        for tp in partitions {
            self.next.remove(&tp.partition);
            self.again.remove(&tp.partition);
            self.buffer.retain(|(partition, _)| *partition != tp.partition);
        }
        let _ = self.signal.wish();
        Ok(())
    }
}
