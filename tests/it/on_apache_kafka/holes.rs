//! Sinks that read past librdkafka, while compaction, deletion and transactions leave holes in front of them.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

use crate::support::kafka::ApacheKafka;
use crate::support::worker::{DIRECT, Worker};
use crate::support::{topic, wait};

const PATIENCE: Duration = Duration::from_mins(1);

/// A topic, and a worker that writes its lines to a file.
struct Scene {
    bootstrap: String,
    topic: &'static str,
    worker: Worker,
    out: PathBuf,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(topic: &'static str) -> Self {
        Self::on(ApacheKafka::shared(), topic)
    }

    fn on(kafka: &ApacheKafka, topic: &'static str) -> Self {
        let (folder, bootstrap) = (tempfile::tempdir().expect("a folder"), kafka.bootstrap());
        let worker = Worker::prepare(folder.path(), &bootstrap, &[DIRECT])
            .in_environment(&[("PIPETTE_LOG", "info,pipette::kafka::direct=debug".to_owned())]);
        let out = folder.path().join("out.txt");
        Self { bootstrap, topic, worker, out, _folder: folder }
    }

    /// Has the sink read in small pieces, so that it is on its way for a while.
    fn sink(&mut self) {
        self.worker.start();
        let config = json!({"connector.class": "FileStreamSink", "topics": self.topic, "file": self.out,
            "consumer.override.max.partition.fetch.bytes": "2000",
            "consumer.override.reconnect.backoff.max.ms": "200"});
        assert_eq!(self.wish("PUT", "config", Some(&config)), 201);
    }

    fn wish(&self, method: &str, what: &str, body: Option<&serde_json::Value>) -> u16 {
        let path = format!("/connectors/{}/{what}", self.topic);
        self.worker.rest().send(method, &path, body).expect("an answer").status
    }

    /// Sends numbered records, each under its number's rest by `keys`, and from the numbers on that `tombs` says nothing.
    fn fill(&self, numbers: Range<u32>, keys: u32, tombs: u32) {
        let producer = producer(&self.bootstrap, &[]);
        for number in numbers {
            let (key, value) = ((number % keys).to_string(), line(number));
            let record = BaseRecord::<str, str>::to(self.topic).partition(0).key(&key);
            let record = if number < tombs { record.payload(&value) } else { record };
            producer.send(record).expect("it is taken");
            producer.poll(Duration::ZERO);
        }
        producer.flush(PATIENCE).expect("it is delivered");
    }

    /// Waits until this line has come, the offset behind the topic is committed, and nothing is told to be behind.
    fn until(&mut self, number: u32) {
        let group = topic::Group::watch(&self.bootstrap, &format!("connect-{}", self.topic), self.topic);
        wait::until(&format!("line {number}, and the end of the topic"), PATIENCE, || {
            self.worker.assert_lives();
            let seen = lines(&self.out).last().cloned().unwrap_or_default();
            let (end, committed) = (topic::end(&self.bootstrap, self.topic), group.committed());
            let lag = self.lag();
            let is_there = seen == line(number) && end == committed && lag.ends_with(" 0");
            if is_there { Ok(()) } else { Err(format!("{seen}, {committed} of {end} is committed, {lag}")) }
        });
    }

    fn lag(&self) -> String {
        let page = self.worker.rest().get("/metrics").expect("an answer").body;
        let wanted = "kafka_consumer_fetch_manager_records_lag_max{";
        let found = page.as_str().expect("a page").lines().find(|line| line.starts_with(wanted));
        found.unwrap_or_default().to_owned()
    }

    fn assert_direct(&self) {
        let times = self.worker.log().matches("Read from its leader directly").count();
        assert!(times > 0, "{}", self.worker.log());
    }
}

fn producer(bootstrap: &str, more: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("batch.num.messages", "20").set("linger.ms", "1");
    config.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    config.create().expect("a producer")
}

