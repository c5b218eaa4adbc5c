//! Proofs on Apache Kafka 4.3.1. `./test --quick` leaves this module out by its name.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::kafka::ApacheKafka;
use crate::support::topic;

/// The ground the other proofs stand on: what is produced is read back, all of it and in order.
#[test]
fn the_broker_keeps_what_it_is_given() {
    let kafka = ApacheKafka::shared();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().expect("a producer");
    let sent: Vec<String> = (0..500).map(|n| format!("record {n}")).collect();
    for value in &sent {
        producer.send(BaseRecord::<(), str>::to("ground").partition(0).payload(value)).expect("it is taken");
    }
    producer.flush(Duration::from_secs(30)).expect("it is delivered");
    assert_eq!(topic::values(&kafka.bootstrap(), "ground"), sent);
}
