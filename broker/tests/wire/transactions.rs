//! What transactional producers and readers of committed records are told, version by version.

use bytes::{BufMut, Bytes};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, EndTxnRequest, FetchRequest, InitProducerIdRequest,
    ListOffsetsRequest, OffsetFetchRequest, ProduceRequest, ProducerId, RequestKind, ResponseKind, TransactionalId,
    TxnOffsetCommitRequest,
};

use crate::every_version::{group, metadata, text, topic};
use crate::socket::Fixture;

/// A producer as it introduces itself.
pub(crate) struct Producer {
    transactional_id: &'static str,
    id: i64,
    epoch: i16,
}

pub(crate) const NOBODY: Producer = Producer { transactional_id: "nobody", id: 1, epoch: 0 };

fn id(producer: &Producer) -> TransactionalId {
    TransactionalId(text(producer.transactional_id))
}

pub(crate) fn sample(key: ApiKey, producer: &Producer) -> RequestKind {
    let producer_id = ProducerId(producer.id);
    match key {
        ApiKey::AddPartitionsToTxn => {
            let topic = AddPartitionsToTxnTopic::default().with_name(topic()).with_partitions(vec![0]);
            RequestKind::AddPartitionsToTxn(
                AddPartitionsToTxnRequest::default()
                    .with_v3_and_below_transactional_id(id(producer))
                    .with_v3_and_below_producer_id(producer_id)
                    .with_v3_and_below_producer_epoch(producer.epoch)
                    .with_v3_and_below_topics(vec![topic]),
            )
        }
        ApiKey::AddOffsetsToTxn => RequestKind::AddOffsetsToTxn(
            AddOffsetsToTxnRequest::default()
                .with_transactional_id(id(producer))
                .with_producer_id(producer_id)
                .with_producer_epoch(producer.epoch)
                .with_group_id(group()),
        ),
        ApiKey::EndTxn => RequestKind::EndTxn(
            EndTxnRequest::default()
                .with_transactional_id(id(producer))
                .with_producer_id(producer_id)
                .with_producer_epoch(producer.epoch)
                .with_committed(true),
        ),
        ApiKey::TxnOffsetCommit => {
            let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(5);
            let topic = TxnOffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
            RequestKind::TxnOffsetCommit(
                TxnOffsetCommitRequest::default()
                    .with_transactional_id(id(producer))
                    .with_producer_id(producer_id)
                    .with_producer_epoch(producer.epoch)
                    .with_group_id(group())
                    .with_generation_id(-1)
                    .with_topics(vec![topic]),
            )
        }
        other => panic!("{other:?} is no request of a transaction"),
    }
}

fn init_request(id: &'static str) -> InitProducerIdRequest {
    let id = Some(TransactionalId(text(id)));
    InitProducerIdRequest::default().with_transactional_id(id).with_transaction_timeout_ms(60_000)
}

fn init(fixture: &Fixture, version: i16, request: InitProducerIdRequest) -> (i16, i64, i16) {
    match fixture.ask(ApiKey::InitProducerId, version, &RequestKind::InitProducerId(request)) {
        ResponseKind::InitProducerId(answer) => (answer.error_code, answer.producer_id.0, answer.producer_epoch),
        other => panic!("{other:?}"),
    }
}

fn start(fixture: &Fixture, id: &'static str) -> Producer {
    let (code, producer_id, epoch) = init(fixture, 4, init_request(id));
    assert_eq!(code, 0);
    Producer { transactional_id: id, id: producer_id, epoch }
}

fn ask(fixture: &Fixture, key: ApiKey, version: i16, producer: &Producer) -> i16 {
    match fixture.ask(key, version, &sample(key, producer)) {
        ResponseKind::AddPartitionsToTxn(answer) => {
            answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        }
        ResponseKind::AddOffsetsToTxn(answer) => answer.error_code,
        ResponseKind::EndTxn(answer) => answer.error_code,
        ResponseKind::TxnOffsetCommit(answer) => answer.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    }
}

