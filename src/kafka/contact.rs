//! Whether Kafka answers one client: looked at from outside by the task's watchdog, without asking anybody.
//!
//! The client's own thread notes every second or more often what it waits for (`producer.rs`, `conversation.rs`); nothing
//! is done per record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::events::ClientEvents;
use super::membership::Membership;
use super::traffic::Listener;

/// How often a producer's thread notes.
pub(super) const NOTE: Duration = Duration::from_millis(250);
/// How often librdkafka tells a consumer's thread. Four times as often, fifty sinks that have nothing to do took 9.8 % of a
/// core instead of 8.1 %; 7.6 % without.
pub(super) const STATISTICS: Duration = Duration::from_secs(1);
/// A thread that has noted nothing for so long is busy elsewhere: it cannot know whether Kafka answers.
const STALE: Duration = Duration::from_secs(3);

/// One client's contact with Kafka.
#[derive(Debug)]
pub struct Contact {
    what: &'static str,
    patience: Duration,
    events: Arc<ClientEvents>,
    born: Instant,
    /// What was counted last.
    mark: AtomicU64,
    /// Since when nothing came while something was waited for; both in milliseconds after `born`.
    quiet_since: AtomicU64,
    noted: AtomicU64,
    /// Since when the client's thread waits for the answer to one question; 0 while it does not.
    asked: AtomicU64,
    /// Of a consumer.
    membership: Option<Arc<Membership>>,
}

/// Kafka does not answer, though it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// What does not come.
    pub what: &'static str,
    /// How long.
    pub time: Duration,
    /// Why, once librdkafka has said it.
    pub cause: Option<String>,
}

impl Contact {
    /// Of a client whose complaints go there. `what` is missed after `patience`.
    pub(super) fn new(what: &'static str, patience: Duration, events: Arc<ClientEvents>) -> Self {
        let zero = || AtomicU64::new(0);
        let [mark, quiet_since, noted, asked] = [zero(), zero(), zero(), zero()];
        let membership = None;
        Self { what, patience, events, born: Instant::now(), mark, quiet_since, noted, asked, membership }
    }

    /// Of a consumer.
    pub(super) fn of_member(self, membership: Arc<Membership>) -> Self {
        Self { membership: Some(membership), ..self }
    }

    /// For how long its group keeps it waiting, when that is long, and how long it may.
    pub fn joins(&self) -> Option<(Duration, Duration)> {
        self.membership.as_ref()?.join_under_way().filter(|(time, _)| *time >= self.patience)
    }

    /// Tells somebody what the client sends and receives.
    pub fn tell(&self, listener: Option<Listener>) {
        if let Some(listener) = listener {
            self.events.traffic.tell(listener);
        }
    }

    /// The client waits for something, or not; `mark` differs whenever something has come.
    pub(super) fn note(&self, waits: bool, mark: u64) {
        let now = self.now();
        if self.mark.swap(mark, Ordering::Relaxed) != mark || !waits {
            self.quiet_since.store(now, Ordering::Relaxed);
        }
        self.noted.store(now, Ordering::Relaxed);
    }

    /// The client's thread asks Kafka something, and does nothing else until it is answered.
    pub(super) fn asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.asked.store(self.now().max(1), Ordering::Relaxed);
        let answer = ask();
        self.asked.store(0, Ordering::Relaxed);
        answer
    }

    /// What is missed at this moment.
    pub fn silence(&self) -> Option<Silence> {
        let read = |at: &AtomicU64| Duration::from_millis(at.load(Ordering::Relaxed));
        let (quiet, noted, asked) = (read(&self.quiet_since), read(&self.noted), read(&self.asked));
        let now = self.born.elapsed();
        let time = match asked {
            Duration::ZERO if now.saturating_sub(noted) <= STALE => noted.saturating_sub(quiet),
            Duration::ZERO => return None,
            // What was quiet when it asked has been quiet since.
            _ => now.saturating_sub(if asked.saturating_sub(noted) <= STALE { quiet } else { asked }),
        };
        if time < self.patience {
            return None;
        }
        // What broke the contact was said about when it broke.
        let cause = self.events.error_within(time + STALE);
        Some(Silence { what: self.what, time, cause })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What librdkafka's statistics say of a client's brokers: whether it waits for one of them, and how many answers have
/// come from all. While it has got through to none, what they say is why not, and no answer.
pub(super) fn read_statistics(json: &str) -> Option<(bool, u64)> {
    let (brokers, _) = brokers_and_topics(json)?;
    let requests = numbers(brokers, "\"waitresp_cnt\":").sum::<u64>();
    let is_connected = brokers.contains("\"state\":\"UP\"");
    let answers = if is_connected { numbers(brokers, "\"rx\":").sum() } else { 0 };
    Some((requests > 0 || !is_connected, answers))
}

/// What statistics say of brokers, and what they say of topics.
pub(super) fn brokers_and_topics(json: &str) -> Option<(&str, &str)> {
    json[json.find("\"brokers\"")?..].split_once("\"topics\"")
}

pub(super) fn numbers<'a>(text: &'a str, member: &'a str) -> impl Iterator<Item = u64> + 'a {
    text.match_indices(member).filter_map(move |(at, _)| {
        let digits = text[at + member.len()..].trim_start();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::super::properties::ClientProperties;
    use super::*;

    #[test]
    fn silence_is_what_does_not_come_while_it_is_waited_for() {
        let events = Arc::new(ClientEvents::new(&ClientProperties::new()));
        let contact = Contact::new("answer", Duration::ZERO, events);
        let at = |quiet: u64, noted: u64| {
            contact.quiet_since.store(quiet, Ordering::Relaxed);
            contact.noted.store(noted, Ordering::Relaxed);
        };
        at(0, 0);
        assert!(contact.silence().is_some(), "patience of nothing");
        let patient = Contact { patience: Duration::from_secs(1), ..contact };
        patient.note(true, 1);
        assert_eq!(patient.silence(), None);
        patient.quiet_since.store(0, Ordering::Relaxed);
        patient.noted.store(1_500, Ordering::Relaxed);
        assert_eq!(patient.silence().map(|silence| silence.time), Some(Duration::from_millis(1_500)));
        patient.note(true, 1);
        assert_eq!(patient.quiet_since.load(Ordering::Relaxed), 0, "nothing has come");
        patient.quiet_since.store(7, Ordering::Relaxed);
        patient.note(true, 2);
        assert_ne!(patient.quiet_since.load(Ordering::Relaxed), 7, "something has come");
    }

    #[test]
    fn statistics_are_read() {
        let json = |state: &str, waits: u8| {
            format!(
                r#"{{ "name": "c", "brokers":{{ "b:1/1": {{ "state":"{state}", "waitresp_cnt":{waits}, "rx":12, "rxbytes":9 }},
                 "b:2/2": {{ "state":"INIT", "waitresp_cnt":0, "rx":3 }} }}, "topics":{{ "rx":1 }} }}"#
            )
        };
        assert_eq!(read_statistics(&json("UP", 0)), Some((false, 15)));
        assert_eq!(read_statistics(&json("UP", 2)), Some((true, 15)));
        assert_eq!(read_statistics(&json("AUTH_REQ", 0)), Some((true, 0)));
        assert_eq!(read_statistics("{}"), None);
    }
}
