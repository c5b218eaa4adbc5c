//! What librdkafka's queues may hold, worked out from a task's share of the memory budget. Pure.
//!
//! Called when a task starts (`task/thread.rs`): first what the client needs, then its properties are completed with what
//! it was given. What the configuration says explicitly stays, and is counted.

use pipette_api::{Blob, KafkaHeaders};

use super::properties::ClientProperties;
use crate::budget::shares::Wants;

/// The keys that make a producer's queue large.
pub const PRODUCER_KEYS: &str = "producer.override.buffer.memory, producer.override.max.request.size";
/// The keys that make a consumer's queue large.
pub const CONSUMER_KEYS: &str = "consumer.override.fetch.max.bytes, consumer.override.max.partition.fetch.bytes";
/// The keys that make the queue of dead letters large.
pub const LETTERS_KEYS: &str = "producer.override.max.request.size";

/// A few batches. Records wait in memory that the processor still has near; four times as much costs a fifth more CPU.
const PRODUCER_QUEUE: u64 = 8 << 20;
/// librdkafka's `message.max.bytes` when nobody says another one.
pub const LARGEST_RECORD: u64 = 1_000_000;
/// What librdkafka keeps of a record beside its bytes, about: a queue of small records is bounded by their number.
const BESIDE: u64 = 256;
/// Beside a fetched record it keeps more.
const BESIDE_FETCHED: u64 = 512;
/// No fetch is smaller: the overhead of one would outweigh its records.
const LEAST_FETCH: u64 = 256 << 10;
/// No fetch of a consumer's own choice is larger.
const MOST_FETCH: u64 = 3 << 20;
/// Parts of a consumer's memory in fetches: two in the queue, one on its way, one whose last records are in a batch.
const FETCHES: u64 = 4;
/// From here on a fetch is one record, or a few: there is one at a time, and the next is on its way while it is copied.
const ALONE: u64 = 64 << 20;
const FETCHES_ALONE: u64 = 2;
/// The largest answer that librdkafka takes. A broker hands over one record in any case, and nothing may be stuck behind
/// one that is larger than a fetch.
const ANSWER: u64 = 1_100_000_000;
/// librdkafka's own bound for the answer of one partition.
const PARTITION_FETCH: u64 = 1 << 20;

/// What a header takes beside the bytes of its name and value: its place in the list, and a block for the name.
const BESIDE_HEADER: usize = 96;

/// Memory that headers take.
pub fn of_headers(headers: &KafkaHeaders) -> usize {
    headers.iter().map(|(name, value)| BESIDE_HEADER + name.len() + value.as_ref().map_or(0, Blob::len)).sum()
}

/// What a source's producer takes: the least in which it works, and the most that is of use to it.
pub fn producer_wants(properties: &ClientProperties) -> Wants {
    let queue = number(properties, "queue.buffering.max.kbytes").map(|kib| kib * 1024);
    let largest = largest_record(properties);
    let (least, most) = match queue {
        Some(queue) => (queue.max(2 * largest), queue.max(2 * largest)),
        None => (largest, PRODUCER_QUEUE.max(2 * largest)),
    };
    Wants { least: with_requests(least + 1024), most: with_requests(most + 1024) }
}

/// Records on their way to a broker are there twice, in the queue and in a request.
fn with_requests(queue: u64) -> u64 {
    queue * 5 / 4
}

/// The least memory of a producer with records as large as this.
pub fn producer_needs(largest: u64) -> u64 {
    with_requests(largest + 1024)
}

/// The least memory of a consumer with records as large as this.
pub fn consumer_needs(largest: u64) -> u64 {
    largest * fetches(largest)
}

/// Parts of a consumer's memory, given how large its fetches are.
fn fetches(fetch: u64) -> u64 {
    if fetch >= ALONE { FETCHES_ALONE } else { FETCHES }
}

