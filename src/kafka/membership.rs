//! Keeps a consumer's place in its group over an outage that is longer than its session.
//!
//! A client of Java's waits such an outage out and goes on with the member id that it has. librdkafka forgets its id when
//! the session is over, and joins as somebody else; a coordinator that was away itself remembers the old member, gives it
//! a whole session from its own start on, and holds the newcomer back for so long. So shortly before librdkafka would
//! forget, the consumer asks for a rebalance (`conversation.rs`): its session is not watched during one, it joins under the
//! id that it has, and offsets that are committed meanwhile count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::properties::ClientProperties;

/// Java's defaults and librdkafka's.
const SESSION: Duration = Duration::from_secs(45);
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Heartbeats in the rest of a session: the last one that was answered may be older than the last answer, and it takes a
/// moment until the silence is seen.
const REST: u32 = 2;
/// With fewer heartbeats in a session than this, a late one would look like an outage.
const ENOUGH: u32 = 5;

/// What is known of the group's coordinator.
#[derive(Debug)]
pub(super) struct Membership {
    /// How long it may be silent; `None` when nothing is to be done about it.
    patience: Option<Duration>,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    /// How many answers have come from it, and when that was last seen to change.
    answers: u64,
    at: Instant,
    /// The group is not rebalancing.
    steady: bool,
    /// A rebalance was asked for since then. What statistics of before say later changes nothing about that.
    asked: bool,
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
        let patience = (session >= heartbeat * ENOUGH).then(|| session.saturating_sub(heartbeat * REST));
        Self { patience, heard: Mutex::new(Heard { answers: 0, at: Instant::now(), steady: false, asked: false }) }
    }

    /// What librdkafka's statistics say of the coordinator.
    pub(super) fn note(&self, json: &str) {
        let Some((answers, steady)) = read_statistics(json) else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.answers != answers {
            (heard.answers, heard.at, heard.asked) = (answers, Instant::now(), false);
        }
        heard.steady = steady;
    }

    /// True, once, when a rebalance is to be asked for.
    pub(super) fn is_at_stake(&self) -> bool {
        let Some(patience) = self.patience else { return false };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let at_stake = heard.steady && !heard.asked && heard.at.elapsed() >= patience;
        heard.asked |= at_stake;
        at_stake
    }
}

/// How many answers have come from the coordinator, and whether the group is steady.
fn read_statistics(json: &str) -> Option<(u64, bool)> {
    let answers = after(after(json, "\"GroupCoordinator\":")?, "\"rx\":")?;
    let digits = answers.split(|c: char| !c.is_ascii_digit()).next()?;
    let group = after(json, "\"cgrp\":")?;
    Some((digits.parse().ok()?, after(group, "\"join_state\":")?.starts_with("\"steady\"")))
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
        membership.note(&statistics(7, "steady"));
        silent_for(&membership, Duration::from_secs(30));
        assert!(!membership.is_at_stake(), "the session goes on for long");
        silent_for(&membership, Duration::from_secs(40));
        membership.note(&statistics(7, "steady"));
        assert!(membership.is_at_stake());
        membership.note(&statistics(7, "steady"));
        assert!(!membership.is_at_stake(), "it is asked for already");
        membership.note(&statistics(8, "wait-join"));
        silent_for(&membership, Duration::from_secs(40));
        assert!(!membership.is_at_stake(), "the group rebalances");
        membership.note(&statistics(9, "steady"));
        assert!(!membership.is_at_stake(), "the coordinator answers again");
        silent_for(&membership, Duration::from_secs(40));
        assert!(membership.is_at_stake(), "another outage");
    }

    #[test]
    fn a_session_of_few_heartbeats_is_left_to_librdkafka() {
        for (session, watched) in [("6000", false), ("20000", true)] {
            let membership = membership(&[("session.timeout.ms", session)]);
            membership.note(&statistics(1, "steady"));
            silent_for(&membership, Duration::from_mins(1));
            assert_eq!(membership.is_at_stake(), watched, "{session}");
        }
    }
}
