//! Keeps a consumer's place in its group over an outage that is longer than its session, and knows when the group keeps it
//! waiting.
//!
//! A client of Java's waits such an outage out and goes on with the member id that it has. librdkafka forgets its id when
//! the session is over, and joins as somebody else; a coordinator that was away itself remembers the old member, gives it
//! a whole session from its own start on, and holds the newcomer back for so long. So shortly before librdkafka would
//! forget, the consumer asks for a rebalance (`conversation.rs`): its session is not watched during one, it joins under the
//! id that it has, and offsets that are committed meanwhile count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::contact::STATISTICS;
use super::properties::ClientProperties;

/// Java's defaults and librdkafka's.
const SESSION: Duration = Duration::from_secs(45);
const POLL_INTERVAL: Duration = Duration::from_mins(5);
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Heartbeats in the rest of a session, besides the time between two statistics: the last heartbeat that was answered may be
/// older than the last answer, which is seen with the next statistics.
const REST: u32 = 2;
/// With fewer heartbeats and statistics in a session than this, a late one would look like an outage.
const ENOUGH: u32 = 5;

/// What is known of the group's coordinator.
#[derive(Debug)]
pub(super) struct Membership {
    /// How long it may be silent; `None` when nothing is to be done about it.
    patience: Option<Duration>,
    /// How long the group may keep whoever joins waiting: until every other member has joined again, or its time is over.
    longest_join: Duration,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    /// How many answers have come from it, and when that was last seen to change.
    answers: u64,
    at: Instant,
    /// Partitions were given, if only none, and the group is not rebalancing since. Statistics say so too, but later, and
    /// while an offset commit waits none are read.
    assigned: bool,
    /// A rebalance was asked for since then. What statistics of before say later changes nothing about that.
    asked: bool,
    /// Since when the coordinator is there and the group lets it wait.
    joins: Option<Instant>,
}

impl Membership {
    /// Of a consumer with these properties.
    pub(super) fn new(properties: &ClientProperties) -> Self {
        let read = |key: &str, default: Duration| {
            let given = properties.get(key).and_then(|text| text.parse().ok());
            given.map_or(default, Duration::from_millis)
        };
        let session = read("session.timeout.ms", SESSION);
        let heartbeat = read("heartbeat.interval.ms", HEARTBEAT);
        let patience = (session >= (heartbeat + STATISTICS) * ENOUGH)
            .then(|| session.saturating_sub(heartbeat * REST + STATISTICS));
        let longest_join = session.max(read("max.poll.interval.ms", POLL_INTERVAL));
        let heard = Heard { answers: 0, at: Instant::now(), assigned: false, asked: false, joins: None };
        Self { patience, longest_join, heard: Mutex::new(heard) }
    }

    /// What librdkafka's statistics say of the coordinator.
    pub(super) fn note(&self, json: &str) {
        let Some(Said { answers, joins }) = read_statistics(json) else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.answers != answers {
            (heard.answers, heard.at, heard.asked) = (answers, Instant::now(), false);
        }
        heard.joins = if joins { heard.joins.or_else(|| Some(Instant::now())) } else { None };
    }

    /// Partitions were given, or are taken away.
    pub(super) fn assigned(&self, given: bool) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.assigned = given;
        if given {
            (heard.at, heard.asked) = (Instant::now(), false);
        }
    }

    /// For how long the group has let it wait, and how long it may.
    pub(super) fn join_under_way(&self) -> Option<(Duration, Duration)> {
        let joins = self.heard.lock().unwrap_or_else(PoisonError::into_inner).joins?;
        Some((joins.elapsed(), self.longest_join)).filter(|(time, longest)| time <= longest)
    }

    /// True, once, when a rebalance is to be asked for.
    pub(super) fn is_at_stake(&self) -> bool {
        let Some(patience) = self.patience else { return false };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let at_stake = heard.assigned && !heard.asked && heard.at.elapsed() >= patience;
        heard.asked |= at_stake;
        at_stake
    }
}

/// What statistics say.
struct Said {
    /// How many answers have come from the coordinator.
    answers: u64,
    /// The coordinator is there, and the answer that is waited for is the group's.
    joins: bool,
}

fn read_statistics(json: &str) -> Option<Said> {
    let coordinator = after(json, "\"GroupCoordinator\":")?;
    let answers = after(coordinator, "\"rx\":")?;
    let digits = answers.split(|c: char| !c.is_ascii_digit()).next()?;
    let is_there = after(coordinator, "\"state\":").is_some_and(|state| state.starts_with("\"UP\""));
    let group = after(after(json, "\"cgrp\":")?, "\"join_state\":")?;
    let joins = is_there && ["\"wait-join\"", "\"wait-sync\""].iter().any(|state| group.starts_with(state));
    Some(Said { answers: digits.parse().ok()?, joins })
}

