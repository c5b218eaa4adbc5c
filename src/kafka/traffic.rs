//! What a client has sent and received, as its statistics say: told to whoever counts it (`metrics/`), by way of the task.

use std::fmt;
use std::sync::OnceLock;

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

    /// What librdkafka's statistics say.
    pub(super) fn note(&self, json: &str) {
        if let (Some(listener), Some(traffic)) = (self.0.get(), read(json)) {
            listener(traffic);
        }
    }
}

fn read(json: &str) -> Option<[i64; 4]> {
    let (brokers, topics) = brokers_and_topics(json)?;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sum = |member| signed(numbers(brokers, member).sum());
    let connections = brokers.matches("\"state\":\"UP\"").count() as u64;
    let lag = numbers(topics, "\"consumer_lag\":").max().map_or(-1, signed);
    Some([sum("\"rxbytes\":"), sum("\"txbytes\":"), signed(connections), lag])
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
            "topics":{"t":{"partitions":{"0":{"consumer_lag":7},"1":{"consumer_lag":9},"-1":{"consumer_lag":-1}}}}}"#;
        assert_eq!(read(json), Some([42, 2, 1, 9]));
        assert_eq!(read(r#"{"brokers":{},"topics":{}}"#), Some([0, 0, 0, -1]));
        assert_eq!(read("{}"), None);
    }
}
