//! MQTT connectors in the real worker, through its REST: what an operator sees of sessions and outages, and may do.

use std::time::Duration;

use pipette_broker::Broker;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::Bed;
use crate::support::mosquitto::Mosquitto;
use crate::support::worker::Worker;
use crate::support::{embedded, topic, wait};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a fault may stay untold.
const TOLD: Duration = Duration::from_secs(10);
const NAME: &str = "plant";

/// A worker, its Kafka, and a Mosquitto.
struct Scene {
    mosquitto: Mosquitto,
    worker: Worker,
    kafka: Broker,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let kafka = embedded::broker(folder.path());
        let mut worker = Worker::prepare(folder.path(), &kafka.address().to_string(), &[]);
        worker.start();
        Self { mosquitto: Mosquitto::start(), worker, kafka, _folder: folder }
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let answer = self.worker.rest().send(method, &format!("/connectors/{path}"), body).expect("an answer");
        (answer.status, answer.body)
    }

    fn create(&self, name: &str, mut config: Value) {
        config["mqtt.server.uri"] = json!(self.mosquitto.uri());
        config["mqtt.reconnect.backoff.ms"] = json!("50");
        config["mqtt.reconnect.backoff.max.ms"] = json!("200");
        let (status, answer) = self.send("PUT", &format!("{name}/config"), Some(&config));
        assert_eq!(status, 201, "{answer}");
    }

    fn source(&self) {
        let config = json!({
            "connector.class": "MqttSource", "mqtt.topics": "lab/#", "mqtt.value.format": "string", "kafka.topic": NAME,
        });
        self.create(NAME, config);
    }

    fn until(&self, path: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(path, limit, || match self.send("GET", path, None).1 {
            answer if wanted(&answer) => Ok(answer),
            answer => Err(answer.to_string()),
        })
    }

    /// The one offset, once `received` messages are counted in it.
    fn offset(&self, received: u64) -> Value {
        let wanted = |answer: &Value| answer["offsets"][0]["offset"]["received"] == received;
        self.until(&format!("{NAME}/offsets"), PATIENCE, wanted)["offsets"][0].clone()
    }

    fn health(&self, name: &str, limit: Duration, wanted: impl Fn(&str) -> bool) {
        self.until(&format!("{name}/status"), limit, |status| {
            let task = &status["tasks"][0];
            task["state"] == "RUNNING" && wanted(task["health"].as_str().unwrap_or_default())
        });
    }

    fn await_values(&self, expected: &[&str]) {
        let bootstrap = self.kafka.address().to_string();
        wait::until("the messages in Kafka", PATIENCE, || match topic::values(&bootstrap, NAME) {
            values if values == expected => Ok(()),
            values => Err(format!("{values:?}")),
        });
    }
}

fn text(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn the_session_is_shown_as_the_offset_and_dropped_with_it() {
    let scene = Scene::new();
    scene.source();
    let first = scene.offset(0);
    let partition = json!({"broker": scene.mosquitto.uri(), "client_id": format!("{NAME}-0")});
    assert_eq!(first["partition"], partition);
    assert_eq!((&first["offset"]["filters"], &first["offset"]["connections"]), (&json!("lab/#"), &json!(1)));
    scene.mosquitto.publish("lab/a", 1, &text(&["a", "b"]));
    assert_eq!(scene.offset(2)["offset"]["session"], first["offset"]["session"]);
    let sessions = scene.send("GET", &format!("{NAME}/sessions"), None).1;
    assert_eq!(sessions["sessions"][0]["subscriptions"], json!(["lab/#@1"]), "{sessions}");

    let offsets = format!("{NAME}/offsets");
    let (status, refused) = scene.send("DELETE", &offsets, None);
    assert!(status == 400 && refused["message"].as_str().unwrap().contains("STOPPED"), "while it runs: {refused}");
    assert_eq!(scene.send("PUT", &format!("{NAME}/stop"), None).0, 204);
    scene.until(&format!("{NAME}/status"), PATIENCE, |status| status["connector"]["state"] == "STOPPED");
    scene.mosquitto.publish("lab/a", 1, &text(&["kept by the session that is dropped"]));
    let moved = json!({"offsets": [{"partition": partition, "offset": {"session": "mine"}}]});
    let (status, refused) = scene.send("PATCH", &offsets, Some(&moved));
    assert!(status >= 400 && refused["message"].as_str().unwrap().contains("cannot be set"), "{refused}");
    let (status, dropped) = scene.send("DELETE", &offsets, None);
    assert_eq!(status, 200, "{dropped}");
    assert_eq!(scene.send("GET", &offsets, None).1["offsets"], json!([]));
    assert_eq!(scene.send("PUT", &format!("{NAME}/resume"), None).0, 202);
    assert_ne!(scene.offset(0)["offset"]["session"], first["offset"]["session"], "another session");
    scene.mosquitto.publish("lab/a", 1, &text(&["c"]));
    scene.await_values(&["a", "b", "c"]);
}

#[test]
fn an_outage_is_told_in_the_status_until_it_ends() {
    let mut scene = Scene::new();
    let bootstrap = scene.kafka.address().to_string();
    topic::create(&bootstrap, "orders", 1, &[]);
    scene.source();
    scene.create("orders", json!({"connector.class": "MqttSink", "topics": "orders", "mqtt.topic": "out/a"}));
    scene.offset(0);
    for name in [NAME, "orders"] {
        scene.health(name, PATIENCE, str::is_empty);
    }
    let mut listener = scene.mosquitto.listen("out/#");
    scene.mosquitto.stop();
    topic::write(&bootstrap, "orders", 0, "", "late");
    let uri = scene.mosquitto.uri();
    for name in [NAME, "orders"] {
        let told = format!("{uri} cannot be reached: Connection refused");
        scene.health(name, TOLD, |health| health.starts_with("away for ") && health.contains(&told));
    }
    scene.mosquitto.run();
    for name in [NAME, "orders"] {
        scene.health(name, TOLD, str::is_empty);
    }
    scene.mosquitto.publish("lab/a", 1, &text(&["after the outage"]));
    scene.await_values(&["after the outage"]);
    listener.until_payload(b"late");
}

#[test]
fn exactly_once_is_refused_with_the_reason() {
    let bed = Bed::shipped_with(&[
        ("group.id", "lab"),
        ("offset.storage.topic", "offsets"),
        ("exactly.once.source.support", "enabled"),
    ]);
    let config = json!({
        "connector.class": "MqttSource", "name": "n", "mqtt.server.uri": "mqtt://localhost", "mqtt.topics": "a",
        "exactly.once.support": "required",
    });
    let answer = bed.put("/connector-plugins/MqttSource/config/validate", &config.to_string()).json();
    let errors = answer["configs"].as_array().unwrap().iter().filter(|entry| {
        entry["value"]["name"] == "exactly.once.support"
            && entry["value"]["errors"].to_string().contains("an MQTT broker may deliver a message again after a crash")
    });
    assert_eq!((errors.count(), &answer["error_count"]), (1, &json!(1)), "{answer}");
}
