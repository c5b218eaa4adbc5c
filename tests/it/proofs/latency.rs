//! How long a record is under way at 5,000 records a second on one partition, with the settings a worker has by itself:
//! from the line appended to a file until it can be read in Kafka, and from Kafka until the line is in the sink's file.
//!
//! A line carries the moment at which it was made. Who looks for it at the far end is no part of the worker, and looks
//! without a pause or a millisecond apart. What it costs to make and to look for the lines is a figure of its own.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pipette::bench::process::cpu_seconds;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::json;

use super::frame::Proof;
use super::tally::Tally;
use crate::support::feed::Feed;
use crate::support::kafka::ApacheKafka;
use crate::support::worker::Worker;
use crate::support::{topic, wait};

const PROOF: Proof = Proof { name: "latency", rounds: 5 };

/// Between two handfuls of records.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// What a laboratory's line may look like: its time, its number, and this much more.
const FILLING: &str =
    "2026-11-26T08:14:55.120Z,plate-000417,B07,absorbance,450,0.4371,OK,reader-3,op-17,run-88213,batch-2209";
/// The most that 99 of 100 records may take.
const BOUND: Duration = Duration::from_millis(50);
/// After the last record was given away; a shared machine may stand still for a while.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long one way is measured.
pub(super) struct Extent {
    /// Records a second.
    pub(super) load: u64,
    pub(super) warm_up: Duration,
    /// A way whose records are so young has no backlog: the warm-up is over.
    pub(super) caught_up: Duration,
    pub(super) measured: Duration,
}

#[test]
#[ignore = "twelve minutes, for an optimised build on an idle machine; the command is in docs/proofs/README.md"]
fn latency() {
    let (warm_up, measured) = (Duration::from_secs(30), Duration::from_secs(40));
    let extent = Extent { load: 5_000, warm_up, caught_up: BOUND, measured };
    PROOF.long(|_| play(&extent, BOUND));
}

/// On a machine that does other things and with a build that is not optimised: every record comes, once.
#[test]
fn latency_short() {
    let [warm_up, caught_up, measured] = [1, 3, 3].map(Duration::from_secs);
    let extent = Extent { load: 1_000, warm_up, caught_up, measured };
    PROOF.short(|_| play(&extent, PATIENCE));
}

fn play(extent: &Extent, bound: Duration) -> Tally {
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = ApacheKafka::start(&folder.path().join("kafka"), &[]);
    // What the tests' worker has otherwise than one has by itself.
    let mut worker = Worker::prepare(folder.path(), &kafka.bootstrap(), &[("offset.flush.interval.ms", "60000")]);
    worker.start();
    let mut tally = Tally::default();
    let stage = Stage { bootstrap: kafka.bootstrap(), folder: folder.path(), worker: &worker, load: extent.load };
    for name in ["into Kafka", "out of Kafka"] {
        let way = if name == "into Kafka" { into_kafka(&stage) } else { out_of_kafka(&stage) };
        measure(way, extent, &worker, name, bound, &mut tally);
    }
    assert!(worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    tally
}

struct Stage<'a> {
    bootstrap: String,
    folder: &'a Path,
    worker: &'a Worker,
    load: u64,
}

impl Stage<'_> {
    fn create(&self, name: &str, config: &serde_json::Value) {
        let answer = self.worker.rest().put(&format!("/connectors/{name}/config"), config).expect("REST answers");
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
    }
}

/// A load, and what looks for it.
pub(super) struct Way {
    pub(super) feed: Feed,
    pub(super) look: Box<Look>,
}

/// Called again and again, it hands over each line that has come.
pub(super) type Look = dyn FnMut(&mut dyn FnMut(&str));

fn into_kafka(stage: &Stage) -> Way {
    const TOPIC: &str = "latency-in";
    topic::create(&stage.bootstrap, TOPIC, 1, &[]);
    let file = stage.folder.join("latency-in.txt");
    let feed = Feed::lines(&file, stage.load, TICK, line);
    stage.create("latency-in", &json!({"connector.class": "FileStreamSource", "file": file, "topic": TOPIC}));
    Way { feed, look: reader(&stage.bootstrap, TOPIC) }
}

/// Looks for the lines in a topic of one partition.
pub(super) fn reader(bootstrap: &str, topic: &str) -> Box<Look> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader-of-tests")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("a position");
    consumer.assign(&list).expect("an assignment");
    Box::new(move |each: &mut dyn FnMut(&str)| {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.expect("a record");
            each(&String::from_utf8_lossy(message.payload().unwrap_or_default()));
        }
    })
}

