//! What the MQTT source carries from a real Mosquitto into Apache Kafka, all three on the machine's cores: how many
//! messages a second out of a session that has kept them, beside what `mosquitto_sub` takes out of another session with
//! the same messages; how much memory that takes, and how much when Kafka stands still; and how long a message is under way.
//!
//! A message that is kept is on one of many topics and has 1,000 bytes. Rates count from the request that resumes the
//! connector to the last record in Kafka, and from the start of `mosquitto_sub` to its end.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use pipette::bench::process::{cpu_seconds, forget_peak, peak_mib};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use super::edge::whole;
use super::frame::Proof;
use super::latency::{self, TICK, Way};
use super::tally::Tally;
use crate::support::feed::Feed;
use crate::support::kafka::ApacheKafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::publisher::{Load, Publisher};
use crate::support::worker::Worker;
use crate::support::{topic, wait};

const PROOF: Proof = Proof { name: "mqtt_speed", rounds: 3 };

const TOPICS: u64 = 10_000;
const SIZE: usize = 1000;
/// Of one reading from the socket, which is read whole: 64 messages with what each is counted as besides.
const READ_AT_ONCE: u64 = 64 * (SIZE as u64 + 300);
const PATIENCE: Duration = Duration::from_mins(2);
/// The name of the connector, of its session and of its topic.
const NAME: &str = "mqtt-speed";
/// The session of `mosquitto_sub`.
const BESIDE: &str = "beside";

/// How much is measured, and what must hold.
struct Extent {
    /// Passes that do not count.
    warm_up: usize,
    passes: usize,
    /// How fast messages are published before each pass, and for how long.
    published: (u64, Duration),
    /// `mqtt.buffer.max.bytes`.
    budget: u64,
    /// Messages a second into Kafka.
    rate: usize,
    /// Of the worker's memory.
    mib: f64,
    way: latency::Extent,
    /// Of the time that 99 of 100 messages are under way.
    bound: Duration,
}

#[test]
#[ignore = "five minutes, for an optimised build on an idle machine; the command is in docs/proofs/README.md"]
fn long() {
    let [warm_up, caught_up, measured] = [5_000, 50, 20_000].map(Duration::from_millis);
    let way = latency::Extent { load: 1_000, warm_up, caught_up, measured };
    let (published, budget) = ((15_000, Duration::from_secs(2)), 16 * 1024 * 1024);
    let extent = Extent { warm_up: 2, passes: 5, published, budget, rate: 30_000, mib: 80.0, way, bound: caught_up };
    PROOF.long(|_| play(&extent));
}

/// On a machine that does other things and with a build that is not optimised: everything comes, and memory has its bound.
#[test]
fn short() {
    let [warm_up, caught_up, measured] = [1, 3, 3].map(Duration::from_secs);
    let way = latency::Extent { load: 500, warm_up, caught_up, measured };
    let (published, budget) = ((5_000, Duration::from_secs(1)), 4 * 1024 * 1024);
    let extent = Extent { warm_up: 0, passes: 1, published, budget, rate: 0, mib: 120.0, way, bound: PATIENCE };
    PROOF.short(|_| play(&extent));
}

