//! A broker for one test, and clients of it that give up in time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use pipette_broker::{Broker, BrokerConfig};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tempfile::TempDir;

pub(crate) const DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

pub(crate) struct Fixture {
    pub broker: Option<Broker>,
    folder: TempDir,
}

impl Fixture {
    pub(crate) fn start() -> Fixture {
        let folder = TempDir::new().unwrap();
        let mut fixture = Fixture { broker: None, folder };
        fixture.restart(|_| {});
        fixture
    }

    /// A broker with the topic "t" of that many partitions.
    pub(crate) fn with_topic(partitions: i32) -> Fixture {
        let fixture = Fixture::start();
        fixture.create("t", partitions);
        fixture
    }

    pub(crate) fn restart(&mut self, change: impl FnOnce(&mut BrokerConfig)) {
        drop(self.broker.take());
        let mut config = BrokerConfig::on_any_port(self.folder.path());
        change(&mut config);
        self.broker = Some(Broker::start(config).unwrap());
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let address = self.broker.as_ref().unwrap().address().to_string();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("socket.timeout.ms", "10000");
        config.set("message.timeout.ms", "10000");
        config
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let created = block_on(self.admin().create_topics(&[topic], &options())).unwrap();
        created.into_iter().next().unwrap().unwrap();
    }

    pub(crate) fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = self.config();
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().unwrap()
    }

    /// Stores "v0" … in partition 0, and returns when all are acknowledged.
    pub(crate) fn produce(&self, topic: &str, count: usize, settings: &[(&str, &str)]) {
        let producer = self.producer(settings);
        for i in 0..count {
            let (key, value) = (format!("k{i}"), format!("v{i}"));
            producer.send(BaseRecord::to(topic).partition(0).key(&key).payload(&value)).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(DEADLINE).unwrap();
    }

    pub(crate) fn consumer(&self, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.config();
        config.remove("message.timeout.ms");
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        config
            .set("max.poll.interval.ms", "15000")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "100")
            .set("fetch.wait.max.ms", "50");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().unwrap()
    }

    /// Reads that many records of partition 0 from the start.
    pub(crate) fn read(&self, topic: &str, count: usize, settings: &[(&str, &str)]) -> Vec<OwnedMessage> {
        let consumer = self.consumer("reader", settings);
        assign(&consumer, topic, 0, Offset::Beginning);
        receive(&consumer, count)
    }
}

pub(crate) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(Duration::from_secs(10)))
}

pub(crate) fn assign(consumer: &BaseConsumer, topic: &str, partition: i32, offset: Offset) {
    consumer.assign(&place(topic, partition, offset)).unwrap();
}

pub(crate) fn place(topic: &str, partition: i32, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset).unwrap();
    list
}

pub(crate) fn receive(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let mut messages = Vec::new();
    until("the records to arrive", || {
        if let Some(Ok(message)) = consumer.poll(POLL) {
            messages.push(message.detach());
        }
        messages.len() == count
    });
    messages
}

/// Whether a record comes within a short while.
pub(crate) fn hears_something(consumer: &BaseConsumer) -> bool {
    let until = Instant::now() + Duration::from_millis(400);
    while Instant::now() < until {
        if let Some(Ok(_)) = consumer.poll(POLL) {
            return true;
        }
    }
    false
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
    }
}

/// Runs one of rdkafka's admin futures, which its own thread completes.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(Instant::now() < deadline, "an admin call did not end");
        std::thread::park_timeout(POLL);
    }
}
