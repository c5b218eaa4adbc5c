//! Starting, stopping, and what a start that cannot work says; what a killed broker leaves behind.

#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but does not see a test's steps as such")]
#![allow(clippy::print_stdout, reason = "the killed process tells its address so")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipette_broker::error::BrokerError;
use pipette_broker::{Broker, BrokerConfig};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

fn config(folder: &Path) -> BrokerConfig {
    BrokerConfig::on_any_port(folder)
}

fn refusal(config: BrokerConfig) -> String {
    Broker::start(config).unwrap_err().to_string()
}

#[test]
fn the_second_broker_on_a_folder_is_told_who_has_it() {
    let folder = TempDir::new().unwrap();
    let first = Broker::start(config(folder.path())).unwrap();
    let text = refusal(config(folder.path()));
    assert!(text.contains(&format!("process id {}", std::process::id())), "{text}");
    first.stop();
    Broker::start(config(folder.path())).unwrap();
}

#[test]
fn a_port_that_is_taken_is_named_and_a_kafka_there_recognised() {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let first = Broker::start(config(folders[0].path())).unwrap();
    let mut second = config(folders[1].path());
    second.listen = first.address();
    let text = refusal(second.clone());
    assert!(text.contains(&format!("a Kafka broker already answers on {}", first.address())), "{text}");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    second.listen = other.local_addr().unwrap();
    let text = refusal(second);
    assert!(text.contains("another program already listens"), "{text}");
}

#[test]
fn a_newer_format_is_refused_by_name_and_left_alone_and_an_older_one_taken_over() {
    let folder = TempDir::new().unwrap();
    Broker::start(config(folder.path())).unwrap().stop();
    let format = folder.path().join("format");
    std::fs::write(&format, "pipette-broker 99\n").unwrap();
    let text = refusal(config(folder.path()));
    assert!(text.contains("format 99") && text.contains("knows format 2"), "{text}");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "pipette-broker 99\n");
    // What an older Pipette wrote is taken over, and no longer for the older one.
    std::fs::write(&format, "pipette-broker 1\n").unwrap();
    Broker::start(config(folder.path())).unwrap().stop();
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "pipette-broker 2\n");
    std::fs::write(&format, "something else").unwrap();
    let text = refusal(config(folder.path()));
    assert!(text.contains("not what a Pipette broker writes"), "{text}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let text = refusal(config(&file));
    assert!(text.contains(&file.display().to_string()), "{text}");
}

#[test]
fn an_address_others_can_reach_needs_permission() {
    let folder = TempDir::new().unwrap();
    let mut open = config(folder.path());
    open.listen = "0.0.0.0:0".parse().unwrap();
    let error = Broker::start(open).unwrap_err();
    assert!(matches!(error, BrokerError::Remote { .. }), "{error}");
}

#[test]
fn stopping_is_quick_while_a_consumer_waits_and_frees_the_port() {
    let folder = TempDir::new().unwrap();
    let broker = Broker::start(config(folder.path())).unwrap();
    let address = broker.address();
    let mut waiting = std::net::TcpStream::connect(address).unwrap();
    // Fetch version 4: wait 30 s for at least one byte of no topic at all.
    let fetch = [
        &[0, 1, 0, 4, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &30_000_i32.to_be_bytes(),
        &[0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    waiting.write_all(&[&i32::try_from(fetch.len()).unwrap().to_be_bytes()[..], &fetch].concat()).unwrap();
    let started = Instant::now();
    broker.stop();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    waiting.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = waiting.read_to_end(&mut Vec::new());
    let mut again = config(folder.path());
    again.listen = address;
    assert_eq!(Broker::start(again).unwrap().address(), address);
}

/// Not a test by itself: the process that the next one kills.
#[test]
fn serve_for_the_kill_test() {
    let Some(folder) = std::env::var_os("PIPETTE_BROKER_KILL_TEST") else { return };
    let mut config = config(Path::new(&folder));
    config.fsync = std::env::var_os("PIPETTE_BROKER_FSYNC").is_some();
    let broker = Broker::start(config).unwrap();
    println!("\naddress {}", broker.address());
    std::thread::park_timeout(DEADLINE);
}

struct Counting(std::sync::atomic::AtomicI64);

impl rdkafka::ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        if delivery.is_ok() {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
}

#[derive(Clone, Copy)]
enum Durability {
    PageCache,
    Fsync,
}

fn serve_in_a_child(folder: &Path, durability: Durability) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "serve_for_the_kill_test", "--nocapture"]).env("PIPETTE_BROKER_KILL_TEST", folder);
    if matches!(durability, Durability::Fsync) {
        command.env("PIPETTE_BROKER_FSYNC", "1");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("address ").map(str::to_owned));
    (child, address.unwrap())
}

