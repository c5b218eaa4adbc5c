//! A model of Kafka and of librdkafka in front of it: a log, producers whose records wait, arrive, and are acknowledged
//! late or never, transactions, and fencing.
//!
//! The world decides when records arrive and when acknowledgements come back; what a call of a transaction leads to is
//! drawn by the model's own dice.

mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pipette_api::{ConnectError, Result, async_trait};
use pipette_kit::Dice;

use crate::kafka::compacted::{Place, Row};
use crate::kafka::producer::{Deliveries, Outgoing, ROWS, Refused, Sent, TaskProducer, Undelivered, Wire};
use crate::kafka::properties::ClientProperties;
use crate::store::topic::{EachRow, Rows};

pub(super) use self::wire::ModelRows;
use self::wire::ModelWire;

/// The topic of dead letters.
pub(super) const LETTERS: &str = "letters";
/// The topic of offsets.
pub(super) const OFFSETS: &str = "offsets";
/// What a value ends with that Kafka refuses, at once or later.
pub(super) const HUGE: &str = ":huge";
pub(super) const LARGE: &str = ":large";

/// A record in the log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) topic: String,
    key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) life: usize,
    /// The transaction it is in, as long as that is open.
    open: Option<usize>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    topic: String,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

enum Ack {
    Done(u64),
    Row(usize, Place),
    Refused(Refused),
}

/// Records of one partition keep their order, and so do their acknowledgements.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    unacked: VecDeque<Ack>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fault or a habit of its own")]
struct Client {
    life: usize,
    transactional: bool,
    deliveries: Arc<Deliveries>,
    lanes: BTreeMap<Vec<u8>, Lane>,
    nudged: bool,
    in_transaction: bool,
    fenced: bool,
    /// A record was not allowed: none behind it is taken.
    denied: bool,
    gone: bool,
}

/// The model; shared by the world and the wires of its producers.
pub(super) struct Kafka {
    log: Vec<Entry>,
    clients: Vec<Client>,
    dice: Dice,
    /// Records a producer may have under way.
    pub(super) capacity: usize,
    /// Nobody may write for now.
    pub(super) denies: bool,
    /// No call of a transaction fails any more.
    pub(super) calm: bool,
    /// Values that readers see, by topic.
    seen: BTreeMap<String, BTreeSet<Vec<u8>>>,
    /// What became visible, in that order; indices into the log.
    pub(super) visible: Vec<usize>,
}

/// A model that wires and world share.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Mutex<Kafka>>);