fn end(fixture: &Fixture, producer: &Producer, committed: bool) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(id(producer))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(committed);
    match fixture.ask(ApiKey::EndTxn, 3, &RequestKind::EndTxn(request)) {
        ResponseKind::EndTxn(answer) => answer.error_code,
        other => panic!("{other:?}"),
    }
}

/// A batch of one record without key and value in the producer's transaction.
fn batch(producer: &Producer, sequence: i32) -> Bytes {
    let mut checked = Vec::new();
    checked.put_i16(0x10);
    checked.put_i32(0);
    checked.put_i64(1_000);
    checked.put_i64(1_000);
    checked.put_i64(producer.id);
    checked.put_i16(producer.epoch);
    checked.put_i32(sequence);
    checked.put_i32(1);
    // Six bytes: no attributes, no deltas, no key, no value, no headers.
    checked.extend_from_slice(&[12, 0, 0, 0, 1, 1, 0]);
    let mut batch = Vec::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(checked.len() + 9).unwrap());
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(crc32c::crc32c(&checked));
    batch.extend_from_slice(&checked);
    Bytes::from(batch)
}

fn produce(fixture: &Fixture, producer: &Producer, sequence: i32) -> (i16, i64) {
    let data = PartitionProduceData::default().with_records(Some(batch(producer, sequence)));
    let topic = TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_transactional_id(Some(id(producer))).with_acks(-1).with_topic_data(vec![topic]);
    match fixture.ask(ApiKey::Produce, 9, &RequestKind::Produce(request)) {
        ResponseKind::Produce(answer) => {
            let partition = &answer.responses[0].partition_responses[0];
            (partition.error_code, partition.base_offset)
        }
        other => panic!("{other:?}"),
    }
}

fn fetch(fixture: &Fixture, version: i16, isolation: i8, offset: i64) -> PartitionData {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(100_000);
    let topic = FetchTopic::default().with_topic(topic()).with_partitions(vec![partition]);
    let request =
        FetchRequest::default().with_isolation_level(isolation).with_max_bytes(100_000).with_topics(vec![topic]);
    match fixture.ask(ApiKey::Fetch, version, &RequestKind::Fetch(request)) {
        ResponseKind::Fetch(mut answer) => answer.responses.remove(0).partitions.remove(0),
        other => panic!("{other:?}"),
    }
}

fn offset_at(fixture: &Fixture, version: i16, isolation: i8, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_isolation_level(isolation).with_topics(vec![topic]);
    match fixture.ask(ApiKey::ListOffsets, version, &RequestKind::ListOffsets(request)) {
        ResponseKind::ListOffsets(answer) => answer.topics[0].partitions[0].offset,
        other => panic!("{other:?}"),
    }
}

fn with_topic() -> Fixture {
    let fixture = Fixture::start(|_| {});
    fixture.ask(ApiKey::Metadata, 9, &metadata());
    fixture
}

#[test]
fn a_fenced_producer_is_told_so_in_the_words_its_version_knows() {
    let fixture = with_topic();
    let zombie = start(&fixture, "x");
    assert_eq!(ask(&fixture, ApiKey::AddPartitionsToTxn, 3, &zombie), 0);
    let heir = start(&fixture, "x");
    assert_eq!((heir.id, heir.epoch), (zombie.id, zombie.epoch + 2));
    let (fenced, old_epoch) = (ResponseError::ProducerFenced.code(), ResponseError::InvalidProducerEpoch.code());
    for key in [ApiKey::AddPartitionsToTxn, ApiKey::AddOffsetsToTxn, ApiKey::EndTxn] {
        for (version, expected) in [(0, old_epoch), (1, old_epoch), (2, fenced), (3, fenced)] {
            assert_eq!(ask(&fixture, key, version, &zombie), expected, "{key:?} version {version}");
        }
    }
    for version in 0..=3 {
        assert_eq!(ask(&fixture, ApiKey::TxnOffsetCommit, version, &zombie), old_epoch);
    }
    assert_eq!(produce(&fixture, &zombie, 0).0, old_epoch);
    let again = || init_request("x").with_producer_id(ProducerId(zombie.id)).with_producer_epoch(zombie.epoch);
    assert_eq!(init(&fixture, 3, again()), (old_epoch, -1, -1));
    assert_eq!(init(&fixture, 4, again()), (fenced, -1, -1));
}

