//! Transactional producers' requests; the rules are in `crate::transaction`, the steps in `crate::coordinator`.
//!
//! Until `FENCED_HAS_A_NAME` clients know a fenced producer by the code for an old epoch.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnRequest;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequest;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, ProducerId, TopicName,
};

use super::offsets::{Asked, Committer, Judged};
use super::{Call, code};
use crate::node::Node;
use crate::storage::marker::Outcome;
use crate::storage::transactions::Identity;

/// First versions with a code of its own for a fenced producer.
const FENCED_HAS_A_NAME: i16 = 2;
const INIT_FENCED_HAS_A_NAME: i16 = 4;

fn for_version(error: ResponseError, call: &Call, named_since: i16) -> ResponseError {
    if call.version < named_since { by_epoch(error) } else { error }
}

/// Names a fenced producer by its old epoch.
fn by_epoch(error: ResponseError) -> ResponseError {
    if error == ResponseError::ProducerFenced { ResponseError::InvalidProducerEpoch } else { error }
}

fn identity(producer_id: ProducerId, epoch: i16) -> Identity {
    Identity { producer_id: producer_id.0, epoch }
}

pub(crate) fn init_response(answer: Result<Identity, ResponseError>, call: &Call) -> InitProducerIdResponse {
    let response = InitProducerIdResponse::default();
    match answer {
        Ok(owner) => response.with_producer_id(ProducerId(owner.producer_id)).with_producer_epoch(owner.epoch),
        Err(error) => {
            let code = for_version(error, call, INIT_FENCED_HAS_A_NAME).code();
            response.with_error_code(code).with_producer_id(ProducerId(-1)).with_producer_epoch(-1)
        }
    }
}

pub(crate) fn end_response(result: Result<(), ResponseError>, call: &Call) -> EndTxnResponse {
    let result = result.map_err(|error| for_version(error, call, FENCED_HAS_A_NAME));
    EndTxnResponse::default().with_error_code(code(result))
}

impl Node {
    /// None while the transaction before this producer is still ending: ask again when it has ended.
    pub(crate) fn init_producer(&mut self, request: &InitProducerIdRequest) -> Option<Result<Identity, ResponseError>> {
        let started = match &request.transactional_id {
            None => self.take_producer_id().map(|producer_id| Some(Identity { producer_id, epoch: 0 })),
            Some(id) => {
                let claims = identity(request.producer_id, request.producer_epoch);
                let claims = (claims.producer_id >= 0).then_some(claims);
                self.start_transactions(id, request.transaction_timeout_ms, claims)
            }
        };
        match started {
            Ok(owner) => owner.map(Ok),
            Err(refused) => {
                // The answer has no room for the reason.
                tracing::warn!(why = refused.why, "Refused a producer");
                Some(Err(refused.code))
            }
        }
    }

    pub(super) fn add_partitions_to_transaction(
        &mut self,
        request: AddPartitionsToTxnRequest,
        call: &Call,
    ) -> AddPartitionsToTxnResponse {
        let topics = request.v3_and_below_topics;
        let wanted =
            topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.name.to_string(), *index)));
        let wanted: Vec<(String, i32)> = wanted.collect();
        let is_missing = |topic: &str, index| self.log(topic, index).err();
        let missing: Vec<Option<ResponseError>> =
            wanted.iter().map(|(topic, index)| is_missing(topic, *index)).collect();
        let codes: Vec<i16> = if missing.iter().any(Option::is_some) {
            // All or nothing: the client asks again for the rest.
            missing.iter().map(|error| error.unwrap_or(ResponseError::OperationNotAttempted).code()).collect()
        } else {
            let who = identity(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
            let count = wanted.len();
            let added = self.add_partitions(&request.v3_and_below_transactional_id, who, wanted);
            vec![code(added.map_err(|error| for_version(error, call, FENCED_HAS_A_NAME))); count]
        };
        let mut codes = codes.into_iter();
        let results = topics.into_iter().map(|topic| {
            let results = topic.partitions.iter().zip(&mut codes).map(|(index, code)| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*index)
                    .with_partition_error_code(code)
            });
            let results = results.collect();
            AddPartitionsToTxnTopicResult::default().with_name(topic.name).with_results_by_partition(results)
        });
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
    }

    pub(super) fn add_offsets_to_transaction(
        &mut self,
        request: &AddOffsetsToTxnRequest,
        call: &Call,
    ) -> AddOffsetsToTxnResponse {
        let who = identity(request.producer_id, request.producer_epoch);
        let added = if request.group_id.is_empty() {
            Err(ResponseError::InvalidGroupId)
        } else {
            self.expect_offsets(&request.transactional_id, who)
        };
        let added = added.map_err(|error| for_version(error, call, FENCED_HAS_A_NAME));
        AddOffsetsToTxnResponse::default().with_error_code(code(added))
    }

    pub(super) fn commit_offsets_with_transaction(
        &mut self,
        request: TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let committer = Committer {
            group: &request.group_id,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
            // Producers older than version 3 do not say for which member they commit.
            needs_membership: false,
        };
        let membership = self.may_commit(&committer);
        let asked = request.topics.into_iter().map(|topic| {
            let asked = topic.partitions.into_iter().map(|partition| {
                let asked = Asked { offset: partition.committed_offset, metadata: partition.committed_metadata };
                (partition.partition_index, asked)
            });
            (topic.name, asked)
        });
        let Judged { accepted, codes } = self.judge_commits(membership, asked);
        let accepted = accepted.into_iter().map(|(topic, index, at)| (request.group_id.to_string(), topic, index, at));
        let who = identity(request.producer_id, request.producer_epoch);
        let held = self.hold_offsets(&request.transactional_id, who, accepted.collect());
        // In this answer not all clients know the newer code, whatever the version.
        let refused = code(held.map_err(by_epoch));
        let answer = |(name, partitions): (TopicName, Vec<(i32, i16)>)| {
            let partition = |(index, code)| {
                let code = if refused == 0 { code } else { refused };
                TxnOffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
            };
            let partitions = partitions.into_iter().map(partition).collect();
            TxnOffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions)
        };
        TxnOffsetCommitResponse::default().with_topics(codes.into_iter().map(answer).collect())
    }

    /// Decides; the caller then waits until `is_ending` says no.
    pub(crate) fn answer_end(&mut self, request: &EndTxnRequest) -> Result<(), ResponseError> {
        let outcome = if request.committed { Outcome::Committed } else { Outcome::Aborted };
        let who = identity(request.producer_id, request.producer_epoch);
        self.end_transaction(&request.transactional_id, who, outcome)
    }
}
