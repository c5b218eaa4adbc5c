//! What a client has sent and received, as its statistics say: told to whoever counts it (`metrics/`), by way of the task.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use pipette_api::TopicPartition;

use super::contact::{brokers_and_topics, numbers};

/// Hears what a client has received and sent, in bytes, how many brokers it is connected to, and how many records it is
/// behind on the partition where that is most; -1 when nobody knows.
pub(super) type Listener = Box<dyn Fn([i64; 4]) + Send + Sync>;

/// Where a client's statistics go.
#[derive(Default)]
pub(super) struct Traffic(OnceLock<Listener>);

impl Traffic {
    /// Has somebody listen from now on; the first one stays.
    pub(super) fn tell(&self, listener: Listener) {
        drop(self.0.set(listener));
    }

    /// What librdkafka's statistics say, and what is done beside it.
    pub(super) fn note(&self, json: &str, beside: &Beside) {
        if let (Some(listener), Some(traffic)) = (self.0.get(), read(json, beside)) {
            listener(traffic);
        }
    }
}

/// What is known of partitions that are read past librdkafka: its statistics do not.
pub(super) struct Beside {
    pub received: i64,
    pub sent: i64,
    pub connections: i64,
    /// Records behind on the partition where that is most; -1 when nobody knows.
    pub lag: i64,
    pub partitions: BTreeSet<TopicPartition>,
}

impl Beside {
    /// Nothing is read past librdkafka.
    pub(super) fn nothing() -> Self {
        Self { received: 0, sent: 0, connections: 0, lag: -1, partitions: BTreeSet::new() }
    }
}

fn read(json: &str, beside: &Beside) -> Option<[i64; 4]> {
    let (brokers, topics) = brokers_and_topics(json)?;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sum = |member| signed(numbers(brokers, member).sum());
    let connections = brokers.matches("\"state\":\"UP\"").count() as u64;
    let lag = lags(topics, &beside.partitions).max().map_or(-1, signed).max(beside.lag);
    let (received, sent) = (sum("\"rxbytes\":") + beside.received, sum("\"txbytes\":") + beside.sent);
    Some([received, sent, signed(connections) + beside.connections, lag])
}

/// How far behind partitions are, but for some.
fn lags<'a>(topics: &'a str, but: &'a BTreeSet<TopicPartition>) -> impl Iterator<Item = u64> + 'a {
    let named = |part: &'a str| part.trim_start().strip_prefix('"')?.split_once('"');
    let topics = topics.split("\"topic\":").filter_map(named);
    topics.flat_map(move |(topic, rest)| {
        rest.split("\"partition\":").skip(1).filter_map(move |part| {
            let part = part.trim_start();
            let end = part.find(|c: char| !c.is_ascii_digit())?;
            let tp = TopicPartition::new(topic, part[..end].parse().ok()?);
            numbers(part, "\"consumer_lag\":").next().filter(|_| !but.contains(&tp))
        })
    })
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traffic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_added_up() {
        let json = r#"{"brokers":{"a:1/1":{"state":"UP","rxbytes":40,"txbytes":2},"b":{"state":"DOWN","rxbytes":2,"txbytes":0}},
            "topics":{"t":{"topic":"t","partitions":{"0":{"partition":0,"consumer_lag":7},"1":{ "partition": 1, "consumer_lag":9},
            "-1":{"partition":-1,"consumer_lag":-1}}}}}"#;
        let nothing = Beside::nothing();
        assert_eq!(read(json, &nothing), Some([42, 2, 1, 9]));
        assert_eq!(read(r#"{"brokers":{},"topics":{}}"#, &nothing), Some([0, 0, 0, -1]));
        assert_eq!(read("{}", &nothing), None);
        // What statistics say of a partition that is read past librdkafka is old.
        let partitions = BTreeSet::from([TopicPartition::new("t", 1), TopicPartition::new("other", 0)]);
        let beside = Beside { received: 1000, sent: 100, connections: 1, lag: 3, partitions };
        assert_eq!(read(json, &beside), Some([1042, 102, 2, 7]));
        let beside = Beside { lag: 8, ..beside };
        assert_eq!(read(json, &beside), Some([1042, 102, 2, 8]));
    }
}