/// Gives the producer a queue that fits into what the clients of its task may hold.
pub fn fit_producer(properties: &mut ClientProperties, clients: u64) {
    let largest = largest_record(properties) + 1024;
    let queue = match number(properties, "queue.buffering.max.kbytes") {
        // A record that is larger than the queue would wait for room for ever.
        Some(kib) => (kib * 1024).max(2 * largest),
        None => (clients * 4 / 5).max(largest),
    };
    properties.insert("queue.buffering.max.kbytes".into(), (queue / 1024).to_string());
    let records = (queue / BESIDE).max(1_000).to_string();
    properties.entry("queue.buffering.max.messages".into()).or_insert(records);
}

/// Gives a producer of dead letters room for the largest one; answers how much memory that is.
pub fn fit_letters(properties: &mut ClientProperties) -> u64 {
    let queue = largest_record(properties) + 1024;
    properties.insert("queue.buffering.max.kbytes".into(), (queue / 1024).to_string());
    properties.insert("queue.buffering.max.messages".into(), (queue / BESIDE).to_string());
    queue
}

/// The largest record that a producer takes.
pub fn largest_record(properties: &ClientProperties) -> u64 {
    number(properties, "message.max.bytes").unwrap_or(LARGEST_RECORD)
}

/// What to do about a record of so many bytes that the producer does not take.
pub fn above_the_producers(bytes: usize, largest: u64) -> String {
    format!(
        ". It has {bytes} bytes, and the producer sends records of {largest}, its headers and what Kafka adds included: raise \
         producer.override.max.request.size (producer.max.request.size for all connectors of the worker) to {} at least, and \
         max.message.bytes of the topic with it, or have large values cut or kept elsewhere (transforms with Chunk or \
         ClaimCheck)",
        above(bytes)
    )
}

/// What to do about a record of so many bytes that its topic does not take.
pub fn above_the_topics(bytes: usize, topic: &str) -> String {
    format!(
        ". It has {bytes} bytes, and its batch is above max.message.bytes of the topic: raise that of {topic} to {} at least \
         (kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config max.message.bytes={}), with \
         message.max.bytes of the broker where that is lower, or make batches smaller (producer.override.batch.size)",
        above(bytes),
        above(bytes)
    )
}

/// Room for a record with what is beside key and value.
fn above(bytes: usize) -> usize {
    (bytes + 1024).next_multiple_of(1024)
}

/// What a sink's consumer takes.
pub fn consumer_wants(properties: &ClientProperties) -> Wants {
    let least = consumer_needs(fetch_as_told(properties).unwrap_or(LEAST_FETCH));
    Wants { least, most: least.max(MOST_FETCH * FETCHES) }
}

/// The largest fetch that the configuration asks for.
fn fetch_as_told(properties: &ClientProperties) -> Option<u64> {
    let told = ["fetch.max.bytes", "max.partition.fetch.bytes", "message.max.bytes"];
    told.iter().filter_map(|key| number(properties, key)).max()
}

/// Gives the consumer a queue and fetches that fit into what the clients of its task may hold.
pub fn fit_consumer(properties: &mut ClientProperties, clients: u64) {
    let told = fetch_as_told(properties).unwrap_or(0);
    let fetch = told.max(clients / fetches(told));
    // Nothing more is fetched while one waits.
    let (queue, waiting) = if told >= ALONE { (1, 1) } else { (clients / 2, u64::MAX) };
    let mut set = |key: &str, value: u64| {
        properties.entry(key.into()).or_insert_with(|| value.to_string());
    };
    set("fetch.max.bytes", fetch);
    set("max.partition.fetch.bytes", PARTITION_FETCH.min(fetch));
    // It may not be larger than a fetch, and says nothing about what can be read: a broker hands over one record in any case.
    set("message.max.bytes", LARGEST_RECORD.min(fetch));
    // librdkafka counts 1000 bytes to a kilobyte here.
    set("queued.max.messages.kbytes", (queue / 1000).max(1));
    set("queued.min.messages", (clients / 2 / BESIDE_FETCHED).clamp(1_000, 100_000).min(waiting));
    set("receive.message.max.bytes", ANSWER.max(fetch + 512));
}

/// How much more than its share a consumer holds whose records are as large as this.
pub fn beyond(clients: u64, record: u64) -> u64 {
    consumer_needs(record).saturating_sub(clients)
}

