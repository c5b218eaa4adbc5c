//! What is read straight from a leader, beside what librdkafka makes of the same bytes.

use std::path::Path;

use allocation_counter::measure;
use pipette_broker::{Broker, BrokerConfig};
use proptest::prelude::*;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::super::batch::read_all;
use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn broker(folder: &Path) -> Broker {
    let mut config = BrokerConfig::on_any_port(folder.join("broker"));
    config.default_partitions = 2;
    Broker::start(config).unwrap()
}

fn producer(broker: &Broker, compression: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address().to_string()).set("compression.type", compression);
    config.set("batch.num.messages", "7").create().unwrap()
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn leader(broker: &Broker) -> Address {
    (broker.address().ip().to_string(), broker.address().port())
}

fn fetcher(pairs: &[(&str, &str)]) -> Fetcher {
    let properties = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Fetcher::new(&properties).expect("plain settings")
}

/// Sends so many records of all kinds; which, the number decides.
fn send(producer: &BaseProducer, partition: i32, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let (key, value) = (format!("k{number}"), "v".repeat(usize::try_from(number % 300).unwrap()));
        let named = |name, value| Header { key: name, value };
        let headers = (0..number % 3).fold(OwnedHeaders::new(), |all, header| {
            let all = all.insert(named("größe", Some(value.as_str())));
            if header == 1 { all.insert(named("none", None)).insert(named("", Some(""))) } else { all }
        });
        let mut record = BaseRecord::<str, str>::to("t").partition(partition).headers(headers);
        record = if number % 4 == 0 { record } else { record.key(&key) };
        record = if number % 5 == 0 { record } else { record.payload(&value) };
        record = if number % 6 == 0 { record } else { record.timestamp(number * 1000) };
        producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}"));
    }
    producer.flush(LIMIT).unwrap();
}

/// Reads until so many are there, or something goes back.
fn read(fetcher: &mut Fetcher, count: usize) -> (Vec<RawRecord>, Vec<Returned>) {
    let (mut records, deadline) = (Vec::new(), Instant::now() + LIMIT);
    while records.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} came", records.len());
        records.extend(fetcher.read(11, 2_000, Duration::from_millis(20)));
        let returned = fetcher.returned();
        if !returned.is_empty() {
            return (records, returned);
        }
    }
    (records, Vec::new())
}

fn show(records: &[RawRecord]) -> Vec<String> {
    let text = |record: &RawRecord| {
        let value = record.value.as_ref().map(|value| match value {
            pipette_api::Body::Bytes(bytes) => bytes.as_bytes(),
            pipette_api::Body::Payload(_) => panic!("in memory"),
        });
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(name, value)| (name, value.as_ref().map(pipette_api::Blob::as_bytes)))
            .collect();
        let key = record.key.as_ref().map(pipette_api::Blob::as_bytes);
        format!(
            "{} {} {key:?} {value:?} {headers:?} {:?} {:?}",
            record.tp, record.offset, record.timestamp, record.timestamp_type
        )
    };
    records.iter().map(text).collect()
}

#[test]
fn every_record_is_what_librdkafka_makes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let producer = producer(&broker, "none");
    send(&producer, 0, 0..400);
    send(&producer, 1, 400..500);
    let expected = read_all(&broker, "t", &[400, 100]);
    // Answers hold many batches, one, or a part of one.
    for most in ["1048576", "3000", "1"] {
        let mut fetcher = fetcher(&[("max.partition.fetch.bytes", most), ("fetch.max.bytes", "4000")]);
        fetcher.take(tp(0), 0, leader(&broker)).unwrap();
        fetcher.take(tp(1), 50, leader(&broker)).unwrap();
        let (mut records, returned) = read(&mut fetcher, 450);
        assert_eq!(returned, []);
        assert_eq!(fetcher.lag(), Some(0));
        records.sort_by_key(|record| record.tp.partition);
        let (of_first, of_second) = expected.split_at(400);
        assert_eq!(show(&records), show(&[of_first, &of_second[50..]].concat()), "answers of {most} bytes");
    }
}

#[test]
fn what_is_compressed_goes_back_behind_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    send(&producer(&broker, "none"), 0, 0..30);
    send(&producer(&broker, "gzip"), 0, 30..60);
    let mut fetcher = fetcher(&[]);
    fetcher.take(tp(0), 3, leader(&broker)).unwrap();
    let (records, returned) = read(&mut fetcher, 100);
    let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (3..30).collect::<Vec<_>>());
    assert_eq!((returned[0].tp.clone(), returned[0].next, returned[0].epoch), (tp(0), 30, 0));
    assert_eq!(returned[0].trouble.as_deref(), Some("compressed batches"));
    assert_eq!((fetcher.count(), fetcher.traffic()[2]), (0, 0), "nothing is left to do");
}