fn after<'a>(text: &'a str, member: &str) -> Option<&'a str> {
    text.split_once(member).map(|(_, rest)| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(answers: u64, state: &str) -> String {
        format!(
            r#"{{ "brokers":{{ "b:1/1": {{ "rx":99 }}, "GroupCoordinator": {{ "state":"UP", "tx":4, "rx":{answers}, "rxbytes":9 }} }},
             "topics":{{}}, "cgrp": {{ "state": "up", "join_state": "{state}" }} }}"#
        )
    }

    fn membership(pairs: &[(&str, &str)]) -> Membership {
        Membership::new(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn silent_for(membership: &Membership, time: Duration) {
        membership.heard.lock().unwrap().at = Instant::now().checked_sub(time).unwrap();
    }

    #[test]
    fn a_rebalance_is_asked_for_once_shortly_before_the_session_ends() {
        let membership = membership(&[]);
        silent_for(&membership, Duration::from_secs(40));
        assert!(!membership.is_at_stake(), "it is in no group yet");
        membership.assigned(true);
        membership.note(&statistics(7, "steady"));
        silent_for(&membership, Duration::from_secs(30));
        assert!(!membership.is_at_stake(), "the session goes on for long");
        silent_for(&membership, Duration::from_secs(40));
        membership.note(&statistics(7, "steady"));
        assert!(membership.is_at_stake());
        membership.note(&statistics(7, "steady"));
        assert!(!membership.is_at_stake(), "it is asked for already");
        membership.assigned(false);
        membership.note(&statistics(8, "wait-join"));
        silent_for(&membership, Duration::from_secs(40));
        assert!(!membership.is_at_stake(), "the group rebalances");
        membership.assigned(true);
        membership.note(&statistics(9, "steady"));
        assert!(!membership.is_at_stake(), "the coordinator answers again");
        silent_for(&membership, Duration::from_secs(40));
        assert!(membership.is_at_stake(), "another outage");
    }

    /// An outage may begin before the first statistics that know of it, and while a commit waits none are read.
    #[test]
    fn partitions_that_were_given_say_that_the_group_is_steady() {
        let membership = membership(&[]);
        membership.note(&statistics(7, "wait-sync"));
        membership.assigned(true);
        membership.note(&statistics(7, "wait-sync"));
        silent_for(&membership, Duration::from_secs(40));
        assert!(membership.is_at_stake());
        membership.assigned(true);
        membership.assigned(false);
        silent_for(&membership, Duration::from_secs(40));
        assert!(!membership.is_at_stake(), "the group rebalances");
    }

    #[test]
    fn a_join_lasts_as_long_as_the_group_may_keep_it_waiting() {
        let membership = membership(&[("session.timeout.ms", "6000"), ("max.poll.interval.ms", "1000")]);
        let since = |membership: &Membership| membership.join_under_way().map(|(_, longest)| longest);
        membership.note(&statistics(1, "wait-metadata"));
        assert_eq!(since(&membership), None);
        membership.note(&statistics(1, "wait-join"));
        assert_eq!(since(&membership), Some(Duration::from_secs(6)));
        membership.heard.lock().unwrap().joins = Instant::now().checked_sub(Duration::from_secs(5));
        membership.note(&statistics(2, "wait-join"));
        assert!(membership.join_under_way().unwrap().0 >= Duration::from_secs(5), "it is the same wait");
        membership.heard.lock().unwrap().joins = Instant::now().checked_sub(Duration::from_secs(7));
        assert_eq!(since(&membership), None, "longer than any member counts: it is Kafka that is silent");
        membership.note(&statistics(2, "steady"));
        membership.note(&statistics(3, "wait-sync").replace("UP", "DOWN"));
        assert_eq!(since(&membership), None, "nobody is there to wait for");
    }

    #[test]
    fn a_session_of_few_heartbeats_is_left_to_librdkafka() {
        for (session, watched) in [("6000", false), ("19000", false), ("20000", true)] {
            let membership = membership(&[("session.timeout.ms", session)]);
            membership.assigned(true);
            silent_for(&membership, Duration::from_mins(1));
            assert_eq!(membership.is_at_stake(), watched, "{session}");
        }
    }
}
