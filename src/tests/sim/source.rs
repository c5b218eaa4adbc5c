//! Source tasks: the real loop, outbox, ledger and commits, with a source whose partitions go on and on, on a Kafka that
//! is slow, refuses records and forgets acknowledgements, under a worker that dies.
//!
//! Two worlds: at-least-once with a store of its own, and exactly-once with transactions.

mod world;

use std::collections::BTreeSet;
use std::panic::panic_any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pipette_api::{
    Blob, Body, Boundary, ConnectError, Datum, EncodedRecord, Hook, OffsetMap, OffsetShape, Partition, Position,
    Record, Result, Signal, SourceBatch, SourceContext, SourceEntry, SourceRecord, SourceTask, Value, Wish,
    async_trait,
};
use pipette_kit::{Dice, Run, Simulation};
use tokio::sync::Notify;

use super::kafka::{Cluster, HUGE, LARGE, LETTERS, ModelRows};
use super::life::{End, Habits, Lives, Offsets, Planned};
use super::offsets::Shelf;
use crate::store::offset_json;
use crate::store::stores::Chosen;
use crate::store::topic::TopicOffsets;
use crate::task::spec::Until;

const AT_LEAST_ONCE: Simulation = Simulation { name: "source", seeds: 4_000, steps: 120 };
const EXACTLY_ONCE: Simulation = Simulation { name: "source_exactly_once", seeds: 2_000, steps: 120 };
const TOPIC: &str = "t";
/// Partitions of the source.
const PARTITIONS: usize = 3;

/// What a record of the source is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// A position without a record.
    Filtered,
    Bad,
    /// Kafka refuses it, later.
    Large,
    /// It is refused at once.
    Huge,
}

/// The outside of a source task.
#[expect(clippy::struct_excessive_bools, reason = "each is a fault or a habit of its own")]
struct Sea {
    chance: u64,
    /// Records go through a chain with a step that waits.
    waits: bool,
    /// Records there are, by partition.
    produced: [u64; PARTITIONS],
    spoils: bool,
    transactional: bool,
    by_connector: bool,
    calm: bool,
    /// The next poll.
    fails: Option<End>,
    troubled: bool,
    /// Records that the connector itself dropped with a transaction.
    dropped: BTreeSet<(usize, u64)>,
    /// Where the last life began.
    begun_at: Vec<(usize, [u64; PARTITIONS])>,
    tolerated_without_letter: bool,
}

#[derive(Clone)]
struct Shore {
    sea: Arc<Mutex<Sea>>,
    news: Arc<Notify>,
    cluster: Cluster,
    shelf: Option<Shelf>,
}

impl Shore {
    fn lock(&self) -> MutexGuard<'_, Sea> {
        self.sea.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In Kafka, in a dead letter, or nothing to be there.
    fn is_dealt_with(&self, partition: usize, number: u64) -> bool {
        let sea = self.lock();
        let kind = sea.kind(partition, number);
        let value = value(partition, number, kind);
        match kind {
            Kind::Filtered => true,
            Kind::Good => {
                sea.dropped.contains(&(partition, number)) || self.cluster.lock().sees(TOPIC, value.as_bytes())
            }
            _ => sea.tolerated_without_letter || self.cluster.lock().sees(LETTERS, value.as_bytes()),
        }
    }

    /// Everything of a partition up to there is dealt with, or the source lost a record.
    fn assert_kept(&self, partition: usize, from: u64, until: u64, why: &str) {
        for number in from..until {
            assert!(self.is_dealt_with(partition, number), "{why}, but {partition}:{number} is nowhere");
        }
    }
}

impl Sea {
    fn kind(&self, partition: usize, number: u64) -> Kind {
        let drawn = Dice(self.chance ^ (partition as u64) << 40 ^ number << 8).below(100);
        match drawn {
            0..=7 => Kind::Filtered,
            8..=14 if self.spoils => Kind::Bad,
            15..=19 if self.spoils && !self.transactional => Kind::Large,
            20..=24 if self.spoils && !self.transactional => Kind::Huge,
            _ => Kind::Good,
        }
    }
}

fn value(partition: usize, number: u64, kind: Kind) -> String {
    let end = match kind {
        Kind::Large => LARGE,
        Kind::Huge => HUGE,
        Kind::Good | Kind::Filtered | Kind::Bad => "",
    };
    format!("{partition}:{number}{end}")
}

fn of_value(value: &[u8]) -> (usize, u64) {
    let text = std::str::from_utf8(value).unwrap();
    let mut parts = text.split(':');
    (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse().unwrap())
}

/// The source plugin: reads on where its offsets say.
struct Ship {
    shore: Shore,
    life: usize,
    signal: Signal,
    dice: Dice,
    next: [u64; PARTITIONS],
    partitions: [Arc<Partition>; PARTITIONS],
    shape: Arc<OffsetShape>,
    batches: usize,
    /// Since the last end of a transaction that the connector sets itself.
    since: Vec<(usize, u64)>,
    /// Hooks that have run: up to which batch.
    acked: Arc<Mutex<usize>>,
    committed: Arc<Mutex<usize>>,
}