#[test]
fn errors_and_silence_of_a_broker_send_partitions_back_to_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    send(&producer(&broker, "none"), 0, 0..30);
    let mut fetcher = fetcher(&[]);
    fetcher.take(tp(0), 20, leader(&broker)).unwrap();
    fetcher.take(tp(1), 7_000, leader(&broker)).unwrap();
    let (_, returned) = read(&mut fetcher, 100);
    assert_eq!((returned.len(), returned[0].tp.clone(), returned[0].next), (1, tp(1), 7_000), "{returned:?}");
    assert!(returned[0].trouble.as_ref().unwrap().contains("error 1"), "{returned:?}");
    let address = leader(&broker);
    drop(broker);
    let (_, returned) = read(&mut fetcher, 100);
    assert_eq!((returned[0].tp.clone(), returned[0].next), (tp(0), 30));
    assert!(returned[0].trouble.is_some());
    assert!(fetcher.take(tp(0), 30, address).is_err(), "nobody listens there");
    assert_eq!(fetcher.count(), 0);
}

#[test]
fn a_partition_without_records_goes_back_without_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    send(&producer(&broker, "none"), 0, 0..3);
    let mut fetcher = fetcher(&[]);
    fetcher.idle = Duration::from_millis(50);
    fetcher.take(tp(0), 0, leader(&broker)).unwrap();
    let (records, returned) = read(&mut fetcher, 4);
    assert_eq!(records.len(), 3);
    assert_eq!((returned[0].next, &returned[0].trouble), (3, &None));
}

/// It would be looked at every few milliseconds, beside what comes through librdkafka.
#[test]
fn a_partition_with_a_record_now_and_then_goes_back_without_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let producer = producer(&broker, "none");
    let mut fetcher = fetcher(&[]);
    fetcher.idle = Duration::from_millis(300);
    fetcher.take(tp(0), 0, leader(&broker)).unwrap();
    let deadline = Instant::now() + LIMIT;
    let returned = (0..)
        .find_map(|number| {
            assert!(Instant::now() < deadline, "it stays for {number} records");
            send(&producer, 0, number..number + 1);
            read(&mut fetcher, 1).1.pop()
        })
        .unwrap();
    assert_eq!(returned.trouble, None);
}

#[test]
fn whoever_is_slow_to_take_records_keeps_its_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    send(&producer(&broker, "none"), 0, 0..3);
    let mut fetcher = fetcher(&[]);
    fetcher.take(tp(0), 0, leader(&broker)).unwrap();
    let some = |fetcher: &mut Fetcher| {
        std::iter::repeat_with(|| fetcher.read(1, 2_000, LIMIT)).find(|records| !records.is_empty()).unwrap()
    };
    some(&mut fetcher);
    fetcher.idle = Duration::from_millis(200);
    let answered = Instant::now();
    while answered.elapsed() < fetcher.idle {
        std::thread::yield_now();
    }
    assert_eq!((some(&mut fetcher).len(), some(&mut fetcher)[0].offset), (1, 2), "the last of the answer");
    assert_eq!(fetcher.returned(), []);
}

/// A broker that is asked for more than a quota allows says how long to wait, and nothing of any partition.
#[test]
fn whoever_is_told_to_wait_keeps_its_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let mut fetcher = fetcher(&[]);
    fetcher.take(tp(0), 0, leader(&broker)).unwrap();
    let mut answered = |throttle_ms| {
        let answer = Answer { throttle_ms, error: 0, parts: Vec::new() };
        take(&mut fetcher.lanes, &leader(&broker), vec![(tp(0), 0)], answer, true);
        fetcher.returned()
    };
    assert_eq!(answered(100), []);
    assert!(answered(0)[0].trouble.is_some(), "it says nothing, for no reason");
}

/// Somebody else may have taken it meanwhile, or it may be read from elsewhere.
#[test]
fn an_answer_to_an_old_question_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    send(&producer(&broker, "none"), 0, 0..60);
    let mut fetcher = fetcher(&[]);
    fetcher.take(tp(0), 0, leader(&broker)).unwrap();
    fetcher.take(tp(1), 0, leader(&broker)).unwrap();
    // Asked, and not heard yet.
    fetcher.read(1, 1, Duration::ZERO);
    fetcher.release(|found| *found == tp(0));
    fetcher.take(tp(0), 55, leader(&broker)).unwrap();
    let (records, _) = read(&mut fetcher, 5);
    assert_eq!(records[0].offset, 55);
}

