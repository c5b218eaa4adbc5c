//! Each API answers each version that ApiVersions promises, in a form that a client of that version can read.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as OneByOneResource, AlterableConfig,
};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiKey, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    FetchRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, ProduceRequest, RequestKind, ResponseKind,
    SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::socket::Fixture;
use crate::transactions;

const TOPIC: i8 = 2;

pub(crate) fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

pub(crate) fn topic() -> TopicName {
    TopicName(text("t"))
}

pub(crate) fn group() -> GroupId {
    GroupId(text("g"))
}

pub(crate) fn metadata() -> RequestKind {
    let topic = MetadataRequestTopic::default().with_name(Some(topic()));
    RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![topic])))
}

fn produce() -> RequestKind {
    let data = PartitionProduceData::default().with_records(Some(Bytes::from_static(b"no batch")));
    let topic = TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
    RequestKind::Produce(ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]))
}

fn fetch() -> RequestKind {
    let partition = FetchPartition::default().with_partition_max_bytes(1_000);
    let topic = FetchTopic::default().with_topic(topic()).with_partitions(vec![partition]);
    RequestKind::Fetch(FetchRequest::default().with_max_bytes(1_000).with_topics(vec![topic]))
}

fn commit() -> RequestKind {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let topic = OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
    RequestKind::OffsetCommit(OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic]))
}

fn committed(version: i16) -> RequestKind {
    let request = OffsetFetchRequest::default();
    RequestKind::OffsetFetch(if version >= 8 {
        let topic = OffsetFetchRequestTopics::default().with_name(topic()).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
        request.with_groups(vec![group])
    } else {
        let topic = OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(vec![0]);
        request.with_group_id(group()).with_topics(Some(vec![topic]))
    })
}

fn leave(version: i16) -> RequestKind {
    let request = LeaveGroupRequest::default().with_group_id(group());
    RequestKind::LeaveGroup(if version >= 3 {
        request.with_members(vec![MemberIdentity::default().with_member_id(text("x"))])
    } else {
        request.with_member_id(text("x"))
    })
}

fn join() -> RequestKind {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    RequestKind::JoinGroup(
        JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(6_000)
            .with_member_id(text("x"))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]),
    )
}

fn one_by_one(name: &'static str, operation: i8, value: &'static str) -> RequestKind {
    let config =
        AlterableConfig::default().with_name(text(name)).with_config_operation(operation).with_value(Some(text(value)));
    let resource =
        OneByOneResource::default().with_resource_type(TOPIC).with_resource_name(text("t")).with_configs(vec![config]);
    RequestKind::IncrementalAlterConfigs(IncrementalAlterConfigsRequest::default().with_resources(vec![resource]))
}

fn delete_offsets() -> RequestKind {
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic())
        .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
    RequestKind::OffsetDelete(OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topic]))
}

fn describe_configs() -> RequestKind {
    let resource = DescribeConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text("t"));
    let resource = resource.with_configuration_keys(None);
    RequestKind::DescribeConfigs(DescribeConfigsRequest::default().with_resources(vec![resource]))
}

pub(crate) fn sample(key: ApiKey, version: i16) -> RequestKind {
    match key {
        ApiKey::Produce => produce(),
        ApiKey::Fetch => fetch(),
        ApiKey::Metadata => metadata(),
        ApiKey::OffsetCommit => commit(),
        ApiKey::OffsetFetch => committed(version),
        ApiKey::JoinGroup => join(),
        ApiKey::LeaveGroup => leave(version),
        ApiKey::OffsetDelete => delete_offsets(),
        ApiKey::DescribeConfigs => describe_configs(),
        ApiKey::IncrementalAlterConfigs => one_by_one("retention.ms", 0, "5"),
        ApiKey::ApiVersions => RequestKind::ApiVersions(
            ApiVersionsRequest::default()
                .with_client_software_name(text("wire"))
                .with_client_software_version(text("1")),
        ),
        ApiKey::FindCoordinator if version >= 4 => {
            RequestKind::FindCoordinator(FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]))
        }
        ApiKey::FindCoordinator => RequestKind::FindCoordinator(FindCoordinatorRequest::default().with_key(text("g"))),
        ApiKey::Heartbeat => RequestKind::Heartbeat(HeartbeatRequest::default().with_group_id(group())),
        ApiKey::ListGroups => RequestKind::ListGroups(ListGroupsRequest::default()),
        ApiKey::DescribeGroups => {
            RequestKind::DescribeGroups(DescribeGroupsRequest::default().with_groups(vec![group()]))
        }
        ApiKey::DeleteGroups => {
            RequestKind::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(vec![group()]))
        }
        ApiKey::InitProducerId => {
            RequestKind::InitProducerId(InitProducerIdRequest::default().with_transactional_id(None))
        }
        ApiKey::DescribeCluster => RequestKind::DescribeCluster(DescribeClusterRequest::default()),
        ApiKey::AddPartitionsToTxn | ApiKey::AddOffsetsToTxn | ApiKey::EndTxn | ApiKey::TxnOffsetCommit => {
            transactions::sample(key, &transactions::NOBODY)
        }
        other => sample_of_topics(other),
    }
}

