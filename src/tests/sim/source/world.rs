//! The world around a source task: what happens to it, and what is judged. A part of `source.rs`, which has the sea.

use super::*;
use crate::sim::in_simulated_time;
use crate::task::stage::toys;

/// Another chance than what records are like.
const WAITS: u64 = 0x0077_6169_7473;

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
        let chance = dice.bits();
        let waits = Dice(chance ^ WAITS).percent(50);
        if waits {
            // Every other record waits for a store.
            let few = ["2", "16"][Dice(chance).index(2)];
            habits.steps = vec![toys::store("s", &[("about", "1"), ("mark", ""), ("max.in.flight", few)])];
        }
        let sea = Sea {
            chance,
            waits,
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
            Some(kept) => {
                let kept = kept.clone();
                Offsets::Store(Box::new(move |signal| kept.of(signal)))
            }
            None => Offsets::Topic(Chosen::only(Arc::clone(&self.topic))),
        };
        let ship = |signal: Signal| -> Box<dyn SourceTask> { Box::new(Ship::new(shore, number, signal, dice)) };
        self.lives.0.push(self.habits.begin(number, &offsets, ship));
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
        let Some(kept) = self.shore.shelf.clone() else { return };
        let changes: Vec<_> = kept.lock().changes[self.changes..].to_vec();
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

pub(super) fn live(run: &mut Run, exactly_once: bool) {
    in_simulated_time(async {
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
