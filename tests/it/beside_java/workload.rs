//! What is measured: six pipelines, each one connector configuration that both workers get word for word.

use std::path::Path;

use serde_json::{Value, json};

/// The topic of records as they are.
pub(super) const PLAIN: &str = "readings";
/// The topic of the same records in envelopes.
pub(super) const ENVELOPES: &str = "readings-in-envelopes";

const STRING: &str = "org.apache.kafka.connect.storage.StringConverter";

/// A pipeline.
pub(super) struct Workload {
    pub(super) title: &'static str,
    /// Short, for names of connectors, topics and files.
    pub(super) key: &'static str,
    pub(super) end: End,
    /// What values are; also decides the topic of a sink.
    pub(super) values: Values,
    pub(super) raw: Option<Raw>,
}

/// Where records go.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    /// From a file into a topic.
    Topic,
    /// From a topic into a file.
    File,
    /// From a topic to nowhere.
    Nowhere,
}

/// How values are converted and what is done to them.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Values {
    Strings,
    /// JSON without schemas through ReplaceField and InsertField.
    Json,
    /// The same in envelopes.
    Envelopes,
}

/// The loop over librdkafka that a pipeline is compared with.
#[derive(Clone, Copy)]
pub(super) enum Raw {
    Producer,
    Consumer,
}

pub(super) const FILE_TO_KAFKA: &str = "file → Kafka, strings";
pub(super) const KAFKA_TO_FILE: &str = "Kafka → file, strings";
pub(super) const JSON_TO_FILE: &str = "JSON + ReplaceField + InsertField → file";
pub(super) const JSON_TO_NOWHERE: &str = "JSON + ReplaceField + InsertField → discard";
pub(super) const ENVELOPES_TO_FILE: &str = "envelopes + ReplaceField + InsertField → file";
pub(super) const ENVELOPES_TO_NOWHERE: &str = "envelopes + ReplaceField + InsertField → discard";

pub(super) const WORKLOADS: &[Workload] = &[
    Workload { title: FILE_TO_KAFKA, key: "in", end: End::Topic, values: Values::Strings, raw: Some(Raw::Producer) },
    Workload { title: KAFKA_TO_FILE, key: "out", end: End::File, values: Values::Strings, raw: Some(Raw::Consumer) },
    Workload { title: JSON_TO_FILE, key: "json-file", end: End::File, values: Values::Json, raw: None },
    Workload { title: JSON_TO_NOWHERE, key: "json-discard", end: End::Nowhere, values: Values::Json, raw: None },
    Workload { title: ENVELOPES_TO_FILE, key: "envelopes-file", end: End::File, values: Values::Envelopes, raw: None },
    Workload {
        title: ENVELOPES_TO_NOWHERE,
        key: "envelopes-discard",
        end: End::Nowhere,
        values: Values::Envelopes,
        raw: None,
    },
];

impl Workload {
    /// The connector. `place` is the file it reads or writes, or the start of the marks it sets; `topic` is the one a
    /// source fills.
    pub(super) fn config(&self, place: &Path, topic: &str, records: u32) -> Value {
        let mut config = match self.end {
            End::Topic => json!({"connector.class": "FileStreamSource", "file": place, "topic": topic}),
            End::File => json!({"connector.class": "FileStreamSink", "file": place, "topics": self.topic()}),
            End::Nowhere => json!({
                "connector.class": "io.pipette.bench.DiscardSinkConnector",
                "marks": place,
                "records": records.to_string(),
                "topics": self.topic(),
            }),
        };
        let converted = match self.values {
            Values::Strings => json!({"value.converter": STRING}),
            Values::Json | Values::Envelopes => json!({
                "value.converter": "org.apache.kafka.connect.json.JsonConverter",
                "value.converter.schemas.enable": (self.values == Values::Envelopes).to_string(),
                "transforms": "shape,stamp",
                "transforms.shape.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
                "transforms.shape.exclude": "checksum",
                "transforms.shape.renames": "device:instrument",
                "transforms.stamp.type": "org.apache.kafka.connect.transforms.InsertField$Value",
                "transforms.stamp.static.field": "site",
                "transforms.stamp.static.value": "lab-2",
                "transforms.stamp.offset.field": "kafka_offset",
            }),
        };
        let common = json!({"tasks.max": "1", "key.converter": STRING});
        let all = config.as_object_mut().unwrap();
        for more in [converted, common] {
            all.extend(more.as_object().unwrap().clone());
        }
        config
    }

    fn topic(&self) -> &'static str {
        if self.values == Values::Envelopes { ENVELOPES } else { PLAIN }
    }
}