fn play(extent: &Extent) -> Tally {
    let folder = tempfile::tempdir().expect("a folder");
    let mut stage = Stage::set(folder.path(), extent.budget);
    let mut tally = Tally::default();
    stage.connect(NAME, "lab/#");
    stage.broker.session(BESIDE, "lab/#");
    stage.forget_peak();
    // Java compiles what it does often.
    for _ in 0..extent.warm_up {
        stage.pass(extent);
    }
    let (mut messages, mut took, used) = (0, [Duration::ZERO; 2], stage.used());
    for _ in 0..extent.passes {
        let (more, took_more) = stage.pass(extent);
        messages += more;
        took.iter_mut().zip(took_more).for_each(|(took, more)| *took += more);
    }
    tally.add("messages", usize::try_from(messages).expect("messages of a test"));
    let messages = f64::from(u32::try_from(messages).expect("messages of a test"));
    let [ours, beside] = took.map(|took| messages / took.as_secs_f64());
    tally.most("ns of CPU in the worker per message", whole((stage.used() - used) * 1e9 / messages));
    tally.least("messages/s into Kafka", whole(ours));
    tally.least("messages/s into mosquitto_sub", whole(beside));
    tally.least("% of mosquitto_sub's", whole(ours / beside * 100.0));
    stage.memory("at full speed", extent, &mut tally);
    assert!(whole(ours) >= extent.rate, "{} messages/s are wanted: {tally}", extent.rate);
    stage.stall(extent, &mut tally);
    stage.memory("while Kafka stands still", extent, &mut tally);
    let way = stage.device(extent.way.load);
    latency::measure(way, &extent.way, &stage.worker, "from device to Kafka", extent.bound, &mut tally);
    assert!(stage.worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    tally
}

struct Stage {
    kafka: ApacheKafka,
    broker: Mosquitto,
    worker: Worker,
    reader: BaseConsumer,
    budget: u64,
}

impl Stage {
    fn set(folder: &std::path::Path, budget: u64) -> Self {
        let kafka = ApacheKafka::start(&folder.join("kafka"), &[]);
        let bootstrap = kafka.bootstrap();
        // It saves what it keeps now and then, and would do nothing else meanwhile.
        let broker = Mosquitto::with("allow_anonymous true\nmax_inflight_messages 0\nautosave_interval 1800\n");
        let mut worker = Worker::prepare(folder, &bootstrap, &[("offset.flush.interval.ms", "60000")]);
        worker.start();
        let reader = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("a client");
        Self { kafka, broker, worker, reader, budget }
    }

    /// A connector into a topic of its own name, subscribed when this returns.
    fn connect(&mut self, name: &str, filter: &str) {
        topic::create(&self.kafka.bootstrap(), name, 1, &[]);
        let config = json!({
            "connector.class": "MqttSource",
            "mqtt.server.uri": self.broker.uri(),
            "mqtt.topics": filter,
            "mqtt.buffer.max.bytes": self.budget.to_string(),
            // What is left to hold it back is the budget.
            "mqtt.buffer.max.records": "100000",
            "mqtt.receive.maximum": "65535",
            "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
            "kafka.topic": name,
        });
        let answer = self.worker.rest().put(&format!("/connectors/{name}/config"), &config).expect("REST answers");
        assert_eq!(answer.status, 201, "{}", answer.body);
        self.await_session(name, "a subscription", |session| session["subscriptions"][0].is_string());
    }

    fn await_session(&mut self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) {
        let path = format!("/connectors/{name}/sessions");
        wait::until(what, PATIENCE, || {
            self.worker.assert_lives();
            let answer = self.worker.rest().get(&path).expect("REST answers").body;
            if wanted(&answer["sessions"][0]) { Ok(()) } else { Err(answer.to_string()) }
        });
    }

    fn wish(&self, wish: &str) {
        let answer = self.worker.rest().put(&format!("/connectors/{NAME}/{wish}"), &Value::Null).expect("REST answers");
        assert_eq!(answer.status, 202, "{}", answer.body);
    }

    fn publisher(&self, rate: u64) -> Publisher {
        Publisher::start(Load { port: self.broker.port, qos: 1, rate, topics: TOPICS, size: SIZE })
    }

    /// One pass: how many messages, and how long they took into Kafka and into `mosquitto_sub`.
    fn pass(&mut self, extent: &Extent) -> (u64, [Duration; 2]) {
        self.wish("pause");
        self.await_session(NAME, "a pause", |session| session["connected"] == false);
        let (rate, time) = extent.published;
        let publisher = self.publisher(rate);
        wait::moment(time);
        let messages = publisher.finish().numbers;
        let beside = self.beside(messages);
        let (before, begun) = (self.stored(), Instant::now());
        self.wish("resume");
        self.await_stored(before + messages);
        (messages, [begun.elapsed(), beside])
    }

    /// How long `mosquitto_sub` takes for as many messages.
    fn beside(&self, messages: u64) -> Duration {
        let begun = Instant::now();
        let (port, count) = (self.broker.port.to_string(), messages.to_string());
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-c", "-i", BESIDE, "-q", "2", "-t", "lab/#", "-C", &count];
        let outcome = Command::new("mosquitto_sub").args(arguments).stdout(Stdio::null()).status();
        assert!(outcome.expect("mosquitto_sub starts").success(), "mosquitto_sub fails");
        begun.elapsed()
    }

    fn stored(&self) -> u64 {
        let (_, high) = self.reader.fetch_watermarks(NAME, 0, PATIENCE).expect("the topic's end");
        u64::try_from(high).expect("an end")
    }

    /// All, and no more: nobody disturbs the source.
    fn await_stored(&mut self, wanted: u64) {
        wait::until("every message in Kafka", PATIENCE, || {
            self.worker.assert_lives();
            let stored = self.stored();
            assert!(stored <= wanted, "{stored} records of {wanted} messages");
            if stored == wanted { Ok(()) } else { Err(format!("{stored} of {wanted}")) }
        });
    }

    /// Kafka stands still while more comes than a task may hold; then it goes on.
    fn stall(&mut self, extent: &Extent, tally: &mut Tally) {
        let before = self.stored();
        self.kafka.signal("STOP");
        let publisher = self.publisher(extent.published.0);
        let held = wait::until("a full buffer", PATIENCE, || match self.held() {
            held if held >= self.budget => Ok(held),
            held => Err(format!("{held} bytes are held")),
        });
        // And more, which waits at the broker.
        wait::moment(extent.published.1);
        let (held, messages) = (held.max(self.held()), publisher.finish().numbers);
        tally.most("bytes held while Kafka stands still", usize::try_from(held).expect("some bytes"));
        self.kafka.signal("CONT");
        assert!(held <= self.budget + READ_AT_ONCE, "{held} bytes are held, {} are allowed", self.budget);
        self.await_stored(before + messages);
    }

    /// What the source says that it holds, in bytes.
    fn held(&self) -> u64 {
        let page = self.worker.rest().get("/metrics").expect("REST answers").body;
        let page = page.as_str().expect("the page of metrics");
        let begin = format!("pipette_mqtt_source_held_bytes{{connector=\"{NAME}\"");
        let line = page.lines().find(|line| line.starts_with(&begin));
        let number = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no bytes held on\n{page}"))
    }

    /// Seconds of CPU.
    fn used(&self) -> f64 {
        cpu_seconds(&self.worker.pid().to_string()).expect("its CPU time")
    }

    fn forget_peak(&self) {
        forget_peak(&self.worker.pid().to_string()).expect("a new peak");
    }

    /// The most memory since it was last asked.
    fn memory(&self, when: &str, extent: &Extent, tally: &mut Tally) {
        let peak = peak_mib(&self.worker.pid().to_string()).expect("its memory");
        tally.most(&format!("KiB of memory {when}"), whole(peak * 1024.0));
        assert!(peak <= extent.mib, "{peak:.1} MiB of memory {when}, {} are allowed: {tally}", extent.mib);
        self.forget_peak();
    }

    /// A device that publishes lines with the moment at which each was made.
    fn device(&mut self, load: u64) -> Way {
        const TOPIC: &str = "mqtt-latency";
        self.connect(TOPIC, "line/#");
        let mut device = Device::start(self.broker.port);
        let feed = Feed::start(load, TICK, move |items| device.publish(items.map(latency::line)));
        Way { feed, look: latency::reader(&self.kafka.bootstrap(), TOPIC) }
    }
}

/// A client that publishes what it is given, line by line.
struct Device {
    client: Child,
    lines: Option<ChildStdin>,
}

impl Device {
    fn start(port: u16) -> Self {
        let arguments = ["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "line/a", "-q", "1", "-l"];
        let mut client = Command::new("mosquitto_pub").args(arguments).stdin(Stdio::piped()).spawn();
        let lines = client.as_mut().expect("mosquitto_pub starts").stdin.take();
        Self { client: client.expect("mosquitto_pub starts"), lines }
    }

    fn publish(&mut self, lines: impl Iterator<Item = String>) {
        let text: String = lines.map(|line| line + "\n").collect();
        let input = self.lines.as_mut().expect("an open input");
        input.write_all(text.as_bytes()).expect("mosquitto_pub takes lines");
    }
}

impl Drop for Device {
    /// Without input it ends once everything is acknowledged.
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.client.wait();
    }
}
