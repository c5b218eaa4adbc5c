//! Makes one buffer of many messages: one copy from librdkafka, then spans (decisions: one buffer per batch).

use std::ffi::CStr;
use std::sync::Arc;

use pipette_api::{Blob, Body, KafkaHeaders, RawRecord, Result, TopicPartition};

use super::sys::{Fetched, HeaderList, Message};

/// The records among these, as spans of one buffer; errors are left out.
pub(super) fn copy_out(fetched: &Fetched) -> Result<Vec<RawRecord>> {
    let messages = || fetched.iter().filter(|message| message.error().is_none());
    let size = messages().flat_map(parts).map(<[u8]>::len).sum();
    let mut bytes = Vec::with_capacity(size);
    let mut headers = Vec::with_capacity(fetched.len());
    for message in messages() {
        parts(message).for_each(|part| bytes.extend_from_slice(part));
        // Looked for behind the value, which has brought that memory near: another thread has filled it.
        let found = message.headers();
        let values = found.iter().flat_map(|headers| headers.iter()).filter_map(|(_, value)| value);
        values.for_each(|value| bytes.extend_from_slice(value));
        headers.push(found);
    }
    if headers.is_empty() {
        return Ok(Vec::new());
    }
    let mut cut = Cutter { buffer: Blob::whole(bytes)?, at: 0 };
    let mut records: Vec<RawRecord> = Vec::with_capacity(headers.len());
    let mut before = None;
    for (message, headers) in messages().zip(headers) {
        let last = records.last();
        let topic = match (last, before) {
            (Some(last), Some(before)) if message.is_of_topic_of(before) => Arc::clone(&last.tp.topic),
            // Made anew for each batch: threads that count on one name at once make each other wait.
            _ => Arc::from(message.topic()),
        };
        before = Some(message);
        let key = message.key().map(|key| cut.next(key));
        let value = message.value().map(|value| Body::Bytes(cut.next(value)));
        let headers = headers.map_or_else(Vec::new, |headers| cut.headers(headers, last));
        let (timestamp, timestamp_type) = message.timestamp();
        let tp = TopicPartition { topic, partition: message.partition() };
        records.push(RawRecord { tp, offset: message.offset(), key, value, headers, timestamp, timestamp_type });
    }
    Ok(records)
}

fn parts(message: Message<'_>) -> impl Iterator<Item = &[u8]> {
    [message.key(), message.value()].into_iter().flatten()
}

/// Cuts the buffer into spans, in the order in which it was filled.
struct Cutter {
    buffer: Blob,
    at: u32,
}

impl Cutter {
    fn next(&mut self, part: &[u8]) -> Blob {
        let len = u32::try_from(part.len()).unwrap_or_else(|_| unreachable!("a part of a buffer below 4 GiB"));
        let span = self.buffer.slice(self.at, len);
        self.at += len;
        span
    }

    fn headers(&mut self, headers: HeaderList<'_>, before: Option<&RawRecord>) -> KafkaHeaders {
        let named = |(index, (name, value)): (usize, (&CStr, Option<&[u8]>))| {
            (header_name(name.to_bytes(), index, before), value.map(|value| self.next(value)))
        };
        headers.iter().enumerate().map(named).collect()
    }
}

/// The name of a record's header. Neighbours usually have the same ones in the same places, which are then shared.
pub(super) fn header_name(name: &[u8], index: usize, before: Option<&RawRecord>) -> Arc<str> {
    match before.and_then(|before| before.headers.get(index)) {
        Some((known, _)) if known.as_bytes() == name => Arc::clone(known),
        _ => Arc::from(String::from_utf8_lossy(name)),
    }
}

