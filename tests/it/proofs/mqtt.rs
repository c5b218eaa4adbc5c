//! A device publishes to a real Mosquitto, a source reads into Apache Kafka, and the worker is killed again and again; so
//! are, now and then, the broker in an orderly way and the broker without one.
//!
//! Nothing may be lost. What comes again is at most what was on its way: the messages that a task may hold. A broker that
//! dies loses what it had not saved, which it does once a second: the device publishes that again, and it must arrive.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::frame::{Proof, Round};
use super::tally::Tally;
use crate::support::kafka::ApacheKafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::publisher::{Load, Published, Publisher};
use crate::support::worker::Worker;
use crate::support::{topic, wait};

const PROOF: Proof = Proof { name: "mqtt", rounds: 10 };
/// Whatever makes no progress for so long will not: what is missing is lost.
const REST: Duration = Duration::from_secs(30);
/// `mqtt.buffer.max.records`.
const HELD: usize = 2000;
/// Of each reading from the socket; it is read whole.
const READ_AT_ONCE: usize = 128;

#[test]
#[ignore = "ten minutes; the command stands in the module's head"]
fn long() {
    PROOF.long(|round| {
        let qos = if round.number % 2 == 0 { 1 } else { 2 };
        play(round, &Plan { kills: 10, restarts: 3, deaths: 1, rate: 5000, qos })
    });
}

#[test]
fn short() {
    PROOF.short(|round| play(round, &Plan { kills: 4, restarts: 1, deaths: 1, rate: 2000, qos: 1 }));
}

struct Plan {
    kills: usize,
    restarts: usize,
    deaths: usize,
    rate: u64,
    qos: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Restart,
    Death,
}

fn play(round: &mut Round, plan: &Plan) -> Tally {
    let kafka = ApacheKafka::shared();
    let folder = tempfile::tempdir().expect("a folder for the round");
    let name = format!("mqtt-{}-{}", std::process::id(), round.number);
    topic::create(&kafka.bootstrap(), &name, 3, &[]);
    let mut broker = Mosquitto::with("allow_anonymous true\n");
    let mut worker = Worker::prepare(folder.path(), &kafka.bootstrap(), &[]);
    worker.start();
    connect(&worker, &broker, &name, plan.qos);
    await_subscription(&mut worker, &name);
    // A broker that dies before it has saved the session forgets the subscription, and what is published until the
    // worker is back is nobody's.
    let subscribed = SystemTime::now();
    wait::until("a broker that has saved the session", Duration::from_secs(30), || {
        if broker.saved() > subscribed + Duration::from_secs(1) { Ok(()) } else { Err("not yet".to_owned()) }
    });

    let device = Publisher::start(Load { port: broker.port, qos: plan.qos, rate: plan.rate, topics: 50, size: 100 });
    let mut faults =
        [vec![Fault::Kill; plan.kills], vec![Fault::Restart; plan.restarts], vec![Fault::Death; plan.deaths]].concat();
    while !faults.is_empty() {
        let fault = faults.swap_remove(round.dice.index(faults.len()));
        wait::moment(Duration::from_millis(200 + round.dice.below(1500)));
        worker.assert_lives();
        match fault {
            Fault::Kill => {
                worker.kill();
                wait::moment(Duration::from_millis(round.dice.below(300)));
                worker.start();
            }
            Fault::Restart => {
                broker.stop();
                broker.run();
            }
            Fault::Death => {
                broker.kill();
                device.rewind(broker.saved());
                broker.run();
            }
        }
    }
    let published = device.finish();
    let seen = await_numbers(&mut worker, &kafka.bootstrap(), &name, published);
    worker.stop();
    judge(&folder.path().join("worker.log"), plan, published, &seen)
}

fn connect(worker: &Worker, broker: &Mosquitto, name: &str, qos: u8) {
    let config = json!({
        "connector.class": "MqttSource",
        "tasks.max": "2",
        "mqtt.server.uri": broker.uri(),
        "mqtt.client.id": name,
        "mqtt.topics": "lab/#",
        "mqtt.qos": qos.to_string(),
        "mqtt.value.format": "string",
        "mqtt.receive.maximum": "1000",
        "mqtt.buffer.max.records": HELD.to_string(),
        "mqtt.reconnect.backoff.ms": "50",
        "mqtt.reconnect.backoff.max.ms": "500",
        "kafka.topic": name,
    });
    let answer = worker.rest().put(&format!("/connectors/{name}/config"), &config).expect("REST answers");
    assert_eq!(answer.status, 201, "{}", answer.body);
}

fn await_subscription(worker: &mut Worker, name: &str) {
    wait::until("a subscription", Duration::from_secs(30), || {
        worker.assert_lives();
        let answer = worker.rest().get(&format!("/connectors/{name}/sessions")).expect("REST answers").body;
        let granted = &answer["sessions"][0]["subscriptions"];
        if granted.as_array().is_some_and(|granted| granted.len() == 1) { Ok(()) } else { Err(answer.to_string()) }
    });
}

/// How often each number is in the topic.
fn await_numbers(worker: &mut Worker, bootstrap: &str, name: &str, published: Published) -> Vec<u32> {
    wait::until_rest("every number in the topic", REST, || {
        worker.assert_lives();
        let mut seen = vec![0; usize::try_from(published.numbers).expect("a number of this machine")];
        let mut records = 0;
        topic::visit(bootstrap, name, topic::UNCOMMITTED, |message| {
            use rdkafka::message::Message;
            let text = String::from_utf8_lossy(message.payload().unwrap_or_default());
            let number: usize = text.get(..8).and_then(|digits| digits.parse().ok()).expect("a number of ours");
            seen[number] += 1;
            records += 1;
        });
        if seen.iter().all(|count| *count > 0) { Ok(seen) } else { Err(records) }
    })
}

fn judge(log: &Path, plan: &Plan, published: Published, seen: &[u32]) -> Tally {
    let again = seen.iter().map(|count| *count as usize - 1).sum::<usize>();
    // Of what the device repeated the broker may have had both.
    let repeated = usize::try_from(published.repeated).expect("a number of this machine");
    let most = (plan.kills + plan.restarts + plan.deaths) * (HELD + READ_AT_ONCE) + repeated;
    assert!(again <= most, "{again} messages came again, and at most {most} were on their way");
    let log = fs::read_to_string(log).unwrap_or_default();
    assert!(!log.contains("panicked"), "the worker panicked");
    let mut tally = Tally::default();
    tally.add("kills of the worker", plan.kills);
    tally.add("orderly restarts of the MQTT broker", plan.restarts);
    tally.add("kills of the MQTT broker", plan.deaths);
    tally.add("messages", seen.len());
    tally.add(&format!("messages of quality {}", plan.qos), seen.len());
    tally.add("repeated by the device", repeated);
    tally.add("lost", 0);
    tally.add("came again", again);
    tally.most("came again in a round", again);
    tally
}