#[test]
fn who_is_not_known_or_has_begun_nothing_is_told_which() {
    let fixture = with_topic();
    let unknown = ResponseError::InvalidProducerIdMapping.code();
    for key in [ApiKey::AddPartitionsToTxn, ApiKey::AddOffsetsToTxn, ApiKey::EndTxn, ApiKey::TxnOffsetCommit] {
        assert_eq!(ask(&fixture, key, 3, &NOBODY), unknown, "{key:?}");
    }
    let producer = start(&fixture, "x");
    let nothing_open = ResponseError::InvalidTxnState.code();
    assert_eq!(ask(&fixture, ApiKey::EndTxn, 3, &producer), nothing_open);
    assert_eq!(ask(&fixture, ApiKey::TxnOffsetCommit, 3, &producer), nothing_open);
    assert_eq!(produce(&fixture, &producer, 0).0, nothing_open);
    assert_eq!(init(&fixture, 4, init_request("")).0, ResponseError::InvalidRequest.code());
    let long: &'static str = "x".repeat(1_001).leak();
    assert_eq!(init(&fixture, 4, init_request(long)).0, ResponseError::InvalidRequest.code());
    let without_time = init_request("x").with_transaction_timeout_ms(0);
    assert_eq!(init(&fixture, 4, without_time).0, ResponseError::InvalidTransactionTimeout.code());
}

#[test]
fn partitions_are_added_all_or_none() {
    let fixture = with_topic();
    let producer = start(&fixture, "x");
    let topics = [("t", 0), ("missing", 0), ("t", 7)].map(|(name, index)| {
        let name = kafka_protocol::messages::TopicName(text(name));
        AddPartitionsToTxnTopic::default().with_name(name).with_partitions(vec![index])
    });
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id(&producer))
        .with_v3_and_below_producer_id(ProducerId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(topics.to_vec());
    let answer = fixture.ask(ApiKey::AddPartitionsToTxn, 3, &RequestKind::AddPartitionsToTxn(request));
    let ResponseKind::AddPartitionsToTxn(answer) = answer else { panic!("{answer:?}") };
    let code = |topic: &kafka_protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnTopicResult| {
        topic.results_by_partition[0].partition_error_code
    };
    let codes: Vec<i16> = answer.results_by_topic_v3_and_below.iter().map(code).collect();
    let missing = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(codes, [ResponseError::OperationNotAttempted.code(), missing, missing]);
    assert_eq!(produce(&fixture, &producer, 0).0, ResponseError::InvalidTxnState.code());
}

#[test]
fn readers_are_told_what_is_stable_and_what_was_aborted_in_every_version() {
    let fixture = with_topic();
    let producer = start(&fixture, "x");
    assert_eq!(ask(&fixture, ApiKey::AddPartitionsToTxn, 0, &producer), 0);
    assert_eq!(produce(&fixture, &producer, 0), (0, 0));
    assert_eq!(end(&fixture, &producer, false), 0);
    assert_eq!(ask(&fixture, ApiKey::AddPartitionsToTxn, 0, &producer), 0);
    assert_eq!(produce(&fixture, &producer, 1), (0, 2));
    for version in 4..=12 {
        let all = fetch(&fixture, version, 0, 0);
        assert_eq!((all.high_watermark, all.last_stable_offset), (3, 2), "version {version}");
        assert_eq!(all.aborted_transactions, None);
        let committed = fetch(&fixture, version, 1, 0);
        assert_eq!((committed.high_watermark, committed.last_stable_offset), (3, 2));
        let aborted = committed.aborted_transactions.unwrap();
        let aborted: Vec<(i64, i64)> = aborted.iter().map(|one| (one.producer_id.0, one.first_offset)).collect();
        assert_eq!(aborted, [(producer.id, 0)]);
        let size = |records: Option<Bytes>| records.unwrap().len();
        assert_eq!(size(all.records), size(committed.records) + batch(&producer, 1).len());
        let behind = fetch(&fixture, version, 1, 2);
        assert_eq!((behind.error_code, size(behind.records)), (0, 0));
    }
    for version in 2..=7 {
        assert_eq!((offset_at(&fixture, version, 0, -1), offset_at(&fixture, version, 1, -1)), (3, 2));
    }
    assert_eq!(end(&fixture, &producer, true), 0);
    assert_eq!((offset_at(&fixture, 7, 0, -1), offset_at(&fixture, 7, 1, -1)), (4, 4));
}

