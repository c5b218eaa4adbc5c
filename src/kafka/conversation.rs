//! librdkafka's side of a consumer's conversation with its sink loop: rebalances, and who wants which partitions paused.
//! Offsets are in `positions.rs`.
//!
//! Everything here runs on the consumer's thread (`consumer.rs`), rebalances inside of its `poll`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pipette_api::{Assigned, ConnectError, Offsets, Result, Signal, TopicPartition};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::consumer::{ConsumerCommand, ConsumerEvent};
use super::contact::{Contact, read_statistics};
use super::direct::Direct;
use super::events::ClientEvents;
use super::membership::Membership;
use super::oauth;
use super::positions::Positions;
use super::sys::{FetchQueue, Fetched};

/// How long one attempt to look committed offsets up may take: bounds how late a stop is seen.
const LOOK_UP: Duration = Duration::from_secs(5);
/// The wait between two attempts.
const LOOK_UP_AGAIN: Duration = Duration::from_millis(500);
/// How long one wait for a command lasts: bounds how late room in the channel, or being given up, is seen.
const LISTEN: Duration = Duration::from_millis(5);

/// What the consumer's thread and librdkafka's callbacks share.
pub(super) struct Conversation {
    events: mpsc::Sender<ConsumerEvent>,
    orders: Mutex<std_mpsc::Receiver<ConsumerCommand>>,
    complaints: Arc<ClientEvents>,
    contact: Arc<Contact>,
    membership: Arc<Membership>,
    /// What librdkafka has said so far, records aside.
    said: AtomicU64,
    pauses: Mutex<Pauses>,
    pub(super) positions: Positions,
    /// What is read past librdkafka.
    pub(super) direct: Mutex<Direct>,
    /// Where records gather, while the thread reads.
    queue: Mutex<Option<FetchQueue>>,
    stopping: AtomicBool,
    signal: Signal,
}

/// Who wants what paused. A partition is read only when nobody does.
#[derive(Default)]
struct Pauses {
    /// The sink loop: the task is paused, or its sink is away.
    all: bool,
    /// The plugin.
    some: BTreeSet<TopicPartition>,
}

/// What came of listening for a command.
enum Heard {
    Command(ConsumerCommand),
    Nothing,
    Stop,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Conversation {
    pub(super) fn new(
        (events, orders): (mpsc::Sender<ConsumerEvent>, std_mpsc::Receiver<ConsumerCommand>),
        complaints: Arc<ClientEvents>,
        contact: Arc<Contact>,
        membership: Arc<Membership>,
        signal: Signal,
        direct: Direct,
    ) -> Self {
        Self {
            events,
            orders: Mutex::new(orders),
            complaints,
            contact,
            membership,
            said: AtomicU64::new(0),
            pauses: Mutex::default(),
            positions: Positions::default(),
            direct: Mutex::new(direct),
            queue: Mutex::default(),
            stopping: AtomicBool::new(false),
            signal,
        }
    }

    /// Where the records of partitions taken from now on gather; `None` before the client goes.
    pub(super) fn gather_in(&self, queue: Option<FetchQueue>) {
        *lock(&self.queue) = queue;
    }

    /// Takes up to `limit` records, waiting for the first of them only.
    pub(super) fn fetch(&self, fetched: &mut Fetched, limit: usize, wait: Duration) {
        if let Some(queue) = &*lock(&self.queue) {
            queue.take(fetched, limit, wait);
        }
    }

    /// Gives a batch to the sink loop; back when there is no room.
    pub(super) fn offer(&self, event: ConsumerEvent) -> Option<ConsumerEvent> {
        match self.events.try_send(event) {
            Err(mpsc::error::TrySendError::Full(event)) => Some(event),
            _ => None,
        }
    }

    /// True when the sink loop is gone, has asked for an end, or was given up.
    pub(super) fn is_over(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) || self.events.is_closed() || self.signal.is_given_up()
    }

