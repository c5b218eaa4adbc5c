//! The group's tests: members as plain calls, time as a value.

use super::*;

const SESSION: Duration = Duration::from_secs(10);
const ALMOST_A_SESSION: Duration = Duration::from_secs(9);
const REBALANCE: Duration = Duration::from_mins(1);
const FIRST: Duration = Duration::from_millis(100);

struct Table {
    group: Group,
    now: Instant,
}

fn join(member_id: &str, metadata: &str) -> Join {
    Join {
        member_id: member_id.into(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session: SESSION,
        rebalance: REBALANCE,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::copy_from_slice(metadata.as_bytes()))],
        fetches_id_first: false,
    }
}

fn fixed(instance: &str, metadata: &str) -> Join {
    Join { instance_id: Some(instance.into()), ..join("", metadata) }
}

impl Table {
    fn new() -> Table {
        let now = Instant::now();
        Table { group: Group::new(FIRST, now), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.tick(self.now);
    }

    fn join(&mut self, join: Join) -> oneshot::Receiver<JoinAnswer> {
        match self.group.join(join, self.now) {
            Reply::Later(receiver) => receiver,
            Reply::Now(answer) => panic!("answered at once: {answer:?}"),
        }
    }

    fn join_now(&mut self, join: Join) -> JoinAnswer {
        match self.group.join(join, self.now) {
            Reply::Now(answer) => answer,
            Reply::Later(_) => panic!("has to wait"),
        }
    }

    fn sync(&mut self, joined: &Joined, shares: &[(&str, &str)]) -> oneshot::Receiver<SyncAnswer> {
        let shares = shares.iter().map(|(id, share)| ((*id).to_owned(), Bytes::copy_from_slice(share.as_bytes())));
        self.group.check(&joined.member_id, None, joined.generation, self.now).unwrap();
        match self.group.sync(&joined.member_id, shares.collect(), self.now) {
            Reply::Later(receiver) => receiver,
            Reply::Now(answer) => panic!("answered at once: {answer:?}"),
        }
    }

    /// Two members, all stable: the leader first.
    fn stable_pair() -> (Table, Joined, Joined) {
        let mut table = Table::new();
        let (mut one, mut two) = (table.join(join("", "1")), table.join(join("", "2")));
        table.pass(FIRST);
        let (one, two) = (one.try_recv().unwrap().unwrap(), two.try_recv().unwrap().unwrap());
        let (leader, other) = if one.leader == one.member_id { (one, two) } else { (two, one) };
        let mut waiting = table.sync(&other, &[]);
        assert!(waiting.try_recv().is_err());
        let shares = [(leader.member_id.as_str(), "p0"), (other.member_id.as_str(), "p1")];
        table.sync(&leader, &shares).try_recv().unwrap().unwrap();
        assert_eq!(waiting.try_recv().unwrap().unwrap(), "p1");
        assert_eq!(table.group.state(), State::Stable);
        (table, leader, other)
    }
}

fn members(joined: &Joined) -> Vec<&str> {
    joined.members.iter().map(|(id, _, _)| id.as_str()).collect()
}

#[test]
fn members_that_start_together_share_one_round() {
    let (_, leader, other) = Table::stable_pair();
    assert_eq!((leader.generation, other.generation), (1, 1));
    let mut expected = vec![leader.member_id.as_str(), other.member_id.as_str()];
    expected.sort_unstable();
    assert_eq!(members(&leader), expected);
    assert!(other.members.is_empty());
}

#[test]
fn a_newcomer_starts_a_round_that_ends_when_all_have_rejoined() {
    let (mut table, leader, other) = Table::stable_pair();
    let mut third = table.join(join("", "3"));
    let beat = |table: &mut Table, who: &Joined| table.group.heartbeat(&who.member_id, None, 1, table.now);
    assert_eq!(beat(&mut table, &leader), Err(ResponseError::RebalanceInProgress));
    let mut first = table.join(join(&leader.member_id, "1"));
    assert!(first.try_recv().is_err() && third.try_recv().is_err());
    let mut second = table.join(join(&other.member_id, "2"));
    assert_eq!(first.try_recv().unwrap().unwrap().members.len(), 3);
    assert_eq!(second.try_recv().unwrap().unwrap().generation, 2);
    assert_eq!(third.try_recv().unwrap().unwrap().generation, 2);
    assert_eq!(beat(&mut table, &leader), Err(ResponseError::IllegalGeneration));
}

#[test]
fn a_member_that_does_not_rejoin_in_time_is_left_behind() {
    let (mut table, leader, other) = Table::stable_pair();
    let mut third = table.join(join("", "3"));
    let mut first = table.join(join(&leader.member_id, "1"));
    for _ in 0..7 {
        table.pass(ALMOST_A_SESSION);
        let _ = table.group.heartbeat(&other.member_id, None, 1, table.now);
    }
    assert_eq!(first.try_recv().unwrap().unwrap().members.len(), 2);
    assert_eq!(third.try_recv().unwrap().unwrap().generation, 2);
    assert_eq!(table.group.heartbeat(&other.member_id, None, 2, table.now), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_silent_member_is_removed_and_the_rest_shares_anew() {
    let (mut table, leader, other) = Table::stable_pair();
    table.pass(SESSION);
    table.group.heartbeat(&leader.member_id, None, 1, table.now).unwrap();
    table.pass(Duration::from_secs(1));
    assert_eq!(table.group.state(), State::Gathering);
    assert!(!table.group.members().contains_key(&other.member_id));
    let alone = table.join(join(&leader.member_id, "1")).try_recv().unwrap().unwrap();
    assert_eq!(members(&alone), [leader.member_id.as_str()]);
}

#[test]
fn when_the_last_member_leaves_the_group_is_empty() {
    let (mut table, leader, other) = Table::stable_pair();
    table.group.leave(&other.member_id, None, table.now).unwrap();
    assert_eq!(table.group.state(), State::Gathering);
    assert_eq!(table.group.leave(&other.member_id, None, table.now), Err(ResponseError::UnknownMemberId));
    table.group.leave(&leader.member_id, None, table.now).unwrap();
    assert_eq!(table.group.state(), State::Empty);
    table.pass(SESSION);
    assert_eq!(table.group.idle(table.now), Some(SESSION));
}

#[test]
fn a_newer_client_fetches_its_id_before_it_counts_as_a_member() {
    let mut table = Table::new();
    let (code, id) = table.join_now(Join { fetches_id_first: true, ..join("", "1") }).unwrap_err();
    assert_eq!(code, ResponseError::MemberIdRequired);
    assert!(table.group.members().is_empty());
    let mut answer = table.join(Join { fetches_id_first: true, ..join(&id, "1") });
    table.pass(FIRST);
    assert_eq!(answer.try_recv().unwrap().unwrap().member_id, id);
    let (code, _) = table.join_now(join("invented", "1")).unwrap_err();
    assert_eq!(code, ResponseError::UnknownMemberId);
}

#[test]
fn a_fetched_id_that_is_never_used_holds_nobody_up_for_longer_than_a_session() {
    let (mut table, leader, other) = Table::stable_pair();
    table.join_now(Join { fetches_id_first: true, ..join("", "3") }).unwrap_err();
    table.group.leave(&other.member_id, None, table.now).unwrap();
    let mut waiting = table.join(join(&leader.member_id, "1"));
    assert!(waiting.try_recv().is_err());
    table.pass(SESSION);
    assert_eq!(waiting.try_recv().unwrap().unwrap().generation, 2);
}

#[test]
fn a_restarted_static_member_keeps_its_share_and_its_old_self_is_fenced() {
    let mut table = Table::new();
    let mut answer = table.join(fixed("i", "1"));
    table.pass(FIRST);
    let old = answer.try_recv().unwrap().unwrap();
    let shares = [(old.member_id.clone(), Bytes::from_static(b"p0"))].into();
    table.group.check(&old.member_id, Some("i"), 1, table.now).unwrap();
    let Reply::Later(_) = table.group.sync(&old.member_id, shares, table.now) else { panic!("answered at once") };
    let new = table.join_now(fixed("i", "restarted")).unwrap();
    assert_eq!((new.generation, table.group.state()), (1, State::Stable));
    assert_ne!(new.member_id, old.member_id);
    let Reply::Now(share) = table.group.sync(&new.member_id, BTreeMap::new(), table.now) else { panic!("waits") };
    assert_eq!(share.unwrap(), "p0");
    let beat = table.group.heartbeat(&old.member_id, Some("i"), 1, table.now);
    assert_eq!(beat, Err(ResponseError::FencedInstanceId));
    // With another protocol it does start a round, which it is alone in.
    let other = Join { protocols: vec![("sticky".into(), Bytes::new())], ..fixed("i", "1") };
    assert_eq!(table.join(other).try_recv().unwrap().unwrap().generation, 2);
}

#[test]
fn a_static_member_leaves_by_its_instance_id() {
    let mut table = Table::new();
    table.join(fixed("i", "1"));
    assert_eq!(table.group.leave("", Some("x"), table.now), Err(ResponseError::UnknownMemberId));
    assert_eq!(table.group.leave("other", Some("i"), table.now), Err(ResponseError::FencedInstanceId));
    table.group.leave("", Some("i"), table.now).unwrap();
    assert_eq!(table.group.state(), State::Empty);
}

#[test]
fn a_member_with_other_protocols_is_refused_and_the_group_goes_on() {
    let (mut table, ..) = Table::stable_pair();
    let other = Join { protocols: vec![("sticky".into(), Bytes::new())], ..join("", "") };
    assert_eq!(table.join_now(other).unwrap_err().0, ResponseError::InconsistentGroupProtocol);
    let connect = Join { protocol_type: "connect".into(), ..join("", "") };
    assert_eq!(table.join_now(connect).unwrap_err().0, ResponseError::InconsistentGroupProtocol);
    assert_eq!(table.group.state(), State::Stable);
}

#[test]
fn a_leader_that_never_shares_out_is_dropped() {
    let mut table = Table::new();
    let (mut one, mut two) = (table.join(join("", "1")), table.join(join("", "2")));
    table.pass(FIRST);
    let (one, two) = (one.try_recv().unwrap().unwrap(), two.try_recv().unwrap().unwrap());
    let (leader, other) = if one.leader == one.member_id { (one, two) } else { (two, one) };
    let mut waiting = table.sync(&other, &[]);
    for _ in 0..7 {
        table.pass(ALMOST_A_SESSION);
        let _ = table.group.heartbeat(&leader.member_id, None, 1, table.now);
    }
    assert_eq!(waiting.try_recv().unwrap(), Err(ResponseError::RebalanceInProgress));
    assert!(!table.group.members().contains_key(&leader.member_id));
}

#[test]
fn the_protocol_most_members_prefer_is_chosen() {
    let mut table = Table::new();
    let with = |names: &[&str]| Join {
        protocols: names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect(),
        ..join("", "")
    };
    let mut answer = table.join(with(&["range", "sticky", "own"]));
    let _two = table.join(with(&["sticky", "range"]));
    let _three = table.join(with(&["sticky", "range"]));
    table.pass(FIRST);
    assert_eq!(answer.try_recv().unwrap().unwrap().protocol, "sticky");
}
