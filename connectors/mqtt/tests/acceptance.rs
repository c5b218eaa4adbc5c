//! The laws, on a real Mosquitto.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

mod support;

use std::fs;

use connector_mqtt::{PLUGINS, SINK, SOURCE};
use pipette_api::{ConfigMap, Plugin, SinkPlugin, SourcePlugin};
use pipette_kit::{
    Capability, Redelivery, SinkDriver, SinkTraits, SourceDriver, SourceTraits, config_laws, sink_laws, source_laws,
};
use support::mosquitto::{Listener, Mosquitto};
use support::{config, source_config};

#[test]
fn configurations_keep_their_laws() {
    config_laws::hold(&SOURCE.info, &[("mqtt.server.uri", "mqtt://broker"), ("mqtt.topics", "lab/#")]);
    config_laws::hold(&SINK.info, &[("mqtt.server.uri", "mqtt://broker")]);
    let of_lenses = [("connect.mqtt.hosts", "tcp://broker"), ("connect.mqtt.kcql", "INSERT INTO a SELECT * FROM b")];
    let lenses = PLUGINS.iter().map(Plugin::info).filter(|info| info.class.starts_with("io.lenses."));
    assert_eq!(lenses.map(|info| config_laws::hold(info, &of_lenses)).count(), 2);
}

#[test]
fn a_source_of_mqtt_5_keeps_the_laws() {
    source_laws::check(|| Devices::new(&[("mqtt.protocol.version", "5"), ("mqtt.qos", "1")]));
}

#[test]
fn a_source_of_mqtt_3_keeps_the_laws() {
    source_laws::check(|| Devices::new(&[("mqtt.protocol.version", "3.1.1"), ("mqtt.qos", "2")]));
}

#[test]
fn a_sink_of_mqtt_5_keeps_the_laws() {
    sink_laws::check(|| Subscriber::new(&[("mqtt.protocol.version", "5"), ("mqtt.qos", "1")]));
}

#[test]
fn a_sink_of_mqtt_3_keeps_the_laws() {
    sink_laws::check(|| Subscriber::new(&[("mqtt.protocol.version", "3.1.1"), ("mqtt.qos", "2")]));
}

/// Connections of this process that stand.
fn connections(port: u16) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&remote) && fields[3] == "01" && is_ours(fields[9])
    };
    table.lines().skip(1).filter(ours).map(str::to_owned).collect()
}

fn is_ours(inode: &str) -> bool {
    let name = format!("socket:[{inode}]");
    let sockets = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    sockets.into_iter().any(|link| link.to_str() == Some(&name))
}

/// Devices that publish, and sessions that were there before.
struct Devices {
    broker: Mosquitto,
    config: ConfigMap,
}

impl Devices {
    fn new(more: &[(&str, &str)]) -> Self {
        // A law wants more messages on their way than a broker gives out unacknowledged by default.
        let broker = Mosquitto::with("allow_anonymous true\nmax_inflight_messages 0\n");
        for task in 0..7 {
            broker.session(&format!("kit-{task}"), "lab/#");
        }
        let config = source_config(&broker, &[more, &[("mqtt.receive.maximum", "65535")]].concat());
        Self { broker, config }
    }
}

impl SourceDriver for Devices {
    fn plugin(&self) -> &'static SourcePlugin {
        &SOURCE
    }

    fn config(&self) -> ConfigMap {
        self.config.clone()
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits {
            resumable: Capability::Yes,
            ordered: Capability::Yes,
            outage: Capability::Yes,
            bad_input: Capability::Yes,
            most_per_poll: 2000,
        }
    }

    fn write(&mut self, texts: &[String]) {
        self.broker.publish("lab/reader", 2, texts);
    }

    fn outage(&mut self, away: bool) {
        if away { self.broker.stop() } else { self.broker.run() }
    }

    fn write_bad(&mut self) -> Vec<String> {
        self.broker.publish_with(&["-t", "lab/broken", "-q", "1", "-s"], b"\xff\xfe");
        vec!["lab/broken".into(), "2 bytes".into()]
    }

    fn left_behind(&mut self) -> Vec<String> {
        connections(self.broker.port)
    }
}

/// A subscriber that sees what the sink publishes.
struct Subscriber {
    listener: Listener,
    broker: Mosquitto,
    config: ConfigMap,
    marks: usize,
}

impl Subscriber {
    fn new(more: &[(&str, &str)]) -> Self {
        let broker = Mosquitto::start();
        let config = config(&broker.uri(), &[("behavior.on.null.values", "fail")], more);
        Self { listener: broker.listen("#"), broker, config, marks: 0 }
    }
}

impl SinkDriver for Subscriber {
    fn plugin(&self) -> &'static SinkPlugin {
        &SINK
    }

    fn config(&self) -> ConfigMap {
        self.config.clone()
    }

    fn traits(&self) -> SinkTraits {
        SinkTraits {
            ordered: Capability::Yes,
            redelivery: Redelivery::Duplicates("a message has no name that a subscriber would know it by"),
            outage: Capability::Yes,
            poison: Capability::Yes,
        }
    }

    /// What stands before a mark of ours, which the broker takes behind everything that it has acknowledged.
    fn contents(&mut self) -> Vec<String> {
        let mark = format!("mark-{}", self.marks);
        self.marks += 1;
        self.broker.publish("marks", 2, std::slice::from_ref(&mark));
        let messages = self.listener.until_payload(mark.as_bytes());
        let of_the_sink = messages.into_iter().filter(|(topic, _)| topic != "marks");
        of_the_sink.map(|(_, payload)| String::from_utf8(payload).unwrap()).collect()
    }

    fn outage(&mut self, away: bool) {
        if away { self.broker.stop() } else { self.broker.run() }
    }

    fn left_behind(&mut self) -> Vec<String> {
        connections(self.broker.port)
    }
}