impl Ship {
    fn new(shore: Shore, life: usize, signal: Signal, dice: Dice) -> Self {
        let partitions = std::array::from_fn(|at| Arc::new(partition(at)));
        let shape = Arc::new(OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() });
        let next = [0; PARTITIONS];
        let (acked, committed) = (Arc::default(), Arc::default());
        Self { shore, life, signal, dice, next, partitions, shape, batches: 0, since: Vec::new(), acked, committed }
    }

    fn position(&self, partition: usize, number: u64) -> Position {
        // Some sources share one partition object, some make a new one each time.
        let own = &self.partitions[partition];
        let partition = if number.is_multiple_of(5) { Arc::new((**own).clone()) } else { Arc::clone(own) };
        Position { partition, shape: Arc::clone(&self.shape), marks: [number.cast_signed() + 1, 0] }
    }

    fn entry(&self, partition: usize, number: u64, kind: Kind) -> SourceEntry {
        let position = Some(self.position(partition, number));
        let value = Blob::whole(value(partition, number, kind)).unwrap();
        match kind {
            Kind::Filtered => SourceEntry::Position(self.position(partition, number)),
            Kind::Bad => SourceEntry::Bad { position, raw: Some(value), error: ConnectError::data("bad") },
            _ if self.shore.lock().waits => {
                let text = |text: String| Datum::schemaless(Value::text(text));
                let mut record = Record::new(TOPIC.into(), text(self::value(partition, number, kind)));
                record.key = text(partition.to_string());
                SourceEntry::Record(SourceRecord { record, position })
            }
            _ => {
                let record = EncodedRecord {
                    topic: TOPIC.into(),
                    partition: None,
                    key: Some(Blob::whole(partition.to_string()).unwrap()),
                    value: Some(Body::Bytes(value)),
                    headers: Vec::new(),
                    timestamp: None,
                };
                SourceEntry::Encoded(record, position)
            }
        }
    }

    fn fill(&mut self) -> SourceBatch {
        let mut entries = Vec::new();
        let most = 1 + self.dice.below(8);
        let sea = self.shore.lock();
        let by_connector = sea.by_connector;
        for _ in 0..most {
            let at = self.dice.index(PARTITIONS);
            if self.next[at] < sea.produced[at] {
                entries.push((at, self.next[at], sea.kind(at, self.next[at])));
                self.next[at] += 1;
            }
        }
        drop(sea);
        if by_connector {
            self.since.extend(entries.iter().map(|(at, number, _)| (*at, *number)));
        }
        let boundary = self.boundary();
        let entries: Vec<_> = entries.into_iter().map(|(at, number, kind)| self.entry(at, number, kind)).collect();
        if entries.is_empty() {
            return SourceBatch { boundary, ..SourceBatch::default() };
        }
        self.batches += 1;
        let acked = self.dice.percent(50).then(|| self.hook("acked", &self.acked));
        let committed = self.dice.percent(50).then(|| self.hook("committed", &self.committed));
        SourceBatch { entries, acked, committed, boundary }
    }

    fn boundary(&mut self) -> Boundary {
        let mut sea = self.shore.lock();
        if !sea.by_connector {
            return Boundary::Continue;
        }
        let boundary = match self.dice.below(6) {
            _ if sea.calm => Boundary::Commit,
            0 => Boundary::Abort,
            1 | 2 => Boundary::Commit,
            _ => Boundary::Continue,
        };
        match boundary {
            Boundary::Continue => {}
            Boundary::Commit => self.since.clear(),
            Boundary::Abort => sea.dropped.extend(self.since.drain(..)),
        }
        boundary
    }

    /// A hook that knows what must be true when it runs.
    fn hook(&self, name: &'static str, last: &Arc<Mutex<usize>>) -> Hook {
        let (shore, next, batch) = (self.shore.clone(), self.next, self.batches);
        let (last, signal) = (Arc::clone(last), self.signal.clone());
        Hook::new(move || {
            assert!(!signal.is_given_up(), "{name} ran for a task that was given up");
            let mut last = last.lock().unwrap();
            assert!(*last < batch, "{name} ran for batch {batch} behind that of {}", *last);
            *last = batch;
            for (at, next) in next.into_iter().enumerate() {
                shore.assert_kept(at, 0, next, name);
                if name == "committed"
                    && let Some(shelf) = &shore.shelf
                {
                    let disk = shelf.lock();
                    let kept = disk.kept().get(&partition(at)).map_or(0, mark);
                    assert!(kept >= next, "committed ran with {at} at {kept} stored and {next} handed over");
                }
            }
        })
    }
}

fn partition(at: usize) -> Partition {
    Partition::of("p", i64::try_from(at).unwrap())
}

fn mark(offset: &OffsetMap) -> u64 {
    offset["at"].as_int().unwrap().cast_unsigned()
}

#[async_trait]
impl SourceTask for Ship {
    async fn start(&mut self, context: SourceContext) -> Result<()> {
        for at in 0..PARTITIONS {
            let kept = context.offsets.get(&self.partitions[at]).await?;
            self.next[at] = kept.as_ref().map_or(0, mark);
        }
        self.shore.lock().begun_at.push((self.life, self.next));
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        loop {
            {
                let mut sea = self.shore.lock();
                match sea.fails.take() {
                    Some(End::Failed) => return Err(ConnectError::fatal("the source broke")),
                    Some(End::Panicked) => {
                        drop(sea);
                        panic_any(Planned)
                    }
                    _ => {}
                }
                if std::mem::take(&mut sea.troubled) {
                    return Err(ConnectError::retriable("the source is away").retry_after(Duration::from_millis(20)));
                }
            }
            if self.signal.wish() != Wish::Run {
                return Ok(SourceBatch::empty());
            }
            let more = {
                let sea = self.shore.lock();
                (0..PARTITIONS).any(|at| self.next[at] < sea.produced[at]) || (sea.calm && !self.since.is_empty())
            };
            if more {
                return Ok(self.fill());
            }
            tokio::select! {
                () = self.signal.recalled() => {}
                () = self.shore.news.notified() => {}
            }
        }
    }
}

#[test]
fn a_source_task_loses_nothing_and_keeps_the_order() {
    AT_LEAST_ONCE.run(|run| world::live(run, false));
}

#[test]
fn an_exactly_once_source_task_shows_every_record_once() {
    EXACTLY_ONCE.run(|run| world::live(run, true));
}
