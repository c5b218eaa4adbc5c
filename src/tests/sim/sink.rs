//! Sink tasks: the real loop with a sink that buffers, refuses and fails, in a consumer group whose partitions come and
//! go, while commits are refused or never answered and workers die.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipette_api::{Assigned, Blob, Body, ConnectError, Offsets, RawRecord, Result, SinkTask, TopicPartition, Wish};
use pipette_kit::{Dice, Run, Simulation};
use tokio::sync::{mpsc, oneshot};

use super::bucket::{Bucket, Pool, Shore, tp, value};
use super::in_simulated_time;
use super::kafka::Cluster;
use super::life::{End, Habits, Lives};
use crate::budget::Share;
use crate::kafka::consumer::{Batch, ConsumerCommand, ConsumerEvent, TaskConsumer};
use crate::task::records::bare;

const SINK: Simulation = Simulation { name: "sink", seeds: 4_000, steps: 120 };
const PARTITIONS: i32 = 3;

/// The thread of a consumer, as the model plays it.
struct Member {
    life: usize,
    events: mpsc::Sender<ConsumerEvent>,
    orders: std_mpsc::Receiver<ConsumerCommand>,
    /// The next record to read, by partition.
    reads: BTreeMap<i32, i64>,
    /// Partitions it was given, with where they begin, or is to give back, until it answers.
    opening: Option<(i32, i64)>,
    closing: Option<i32>,
    holds: bool,
    /// How often it was sent back.
    generation: u64,
    /// Commits that are not answered yet.
    unanswered: Vec<oneshot::Sender<Result<()>>>,
}

struct World {
    shore: Shore,
    habits: Habits,
    lives: Lives,
    members: Vec<Member>,
    begun: usize,
    ends: BTreeMap<i32, i64>,
    committed: BTreeMap<i32, i64>,
    calm: bool,
}