fn line(number: u32) -> String {
    format!("{number:050}")
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// What a topic still holds, tombstones aside.
fn held(scene: &Scene) -> Vec<String> {
    topic::values(&scene.bootstrap, scene.topic).into_iter().filter(|value| !value.is_empty()).collect()
}

#[test]
fn what_compaction_leaves_arrives_once_and_the_end_is_reached() {
    let mut scene = Scene::new("holes");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.0"),
        ("delete.retention.ms", "0"),
        ("max.compaction.lag.ms", "100"),
    ];
    topic::create(&scene.bootstrap, scene.topic, 1, &settings);
    // Most of a batch is overwritten, then whole batches are, then all of a stretch has gone.
    scene.fill(0..6_000, 6_000, 6_000);
    scene.fill(6_001..12_000, 3, 12_000);
    scene.fill(12_000..14_000, 2_000, 12_000);
    let mut next = 14_000;
    wait::until("compaction", PATIENCE, || {
        // The last segment stays as it is, and a new one begins with a record that is late enough.
        scene.fill(next..next + 1, 1_000_000, next + 1);
        next += 1;
        let left = held(&scene).len();
        if left < 4_100 { Ok(()) } else { Err(format!("{left} records are left")) }
    });
    let all = producer(&scene.bootstrap, &[("transactional.id", "holes")]);
    all.init_transactions(PATIENCE).expect("a transactional id");
    all.begin_transaction().expect("a transaction");
    let last = line(next);
    all.send(BaseRecord::<str, str>::to(scene.topic).partition(0).key("last").payload(&last)).expect("it is taken");
    all.commit_transaction(PATIENCE).expect("it is committed");

    scene.sink();
    scene.until(next);
    let (mut found, held) = (lines(&scene.out), held(&scene));
    // Tombstones that the broker has not taken yet.
    found.retain(|line| line != "null");
    let odd = found.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(odd, None, "each once, and in order");
    let missing: Vec<&String> = held.iter().filter(|line| found.binary_search(line).is_err()).collect();
    assert!(missing.is_empty(), "{} of {} lines are missing, {:?} first", missing.len(), held.len(), missing[0]);
    scene.assert_direct();
    assert!(scene.worker.stop().success());
}

#[test]
fn records_that_go_and_topics_that_come_again_do_not_stop_who_is_behind_them() {
    let mut scene = Scene::new("overtaken");
    topic::create(&scene.bootstrap, scene.topic, 1, &[]);
    scene.fill(0..30_000, 1, 30_000);
    scene.sink();
    wait::until("the first lines", PATIENCE, || match lines(&scene.out).len() {
        0 => Err(String::new()),
        _ => Ok(()),
    });
    // Under way.
    topic::cut(&scene.bootstrap, scene.topic, 29_000);
    scene.until(29_999);
    let found = lines(&scene.out);
    assert!(found.is_sorted_by(|a, b| a < b) && (29_000..30_000).all(|number| found.contains(&line(number))));

    assert_eq!(scene.wish("PUT", "pause", None), 202);
    wait::until("the pause", PATIENCE, || {
        let status = scene.worker.rest().get("/connectors/overtaken/status").expect("an answer").body;
        if status["tasks"][0]["state"] == "PAUSED" { Ok(()) } else { Err(status.to_string()) }
    });
    scene.fill(30_000..40_000, 1, 40_000);
    topic::cut(&scene.bootstrap, scene.topic, 39_000);
    let before = lines(&scene.out).len();
    assert_eq!(scene.wish("PUT", "resume", None), 202);
    scene.until(39_999);
    let after = lines(&scene.out).split_off(before);
    // Some of what went may have been on its way when the pause began.
    let left: Vec<String> = (39_000..40_000).map(line).collect();
    assert!(after.ends_with(&left) && after.is_sorted_by(|a, b| a < b), "{} from {:?} on", after.len(), after.first());
    let before = before + after.len();

    topic::delete(&scene.bootstrap, &[scene.topic]);
    wait::until("the topic anew", PATIENCE, || {
        std::panic::catch_unwind(|| topic::create(&scene.bootstrap, scene.topic, 1, &[])).map_err(|_| String::new())
    });
    scene.fill(50_000..51_000, 1, 51_000);
    scene.until(50_999);
    let after = lines(&scene.out).split_off(before);
    assert_eq!(after, (50_000..51_000).map(line).collect::<Vec<_>>());
    scene.assert_direct();
    assert!(scene.worker.stop().success());
}

/// What an election of a leader that was behind does, with one broker: it comes back without what it wrote last. The sink
/// is past that end.
#[test]
fn a_log_that_has_lost_its_end_is_read_on_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = ApacheKafka::start(&folder.path().join("kafka"), &[]);
    let mut scene = Scene::on(&kafka, "lost");
    topic::create(&scene.bootstrap, scene.topic, 1, &[]);
    scene.fill(0..4_000, 1, 4_000);
    scene.sink();
    scene.until(3_999);
    kafka.crash(|| {
        let log = folder.path().join("kafka/data/lost-0/00000000000000000000.log");
        let log = File::options().write(true).open(log).expect("the log");
        log.set_len(log.metadata().expect("its length").len() / 2).expect("it is cut");
    });
    let end = topic::end(&scene.bootstrap, scene.topic);
    assert!((1_500..2_500).contains(&end), "{end} records are left");
    scene.fill(20_000..21_000, 1, 21_000);
    scene.until(20_999);
    let after = lines(&scene.out).split_off(4_000);
    assert_eq!(after, (20_000..21_000).map(line).collect::<Vec<_>>());
    assert!(scene.worker.stop().success());
}
