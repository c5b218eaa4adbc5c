//! A site at the end of a wire: a file that grows → topic → file of a sink, on an Apache Kafka behind `support/wire.rs`.
//!
//! `network.rs`, `edge.rs` and `soak.rs` disturb it. What arrived in the topic is asked for past the wire.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use super::tally::Tally;
use crate::checker::{Handed, row};
use crate::support::kafka::ApacheKafka;
use crate::support::wire::Wire;
use crate::support::worker::{DIRECT, Worker};
use crate::support::{topic, wait};

/// The topic between source and sink.
pub(super) const TOPIC: &str = "site";
pub(super) const SOURCE: &str = "site-source";
pub(super) const SINK: &str = "site-sink";

/// A broker that was just started, on a machine that does other things.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);

/// What is wrong with the connector's first task though it runs, as its status tells it.
pub(super) fn health(worker: &Worker, name: &str) -> Option<String> {
    let status = worker.rest().get(&format!("/connectors/{name}/status")).expect("REST answers").body;
    status["tasks"][0]["health"].as_str().map(str::to_owned)
}

/// Everything of one site. What it runs ends with it.
pub(super) struct Site {
    pub(super) worker: Worker,
    pub(super) wire: Wire,
    pub(super) kafka: ApacheKafka,
    /// What the source reads.
    pub(super) input: PathBuf,
    /// What the sink writes.
    pub(super) output: PathBuf,
    ends: BaseConsumer,
}

impl Site {
    /// Broker and worker run, and the topic is there; no connector is.
    pub(super) fn build(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let (kafka, wire, bootstrap) = ApacheKafka::behind_wire(&folder.join("kafka"));
        topic::create(&kafka.bootstrap(), TOPIC, 1, &[]);
        let mut worker = Worker::prepare(folder, &bootstrap, &[&[DIRECT], settings].concat());
        worker.start();
        let mut ends = ClientConfig::new();
        // A client that looks must not be the one that takes long to come back.
        ends.set("bootstrap.servers", kafka.bootstrap()).set("reconnect.backoff.max.ms", "100");
        let ends = ends.create().expect("a client");
        Self { worker, wire, kafka, input: folder.join("input.txt"), output: folder.join("output.txt"), ends }
    }

    pub(super) fn create_source(&self) {
        self.create(SOURCE, &json!({"connector.class": "FileStreamSource", "file": self.input, "topic": TOPIC}));
    }

    pub(super) fn create_sink(&self) {
        self.create(SINK, &json!({"connector.class": "FileStreamSink", "file": self.output, "topics": TOPIC}));
    }

    pub(super) fn create(&self, name: &str, config: &Value) {
        let answer = self.worker.rest().put(&format!("/connectors/{name}/config"), config).expect("REST answers");
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
    }

    /// How many records the topic holds, unless the broker does not answer.
    pub(super) fn in_topic(&self) -> Option<usize> {
        let (low, high) = self.ends.fetch_watermarks(TOPIC, 0, BROKER_PATIENCE).ok()?;
        usize::try_from(high - low).ok()
    }

    /// How many rows the sink's file holds: all are of one length.
    pub(super) fn in_output(&self) -> usize {
        let bytes = fs::metadata(&self.output).map_or(0, |data| data.len());
        usize::try_from(bytes).expect("a size") / (row(0, 0).len() + 1)
    }

    pub(super) fn health(&self, name: &str) -> Option<String> {
        health(&self.worker, name)
    }

    /// No connector and no task of the worker has failed, and each connector has a task that runs.
    pub(super) fn assert_all_run(&self) {
        let all = self.worker.rest().get("/connectors?expand=status").expect("REST answers").body;
        for (name, about) in all.as_object().expect("connectors") {
            let status = &about["status"];
            let tasks = status["tasks"].as_array().expect("tasks");
            let run = |part: &Value| part["state"] == "RUNNING";
            assert!(run(&status["connector"]) && !tasks.is_empty() && tasks.iter().all(run), "{name}: {status}");
        }
    }

    /// Waits until every row has come to both places, and judges what came.
    pub(super) fn judge(&mut self, handed: &Handed, patience: Duration) -> Tally {
        wait::until("every row in the sink's file", patience, || {
            self.worker.assert_lives();
            let (came, all) = (self.in_output(), handed.total());
            if came >= all { Ok(()) } else { Err(format!("{came} of {all}")) }
        });
        let mut in_topic = handed.watch();
        topic::visit(&self.kafka.bootstrap(), TOPIC, topic::UNCOMMITTED, |message| {
            use rdkafka::Message;
            in_topic.see(&String::from_utf8_lossy(message.payload().unwrap_or_default()));
        });
        let in_topic = in_topic.verdict();
        in_topic.assert_kept("the topic");
        // Repeated rows take the place of those still to come.
        let in_output = wait::until("the last rows in the sink's file", patience, || {
            let bytes = fs::read(&self.output).map_err(|error| error.to_string())?;
            let verdict = handed.check(String::from_utf8_lossy(&bytes).lines());
            if verdict.lost_count == 0 { Ok(verdict) } else { Err(verdict.to_string()) }
        });
        in_output.assert_kept("the sink's file");
        let damaged = in_topic.damaged.len() + in_output.damaged.len();
        assert_eq!(damaged, 0, "lines that nobody wrote: {:?} {:?}", in_topic.damaged, in_output.damaged);
        let mut tally = Tally::default();
        tally.add("rows", handed.total());
        tally.add("lost", 0);
        tally.add("duplicates in the topic", in_topic.duplicates);
        tally.add("duplicates in the file", in_output.duplicates);
        tally
    }
}
