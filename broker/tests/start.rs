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
use rdkafka::error::KafkaResult;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

fn config(folder: &Path) -> BrokerConfig {
    let mut config = BrokerConfig::new(folder);
    config.listen = "127.0.0.1:0".parse().unwrap();
    config
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
    config.fsync = false;
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

fn serve_in_a_child(folder: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serve_for_the_kill_test", "--nocapture"])
        .env("PIPETTE_BROKER_KILL_TEST", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("address ").map(str::to_owned));
    (child, address.unwrap())
}

#[test]
fn a_killed_broker_has_lost_nothing_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let (mut child, address) = serve_in_a_child(folder.path());
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