    /// From here on rebalances ask nobody.
    pub(super) fn end(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Keeps the place in the group while Kafka is away (`membership.rs`).
    pub(super) fn stay(&self, consumer: &BaseConsumer<Self>) {
        // With the cooperative protocol librdkafka would wait for news of the topics first, and perhaps for good.
        if !self.membership.is_at_stake() || !matches!(consumer.rebalance_protocol(), RebalanceProtocol::Eager) {
            return;
        }
        let again = consumer.subscription().and_then(|subscribed| {
            let topics = subscribed.elements();
            consumer.subscribe(&topics.iter().map(TopicPartitionListElem::topic).collect::<Vec<_>>())
        });
        match again {
            Ok(()) => {
                tracing::info!("The group's coordinator is away for long; joining again under the same member id");
            }
            Err(error) => self.complain(&error, "while keeping the place in the group"),
        }
    }

    /// Changes whenever librdkafka has said something.
    pub(super) fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    fn hear(&self) {
        self.said.fetch_add(1, Ordering::Relaxed);
    }

    /// An error that passes by itself.
    pub(super) fn complain(&self, error: &KafkaError, doing: &str) {
        self.complaints.error_of(error, doing);
    }

    /// Carries out what was asked so far; false when it is time to end.
    pub(super) fn obey(&self, consumer: &BaseConsumer<Self>) -> bool {
        loop {
            match self.listen(Duration::ZERO) {
                Heard::Command(command) => self.serve(consumer, command),
                Heard::Nothing => return !self.is_over(),
                Heard::Stop => return false,
            }
        }
    }

    /// Tells the sink loop something, when there is room. Serves commands meanwhile: the loop may wait for one of them
    /// before it looks at its events. False when nobody listens any more.
    pub(super) fn tell(&self, consumer: &BaseConsumer<Self>, event: ConsumerEvent) -> bool {
        let mut event = event;
        while let Some(back) = self.offer(event) {
            event = back;
            match self.listen(LISTEN) {
                Heard::Command(command) => self.serve(consumer, command),
                Heard::Nothing => {}
                Heard::Stop => return false,
            }
        }
        !self.is_over()
    }

    /// Waits for the answer to an event, serving commits meanwhile: the sink may be inside one at this moment.
    fn answer<T>(&self, consumer: &BaseConsumer<Self>, pick: impl Fn(&mut ConsumerCommand) -> Option<T>) -> Option<T> {
        loop {
            match self.listen(LISTEN) {
                Heard::Command(mut command) => match pick(&mut command) {
                    Some(answer) => return Some(answer),
                    None => self.serve(consumer, command),
                },
                Heard::Nothing => {}
                Heard::Stop => return None,
            }
        }
    }

    fn listen(&self, wait: Duration) -> Heard {
        match lock(&self.orders).recv_timeout(wait) {
            Err(std_mpsc::RecvTimeoutError::Timeout) if !self.signal.is_given_up() => Heard::Nothing,
            Ok(ConsumerCommand::Stop) | Err(_) => {
                self.end();
                Heard::Stop
            }
            Ok(command) => Heard::Command(command),
        }
    }

    fn serve(&self, consumer: &BaseConsumer<Self>, command: ConsumerCommand) {
        match command {
            ConsumerCommand::Commit(offsets, metadata, reply) => {
                let _ = reply.send(self.commit(consumer, offsets, metadata.as_ref()));
            }
            ConsumerCommand::Note(notes) => self.positions.note(notes),
            ConsumerCommand::Rewind(offsets, generation) => self.rewind(consumer, offsets, generation),
            ConsumerCommand::Hold => {
                lock(&self.pauses).all = true;
                self.hand_back(consumer, |_| true);
                pause_all(consumer);
            }
            ConsumerCommand::GoOn => {
                lock(&self.pauses).all = false;
                self.resume_all(consumer);
            }
            ConsumerCommand::Pause(partitions) => {
                self.hand_back(consumer, |tp| partitions.contains(tp));
                let _ = consumer.pause(&list(&partitions));
                lock(&self.pauses).some.extend(partitions);
            }
            ConsumerCommand::Resume(partitions) => {
                lock(&self.pauses).some.retain(|tp| !partitions.contains(tp));
                self.resume(consumer, partitions);
            }
            // Answers to a question that is no longer asked, after a rebalance was given up.
            ConsumerCommand::Opened(_) | ConsumerCommand::Closed(_) | ConsumerCommand::Stop => {}
        }
    }

    /// Reads again from these offsets.
    fn rewind(&self, consumer: &BaseConsumer<Self>, offsets: Offsets, generation: u64) {
        let wanted: Vec<TopicPartition> = offsets.keys().cloned().collect();
        lock(&self.direct).forget(&wanted);
        self.or_fail(consumer, self.positions.rewind(consumer, offsets, generation));
        self.resume(consumer, wanted);
    }

    /// What is read directly is librdkafka's again.
    fn hand_back(&self, consumer: &BaseConsumer<Self>, wanted: impl Fn(&TopicPartition) -> bool) {
        let handed = lock(&self.direct).hand_back(consumer, wanted);
        self.or_fail(consumer, handed);
    }

    /// A consumer that does not know where it is is of no use any more.
    fn or_fail(&self, consumer: &BaseConsumer<Self>, result: Result<()>) {
        if let Err(error) = result {
            self.tell(consumer, ConsumerEvent::Failed(error));
            self.end();
        }
    }

    fn commit(&self, consumer: &BaseConsumer<Self>, offsets: Offsets, new: Option<&Arc<str>>) -> Result<()> {
        self.contact.asking(|| self.positions.commit(consumer, offsets, new, || self.stay(consumer)))
    }

    /// Resumes what nobody else wants paused.
    pub(super) fn resume_all(&self, consumer: &BaseConsumer<Self>) {
        if let Ok(assignment) = consumer.assignment() {
            self.resume(consumer, partitions(&assignment));
        }
    }

    /// What is read directly stays paused in librdkafka.
    pub(super) fn resume(&self, consumer: &BaseConsumer<Self>, mut wanted: Vec<TopicPartition>) {
        let (pauses, direct) = (lock(&self.pauses), lock(&self.direct));
        wanted.retain(|tp| !pauses.all && !pauses.some.contains(tp) && !direct.holds(tp));
        if !wanted.is_empty() {
            let _ = consumer.resume(&list(&wanted));
        }
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, given: &TopicPartitionList) {
        let agreed = self.agree(consumer, given);
        // Taken in any case: librdkafka waits for that, even while it closes, and then nothing is read any more.
        let start = agreed.as_ref().unwrap_or(given);
        self.gather(consumer, start);
        let taken = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(start),
            _ => consumer.assign(start),
        };
        if let Err(error) = taken {
            self.complain(&error, "while taking partitions");
        }
        // librdkafka remembers over a rebalance that a partition was paused, whoever paused it and however long ago.
        let hold = lock(&self.pauses).all;
        if hold { pause_all(consumer) } else { self.resume_all(consumer) }
    }

