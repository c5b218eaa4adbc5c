//! Groups as admin clients see them.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};

use super::{code, text};
use crate::group::State;
use crate::group::member::Member;
use crate::node::Node;
use crate::storage::catalogue::Event;

impl Node {
    pub(super) fn list_groups(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let names: BTreeSet<&String> = self.groups.keys().chain(self.catalogue.offsets.keys()).collect();
        let wanted = |state: &str| {
            request.states_filter.is_empty()
                || request.states_filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(state))
        };
        let listed = names.into_iter().filter(|name| wanted(self.group_state(name))).map(|name| {
            let protocol_type = self.groups.get(name).map(|group| group.protocol_type.clone()).unwrap_or_default();
            ListedGroup::default()
                .with_group_id(GroupId(text(name)))
                .with_protocol_type(text(protocol_type))
                .with_group_state(text(self.group_state(name)))
        });
        ListGroupsResponse::default().with_groups(listed.collect())
    }

    /// After a restart a group is known by its offsets alone.
    fn group_state(&self, name: &str) -> &'static str {
        match self.groups.get(name) {
            Some(group) => group.state().name(),
            None if self.knows_group(name) => State::Empty.name(),
            None => "Dead",
        }
    }

    pub(super) fn describe_groups(&self, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
        let describe = |id: GroupId| {
            let answer = DescribedGroup::default().with_group_state(text(self.group_state(&id)));
            let Some(group) = self.groups.get(id.as_str()) else { return answer.with_group_id(id) };
            let members = group.members().iter().map(|(id, member)| describe_member(id, member, &group.protocol));
            answer
                .with_group_id(id)
                .with_protocol_type(text(&group.protocol_type))
                .with_protocol_data(text(&group.protocol))
                .with_members(members.collect())
        };
        DescribeGroupsResponse::default().with_groups(request.groups.into_iter().map(describe).collect())
    }

    pub(super) fn delete_groups(&mut self, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
        let results = request.groups_names.into_iter().map(|id| {
            let deleted = self.delete_group(&id);
            DeletableGroupResult::default().with_group_id(id).with_error_code(code(deleted))
        });
        DeleteGroupsResponse::default().with_results(results.collect())
    }

    fn delete_group(&mut self, name: &str) -> Result<(), ResponseError> {
        if !self.knows_group(name) {
            return Err(ResponseError::GroupIdNotFound);
        }
        if self.groups.get(name).is_some_and(|group| !group.members().is_empty()) {
            return Err(ResponseError::NonEmptyGroup);
        }
        self.change(Event::GroupDeleted { group: name.to_owned() }).map_err(|refused| refused.code)?;
        self.groups.remove(name);
        Ok(())
    }
}

fn describe_member(id: &str, member: &Member, protocol: &str) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(id))
        .with_group_instance_id(member.instance_id.clone().map(text))
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_member_metadata(member.metadata(protocol))
        .with_member_assignment(member.assignment.clone())
}
