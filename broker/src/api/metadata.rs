//! Who is there: the broker, its topics, the coordinator of a group. Always the one and only broker.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Call, NODE_ID, text, topics};
use crate::node::Node;

/// From this version on an empty list of topics means none; before it meant all.
const EMPTY_MEANS_NONE: i16 = 1;
/// From this version on a client says whether a topic may be created for it.
const SAYS_WHETHER_TO_CREATE: i16 = 4;
/// From this version on FindCoordinator answers several keys at once.
const MANY_COORDINATORS: i16 = 4;

impl Node {
    pub(super) fn metadata(&mut self, request: MetadataRequest, call: &Call) -> MetadataResponse {
        let may_create = self.config.auto_create_topics
            && (call.version < SAYS_WHETHER_TO_CREATE || request.allow_auto_topic_creation);
        let wanted = request.topics.filter(|topics| !topics.is_empty() || call.version >= EMPTY_MEANS_NONE);
        let topics = match wanted {
            None => self.catalogue.topics.keys().map(|name| self.describe_topic(name)).collect(),
            Some(wanted) => wanted
                .into_iter()
                .map(|topic| match topic.name {
                    Some(name) if may_create => self.describe_or_create(&name),
                    Some(name) => self.describe_topic(&name),
                    None => self.describe_topic_by_id(topic.topic_id),
                })
                .collect(),
        };
        let (host, port) = address(call);
        let broker = MetadataResponseBroker::default().with_node_id(NODE_ID).with_host(host).with_port(port);
        MetadataResponse::default()
            .with_cluster_id(Some(text(self.cluster_id())))
            .with_controller_id(NODE_ID)
            .with_brokers(vec![broker])
            .with_topics(topics)
    }

    fn describe_or_create(&mut self, name: &str) -> MetadataResponseTopic {
        if !self.catalogue.topics.contains_key(name) {
            let partitions = self.config.default_partitions;
            let created = topics::check_name(name).and_then(|()| self.create_topic(name, partitions, [].into()));
            if let Err(refused) = created {
                return MetadataResponseTopic::default()
                    .with_name(Some(TopicName(text(name))))
                    .with_error_code(refused.code.code());
            }
        }
        self.describe_topic(name)
    }

    fn describe_topic(&self, name: &str) -> MetadataResponseTopic {
        let answer = MetadataResponseTopic::default().with_name(Some(TopicName(text(name))));
        let Some(topic) = self.catalogue.topics.get(name) else {
            return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
        };
        let partition = |index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(NODE_ID)
                .with_leader_epoch(0)
                .with_replica_nodes(vec![NODE_ID])
                .with_isr_nodes(vec![NODE_ID])
        };
        answer.with_topic_id(topic.id).with_partitions((0..topic.partitions).map(partition).collect())
    }

    fn describe_topic_by_id(&self, id: Uuid) -> MetadataResponseTopic {
        match self.catalogue.topics.iter().find(|(_, topic)| topic.id == id) {
            Some((name, _)) => self.describe_topic(name),
            None => MetadataResponseTopic::default()
                .with_name(None)
                .with_topic_id(id)
                .with_error_code(ResponseError::UnknownTopicId.code()),
        }
    }

    pub(super) fn describe_cluster(&self, call: &Call) -> DescribeClusterResponse {
        let (host, port) = address(call);
        let broker = DescribeClusterBroker::default().with_broker_id(NODE_ID).with_host(host).with_port(port);
        DescribeClusterResponse::default()
            .with_cluster_id(text(self.cluster_id()))
            .with_controller_id(NODE_ID)
            .with_brokers(vec![broker])
    }

    fn cluster_id(&self) -> String {
        self.catalogue.cluster.unwrap_or_default().simple().to_string()
    }
}

pub(super) fn find_coordinator(request: FindCoordinatorRequest, call: &Call) -> FindCoordinatorResponse {
    let (host, port) = address(call);
    if call.version < MANY_COORDINATORS {
        return FindCoordinatorResponse::default().with_node_id(NODE_ID).with_host(host).with_port(port);
    }
    let coordinator = |key: StrBytes| {
        Coordinator::default().with_key(key).with_node_id(NODE_ID).with_host(host.clone()).with_port(port)
    };
    FindCoordinatorResponse::default()
        .with_coordinators(request.coordinator_keys.into_iter().map(coordinator).collect())
}

fn address(call: &Call) -> (StrBytes, i32) {
    (text(call.local.ip().to_string()), i32::from(call.local.port()))
}