    /// Sends the records of these partitions to the queue that the thread reads.
    fn gather(&self, consumer: &BaseConsumer<Self>, given: &TopicPartitionList) {
        let Some(queue) = &*lock(&self.queue) else { return };
        for partition in partitions(given) {
            if !queue.gather(consumer.client().native_ptr(), &partition) {
                self.complain(&KafkaError::Subscription(partition.to_string()), "while taking a partition");
            }
        }
    }

    /// Has the sink open what is given; answers where to begin. `None` when the task ends instead.
    fn agree(&self, consumer: &BaseConsumer<Self>, given: &TopicPartitionList) -> Option<TopicPartitionList> {
        let mut start = self.look_up(consumer, given)?;
        let given = assignments(&start);
        self.positions.assigned(&given);
        if !self.tell(consumer, ConsumerEvent::Assigned(given)) {
            return None;
        }
        let seeks = self.answer(consumer, |command| match command {
            ConsumerCommand::Opened(seeks) => Some(std::mem::take(seeks)),
            _ => None,
        })?;
        for (tp, offset) in seeks {
            let _ = start.set_partition_offset(&tp.topic, tp.partition, Offset::Offset(offset));
        }
        Some(start)
    }

    /// The committed offset of each partition, asked for until Kafka says it for all of them: without it the sink would
    /// start in the wrong place. `None` when the task ends first.
    fn look_up(&self, consumer: &BaseConsumer<Self>, given: &TopicPartitionList) -> Option<TopicPartitionList> {
        while !self.is_over() {
            let found = self.contact.asking(|| consumer.committed_offsets(given.clone(), LOOK_UP));
            let found = found.and_then(|found| {
                found.elements().iter().try_for_each(TopicPartitionListElem::error)?;
                Ok(found)
            });
            let error = match found {
                Ok(found) => return Some(found),
                Err(error) => error,
            };
            self.complain(&error, "while looking up committed offsets");
            if let Some(failure) = refused(&error) {
                self.tell(consumer, ConsumerEvent::Failed(failure));
                self.end();
            }
            if let Heard::Command(command) = self.listen(LOOK_UP_AGAIN) {
                self.serve(consumer, command);
            }
        }
        None
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, taken: &TopicPartitionList) {
        let leaving = partitions(taken);
        lock(&self.direct).forget(&leaving);
        if !leaving.is_empty() && !self.is_over() {
            lock(&self.pauses).some.retain(|tp| !leaving.contains(tp));
            self.positions.leaving(&leaving);
            if consumer.assignment_lost() {
                self.positions.gone(&leaving);
                self.tell(consumer, ConsumerEvent::Lost(leaving.clone()));
            } else if self.tell(consumer, ConsumerEvent::Revoked(leaving.clone())) {
                let closed = self.answer(consumer, |command| match command {
                    ConsumerCommand::Closed(offsets) => Some(std::mem::take(offsets)),
                    _ => None,
                });
                if let Some(offsets) = closed
                    && let Err(error) = self.commit(consumer, offsets, None)
                {
                    tracing::warn!(error = %error, "Offsets of revoked partitions are not committed; records come again");
                }
            }
        }
        self.positions.gone(&leaving);
        let given_up = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(taken),
            _ => consumer.unassign(),
        };
        if let Err(error) = given_up {
            self.complain(&error, "while giving partitions up");
        }
    }
}