/// A producer that has all it wants, as the first of a worker.
pub fn alone_producer(mut properties: ClientProperties) -> ClientProperties {
    let most = producer_wants(&properties).most;
    fit_producer(&mut properties, most);
    properties
}

/// A consumer that has all it wants, as the first of a worker.
pub fn alone_consumer(mut properties: ClientProperties) -> ClientProperties {
    let most = consumer_wants(&properties).most;
    fit_consumer(&mut properties, most);
    properties
}

fn number(properties: &ClientProperties, key: &str) -> Option<u64> {
    properties.get(key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn of(pairs: &[(&str, &str)]) -> ClientProperties {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn producer(pairs: &[(&str, &str)], clients: u64) -> ClientProperties {
        let mut properties = of(pairs);
        fit_producer(&mut properties, clients);
        properties
    }

    fn consumer(pairs: &[(&str, &str)], clients: u64) -> ClientProperties {
        let mut properties = of(pairs);
        fit_consumer(&mut properties, clients);
        properties
    }

    #[test]
    fn a_queue_is_what_its_task_was_given_and_holds_the_largest_record() {
        let wants = producer_wants(&of(&[]));
        assert_eq!(producer(&[], wants.most)["queue.buffering.max.kbytes"], "8193");
        assert_eq!(producer(&[], wants.least)["queue.buffering.max.kbytes"], "977");
        let large = [("message.max.bytes", "104857600")];
        assert_eq!(producer(&large, producer_wants(&of(&large)).least)["queue.buffering.max.kbytes"], "102401");
    }

    #[test]
    fn what_the_configuration_says_is_honoured_and_counted() {
        let large = [("queue.buffering.max.kbytes", "65536"), ("message.max.bytes", "1000")];
        assert_eq!(producer_wants(&of(&large)).least, 80 * MIB + 1280);
        assert_eq!(producer(&large, MIB)["queue.buffering.max.kbytes"], "65536");
        let small = [("queue.buffering.max.kbytes", "64")];
        assert_eq!(producer(&small, MIB)["queue.buffering.max.kbytes"], "1955", "two of the largest");
        let fetch = [("fetch.max.bytes", "52428800"), ("max.partition.fetch.bytes", "1048576")];
        assert_eq!(consumer_wants(&of(&fetch)), Wants { least: 200 * MIB, most: 200 * MIB });
        assert_eq!(consumer(&fetch, 200 * MIB)["fetch.max.bytes"], "52428800");
    }

    #[test]
    fn a_queue_of_small_records_is_bounded_by_their_number() {
        assert_eq!(producer(&[], 10 * MIB)["queue.buffering.max.messages"], "32768");
        assert_eq!(consumer(&[], 12 * MIB)["queued.min.messages"], "12288");
    }

    #[test]
    fn librdkafka_takes_every_size() {
        for clients in [LEAST_FETCH * FETCHES, 3_999_999, 12 * MIB, 400 * MIB] {
            let mut config = rdkafka::ClientConfig::new();
            config.extend(producer(&[], clients));
            config.create::<rdkafka::producer::BaseProducer>().unwrap();
            let mut config = rdkafka::ClientConfig::new();
            config.extend(consumer(&[("group.id", "g")], clients));
            config.create::<rdkafka::consumer::BaseConsumer>().unwrap();
        }
    }

    #[test]
    fn records_larger_than_a_fetch_are_counted() {
        assert_eq!(beyond(12 * MIB, 2 * MIB), 0);
        assert_eq!(beyond(MIB, 2 * MIB), 7 * MIB);
    }

    #[test]
    fn fetches_of_one_large_record_come_one_at_a_time() {
        let large = [("fetch.max.bytes", "110000000"), ("max.partition.fetch.bytes", "110000000")];
        assert_eq!(consumer_wants(&of(&large)).least, 220_000_000);
        let properties = consumer(&large, 220_000_000);
        assert_eq!(
            (properties["queued.min.messages"].as_str(), properties["fetch.max.bytes"].as_str()),
            ("1", "110000000")
        );
        assert_eq!(properties["queued.max.messages.kbytes"], "1");
        assert_eq!(beyond(220_000_000, 100_000_000), 0);
    }
}