fn sample_of_topics(key: ApiKey) -> RequestKind {
    match key {
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topic = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
            RequestKind::ListOffsets(ListOffsetsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::SyncGroup => {
            let share = SyncGroupRequestAssignment::default().with_member_id(text("x"));
            RequestKind::SyncGroup(SyncGroupRequest::default().with_group_id(group()).with_assignments(vec![share]))
        }
        ApiKey::CreateTopics => {
            let topic = CreatableTopic::default().with_name(topic()).with_num_partitions(1).with_replication_factor(1);
            RequestKind::CreateTopics(CreateTopicsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::DeleteTopics => {
            RequestKind::DeleteTopics(DeleteTopicsRequest::default().with_topic_names(vec![topic()]))
        }
        ApiKey::DeleteRecords => {
            let topic = DeleteRecordsTopic::default()
                .with_name(topic())
                .with_partitions(vec![DeleteRecordsPartition::default()]);
            RequestKind::DeleteRecords(DeleteRecordsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::AlterConfigs => {
            let resource = AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text("t"));
            RequestKind::AlterConfigs(AlterConfigsRequest::default().with_resources(vec![resource]))
        }
        ApiKey::CreatePartitions => {
            let topic = CreatePartitionsTopic::default().with_name(topic()).with_count(2).with_assignments(None);
            RequestKind::CreatePartitions(CreatePartitionsRequest::default().with_topics(vec![topic]))
        }
        other => panic!("no sample of {other:?}: add one with the API"),
    }
}

pub(crate) fn supported(fixture: &Fixture) -> Vec<(ApiKey, i16, i16)> {
    let ResponseKind::ApiVersions(answer) = fixture.ask(ApiKey::ApiVersions, 0, &sample(ApiKey::ApiVersions, 0)) else {
        panic!("not an ApiVersions answer");
    };
    let row = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| {
        (ApiKey::try_from(api.api_key).unwrap(), api.min_version, api.max_version)
    };
    answer.api_keys.iter().map(row).collect()
}

#[test]
fn each_api_answers_each_version_it_promises() {
    let fixture = Fixture::start(|_| {});
    let apis = supported(&fixture);
    assert!(apis.len() >= 29);
    for (key, oldest, newest) in apis {
        for version in oldest..=newest {
            // Whatever the API, with the topic and the group there and with both gone.
            fixture.ask(ApiKey::Metadata, 9, &metadata());
            fixture.ask(ApiKey::OffsetCommit, 8, &commit());
            fixture.ask(key, version, &sample(key, version));
            fixture.ask(ApiKey::DeleteTopics, 5, &sample(ApiKey::DeleteTopics, 5));
            fixture.ask(ApiKey::DeleteGroups, 2, &sample(ApiKey::DeleteGroups, 2));
            fixture.ask(key, version, &sample(key, version));
        }
    }
}

#[test]
fn lists_in_a_configuration_are_appended_to_and_subtracted_from() {
    let fixture = Fixture::start(|_| {});
    fixture.ask(ApiKey::Metadata, 9, &metadata());
    let alter = |operation, value| {
        let request = one_by_one("cleanup.policy", operation, value);
        match fixture.ask(ApiKey::IncrementalAlterConfigs, 1, &request) {
            ResponseKind::IncrementalAlterConfigs(answer) => answer.responses[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    let policy = || match fixture.ask(ApiKey::DescribeConfigs, 4, &describe_configs()) {
        ResponseKind::DescribeConfigs(answer) => {
            let found = answer.results[0].configs.iter().find(|row| row.name.as_str() == "cleanup.policy");
            found.unwrap().value.as_ref().unwrap().to_string()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!((alter(0, "compact"), policy()), (0, "compact".to_owned()));
    assert_eq!((alter(2, "delete"), policy()), (0, "compact,delete".to_owned()));
    assert_eq!((alter(3, "compact"), policy()), (0, "delete".to_owned()));
    assert_eq!(alter(0, "burn"), ResponseError::InvalidConfig.code());
    assert_eq!((alter(1, ""), policy()), (0, "delete".to_owned()));
}

#[test]
fn a_deleted_offset_is_gone() {
    let fixture = Fixture::start(|_| {});
    fixture.ask(ApiKey::Metadata, 9, &metadata());
    let delete = || match fixture.ask(ApiKey::OffsetDelete, 0, &delete_offsets()) {
        ResponseKind::OffsetDelete(answer) => answer.error_code,
        other => panic!("{other:?}"),
    };
    let offset = || match fixture.ask(ApiKey::OffsetFetch, 8, &committed(8)) {
        ResponseKind::OffsetFetch(answer) => answer.groups[0].topics[0].partitions[0].committed_offset,
        other => panic!("{other:?}"),
    };
    assert_eq!(delete(), ResponseError::GroupIdNotFound.code());
    fixture.ask(ApiKey::OffsetCommit, 8, &commit());
    assert_eq!(offset(), 1);
    assert_eq!((delete(), offset()), (0, -1));
}
