//! Requests and answers: the protocol's messages on one side, the node's methods on the other.
//!
//! `SUPPORTED` is the table of what is spoken; each version in it is covered by a test or used by a client we test with.
//! `shape` guards the decoders. One file per subject: `records` (produce, fetch, offsets of records), `metadata`, `group`, `offsets` (committed
//! ones), `transactions`, `topics`, `configs`, `admin_groups`. What has to wait is finished in `crate::server`.

mod admin_groups;
mod configs;
pub(crate) mod group;
mod metadata;
mod offsets;
mod records;
mod shape;
mod topics;
pub(crate) mod transactions;

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, BrokerId, RequestHeader, RequestKind, ResponseKind};
use kafka_protocol::protocol::{Decodable, StrBytes};

use crate::node::Node;

/// The only broker there is.
const NODE_ID: BrokerId = BrokerId(1);

/// API, oldest and newest version. The upper ends stay below topic ids in Fetch and Produce, below the newer group
/// protocol and below the second protocol of transactions; they rise only together with tests.
const SUPPORTED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 9),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 8),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::JoinGroup, 0, 7),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 5),
    (ApiKey::ListGroups, 0, 4),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::TxnOffsetCommit, 0, 3),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeCluster, 0, 1),
];

/// What an answer depends on besides the request.
#[derive(Debug)]
pub(crate) struct Call {
    pub key: ApiKey,
    pub version: i16,
    pub client_id: String,
    pub peer: SocketAddr,
    /// Where the client reached us, and so the address it is told to use.
    pub local: SocketAddr,
    correlation: i32,
    /// An ApiVersions request newer than we know: answered in the oldest form, as the protocol wants it.
    too_new: bool,
}

/// Reads a request. An error closes the connection: after it nobody knows what the client means.
pub(crate) fn decode(mut bytes: Bytes, peer: SocketAddr, local: SocketAddr) -> Result<(Call, RequestKind), String> {
    let Some(head) = bytes.first_chunk::<8>() else { return Err("the request is too short".into()) };
    let [k0, k1, v0, v1, correlation @ ..] = *head;
    let (number, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let key = ApiKey::try_from(number).map_err(|()| format!("API {number} is unknown"))?;
    let Some((_, oldest, newest)) = SUPPORTED.iter().find(|(supported, ..)| *supported == key) else {
        return Err(format!("{key:?} is not supported"));
    };
    let in_range = (*oldest..=*newest).contains(&version);
    let too_new = !in_range && key == ApiKey::ApiVersions;
    let correlation = i32::from_be_bytes(correlation);
    let mut call = Call { key, version, client_id: String::new(), peer, local, correlation, too_new };
    if too_new {
        call.version = 0;
        return Ok((call, RequestKind::ApiVersions(ApiVersionsRequest::default())));
    }
    if !in_range {
        return Err(format!("{key:?} version {version} is not supported, {oldest} to {newest} are"));
    }
    let unreadable = |error| format!("an unreadable {key:?} version {version}: {error}");
    let header = RequestHeader::decode(&mut bytes, key.request_header_version(version)).map_err(unreadable)?;
    call.client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
    if !shape::is_sound(key, version, &bytes) {
        return Err(format!("an unreadable {key:?} version {version}: its lengths do not fit its bytes"));
    }
    let request = RequestKind::decode(key, &mut bytes, version).map_err(unreadable)?;
    Ok((call, request))
}

/// Length, header and body of an answer.
pub(crate) fn encode(call: &Call, response: &ResponseKind) -> Result<Bytes, String> {
    let mut out = BytesMut::with_capacity(256);
    out.put_i32(0);
    out.put_i32(call.correlation);
    if call.key.response_header_version(call.version) >= 1 {
        out.put_u8(0);
    }
    let encoded = response.encode(&mut out, call.version);
    encoded.map_err(|error| format!("cannot answer {:?} version {}: {error}", call.key, call.version))?;
    let length = i32::try_from(out.len() - 4).map_err(|_| "an answer of more than 2 GiB".to_owned())?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}

impl Node {
    /// Answers everything that neither waits nor carries records.
    pub(crate) fn answer(&mut self, request: RequestKind, call: &Call) -> ResponseKind {
        match request {
            RequestKind::ApiVersions(_) => ResponseKind::ApiVersions(api_versions(call)),
            RequestKind::Metadata(request) => ResponseKind::Metadata(self.metadata(request, call)),
            RequestKind::FindCoordinator(request) => {
                ResponseKind::FindCoordinator(metadata::find_coordinator(request, call))
            }
            RequestKind::DescribeCluster(_) => ResponseKind::DescribeCluster(self.describe_cluster(call)),
            RequestKind::ListOffsets(request) => ResponseKind::ListOffsets(self.list_offsets(request, call)),
            RequestKind::AddPartitionsToTxn(request) => {
                ResponseKind::AddPartitionsToTxn(self.add_partitions_to_transaction(request, call))
            }
            RequestKind::AddOffsetsToTxn(request) => {
                ResponseKind::AddOffsetsToTxn(self.add_offsets_to_transaction(&request, call))
            }
            RequestKind::TxnOffsetCommit(request) => {
                ResponseKind::TxnOffsetCommit(self.commit_offsets_with_transaction(request))
            }
            RequestKind::Heartbeat(request) => ResponseKind::Heartbeat(self.heartbeat(&request)),
            RequestKind::LeaveGroup(request) => ResponseKind::LeaveGroup(self.leave_group(request, call)),
            RequestKind::OffsetCommit(request) => ResponseKind::OffsetCommit(self.commit_offsets(request)),
            RequestKind::OffsetFetch(request) => ResponseKind::OffsetFetch(self.fetch_offsets(request, call)),
            RequestKind::OffsetDelete(request) => ResponseKind::OffsetDelete(self.delete_offsets(request)),
            RequestKind::ListGroups(request) => ResponseKind::ListGroups(self.list_groups(&request)),
            RequestKind::DescribeGroups(request) => ResponseKind::DescribeGroups(self.describe_groups(request)),
            RequestKind::DeleteGroups(request) => ResponseKind::DeleteGroups(self.delete_groups(request)),
            RequestKind::CreateTopics(request) => ResponseKind::CreateTopics(self.create_topics(request, call)),
            RequestKind::DeleteTopics(request) => ResponseKind::DeleteTopics(self.delete_topics(request, call)),
            RequestKind::CreatePartitions(request) => ResponseKind::CreatePartitions(self.create_partitions(request)),
            RequestKind::DeleteRecords(request) => ResponseKind::DeleteRecords(self.answer_delete_records(request)),
            RequestKind::DescribeConfigs(request) => {
                ResponseKind::DescribeConfigs(self.describe_configs(request, call))
            }
            RequestKind::AlterConfigs(request) => ResponseKind::AlterConfigs(self.alter_configs(request)),
            RequestKind::IncrementalAlterConfigs(request) => {
                ResponseKind::IncrementalAlterConfigs(self.alter_configs_one_by_one(request))
            }
            _ => unreachable!("decode refuses what is not supported, and the shell answers what waits"),
        }
    }
}

fn api_versions(call: &Call) -> ApiVersionsResponse {
    let version = |(key, oldest, newest): &(ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(*key as i16).with_min_version(*oldest).with_max_version(*newest)
    };
    let code = if call.too_new { ResponseError::UnsupportedVersion.code() } else { 0 };
    ApiVersionsResponse::default().with_error_code(code).with_api_keys(SUPPORTED.iter().map(version).collect())
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

fn code(result: Result<(), ResponseError>) -> i16 {
    result.err().map_or(0, |error| error.code())
}
