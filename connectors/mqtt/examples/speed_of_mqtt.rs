//! How fast the source takes what a broker has kept for it, beside `mosquitto_sub` with a session of the same messages:
//! `cargo run --profile perf -p connector-mqtt --example speed_of_mqtt [MESSAGES] [BYTES]`. Kafka is left out: each batch counts
//! as stored as soon as it is handed over. Mosquitto 2.0 itself becomes slow with more messages than that in a session.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a program that prints figures")]

#[path = "../tests/support/mosquitto.rs"]
mod mosquitto;

use std::process::Command;
use std::time::{Duration, Instant};

use connector_mqtt::SOURCE;
use mosquitto::Mosquitto;
use pipette_kit::source_harness::record;
use pipette_kit::{SourceHarness, build};

fn main() {
    let number =
        |place: usize, default: usize| std::env::args().nth(place).map_or(default, |text| text.parse().unwrap());
    let (messages, bytes) = (number(1, 20_000), number(2, 1000));
    for (version, qos) in [("5", 1), ("5", 2), ("3.1.1", 1)] {
        let broker = Mosquitto::with("allow_anonymous true\nmax_inflight_messages 0\nautosave_interval 1800\n");
        for client in ["kit-0", "beside"] {
            broker.session(client, "lab/#");
        }
        let payload = "x".repeat(bytes);
        for part in 0..messages.div_ceil(20_000) {
            let count = (messages - part * 20_000).min(20_000);
            broker.publish(&format!("lab/{part}"), qos, &vec![payload.clone(); count]);
        }
        let (beside, ours) = (beside(&broker, messages), ours(&broker, version, qos, messages));
        let rate = |took: Duration| f64::from(u32::try_from(messages).expect("a small number")) / took.as_secs_f64();
        println!(
            "MQTT {version}, quality {qos}, {messages} messages of {bytes} bytes: {:.0}/s, mosquitto_sub {:.0}/s, ratio {:.2}",
            rate(ours),
            rate(beside),
            rate(ours) / rate(beside)
        );
    }
}

fn beside(broker: &Mosquitto, messages: usize) -> Duration {
    let begun = Instant::now();
    let port = broker.port.to_string();
    let count = messages.to_string();
    let arguments = ["-h", "127.0.0.1", "-p", &port, "-c", "-i", "beside", "-q", "2", "-t", "lab/#", "-C", &count];
    let outcome = Command::new("mosquitto_sub").args(arguments).stdout(std::process::Stdio::null()).status();
    assert!(outcome.expect("mosquitto_sub").success());
    begun.elapsed()
}

fn ours(broker: &Mosquitto, version: &str, qos: u8, messages: usize) -> Duration {
    let config = build::config(&[
        ("mqtt.server.uri", &broker.uri()),
        ("mqtt.topics", "lab/#"),
        ("mqtt.protocol.version", version),
        ("mqtt.qos", &qos.to_string()),
        ("kafka.topic", "lab"),
        ("mqtt.buffer.max.bytes", "16777216"),
    ]);
    let mut harness = SourceHarness::new(&SOURCE, config).expect("a harness");
    let begun = Instant::now();
    harness.start().expect("a start");
    let mut seen = 0;
    while seen < messages {
        seen += harness.poll().expect("a poll").iter().filter(|entry| record(entry).is_some()).count();
        harness.settle();
    }
    let took = begun.elapsed();
    harness.stop().expect("a stop");
    took
}