#[test]
fn a_killed_broker_has_lost_nothing_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let (mut child, address) = serve_in_a_child(folder.path(), Durability::PageCache);
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &address).set("linger.ms", "0").set("message.timeout.ms", "3000");
    settings.set("log_level", "0");
    let counting = Counting(std::sync::atomic::AtomicI64::new(0));
    let producer: ThreadedProducer<Counting> = settings.create_with_context(counting).unwrap();
    let acknowledged = || producer.context().0.load(std::sync::atomic::Ordering::SeqCst);
    let deadline = Instant::now() + DEADLINE;
    let payload = [b'x'; 200];
    while acknowledged() < 20_000 {
        let sent = producer.send(BaseRecord::<str, [u8]>::to("t").partition(0).payload(&payload));
        if sent.is_err() {
            std::thread::yield_now();
        }
        assert!(Instant::now() < deadline, "only {} records were acknowledged", acknowledged());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let _: KafkaResult<()> = producer.flush(Duration::from_secs(4));
    let promised = acknowledged();
    let broker = Broker::start(config(folder.path())).unwrap();
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", broker.address().to_string()).create().unwrap();
    let (_, end) = consumer.fetch_watermarks("t", 0, DEADLINE).unwrap();
    assert!(end >= promised, "{promised} acknowledged, {end} there");
}

/// Writes transactions, each one record to two partitions, until the broker is killed, which happens `patience` after
/// it has acknowledged some; gives the numbers of those whose commit was acknowledged.
fn transact_until_killed(mut child: Child, address: &str, from: u64, patience: Duration) -> Vec<u64> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", address).set("transactional.id", "x").set("linger.ms", "0");
    settings.set("message.timeout.ms", "1500").set("socket.timeout.ms", "1500").set("transaction.timeout.ms", "60000");
    settings.set("log_level", "0");
    let producer: BaseProducer = settings.create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    let (warm, is_warm) = std::sync::mpsc::channel();
    let killer = std::thread::spawn(move || {
        is_warm.recv_timeout(DEADLINE).unwrap();
        std::thread::park_timeout(patience);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut acknowledged = Vec::new();
    for number in from.. {
        let value = number.to_string();
        let record = |partition| BaseRecord::<str, str>::to("t").partition(partition).payload(&value);
        let put = |partition| producer.send(record(partition)).map_err(|(error, _)| error);
        let sent = producer.begin_transaction().and_then(|()| put(0)).and_then(|()| put(1));
        // Without this each commit takes the 100 ms that rdkafka's flush waits.
        let until = Instant::now() + Duration::from_secs(2);
        while producer.in_flight_count() > 0 && Instant::now() < until {
            producer.poll(Duration::from_millis(1));
        }
        if sent.and_then(|()| producer.commit_transaction(Duration::from_secs(2))).is_err() {
            break;
        }
        acknowledged.push(number);
        if acknowledged.len() == 20 {
            warm.send(()).unwrap();
        }
    }
    killer.join().unwrap();
    acknowledged
}

/// All that somebody who reads committed records sees of a partition.
fn committed(address: &str, partition: i32) -> Vec<u64> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", address).set("group.id", "g").set("isolation.level", "read_committed");
    settings.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut place = TopicPartitionList::new();
    place.add_partition_offset("t", partition, Offset::Beginning).unwrap();
    consumer.assign(&place).unwrap();
    let deadline = Instant::now() + DEADLINE;
    let mut seen = Vec::new();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => seen.push(String::from_utf8_lossy(message.payload().unwrap()).parse().unwrap()),
            Some(Err(KafkaError::PartitionEOF(_))) => return seen,
            Some(Err(error)) => panic!("{error}"),
            None => assert!(Instant::now() < deadline, "no end of the partition after {seen:?}"),
        }
    }
}

fn transactions_survive_kills(durability: Durability) {
    let folder = TempDir::new().unwrap();
    let broker = Broker::start(BrokerConfig { default_partitions: 2, ..config(folder.path()) }).unwrap();
    let maker: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.address().to_string()).create().unwrap();
    // A producer that asks for it has it created.
    maker.client().fetch_metadata(Some("t"), DEADLINE).unwrap();
    broker.stop();
    let (mut acknowledged, mut from) = (Vec::new(), 0);
    for life in 0..6 {
        let (child, address) = serve_in_a_child(folder.path(), durability);
        let patience = Duration::from_micros(700 * life);
        acknowledged.extend(transact_until_killed(child, &address, from, patience));
        from = acknowledged.last().unwrap() + 2;
    }
    let broker = Broker::start(config(folder.path())).unwrap();
    let address = broker.address().to_string();
    let heir: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &address).set("transactional.id", "x").create().unwrap();
    heir.init_transactions(DEADLINE).unwrap();
    let seen = committed(&address, 0);
    assert_eq!(seen, committed(&address, 1), "a transaction is in one partition only");
    assert!(seen.is_sorted_by(|left, right| left < right), "{seen:?}");
    for number in &acknowledged {
        assert!(seen.contains(number), "{number} was acknowledged and is gone");
    }
    // What was under way when the broker died is there as a whole or not at all: at most one for each life.
    assert!(seen.len() <= acknowledged.len() + 6, "{} of {}", seen.len(), acknowledged.len());
}

#[test]
fn transactions_are_whole_after_kills_without_fsync() {
    transactions_survive_kills(Durability::PageCache);
}

#[test]
fn transactions_are_whole_after_kills_with_fsync() {
    transactions_survive_kills(Durability::Fsync);
}