/// All records of a topic, partition by partition, of which there are so many.
#[cfg(test)]
pub(super) fn read_all(broker: &pipette_broker::Broker, topic: &str, counts: &[usize]) -> Vec<RawRecord> {
    let mut all = Vec::new();
    for (partition, count) in (0..).zip(counts) {
        tests::with_fetched_of(broker, &TopicPartition::new(topic, partition), *count, |fetched| {
            all.extend(copy_out(fetched).unwrap());
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use allocation_counter::measure;
    use pipette_broker::{Broker, BrokerConfig};
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::{ClientConfig, Offset, TopicPartitionList};

    use super::super::sys::FetchQueue;
    use super::*;

    fn broker(folder: &std::path::Path) -> Broker {
        let mut config = BrokerConfig::on_any_port(folder.join("broker"));
        config.default_partitions = 1;
        Broker::start(config).unwrap()
    }

    fn client(broker: &Broker) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.address().to_string()).set("group.id", "g");
        config
    }

    /// Has `count` records of one topic fetched, then hands them over.
    fn with_fetched(fill: impl Fn(&BaseProducer), count: usize, look: impl FnOnce(&Fetched)) {
        let folder = tempfile::tempdir().unwrap();
        let broker = broker(folder.path());
        let producer: BaseProducer = client(&broker).create().unwrap();
        fill(&producer);
        producer.flush(Duration::from_secs(10)).unwrap();
        with_fetched_of(&broker, &TopicPartition::new("t", 0), count, look);
    }

    /// Has so many records of a partition fetched, all at once, then hands them over.
    pub(super) fn with_fetched_of(broker: &Broker, tp: &TopicPartition, count: usize, look: impl FnOnce(&Fetched)) {
        let consumer: BaseConsumer = client(broker).create().unwrap();
        let queue = FetchQueue::new(consumer.client().native_ptr());
        assert!(queue.gather(consumer.client().native_ptr(), tp));
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(&tp.topic, tp.partition, Offset::Beginning).unwrap();
        consumer.assign(&start).unwrap();
        let mut fetched = Fetched::default();
        let deadline = Instant::now() + Duration::from_secs(10);
        while fetched.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} came", fetched.len());
            assert!(consumer.poll(Duration::ZERO).is_none(), "records come through the queue only");
            if fetched.len() > 0 {
                fetched.clear();
                consumer.seek(&tp.topic, tp.partition, Offset::Beginning, Duration::from_secs(5)).unwrap();
            }
            queue.take(&mut fetched, count, Duration::from_millis(200));
        }
        look(&fetched);
        drop((fetched, queue));
    }

    #[test]
    fn a_batch_is_copied_out_without_an_allocation_per_record() {
        let fill = |producer: &BaseProducer| {
            for number in 0..500 {
                let (key, value) = (format!("k{number}"), format!("{number:0100}"));
                producer.send(BaseRecord::to("t").key(&key).payload(&value)).unwrap();
            }
        };
        with_fetched(fill, 500, |fetched| {
            let mut records = Vec::new();
            let counted = measure(|| records = copy_out(fetched).unwrap()).count_total;
            assert!(counted <= 10, "{counted} allocations for 500 records");
            for (number, record) in records.iter().enumerate() {
                assert_eq!(record.key.as_ref().unwrap().as_bytes(), format!("k{number}").as_bytes());
                let Some(Body::Bytes(value)) = &record.value else { panic!("a value in memory") };
                assert_eq!(value.as_bytes(), format!("{number:0100}").as_bytes());
            }
        });
    }

    #[test]
    fn records_count_for_the_memory_that_their_headers_take() {
        const RECORDS: usize = 40;
        let fill = |producer: &BaseProducer| {
            for number in 0..RECORDS {
                let named = (0..20).map(|header| (format!("{number}-{header}"), format!("{header:030}")));
                let headers = named.fold(OwnedHeaders::new(), |all, (name, value)| {
                    all.insert(Header { key: &name, value: Some(&value) })
                });
                producer.send(BaseRecord::<str, str>::to("t").payload("v").headers(headers)).unwrap();
            }
        };
        with_fetched(fill, RECORDS, |fetched| {
            let mut records = Vec::new();
            let taken = measure(|| records = copy_out(fetched).unwrap()).bytes_current;
            let taken = usize::try_from(taken).unwrap() - RECORDS * size_of::<RawRecord>();
            let counted: usize = records.iter().map(super::super::consumer::size).sum();
            assert!((taken..taken * 3 / 2).contains(&counted), "{taken} bytes taken, {counted} counted");
        });
    }

    #[test]
    fn every_part_of_a_record_arrives_as_it_was_sent() {
        let fill = |producer: &BaseProducer| {
            let named = |value| Header { key: "unit", value: Some(value) };
            let headers = OwnedHeaders::new().insert(named("mg")).insert(Header::<&str> { key: "none", value: None });
            producer.send(BaseRecord::to("t").key("k").payload("").timestamp(7).headers(headers)).unwrap();
            let headers = OwnedHeaders::new().insert(named(""));
            producer.send(BaseRecord::<str, str>::to("t").key("").headers(headers)).unwrap();
            producer.send(BaseRecord::<str, str>::to("t").payload("v")).unwrap();
        };
        with_fetched(fill, 3, |fetched| {
            let show = |record: RawRecord| {
                let text = |blob: &Blob| String::from_utf8(blob.as_bytes().to_vec()).unwrap();
                let value = record.value.map(|value| match value {
                    Body::Bytes(bytes) => text(&bytes),
                    Body::Payload(_) => panic!("in memory"),
                });
                let header = |(name, value): &(Arc<str>, Option<Blob>)| (name.to_string(), value.as_ref().map(text));
                (record.offset, record.key.as_ref().map(text), value, record.headers.iter().map(header).collect())
            };
            let records = copy_out(fetched).unwrap();
            assert_eq!(records[0].timestamp, Some(7));
            let some = |text: &str| Some(text.to_owned());
            let headers = |all: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
                all.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
            };
            let shown: Vec<_> = records.into_iter().map(show).collect();
            let expected = [
                (0, some("k"), some(""), headers(&[("unit", Some("mg")), ("none", None)])),
                (1, some(""), None, headers(&[("unit", Some(""))])),
                (2, None, some("v"), headers(&[])),
            ];
            assert_eq!(shown, expected);
        });
    }
}