#[test]
fn an_end_that_is_asked_for_again_is_answered_again_and_the_other_one_refused() {
    let fixture = with_topic();
    let producer = start(&fixture, "x");
    ask(&fixture, ApiKey::AddPartitionsToTxn, 3, &producer);
    assert_eq!((end(&fixture, &producer, true), end(&fixture, &producer, true)), (0, 0));
    assert_eq!(end(&fixture, &producer, false), ResponseError::InvalidTxnState.code());
}

#[test]
fn a_producer_that_asks_for_a_new_epoch_gets_one_and_the_same_when_it_asks_again() {
    let fixture = with_topic();
    let producer = start(&fixture, "x");
    let bump = || {
        let request = init_request("x").with_producer_id(ProducerId(producer.id));
        init(&fixture, 4, request.with_producer_epoch(producer.epoch))
    };
    let expected = (0, producer.id, producer.epoch + 1);
    assert_eq!((bump(), bump()), (expected, expected));
    start(&fixture, "x");
    assert_eq!(bump().0, ResponseError::ProducerFenced.code());
}

#[test]
fn offsets_wait_for_their_transaction_and_who_wants_stable_ones_is_told_to_wait() {
    let fixture = with_topic();
    let offset = |require_stable| {
        let topic = OffsetFetchRequestTopics::default().with_name(topic()).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(require_stable);
        match fixture.ask(ApiKey::OffsetFetch, 8, &RequestKind::OffsetFetch(request)) {
            ResponseKind::OffsetFetch(answer) => {
                let found = &answer.groups[0].topics[0].partitions[0];
                (found.error_code, found.committed_offset)
            }
            other => panic!("{other:?}"),
        }
    };
    let producer = start(&fixture, "x");
    for version in 0..=3 {
        assert_eq!(ask(&fixture, ApiKey::AddOffsetsToTxn, version, &producer), 0);
        assert_eq!(ask(&fixture, ApiKey::TxnOffsetCommit, version, &producer), 0);
        let unstable = ResponseError::UnstableOffsetCommit.code();
        assert_eq!((offset(false), offset(true)), ((0, -1), (unstable, -1)));
        assert_eq!(end(&fixture, &producer, false), 0);
        assert_eq!((offset(false), offset(true)), ((0, -1), (0, -1)));
    }
    ask(&fixture, ApiKey::AddOffsetsToTxn, 3, &producer);
    ask(&fixture, ApiKey::TxnOffsetCommit, 3, &producer);
    assert_eq!(end(&fixture, &producer, true), 0);
    assert_eq!((offset(false), offset(true)), ((0, 5), (0, 5)));
}

#[test]
fn a_record_of_an_open_transaction_is_not_found_by_its_time() {
    let fixture = with_topic();
    let producer = start(&fixture, "x");
    ask(&fixture, ApiKey::AddPartitionsToTxn, 3, &producer);
    assert_eq!(produce(&fixture, &producer, 0), (0, 0));
    assert_eq!((offset_at(&fixture, 7, 0, 1_000), offset_at(&fixture, 7, 1, 1_000)), (0, -1));
    assert_eq!((offset_at(&fixture, 7, 0, -3), offset_at(&fixture, 7, 1, -3)), (0, -1));
    assert_eq!(end(&fixture, &producer, true), 0);
    assert_eq!(offset_at(&fixture, 7, 1, 1_000), 0);
}