impl ClientContext for Conversation {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.hear();
        self.complaints.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.hear();
        let Ok(json) = std::str::from_utf8(statistics) else { return };
        self.membership.note(json);
        self.complaints.traffic.note(json, &lock(&self.direct).beside());
        if let Some((waits, answers)) = read_statistics(json) {
            self.contact.note(waits, answers);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.hear();
        self.complaints.error(&error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> oauth::Answer {
        oauth::token(config)
    }
}

impl ConsumerContext for Conversation {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.hear();
        let given = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        self.membership.assigned(given);
        if given { self.assigned(consumer, list) } else { self.revoked(consumer, list) }
    }
}

/// The end of the task, for an error that no waiting cures.
pub(super) fn refused(error: &KafkaError) -> Option<ConnectError> {
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Some(ConnectError::fatal(format!("The Kafka consumer failed: {error}")));
    }
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
        return Some(ConnectError::fatal(format!(
            "A partition has no offset to begin at, and auto.offset.reset=none chooses none: {error}. Set the offsets of \
             this connector, or consumer.override.auto.offset.reset=earliest"
        )));
    }
    let denied = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    );
    denied.then(|| {
        ConnectError::fatal(format!("Kafka does not allow reading: {error}. Check the ACLs of topic and group"))
    })
}

pub(super) fn pause_all(consumer: &BaseConsumer<Conversation>) {
    if let Ok(assignment) = consumer.assignment() {
        let _ = consumer.pause(&assignment);
    }
}

pub(super) fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for tp in partitions {
        list.add_partition(&tp.topic, tp.partition);
    }
    list
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect()
}

fn assignments(committed: &TopicPartitionList) -> Vec<Assigned> {
    let committed_at = |offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    committed
        .elements()
        .iter()
        .map(|element| Assigned {
            tp: TopicPartition::new(element.topic(), element.partition()),
            committed: committed_at(element.offset()).map(|offset| (offset, Arc::from(element.metadata()))),
        })
        .collect()
}