#[test]
fn what_only_librdkafka_does_is_left_to_it() {
    let wants =
        |key: &str, value: &str| Fetcher::new(&ClientProperties::from([(key.to_owned(), value.to_owned())])).is_none();
    assert!(wants("security.protocol", "sasl_plaintext") && wants("security.protocol", "SSL"));
    assert!(wants("isolation.level", "read_committed") && wants("client.rack", "r1"));
    assert!(!wants("security.protocol", "PLAINTEXT") && !wants("client.id", "c"));
}

/// The bytes of a partition that is filled like this, as a broker hands them over.
fn bytes(fill: impl Fn(&BaseProducer)) -> bytes::Bytes {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    fill(&producer(&broker, "none"));
    let terms = terms(&ClientProperties::new()).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut link = Link::open(leader(&broker), terms).await.unwrap();
        link.ask(vec![(tp(0), 0)]).unwrap();
        let (_, mut answer) = poll_fn(|cx| link.poll_answer(cx)).await.unwrap();
        answer.parts.remove(0).records
    })
}

fn all_of(bytes: &bytes::Bytes, check: bool) -> (Vec<String>, bool) {
    let (mut run, survey) = Run::new(bytes.clone(), 0, check);
    let mut records = Vec::new();
    let mut failed = survey.unusual.is_some();
    while !run.is_through() {
        let before = records.len();
        failed |= run.read(&mut records, &tp(0), before + 5, &mut 100_000).is_err();
        if failed {
            break;
        }
    }
    (show(&records), failed)
}

#[test]
fn records_are_handed_out_without_an_allocation_for_each() {
    let fill = |producer: &BaseProducer| {
        for number in 0..500 {
            let (key, value) = (format!("k{number}"), format!("{number:0100}"));
            producer
                .send(BaseRecord::to("t").partition(0).key(&key).payload(&value))
                .unwrap_or_else(|(error, _)| panic!("{error}"));
        }
        producer.flush(LIMIT).unwrap();
    };
    let (mut run, _) = Run::new(bytes(fill), 0, true);
    let mut records = Vec::with_capacity(500);
    let counted = measure(|| run.read(&mut records, &tp(0), 500, &mut 1_000_000).unwrap()).count_total;
    assert_eq!(records.len(), 500);
    // The buffer, as it is shared, and the topic's name.
    assert!(counted <= 3, "{counted} allocations for 500 records");
}

#[test]
fn damaged_bytes_are_told_and_never_read_wrongly() {
    let whole = bytes(|producer| send(producer, 0, 0..40));
    let (expected, failed) = all_of(&whole, true);
    assert_eq!((expected.len(), failed), (40, false));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4_000));
    let damage = prop::collection::vec((0..whole.len(), 1..=255u8), 1..4);
    let case = (damage, 0..=whole.len());
    runner
        .run(&case, |(damage, len)| {
            let mut bytes = whole.to_vec();
            for (at, change) in damage {
                bytes[at] ^= change;
            }
            let damaged = bytes::Bytes::from(bytes);
            // Nothing that is in front of what is checked is of use to anybody without what is.
            let (records, _) = all_of(&damaged, false);
            prop_assert!(records.len() < 100_000);
            let (mut run, survey) = Run::new(damaged, 0, false);
            let mut records = Vec::new();
            let _ = run.read(&mut records, &tp(0), 100_000, &mut 100_000);
            prop_assert!(records.iter().all(|record| record.offset < survey.next), "what was read comes again");
            let (cut, failed) = all_of(&whole.slice(..len), true);
            prop_assert_eq!(&cut[..], &expected[..cut.len()]);
            prop_assert_eq!(failed, cut.is_empty() && len > 0, "the last batch may be cut off, and not the first");
            Ok(())
        })
        .unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x40;
        let (records, _) = all_of(&bytes.into(), true);
        // An offset in front of a batch, its length and its epoch are not part of what is checked.
        let wrong = records.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
        assert!(wrong == 0 || is_beside_the_checksum(&whole, at), "byte {at} makes {wrong} records wrong");
    }
}

fn is_beside_the_checksum(whole: &[u8], at: usize) -> bool {
    let mut start = 0;
    while start < whole.len() {
        let len = u32::from_be_bytes(*whole[start + 8..].first_chunk().unwrap()) as usize + 12;
        if (start..start + 16).contains(&at) {
            return true;
        }
        start += len;
    }
    false
}