impl World {
    fn new(run: &mut Run) -> Self {
        let dice = &mut run.dice;
        let cluster = Cluster::new(Dice(dice.bits()));
        let mut habits = Habits::new(cluster.clone());
        habits.tolerate = dice.percent(60);
        habits.letters = habits.tolerate && dice.percent(60);
        habits.flush_interval = Duration::from_millis([20, 300][dice.index(2)]);
        let chance = dice.bits();
        let pool = Pool {
            chance,
            spoils: habits.tolerate,
            letters: habits.letters,
            at_once: dice.percent(30),
            forgets: chance & 1 > 0,
            fails_to_flush: if chance & 2 > 0 { 10 } else { 40 },
            stays_away: Duration::from_millis(if chance & 4 > 0 { 30 } else { 400 }),
            durable: BTreeSet::new(),
            put: BTreeSet::new(),
            calm: false,
            fails: None,
            away: 0,
            dice: Dice(dice.bits()),
        };
        let zero = || (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        Self {
            shore: Shore { pool: Arc::new(Mutex::new(pool)), cluster },
            habits,
            lives: Lives::default(),
            members: Vec::new(),
            begun: 0,
            ends: zero(),
            committed: zero(),
            calm: false,
        }
    }

    fn begin(&mut self) {
        self.begun += 1;
        let (events, heard) = mpsc::channel(4);
        let (commands, orders) = std_mpsc::channel();
        let shore = self.shore.clone();
        let bucket = |signal| -> Box<dyn SinkTask> { Box::new(Bucket::new(shore, signal)) };
        let consumer = TaskConsumer::over(heard, commands);
        self.lives.0.push(self.habits.begin_sink(self.begun, consumer, bucket));
        self.members.push(Member {
            life: self.begun,
            events,
            orders,
            reads: BTreeMap::new(),
            opening: None,
            closing: None,
            holds: false,
            generation: 0,
            unanswered: Vec::new(),
        });
    }

    /// Members that are gone, or were given up, own nothing.
    fn expel(&mut self) {
        let lives = &self.lives.0;
        let counts = |life: usize| lives.iter().any(|it| it.number == life && it.lives() && it.counts());
        self.members.retain(|member| counts(member.life) && !member.events.is_closed());
    }

    /// Carries out what members ask.
    fn obey(&mut self, dice: &mut Dice) {
        let calm = self.calm;
        for member in &mut self.members {
            while let Ok(command) = member.orders.try_recv() {
                match command {
                    ConsumerCommand::Opened(_) => {
                        let (partition, begin) = member.opening.take().expect("an answer to a question");
                        member.reads.insert(partition, begin);
                    }
                    ConsumerCommand::Closed(offsets) => {
                        member.closing.take().expect("an answer to a question");
                        if calm || dice.percent(80) {
                            commit(&self.shore, &mut self.committed, &offsets);
                        }
                    }
                    ConsumerCommand::Commit(offsets, _, reply) => {
                        // The loop may not know yet that a partition was lost: the group takes nothing for it.
                        let owns = |tp: &TopicPartition| {
                            member.reads.contains_key(&tp.partition)
                                || [member.opening.map(|it| it.0), member.closing].contains(&Some(tp.partition))
                        };
                        let offsets: Offsets = offsets.into_iter().filter(|(tp, _)| owns(tp)).collect();
                        match dice.below(10) {
                            0 if !calm => drop(reply.send(Err(ConnectError::retriable("no")))),
                            // It counts, but nobody says so.
                            1 if !calm => {
                                commit(&self.shore, &mut self.committed, &offsets);
                                member.unanswered.push(reply);
                            }
                            2 if !calm => member.unanswered.push(reply),
                            _ => {
                                commit(&self.shore, &mut self.committed, &offsets);
                                drop(reply.send(Ok(())));
                            }
                        }
                    }
                    ConsumerCommand::Rewind(offsets, generation) => {
                        for (tp, offset) in offsets {
                            member.reads.entry(tp.partition).and_modify(|next| *next = offset);
                        }
                        member.generation = generation;
                    }
                    ConsumerCommand::Hold => member.holds = true,
                    ConsumerCommand::GoOn => member.holds = false,
                    // What stands beside offsets is not looked at here.
                    ConsumerCommand::Note(_)
                    | ConsumerCommand::Pause(_)
                    | ConsumerCommand::Resume(_)
                    | ConsumerCommand::Stop => {}
                }
            }
        }
    }

    /// A partition without an owner is given to a member.
    fn assign(&mut self, dice: &mut Dice) {
        let owned = |partition: &i32| {
            let has = |it: &Member| {
                it.reads.contains_key(partition) || [it.opening.map(|it| it.0), it.closing].contains(&Some(*partition))
            };
            self.members.iter().any(has)
        };
        let free: Vec<_> = (0..PARTITIONS).filter(|partition| !owned(partition)).collect();
        let ready = |it: &&mut Member| it.opening.is_none() && it.closing.is_none();
        let mut ready: Vec<_> = self.members.iter_mut().filter(ready).collect();
        let (Some(partition), false) = (dice.pick(&free), ready.is_empty()) else { return };
        let at = dice.index(ready.len());
        let begin = self.committed[&partition];
        let committed = (begin > 0).then(|| (begin, Arc::from("")));
        let event = ConsumerEvent::Assigned(vec![Assigned { tp: tp(partition), committed }]);
        if ready[at].events.try_send(event).is_ok() {
            ready[at].opening = Some((partition, begin));
        }
    }

    fn revoke(&mut self, dice: &mut Dice, lost: bool) {
        if self.members.is_empty() {
            return;
        }
        let at = dice.index(self.members.len());
        let member = &mut self.members[at];
        let owned: Vec<_> = member.reads.keys().copied().collect();
        let Some(partition) = dice.pick(&owned).filter(|_| member.opening.is_none() && member.closing.is_none()) else {
            return;
        };
        let gone = vec![tp(partition)];
        let event = if lost { ConsumerEvent::Lost(gone) } else { ConsumerEvent::Revoked(gone) };
        if member.events.try_send(event).is_ok() {
            member.reads.remove(&partition);
            member.closing = (!lost).then_some(partition);
        }
    }

    /// Records reach the members.
    fn deliver(&mut self, dice: &mut Dice) {
        for member in self.members.iter_mut().filter(|it| !it.holds && it.opening.is_none() && it.closing.is_none()) {
            let mut records = Vec::new();
            let mut reads = member.reads.clone();
            for (partition, next) in &mut reads {
                let until = self.ends[partition].min(*next + dice.below(7).cast_signed());
                records.extend((*next..until).map(|offset| record(*partition, offset)));
                *next = until;
            }
            if records.is_empty() {
                continue;
            }
            let Ok(lease) = Share::ample("c").ask(1).within(Duration::ZERO) else {
                unreachable!("there is ample room")
            };
            let batch = Batch { records, ends: Offsets::new(), lease, generation: member.generation };
            if member.events.try_send(ConsumerEvent::Records(batch)).is_ok() {
                member.reads = reads;
            }
        }
    }

    fn act(&mut self, dice: &mut Dice, run: &mut Run) {
        let what = dice.below(100);
        run.note(|| format!("{what}, {} members, offsets {:?}", self.members.len(), self.committed));
        match what {
            0..=14 => {
                *self.ends.entry(dice.pick(&[0, 1, 2]).unwrap_or_default()).or_default() += dice.below(9).cast_signed();
            }
            15..=39 => self.deliver(dice),
            40..=51 => self.assign(dice),
            52..=58 => self.revoke(dice, false),
            59..=61 => self.revoke(dice, true),
            62..=66 => self.shore.lock().away = dice.below(4),
            67 => self.shore.lock().fails = Some(if dice.percent(50) { End::Failed } else { End::Panicked }),
            68..=75 => self.shore.cluster.lock().some_arrive(dice),
            76..=82 => self.shore.cluster.lock().some_are_acknowledged(dice),
            83..=87 => {
                let wish = [Wish::Run, Wish::Pause, Wish::Stop][dice.index(3)];
                if let Some(life) = self.lives.current() {
                    life.wish(wish);
                }
            }
            88 | 89 => {
                if let Some(life) = self.lives.current() {
                    life.frozen = dice.percent(70);
                }
            }
            90 | 91 => {
                if let Some(life) = self.lives.current() {
                    life.wish(Wish::Stop);
                    life.wish = None;
                }
            }
            92 => self.lives.0.iter_mut().for_each(|life| life.frozen = false),
            93 | 94 => {
                self.members.clear();
                self.lives.0.clear();
            }
            _ if self.lives.0.iter().filter(|life| life.lives() && life.counts()).count() < 2 => self.begin(),
            _ => {}
        }
    }

    async fn come_to_rest(&mut self, run: &mut Run) {
        run.note(|| "the faults stop".into());
        self.calm = true;
        self.shore.cluster.lock().calm = true;
        {
            let mut pool = self.shore.lock();
            (pool.calm, pool.away, pool.fails) = (true, 0, None);
        }
        let mut dice = Dice(run.dice.bits());
        for _ in 0..300 {
            self.lives.0.iter_mut().for_each(|life| life.frozen = false);
            if self.lives.current().is_none() {
                self.begin();
            }
            self.lives.0.iter().for_each(|life| life.wish(Wish::Run));
            self.deliver(&mut dice);
            self.assign(&mut dice);
            self.lives.breathe(Duration::from_millis(53)).await;
            self.obey(&mut dice);
            self.shore.cluster.lock().catch_up();
            self.expel();
            run.note(|| {
                let of =
                    |it: &Member| (it.life, it.reads.clone(), it.opening, it.closing, it.holds, it.events.capacity());
                format!("at rest {:?}", self.members.iter().map(of).collect::<Vec<_>>())
            });
            if self.committed == self.ends {
                break;
            }
        }
        assert_eq!(self.committed, self.ends, "not everything is committed in the end");
        self.lives.0.iter().for_each(|life| life.wish(Wish::Stop));
        for _ in 0..40 {
            self.lives.breathe(Duration::from_millis(250)).await;
            self.obey(&mut dice);
            self.shore.cluster.lock().catch_up();
        }
        assert!(self.lives.0.iter().all(|life| !life.lives()), "a task does not stop");
    }
}

/// The group takes offsets: everything before them is durable in the sink, or in a dead letter.
fn commit(shore: &Shore, committed: &mut BTreeMap<i32, i64>, offsets: &Offsets) {
    for (tp, offset) in offsets {
        for earlier in 0..*offset {
            assert!(shore.is_dealt_with(tp.partition, earlier), "{tp} is committed at {offset}, {earlier} is nowhere");
        }
        committed.insert(tp.partition, *offset);
    }
}

fn record(partition: i32, offset: i64) -> RawRecord {
    let value = Some(Body::Bytes(Blob::whole(value(partition, offset)).unwrap()));
    RawRecord { value, ..bare(tp(partition), offset) }
}

fn live(run: &mut Run) {
    in_simulated_time(async {
        let mut world = World::new(run);
        world.begin();
        while let Some(mut dice) = run.step() {
            world.act(&mut dice, run);
            let time = [0, 1, 7, 23, 61, 400][dice.index(6)];
            world.lives.breathe(Duration::from_millis(time)).await;
            world.expel();
            world.obey(&mut dice);
        }
        world.come_to_rest(run).await;
    });
}

#[test]
fn a_sink_task_commits_only_what_is_durable() {
    SINK.run(live);
}

/// It was held while the sink was away, paused meanwhile and resumed before it had noticed: it was held for ever.
#[test]
fn a_sink_task_that_is_paused_and_resumed_while_its_sink_is_away_reads_on() {
    SINK.replay(2_963, live);
}

/// A flush before one partition is given up takes what the sink holds of the others with it, what is about to be put
/// included.
#[test]
fn a_sink_task_that_cannot_flush_a_partition_that_goes_reads_the_others_again() {
    SINK.replay(204, live);
    SINK.replay(1_342, live);
}