/// The clock starts when the record is given to the producer: its way to the broker counts too.
fn out_of_kafka(stage: &Stage) -> Way {
    const TOPIC: &str = "latency-out";
    topic::create(&stage.bootstrap, TOPIC, 1, &[]);
    let mut settings = ClientConfig::new();
    let producer = settings.set("bootstrap.servers", &stage.bootstrap).set("linger.ms", "1").create();
    let producer = Delivering(producer.expect("a producer"));
    let output = stage.folder.join("latency-out.txt");
    stage.create("latency-out", &json!({"connector.class": "FileStreamSink", "file": output, "topics": TOPIC}));
    wait::until("the sink's file", PATIENCE, || File::open(&output).map_err(|error| error.to_string()));
    let feed = Feed::start(stage.load, TICK, move |items| {
        for item in items {
            producer.0.send(BaseRecord::<(), str>::to(TOPIC).partition(0).payload(&line(item))).expect("it is taken");
        }
    });
    let mut file = File::open(&output).expect("the sink's file");
    let (mut buffer, mut rest) = (vec![0; 1 << 20], Vec::new());
    let look = move |each: &mut dyn FnMut(&str)| {
        let read = file.read(&mut buffer).expect("the sink's file can be read");
        if read == 0 {
            wait::moment(TICK);
        }
        rest.extend_from_slice(&buffer[..read]);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&rest[..whole]).lines().for_each(each);
        rest.drain(..whole);
    };
    Way { feed, look: Box::new(look) }
}

/// By itself a producer that is dropped gives up what is under way.
struct Delivering(ThreadedProducer<DefaultProducerContext>);

impl Drop for Delivering {
    fn drop(&mut self) {
        self.0.flush(PATIENCE).expect("all are delivered");
    }
}

/// Its time, its number and its filling.
pub(super) fn line(item: usize) -> String {
    format!("{},{item},{FILLING}", now().as_micros())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970")
}

/// How long ago the line was made.
fn age(line: &str) -> Duration {
    let made = line.split(',').next().and_then(|text| text.parse().ok()).expect("the moment it was made");
    now().saturating_sub(Duration::from_micros(made))
}

/// Lets the load run, and waits for the rest of it: nothing of what was given away may be missing. 99 of 100 records may
/// take as long as `bound`.
pub(super) fn measure(way: Way, extent: &Extent, worker: &Worker, name: &str, bound: Duration, tally: &mut Tally) {
    let Way { feed, mut look } = way;
    let pids = ["self".to_owned(), worker.pid().to_string()];
    let used = || pids.each_ref().map(|pid| cpu_seconds(pid).expect("its CPU time"));
    let (mut taken, mut arrived) = (Taken::default(), 0);
    // A consumer group that nobody had before takes a broker seconds: what was made meanwhile is no measurement.
    let (began, mut youngest) = (Instant::now(), Duration::MAX);
    while began.elapsed() < extent.warm_up || youngest > extent.caught_up {
        look(&mut |line| {
            youngest = age(line);
            arrived += 1;
        });
        assert!(began.elapsed() < extent.warm_up + PATIENCE, "records {name} are {youngest:?} late after the warm-up");
    }
    let (before, end) = (used(), Instant::now() + extent.measured);
    let mut count = |line: &str| {
        taken.0.push(age(line));
        arrived += 1;
    };
    while Instant::now() < end {
        look(&mut count);
    }
    let after = used();
    let given = feed.end();
    let late = Instant::now() + PATIENCE;
    while arrived < given {
        look(&mut |line| {
            taken.0.push(age(line));
            arrived += 1;
        });
        assert!(arrived >= given || Instant::now() < late, "{arrived} of {given} records {name} have arrived");
    }
    assert_eq!(arrived, given, "a worker that nobody disturbs repeats nothing");
    taken.0.sort_unstable();
    tally.add("records", taken.0.len());
    for (n, who) in ["the load and its reader", "the worker"].iter().enumerate() {
        let share = (after[n] - before[n]) / extent.measured.as_secs_f64() * 100.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage")]
        tally.most(&format!("% of a core for {who} {name}"), share.round() as usize);
    }
    for (share, text) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "largest")] {
        tally.most(&format!("µs {text} {name}"), micros(taken.at(share)));
    }
    let p99 = taken.at(0.99);
    assert!(p99 <= bound, "99 of 100 records {name} took up to {p99:?}, {bound:?} are allowed: {tally}");
}

/// How long records took, the shortest first.
#[derive(Default)]
struct Taken(Vec<Duration>);

impl Taken {
    /// What `share` of all did not exceed.
    fn at(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        let index = (self.0.len() as f64 * share).ceil() as usize;
        self.0[index.clamp(1, self.0.len()) - 1]
    }
}

fn micros(time: Duration) -> usize {
    usize::try_from(time.as_micros()).expect("a time of minutes")
}

#[test]
fn shares_are_of_the_sorted_times() {
    let taken = Taken((1..=1000).map(Duration::from_millis).collect());
    let at = |share| taken.at(share).as_millis();
    assert_eq!([at(0.0), at(0.5), at(0.99), at(0.999), at(1.0)], [1, 500, 990, 999, 1000]);
}
