//! Records in, records out, and which offsets there are.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchResponse, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{BrokerId, ProducerId};

use super::{Call, text};
use crate::node::Node;
use crate::storage::log::{Isolation, Log, Receipt};
use crate::storage::{Refused, batch};

/// Special timestamps of ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST_TIMESTAMP: i64 = -3;

/// The isolation level of the protocol that hides what is not committed.
const READ_COMMITTED: i8 = 1;

/// Versions from which answers have these fields.
const PRODUCE_LOG_START: i16 = 5;
const PRODUCE_MESSAGE: i16 = 8;
const FETCH_LOG_START: i16 = 5;
const OFFSETS_LEADER_EPOCH: i16 = 4;

/// What an answer to a consumer depends on.
struct Reader {
    isolation: Isolation,
    version: i16,
}

fn isolation(level: i8) -> Isolation {
    if level == READ_COMMITTED { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

/// Where in a produce response a receipt belongs: the topic's and the partition's place.
pub(crate) type Receipts = Vec<((usize, usize), Receipt)>;

impl Node {
    /// Appends what is sound. With `fsync` the receipts have to become durable before the answer may go out.
    pub(crate) fn produce(&mut self, request: ProduceRequest, call: &Call) -> (ProduceResponse, Receipts) {
        let transactional_id = request.transactional_id.as_ref().map(|id| id.as_str());
        let refuse_all = match request.acks {
            -1..=1 => None,
            acks => Some(Refused::new(ResponseError::InvalidRequiredAcks, format!("acks={acks}"))),
        };
        let mut receipts = Vec::new();
        let mut topics = Vec::new();
        for topic in request.topic_data {
            let mut partitions = Vec::new();
            for data in topic.partition_data {
                let index = data.index;
                let appended = match &refuse_all {
                    Some(refused) => Err(refused.clone()),
                    None => self.append(&topic.name, data, transactional_id),
                };
                if let Ok(receipt) = appended {
                    receipts.push(((topics.len(), partitions.len()), receipt));
                }
                partitions.push(self.produced(&topic.name, index, appended, call));
            }
            topics.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
        }
        (ProduceResponse::default().with_responses(topics), receipts)
    }

    fn append(
        &mut self,
        topic: &str,
        data: PartitionProduceData,
        transactional_id: Option<&str>,
    ) -> Result<Receipt, Refused> {
        let missing = |code| Refused::new(code, format!("there is no {topic}-{}", data.index));
        self.log(topic, data.index).map_err(missing)?;
        let records = data.records.unwrap_or_default();
        let header = batch::check_produced(&records, self.max_message_bytes(topic))?;
        self.check_part(transactional_id, &header, topic, data.index)?;
        self.log_mut(topic, data.index).map_err(missing)?.append(&records, header)
    }

    fn produced(
        &self,
        topic: &str,
        index: i32,
        appended: Result<Receipt, Refused>,
        call: &Call,
    ) -> PartitionProduceResponse {
        let mut answer = PartitionProduceResponse::default().with_index(index).with_log_append_time_ms(-1);
        match appended {
            Ok(receipt) => {
                answer.base_offset = receipt.base_offset;
                if call.version >= PRODUCE_LOG_START {
                    answer.log_start_offset = self.log(topic, index).map_or(-1, Log::start);
                }
            }
            Err(refused) => {
                answer.base_offset = -1;
                answer.error_code = refused.code.code();
                if call.version >= PRODUCE_MESSAGE {
                    answer.error_message = Some(text(refused.why));
                }
            }
        }
        answer
    }

    /// After an fsync: an answer may only promise what the disk has.
    pub(crate) fn refuse_what_is_not_durable(&self, response: &mut ProduceResponse, receipts: &Receipts) {
        for ((topic, partition), receipt) in receipts {
            let topic = &mut response.responses[*topic];
            let answer = &mut topic.partition_responses[*partition];
            if !self.is_durable(&topic.name, answer.index, receipt) {
                answer.base_offset = -1;
                answer.error_code = ResponseError::KafkaStorageError.code();
            }
        }
    }

    /// The records there are, and whether that is enough to answer before the client's waiting time is over.
    pub(crate) fn fetch(&self, request: &FetchRequest, call: &Call) -> (FetchResponse, bool) {
        if request.session_id != 0 {
            // We never open a session, so every answer is complete and needs no memory between requests.
            let code = ResponseError::FetchSessionIdNotFound.code();
            return (FetchResponse::default().with_error_code(code), true);
        }
        let wanted = usize::try_from(request.max_bytes).unwrap_or(0).min(self.config.max_fetch_bytes);
        let (mut left, mut found, mut failed) = (wanted, 0, false);
        let reader = Reader { isolation: isolation(request.isolation_level), version: call.version };
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                let answer = self.fetch_partition(&topic.topic, partition, left, &reader);
                let size = answer.records.as_ref().map_or(0, Bytes::len);
                left = left.saturating_sub(size);
                found += size;
                failed |= answer.error_code != 0;
                partitions.push(answer);
            }
            topics.push(FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions));
        }
        let is_enough = failed || found >= usize::try_from(request.min_bytes).unwrap_or(0);
        (FetchResponse::default().with_responses(topics), is_enough)
    }

    fn fetch_partition(&self, topic: &str, wanted: &FetchPartition, left: usize, reader: &Reader) -> PartitionData {
        let answer = PartitionData::default()
            .with_partition_index(wanted.partition)
            .with_aborted_transactions(None)
            .with_preferred_read_replica(BrokerId(-1))
            .with_records(Some(Bytes::new()));
        let log = match self.log(topic, wanted.partition) {
            Ok(log) => log,
            Err(error) => return answer.with_error_code(error.code()).with_high_watermark(-1),
        };
        let end = log.visible_end();
        let mut answer = answer.with_high_watermark(end).with_last_stable_offset(log.stable_end());
        if reader.version >= FETCH_LOG_START {
            answer.log_start_offset = log.start();
        }
        if wanted.fetch_offset < log.start() || wanted.fetch_offset > end {
            return answer.with_error_code(ResponseError::OffsetOutOfRange.code());
        }
        let limit = usize::try_from(wanted.partition_max_bytes).unwrap_or(0).min(left);
        if left == 0 {
            return answer;
        }
        match log.read(wanted.fetch_offset, limit, reader.isolation) {
            Ok((records, next_offset)) => {
                if reader.isolation == Isolation::ReadCommitted {
                    let aborted = log.aborted(wanted.fetch_offset, next_offset).into_iter().map(|aborted| {
                        AbortedTransaction::default()
                            .with_producer_id(ProducerId(aborted.producer_id))
                            .with_first_offset(aborted.first_offset)
                    });
                    answer.aborted_transactions = Some(aborted.collect());
                }
                answer.with_records(Some(records))
            }
            Err(error) => {
                tracing::error!(topic, partition = wanted.partition, offset = wanted.fetch_offset, %error,
                    "Cannot read records");
                answer.with_error_code(ResponseError::KafkaStorageError.code())
            }
        }
    }

    pub(super) fn list_offsets(&self, request: ListOffsetsRequest, call: &Call) -> ListOffsetsResponse {
        let reader = Reader { isolation: isolation(request.isolation_level), version: call.version };
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| self.list_offset(&topic.name, wanted, &reader));
            let partitions = partitions.collect();
            ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn list_offset(&self, topic: &str, wanted: &ListOffsetsPartition, reader: &Reader) -> ListOffsetsPartitionResponse {
        let answer = ListOffsetsPartitionResponse::default()
            .with_partition_index(wanted.partition_index)
            .with_timestamp(-1)
            .with_offset(-1);
        let log = match self.log(topic, wanted.partition_index) {
            Ok(log) => log,
            Err(error) => return answer.with_error_code(error.code()),
        };
        let end = match reader.isolation {
            Isolation::ReadUncommitted => log.visible_end(),
            Isolation::ReadCommitted => log.stable_end(),
        };
        // What lies behind the end is not there for this reader.
        let before_end = |found: Option<(i64, i64)>| found.filter(|(offset, _)| *offset < end);
        let found = match wanted.timestamp {
            LATEST => Ok(Some((end, -1))),
            EARLIEST => Ok(Some((log.start(), -1))),
            NEWEST_TIMESTAMP => log.max_timestamp().map_or(Ok(None), |newest| log.find_time(newest)).map(before_end),
            timestamp => log.find_time(timestamp).map(before_end),
        };
        match found {
            Ok(Some((offset, timestamp))) => {
                let epoch = if reader.version >= OFFSETS_LEADER_EPOCH { 0 } else { -1 };
                answer.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(epoch)
            }
            Ok(None) => answer,
            Err(error) => {
                tracing::error!(topic, partition = wanted.partition_index, %error, "Cannot look up an offset");
                answer.with_error_code(ResponseError::KafkaStorageError.code())
            }
        }
    }
}
