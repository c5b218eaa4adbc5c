//! Source tasks: the real loop, outbox, ledger and commits, with a source whose partitions go on and on, on a Kafka that
//! is slow, refuses records and forgets acknowledgements, under a worker that dies.
//!
//! Two worlds: at-least-once with a store of its own, and exactly-once with transactions.

use std::collections::BTreeSet;
use std::panic::panic_any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pipette_api::{
    Blob, Body, Boundary, ConnectError, EncodedRecord, Hook, OffsetMap, OffsetShape, Partition, Position, Result,
    Signal, SourceBatch, SourceContext, SourceEntry, SourceTask, Wish, async_trait,
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
struct Sea {
    chance: u64,
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

/// The world around.
struct World {
    shore: Shore,
    habits: Habits,
    lives: Lives,
    begun: usize,
    dice: Dice,
    /// The offsets topic as this worker has read it.
    topic: Arc<TopicOffsets>,
    /// How far the model's news have been judged.
    judged: usize,
    changes: usize,
    /// First arrivals in order, by partition.
    first: [BTreeSet<u64>; PARTITIONS],
    committed: [u64; PARTITIONS],
}

impl World {
    fn new(run: &mut Run, exactly_once: bool) -> Self {
        let dice = &mut run.dice;
        let cluster = Cluster::new(Dice(dice.bits()));
        let mut habits = Habits::new(cluster.clone());
        habits.tolerate = dice.percent(60);
        habits.letters = habits.tolerate && dice.percent(60);
        habits.flush_interval = Duration::from_millis([20, 60, 2_000][dice.index(3)]);
        if exactly_once {
            let interval = Duration::from_millis([20, 200][dice.index(2)]);
            habits.until = Some([Until::Poll, Until::Interval(interval), Until::Connector][dice.index(3)]);
        }
        let sea = Sea {
            chance: dice.bits(),
            produced: [0; PARTITIONS],
            spoils: habits.tolerate,
            transactional: exactly_once,
            by_connector: habits.until == Some(Until::Connector),
            calm: false,
            fails: None,
            troubled: false,
            dropped: BTreeSet::new(),
            begun_at: Vec::new(),
            tolerated_without_letter: habits.tolerate && !habits.letters,
        };
        let shelf = (!exactly_once).then(|| Shelf::new(Dice(dice.bits())));
        let shore = Shore { sea: Arc::new(Mutex::new(sea)), news: Arc::default(), cluster: cluster.clone(), shelf };
        Self {
            shore,
            habits,
            lives: Lives::default(),
            begun: 0,
            dice: Dice(dice.bits()),
            topic: Arc::new(TopicOffsets::over(Box::new(ModelRows(cluster)))),
            judged: 0,
            changes: 0,
            first: Default::default(),
            committed: [0; PARTITIONS],
        }
    }

    fn begin(&mut self) {
        self.begun += 1;
        let (shore, number, dice) = (self.shore.clone(), self.begun, Dice(self.dice.bits()));
        let offsets = match &self.shore.shelf {
            Some(shelf) => {
                let shelf = shelf.clone();
                Offsets::Store(Box::new(move |signal| shelf.of(signal)))
            }
            None => Offsets::Topic(Chosen::only(Arc::clone(&self.topic))),
        };
        let ship = |signal: Signal| -> Box<dyn SourceTask> { Box::new(Ship::new(shore, number, signal, dice)) };
        self.lives.0.push(self.habits.begin(number, offsets, ship));
    }

    fn act(&mut self, dice: &mut Dice, run: &mut Run) {
        let what = dice.below(100);
        let current = self.lives.current().map(|life| life.number);
        run.note(|| format!("{what} with life {current:?}, offsets {:?}", self.committed));
        match what {
            0..=24 => {
                let at = dice.index(PARTITIONS);
                self.shore.lock().produced[at] += dice.below(6);
                self.shore.news.notify_one();
            }
            25..=44 => self.shore.cluster.lock().some_arrive(dice),
            45..=64 => self.shore.cluster.lock().some_are_acknowledged(dice),
            65..=68 => self.shore.cluster.lock().catch_up(),
            69 | 70 => self.shore.lock().fails = Some(if dice.percent(50) { End::Failed } else { End::Panicked }),
            71 | 72 => self.shore.lock().troubled = true,
            73..=79 => {
                let wish = [Wish::Run, Wish::Run, Wish::Pause, Wish::Stop][dice.index(4)];
                if let Some(life) = self.lives.current() {
                    life.wish(wish);
                }
            }
            80 | 81 => self.shore.cluster.lock().denies = dice.percent(50),
            82..=84 => {
                if let Some(life) = self.lives.current() {
                    life.frozen = dice.percent(60);
                }
            }
            85..=87 => self.give_up(),
            88..=90 => self.lives.0.iter_mut().for_each(|life| life.frozen = false),
            91..=94 => self.crash(),
            _ if current.is_none() => self.begin(),
            _ => {}
        }
    }

    /// It did not stop in time: it is left to itself, and another may start.
    fn give_up(&mut self) {
        if let Some(life) = self.lives.current() {
            life.wish(Wish::Stop);
            life.wish = None;
            if self.dice.percent(80) {
                self.begin();
            }
        }
    }

    fn crash(&mut self) {
        self.lives.0.clear();
        if let Some(shelf) = &self.shore.shelf {
            shelf.lock().crash();
        }
        self.topic = Arc::new(TopicOffsets::over(Box::new(ModelRows(self.shore.cluster.clone()))));
        self.begin();
    }

    /// What became visible and what was stored since the last look.
    fn judge(&mut self) {
        loop {
            let kafka = self.shore.cluster.lock();
            let Some(index) = kafka.visible.get(self.judged).copied() else { break };
            self.judged += 1;
            if let Some((key, value)) = kafka.row(index) {
                let partition = offset_json::decode_key(key).unwrap().1;
                let at = partition.0["p"].as_int().unwrap();
                let offset = value.map_or(0, |value| mark(&offset_json::decode_offset(value).unwrap()));
                drop(kafka);
                self.stored(usize::try_from(at).unwrap(), offset);
            } else if kafka.entry(index).topic == TOPIC {
                let entry = kafka.entry(index);
                let (life, (at, number)) = (entry.life, of_value(entry.value.as_deref().unwrap()));
                drop(kafka);
                self.arrived(life, at, number);
            }
        }
        let Some(shelf) = self.shore.shelf.clone() else { return };
        let changes: Vec<_> = shelf.lock().changes[self.changes..].to_vec();
        self.changes += changes.len();
        for (partition, offset) in changes {
            let at = usize::try_from(partition.0["p"].as_int().unwrap()).unwrap();
            self.stored(at, offset.as_ref().map_or(0, mark));
        }
    }

    fn stored(&mut self, at: usize, offset: u64) {
        if self.habits.until.is_some() {
            // The records of the transaction become visible with its offsets: judged when all of it was seen.
            self.committed[at] = offset;
            return;
        }
        self.shore.assert_kept(at, self.committed[at].min(offset), offset, "its offset is stored");
        self.committed[at] = offset;
    }

    fn arrived(&mut self, life: usize, at: usize, number: u64) {
        let begun = {
            let sea = self.shore.lock();
            let of_life = sea.begun_at.iter().rev().find(|(number, _)| *number == life);
            of_life.map(|(_, begun)| begun[at]).unwrap_or_default()
        };
        assert!(number >= begun, "{at}:{number} is sent again although {begun} was committed when life {life} began");
        if !self.first[at].insert(number) {
            assert!(self.habits.until.is_none(), "{at}:{number} is there twice for a reader of committed records");
            return;
        }
        let sea = self.shore.lock();
        for earlier in 0..number {
            let missing = sea.kind(at, earlier) == Kind::Good
                && !self.first[at].contains(&earlier)
                && !sea.dropped.contains(&(at, earlier));
            assert!(!missing, "{at}:{number} came for the first time before {at}:{earlier}");
        }
    }

    fn check(&mut self) {
        self.judge();
        if self.habits.until.is_some() {
            for at in 0..PARTITIONS {
                self.shore.assert_kept(at, 0, self.committed[at], "its offset is committed");
            }
        }
    }

    /// Faults stop; in the end everything is in Kafka and every offset is stored.
    async fn come_to_rest(&mut self, run: &mut Run) {
        run.note(|| "the faults stop".into());
        {
            let mut kafka = self.shore.cluster.lock();
            (kafka.calm, kafka.denies) = (true, false);
            let mut sea = self.shore.lock();
            (sea.calm, sea.fails, sea.troubled) = (true, None, false);
        }
        if let Some(shelf) = &self.shore.shelf {
            shelf.lock().calm = true;
        }
        self.lives.0.iter_mut().for_each(|life| life.frozen = false);
        for round in 0..200 {
            if self.lives.current().is_none() {
                self.begin();
            }
            if let Some(life) = self.lives.current() {
                life.wish(Wish::Run);
            }
            self.shore.news.notify_one();
            self.lives.breathe(Duration::from_millis(if round < 100 { 37 } else { 1_003 })).await;
            self.shore.cluster.lock().catch_up();
            self.check();
            let produced = self.shore.lock().produced;
            if self.committed == produced {
                break;
            }
        }
        let produced = self.shore.lock().produced;
        assert_eq!(self.committed, produced, "not everything is committed in the end");
        for (at, produced) in produced.into_iter().enumerate() {
            self.shore.assert_kept(at, 0, produced, "the faults are over");
        }
        if let Some(life) = self.lives.current() {
            life.wish(Wish::Stop);
        }
        self.lives.breathe(Duration::from_secs(10)).await;
        assert!(self.lives.0.iter().all(|life| !life.lives()), "a task does not stop");
        self.check();
    }
}

fn live(run: &mut Run, exactly_once: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(run, exactly_once);
        world.begin();
        while let Some(mut dice) = run.step() {
            world.act(&mut dice, run);
            let time = [0, 1, 7, 23, 61, 400][dice.index(6)];
            world.lives.breathe(Duration::from_millis(time)).await;
            world.check();
        }
        world.come_to_rest(run).await;
    });
}

#[test]
fn a_source_task_loses_nothing_and_keeps_the_order() {
    AT_LEAST_ONCE.run(|run| live(run, false));
}

#[test]
fn an_exactly_once_source_task_shows_every_record_once() {
    EXACTLY_ONCE.run(|run| live(run, true));
}
