//! The classic group protocol's requests; the rules are in `crate::group`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use kafka_protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use kafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Call, code, text};
use crate::group::member::{Join, JoinAnswer, Reply, SyncAnswer};
use crate::node::Node;

/// The session times a member may ask for. Kafka's lower end is 6 s; tests want less.
const SHORTEST_SESSION: i32 = 1;
const LONGEST_SESSION: i32 = 30 * 60 * 1_000;

/// Versions from which clients behave so.
const FETCHES_ID_FIRST: i16 = 4;
const HAS_REBALANCE_TIMEOUT: i16 = 1;
const LEAVES_TOGETHER: i16 = 3;

impl Node {
    pub(crate) fn join_group(&mut self, request: JoinGroupRequest, call: &Call, now: Instant) -> Reply<JoinAnswer> {
        let refuse = |error| Reply::Now(Err((error, request.member_id.to_string())));
        if request.group_id.is_empty() {
            return refuse(ResponseError::InvalidGroupId);
        }
        if !(SHORTEST_SESSION..=LONGEST_SESSION).contains(&request.session_timeout_ms) {
            return refuse(ResponseError::InvalidSessionTimeout);
        }
        let rebalance_ms = if call.version >= HAS_REBALANCE_TIMEOUT {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        };
        let join = Join {
            member_id: request.member_id.to_string(),
            instance_id: request.group_instance_id.map(|id| id.to_string()),
            client_id: call.client_id.clone(),
            client_host: format!("/{}", call.peer.ip()),
            session: milliseconds(request.session_timeout_ms),
            rebalance: milliseconds(rebalance_ms),
            protocol_type: request.protocol_type.to_string(),
            // A copy: a slice would keep the whole request in memory for as long as the member is in.
            protocols: request
                .protocols
                .iter()
                .map(|protocol| (protocol.name.to_string(), Bytes::copy_from_slice(&protocol.metadata)))
                .collect(),
            fetches_id_first: call.version >= FETCHES_ID_FIRST,
        };
        self.group(&request.group_id, now).join(join, now)
    }

    pub(crate) fn sync_group(&mut self, request: &SyncGroupRequest, now: Instant) -> Reply<SyncAnswer> {
        let Some(group) = self.groups.get_mut(request.group_id.as_str()) else {
            return Reply::Now(Err(ResponseError::UnknownMemberId));
        };
        let instance = request.group_instance_id.as_deref();
        if let Err(error) = group.check(&request.member_id, instance, request.generation_id, now) {
            return Reply::Now(Err(error));
        }
        let differs = |asked: &Option<StrBytes>, agreed: &str| asked.as_deref().is_some_and(|asked| asked != agreed);
        if differs(&request.protocol_type, &group.protocol_type) || differs(&request.protocol_name, &group.protocol) {
            return Reply::Now(Err(ResponseError::InconsistentGroupProtocol));
        }
        let shares = request
            .assignments
            .iter()
            .map(|share| (share.member_id.to_string(), Bytes::copy_from_slice(&share.assignment)))
            .collect();
        group.sync(&request.member_id, shares, now)
    }

    pub(super) fn heartbeat(&mut self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let instance = request.group_instance_id.as_deref();
        let result = match self.groups.get_mut(request.group_id.as_str()) {
            Some(group) => group.heartbeat(&request.member_id, instance, request.generation_id, Instant::now()),
            None => Err(ResponseError::UnknownMemberId),
        };
        HeartbeatResponse::default().with_error_code(code(result))
    }

    pub(super) fn leave_group(&mut self, request: LeaveGroupRequest, call: &Call) -> LeaveGroupResponse {
        let now = Instant::now();
        let mut leave = |member_id: &str, instance: Option<&str>| {
            let group = self.groups.get_mut(request.group_id.as_str());
            group.ok_or(ResponseError::UnknownMemberId).and_then(|group| group.leave(member_id, instance, now))
        };
        if call.version < LEAVES_TOGETHER {
            return LeaveGroupResponse::default().with_error_code(code(leave(&request.member_id, None)));
        }
        let member = |MemberIdentity { member_id, group_instance_id, .. }| {
            let left = leave(&member_id, group_instance_id.as_deref());
            MemberResponse::default()
                .with_member_id(member_id)
                .with_group_instance_id(group_instance_id)
                .with_error_code(code(left))
        };
        let members = request.members.into_iter().map(member).collect();
        LeaveGroupResponse::default().with_members(members)
    }
}

pub(crate) fn join_response(answer: JoinAnswer) -> JoinGroupResponse {
    let joined = match answer {
        Ok(joined) => joined,
        Err((error, member_id)) => {
            return JoinGroupResponse::default()
                .with_error_code(error.code())
                .with_generation_id(-1)
                .with_member_id(text(member_id))
                .with_protocol_name(Some(text("")));
        }
    };
    let member = |(id, instance, metadata): (String, Option<String>, Bytes)| {
        JoinGroupResponseMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(text))
            .with_metadata(metadata)
    };
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect())
}

pub(crate) fn sync_response(answer: SyncAnswer, request: SyncGroupRequest) -> SyncGroupResponse {
    let response = SyncGroupResponse::default()
        .with_protocol_type(request.protocol_type)
        .with_protocol_name(request.protocol_name);
    match answer {
        Ok(share) => response.with_assignment(share),
        Err(error) => response.with_error_code(error.code()),
    }
}

fn milliseconds(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}
