//! One consumer group (the classic protocol) as a state machine: who is in, and which round of work-sharing it is in.
//!
//! Pure but for the channels that waiting members are answered on; time comes in as an argument. The members share the
//! partitions out among themselves, so the broker carries their bytes without reading them. Callers: `crate::api::group`.
//!
//! Empty → Gathering (members join) → Sharing (the leader computes) → Stable → Gathering …

pub(crate) mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use uuid::Uuid;

use self::member::{Join, JoinAnswer, Joined, Member, Reply, SyncAnswer};

const MAX_MEMBERS: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum State {
    Empty,
    Gathering,
    Sharing,
    Stable,
}

impl State {
    /// The name that admin clients know.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Gathering => "PreparingRebalance",
            State::Sharing => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Group {
    state: State,
    generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids given to members that have not come back with them yet, and until when they may.
    expected: BTreeMap<String, Instant>,
    /// When Gathering goes on without the members that are missing, or Sharing gives up on them.
    deadline: Instant,
    first_gathering: Duration,
    empty_since: Instant,
}

impl Group {
    pub(crate) fn new(first_gathering: Duration, now: Instant) -> Group {
        Group {
            state: State::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            expected: BTreeMap::new(),
            deadline: now,
            first_gathering,
            empty_since: now,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// How long nobody has been here; None while somebody is.
    pub(crate) fn idle(&self, now: Instant) -> Option<Duration> {
        let empty = self.members.is_empty() && self.expected.is_empty();
        empty.then(|| now.saturating_duration_since(self.empty_since))
    }

    pub(crate) fn join(&mut self, join: Join, now: Instant) -> Reply<JoinAnswer> {
        let refuse = |code, id: &str| Reply::Now(Err((code, id.to_owned())));
        if !self.accepts_protocols(&join) {
            return refuse(ResponseError::InconsistentGroupProtocol, &join.member_id);
        }
        if !join.member_id.is_empty() {
            if let Err(code) = self.known(&join.member_id, join.instance_id.as_deref()) {
                let fetched_id = join.instance_id.is_none() && self.expected.remove(&join.member_id).is_some();
                if !fetched_id {
                    return refuse(code, &join.member_id);
                }
                return self.admit(join.member_id.clone(), join, now);
            }
            return self.rejoin(join, now);
        }
        if self.members.len() + self.expected.len() >= MAX_MEMBERS {
            return refuse(ResponseError::GroupMaxSizeReached, "");
        }
        if let Some(instance) = &join.instance_id {
            let fresh_id = format!("{instance}-{}", Uuid::new_v4());
            return match self.id_of_instance(instance) {
                Some(old) => self.replace(&old, &fresh_id, join, now),
                None => self.admit(fresh_id, join, now),
            };
        }
        let fresh_id = format!("{}-{}", join.client_id, Uuid::new_v4());
        if join.fetches_id_first {
            self.expected.insert(fresh_id.clone(), now + join.session);
            return refuse(ResponseError::MemberIdRequired, &fresh_id);
        }
        self.admit(fresh_id, join, now)
    }

    fn accepts_protocols(&self, join: &Join) -> bool {
        let is_self = |id: &String, member: &Member| {
            *id == join.member_id || (join.instance_id.is_some() && member.instance_id == join.instance_id)
        };
        let others: Vec<&Member> =
            self.members.iter().filter(|(id, member)| !is_self(id, member)).map(|(_, member)| member).collect();
        if join.protocols.is_empty() || join.protocol_type.is_empty() {
            return false;
        }
        let shared = |name: &String| others.iter().all(|member| member.supports(name));
        let same_type = self.members.is_empty() || join.protocol_type == self.protocol_type;
        same_type && join.protocols.iter().any(|(name, _)| shared(name))
    }

    fn id_of_instance(&self, instance: &str) -> Option<String> {
        let mut members = self.members.iter();
        members.find(|(_, member)| member.instance_id.as_deref() == Some(instance)).map(|(id, _)| id.clone())
    }

    /// Whether the caller is who it says: a member, and, with an instance id, the newest one under it.
    fn known(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ResponseError> {
        if let Some(instance) = instance_id {
            let owner = self.id_of_instance(instance).ok_or(ResponseError::UnknownMemberId)?;
            return if owner == member_id { Ok(()) } else { Err(ResponseError::FencedInstanceId) };
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    fn admit(&mut self, id: String, join: Join, now: Instant) -> Reply<JoinAnswer> {
        let (sender, receiver) = oneshot::channel();
        if self.members.is_empty() {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        self.members.insert(id, Member::new(join, sender, now));
        self.gather(now);
        Reply::Later(receiver)
    }

    /// A static member came back without its id: it is the same one, restarted. While the group's protocol stays, it
    /// takes its old share over and nobody else notices.
    fn replace(&mut self, old: &str, fresh_id: &str, join: Join, now: Instant) -> Reply<JoinAnswer> {
        let Some(mut member) = self.members.remove(old) else { unreachable!("the id comes from the members") };
        member.release((ResponseError::FencedInstanceId, old.to_owned()));
        let (sender, receiver) = oneshot::channel();
        let assignment = member.assignment;
        self.members.insert(fresh_id.to_owned(), Member { assignment, ..Member::new(join, sender, now) });
        // The leader's old id in the answer keeps a restarted leader from sharing out anew.
        let leader = self.leader.clone();
        if leader == old {
            fresh_id.clone_into(&mut self.leader);
        }
        if self.state == State::Stable && self.elected_protocol() == self.protocol {
            self.settle(fresh_id);
            return Reply::Now(Ok(Joined { leader, members: Vec::new(), ..self.joined(fresh_id) }));
        }
        self.gather(now);
        Reply::Later(receiver)
    }

    /// Forgets that the member waits for the others.
    fn settle(&mut self, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.joining = None;
        }
    }

    fn rejoin(&mut self, join: Join, now: Instant) -> Reply<JoinAnswer> {
        let id = join.member_id.clone();
        let Some(member) = self.members.get_mut(&id) else { unreachable!("known was asked before") };
        let unchanged = member.protocols == join.protocols;
        // An answer that was lost is given again. A leader that joins when all is stable wants a new round.
        let again = match self.state {
            State::Sharing => unchanged,
            State::Stable => unchanged && self.leader != id,
            State::Empty | State::Gathering => false,
        };
        member.last_seen = now;
        if again {
            return Reply::Now(Ok(self.joined(&id)));
        }
        let (sender, receiver) = oneshot::channel();
        let assignment = std::mem::take(&mut member.assignment);
        self.members.insert(id, Member { assignment, ..Member::new(join, sender, now) });
        self.gather(now);
        Reply::Later(receiver)
    }

    /// Starts a new round, unless one has begun, and ends it if everybody is there.
    fn gather(&mut self, now: Instant) {
        match self.state {
            State::Gathering => {}
            State::Empty => {
                // Consumers of one program start together; waiting a moment saves them a second round.
                self.deadline = now + self.first_gathering;
                self.state = State::Gathering;
                return;
            }
            State::Sharing | State::Stable => {
                self.deadline = now + self.longest_rebalance();
                self.state = State::Gathering;
                for member in self.members.values_mut() {
                    if let Some(waiting) = member.syncing.take() {
                        let _ = waiting.send(Err(ResponseError::RebalanceInProgress));
                    }
                }
            }
        }
        let complete = self.expected.is_empty() && self.members.values().all(|member| member.joining.is_some());
        let first_round = self.leader.is_empty() && !self.members.is_empty();
        if complete && !first_round {
            self.share(now);
        }
    }

    fn longest_rebalance(&self) -> Duration {
        self.members.values().map(|member| member.rebalance).max().unwrap_or_default()
    }

    /// Ends the gathering: everybody who joined is told the round's leader and protocol.
    fn share(&mut self, now: Instant) {
        self.generation = self.generation.wrapping_add(1) & i32::MAX;
        if self.members.is_empty() {
            self.become_empty(now);
            return;
        }
        self.protocol = self.elected_protocol();
        let leader_is_here = self.members.get(&self.leader).is_some_and(|member| member.joining.is_some());
        if !leader_is_here {
            let mut joined = self.members.iter().filter(|(_, member)| member.joining.is_some());
            self.leader = joined.next().map(|(id, _)| id.clone()).unwrap_or_default();
        }
        self.state = State::Sharing;
        self.deadline = now + self.longest_rebalance();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { unreachable!("the id comes from the members") };
            if let Some(waiting) = member.joining.take() {
                member.last_seen = now;
                let _ = waiting.send(Ok(answer));
            }
        }
    }

    fn become_empty(&mut self, now: Instant) {
        self.state = State::Empty;
        self.leader.clear();
        self.protocol.clear();
        self.empty_since = now;
    }

    /// Each member votes for the first of its protocols that all have.
    fn elected_protocol(&self) -> String {
        let shared = |name: &String| self.members.values().all(|member| member.supports(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| shared(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    fn joined(&self, id: &str) -> Joined {
        let members = if self.leader == id {
            let metadata = |member: &Member| member.metadata(&self.protocol);
            let row = |(id, member): (&String, &Member)| (id.clone(), member.instance_id.clone(), metadata(member));
            self.members.iter().map(row).collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: id.to_owned(),
            members,
        }
    }

    /// Checks that the caller belongs to this round, and notes that it lives.
    pub(crate) fn check(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.known(member_id, instance_id)?;
        let Some(member) = self.members.get_mut(member_id) else { return Err(ResponseError::UnknownMemberId) };
        member.last_seen = now;
        if generation == self.generation { Ok(()) } else { Err(ResponseError::IllegalGeneration) }
    }

    pub(crate) fn heartbeat(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.check(member_id, instance_id, generation, now)?;
        if self.state == State::Gathering { Err(ResponseError::RebalanceInProgress) } else { Ok(()) }
    }

    /// A member asks for its share; the leader also brings everybody's. Call `check` first.
    pub(crate) fn sync(
        &mut self,
        member_id: &str,
        mut shares: BTreeMap<String, Bytes>,
        now: Instant,
    ) -> Reply<SyncAnswer> {
        let is_leader = self.leader == member_id;
        let Some(member) = self.members.get_mut(member_id) else {
            return Reply::Now(Err(ResponseError::UnknownMemberId));
        };
        match self.state {
            State::Empty | State::Gathering => return Reply::Now(Err(ResponseError::RebalanceInProgress)),
            State::Stable => return Reply::Now(Ok(member.assignment.clone())),
            State::Sharing => {}
        }
        let (sender, receiver) = oneshot::channel();
        member.syncing = Some(sender);
        if is_leader {
            self.state = State::Stable;
            for (id, member) in &mut self.members {
                member.assignment = shares.remove(id).unwrap_or_default();
                if let Some(waiting) = member.syncing.take() {
                    member.last_seen = now;
                    let _ = waiting.send(Ok(member.assignment.clone()));
                }
            }
        }
        Reply::Later(receiver)
    }

    /// A member leaves, named by its id, its instance id, or both.
    pub(crate) fn leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        now: Instant,
    ) -> Result<(), ResponseError> {
        if instance_id.is_none() && self.expected.remove(member_id).is_some() {
            self.expect_fewer(now);
            return Ok(());
        }
        let id = match instance_id {
            Some(instance) if member_id.is_empty() => {
                self.id_of_instance(instance).ok_or(ResponseError::UnknownMemberId)?
            }
            _ => member_id.to_owned(),
        };
        self.known(&id, instance_id)?;
        self.remove(&[id], now);
        Ok(())
    }

    fn remove(&mut self, ids: &[String], now: Instant) {
        for id in ids {
            if let Some(mut member) = self.members.remove(id) {
                member.release((ResponseError::UnknownMemberId, id.clone()));
            }
        }
        self.complete_without(now);
    }

    /// After somebody went: the rest shares out anew, or need not wait any longer.
    fn complete_without(&mut self, now: Instant) {
        if self.members.is_empty() && self.state != State::Empty {
            self.generation = self.generation.wrapping_add(1) & i32::MAX;
            self.become_empty(now);
        } else if self.state != State::Empty {
            self.gather(now);
        }
    }

    /// Somebody who had only fetched an id will not come: a round that waited for it may go on.
    fn expect_fewer(&mut self, now: Instant) {
        if self.state == State::Gathering {
            self.gather(now);
        }
    }

    /// Time has passed: silent members go, and rounds that waited long enough go on.
    pub(crate) fn tick(&mut self, now: Instant) {
        let expected = self.expected.len();
        self.expected.retain(|_, until| now < *until);
        let silent: Vec<String> =
            self.members.iter().filter(|(_, member)| member.is_silent(now)).map(|(id, _)| id.clone()).collect();
        if !silent.is_empty() {
            self.remove(&silent, now);
        } else if self.expected.len() < expected {
            self.expect_fewer(now);
        }
        if now < self.deadline {
            return;
        }
        match self.state {
            State::Gathering => self.stop_waiting(now),
            State::Sharing => {
                let absent = self.ids_where(|member| member.syncing.is_none());
                self.remove(&absent.into_iter().collect::<Vec<_>>(), now);
            }
            State::Empty | State::Stable => {}
        }
    }

    /// Goes on without the members that did not join; static ones stay until their session ends.
    fn stop_waiting(&mut self, now: Instant) {
        for id in self.ids_where(|member| member.joining.is_none() && member.instance_id.is_none()) {
            self.members.remove(&id);
        }
        let nobody_joined = self.members.values().all(|member| member.joining.is_none());
        if nobody_joined && !self.members.is_empty() {
            self.deadline = now + self.longest_rebalance();
            return;
        }
        self.share(now);
    }

    fn ids_where(&self, wanted: impl Fn(&Member) -> bool) -> BTreeSet<String> {
        self.members.iter().filter(|(_, member)| wanted(member)).map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