impl Cluster {
    pub(super) fn new(mut dice: Dice) -> Self {
        let capacity = if dice.percent(30) { 4 } else { 100 };
        Self(Arc::new(Mutex::new(Kafka {
            log: Vec::new(),
            clients: Vec::new(),
            dice,
            capacity,
            denies: false,
            calm: false,
            seen: BTreeMap::new(),
            visible: Vec::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kafka> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A producer of a life of a task.
    pub(super) fn producer(&self, life: usize, transactional: bool) -> TaskProducer {
        let deliveries = Arc::new(Deliveries::new(&ClientProperties::new()));
        let mut kafka = self.lock();
        kafka.clients.push(Client {
            life,
            transactional,
            deliveries: Arc::clone(&deliveries),
            lanes: BTreeMap::new(),
            nudged: false,
            in_transaction: false,
            fenced: false,
            denied: false,
            gone: false,
        });
        let wire = ModelWire { cluster: self.clone(), client: kafka.clients.len() - 1, deliveries };
        TaskProducer::on(Box::new(wire), Duration::from_millis(5))
    }
}

impl Kafka {
    pub(super) fn entry(&self, index: usize) -> &Entry {
        &self.log[index]
    }

    /// Whether readers see this value in the topic.
    pub(super) fn sees(&self, topic: &str, value: &[u8]) -> bool {
        self.seen.get(topic).is_some_and(|seen| seen.contains(value))
    }

    /// Rows of the offsets topic that readers see: their place in the log, key and value.
    fn rows(&self) -> impl Iterator<Item = (Place, &[u8], Option<&[u8]>)> {
        let rows = self.log.iter().zip(0..).filter(|(entry, _)| entry.topic == OFFSETS && entry.open.is_none());
        rows.map(|(entry, offset)| (place(offset), entry.key.as_deref().unwrap_or_default(), entry.value.as_deref()))
    }

    /// A row that became visible.
    pub(super) fn row(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let entry = &self.log[index];
        (entry.topic == OFFSETS).then(|| (entry.key.as_deref().unwrap_or_default(), entry.value.as_deref()))
    }

    fn append(&mut self, client: usize, record: Waiting) -> Place {
        let Client { life, transactional, .. } = self.clients[client];
        let Waiting { topic, key, value, .. } = record;
        self.log.push(Entry { topic, key, value, life, open: transactional.then_some(client) });
        if !transactional {
            self.show(self.log.len() - 1);
        }
        place(i64::try_from(self.log.len()).unwrap() - 1)
    }

    fn show(&mut self, index: usize) {
        let entry = &mut self.log[index];
        entry.open = None;
        if let Some(value) = &entry.value {
            self.seen.entry(entry.topic.clone()).or_default().insert(value.clone());
        }
        self.visible.push(index);
    }

    /// The first record that waits in a lane arrives, or is refused.
    fn arrives(&mut self, client: usize, lane: &[u8]) {
        let denies = self.denies;
        let sender = &mut self.clients[client];
        if sender.fenced {
            return;
        }
        let Some(queue) = sender.lanes.get_mut(lane) else { return };
        let Some(record) = queue.waiting.pop_front() else { return };
        sender.denied |= denies;
        let number = record.number;
        let ack = if sender.denied {
            Ack::Refused(Refused { number, error: ConnectError::fatal("not allowed to write"), record: None })
        } else if record.topic != LETTERS && ends_with(record.value.as_deref(), LARGE) {
            let error = ConnectError::data("too large");
            Ack::Refused(Refused { number, error, record: Some(Box::new(undelivered(record))) })
        } else {
            let place = self.append(client, record);
            match usize::try_from(number.wrapping_sub(ROWS)) {
                Ok(row) if number >= ROWS => Ack::Row(row, place),
                _ => Ack::Done(number),
            }
        };
        if let Some(queue) = self.clients[client].lanes.get_mut(lane) {
            queue.unacked.push_back(ack);
        }
    }

    fn acknowledge(&mut self, client: usize, lane: &[u8]) {
        let Client { lanes, deliveries, .. } = &mut self.clients[client];
        if let Some(ack) = lanes.get_mut(lane).and_then(|lane| lane.unacked.pop_front()) {
            deliveries.tell(|inbox| match ack {
                Ack::Done(number) => inbox.done.push(number),
                Ack::Row(row, place) => inbox.rows.push((row, place)),
                Ack::Refused(refused) => inbox.failed.push(refused),
            });
        }
    }

    fn lanes(&self, some: impl Fn(&Client, &Lane) -> bool) -> Vec<(usize, Vec<u8>)> {
        let mut found = Vec::new();
        for (at, client) in self.clients.iter().enumerate().filter(|(_, client)| !client.gone) {
            let lanes = client.lanes.iter().filter(|(_, lane)| some(client, lane));
            found.extend(lanes.map(|(key, _)| (at, key.clone())));
        }
        found
    }

    /// Some records of one partition arrive.
    pub(super) fn some_arrive(&mut self, dice: &mut Dice) {
        let lanes = self.lanes(|_, lane| !lane.waiting.is_empty());
        if let Some((client, lane)) = dice.pick(&lanes) {
            for _ in 0..=dice.below(6) {
                self.arrives(client, &lane);
            }
        }
    }

    /// Some acknowledgements of one partition come back.
    pub(super) fn some_are_acknowledged(&mut self, dice: &mut Dice) {
        let lanes = self.lanes(|_, lane| !lane.unacked.is_empty());
        if let Some((client, lane)) = dice.pick(&lanes) {
            for _ in 0..=dice.below(6) {
                self.acknowledge(client, &lane);
            }
        }
    }

    /// Everything arrives that librdkafka was told to send, and every acknowledgement comes back.
    pub(super) fn catch_up(&mut self) {
        for (client, lane) in self.lanes(|client, lane| client.nudged && !lane.waiting.is_empty()) {
            while self.clients[client].lanes.get(&lane).is_some_and(|lane| !lane.waiting.is_empty()) {
                self.arrives(client, &lane);
                if self.clients[client].fenced {
                    break;
                }
            }
        }
        for client in &mut self.clients {
            client.nudged = false;
        }
        for (client, lane) in self.lanes(|_, lane| !lane.unacked.is_empty()) {
            while self.clients[client].lanes.get(&lane).is_some_and(|lane| !lane.unacked.is_empty()) {
                self.acknowledge(client, &lane);
            }
        }
    }

    /// A producer is no more: of what was under way some arrives all the same, nothing is acknowledged. What it has open
    /// stays open until somebody takes over.
    fn leave(&mut self, client: usize) {
        if self.clients[client].gone {
            return;
        }
        for (_, lane) in self.lanes(|_, lane| !lane.waiting.is_empty()).into_iter().filter(|(at, _)| *at == client) {
            for _ in 0..self.dice.below(4) {
                self.arrives(client, &lane);
            }
        }
        let client = &mut self.clients[client];
        client.gone = true;
        client.lanes.clear();
    }

    fn end_transaction(&mut self, client: usize, commit: bool) {
        for index in 0..self.log.len() {
            if self.log[index].open == Some(client) && commit {
                self.show(index);
            }
        }
        if !commit {
            // Nobody sees them ever: the log of a model forgets what readers skip.
            for entry in self.log.iter_mut().filter(|entry| entry.open == Some(client)) {
                entry.open = Some(usize::MAX);
            }
        }
        self.clients[client].in_transaction = false;
    }

    fn flush(&mut self, client: usize) {
        for (_, lane) in self.lanes(|_, lane| !lane.waiting.is_empty()).into_iter().filter(|(at, _)| *at == client) {
            while self.clients[client].lanes.get(&lane).is_some_and(|lane| !lane.waiting.is_empty()) {
                self.arrives(client, &lane);
            }
        }
    }
}

fn place(offset: i64) -> Place {
    Place { partition: 0, offset, timestamp: offset }
}

fn ends_with(value: Option<&[u8]>, end: &str) -> bool {
    value.is_some_and(|value| value.ends_with(end.as_bytes()))
}

fn undelivered(record: Waiting) -> Undelivered {
    let Waiting { topic, key, value, .. } = record;
    Undelivered { topic: topic.into(), key, value, headers: Vec::new(), timestamp: None }
}
