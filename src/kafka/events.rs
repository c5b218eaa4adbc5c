//! What librdkafka says by itself: log lines and errors, told to tracing and kept for status.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::Span;

use super::properties::ClientProperties;

/// The last errors of one client, so that a task can say why nothing moves.
#[derive(Debug)]
pub(super) struct ClientEvents {
    client: String,
    /// The connector and task it was made for: librdkafka speaks from threads of its own.
    span: Span,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// The last error, told or not.
    text: Option<(String, Instant)>,
    /// When each kind of complaint was last logged; there are few kinds.
    told: Vec<(Option<RDKafkaErrorCode>, Instant)>,
}

/// A kind of complaint is logged once in this time: librdkafka repeats it for every attempt to connect.
const QUIET: Duration = Duration::from_secs(30);

impl ClientEvents {
    /// The client is named in its complaints by its `client.id`, and they belong where this is called.
    pub(super) fn new(properties: &ClientProperties) -> Self {
        let client = properties.get("client.id").cloned().unwrap_or_default();
        Self { client, span: Span::current(), last: Mutex::default() }
    }

    /// A log line of librdkafka.
    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let _entered = self.span.enter();
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, message, "Kafka client");
            }
            // Errors come a second time as events, where they are told once.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::debug!(facility, message, "Kafka client");
            }
            RDKafkaLogLevel::Debug => tracing::trace!(facility, message, "Kafka client"),
        }
    }

    /// An error event: most pass by themselves, which is why it is a warning.
    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        // "All brokers are down" says less than why the last of them is.
        self.take(error, reason, error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown));
    }

    /// An error of a call; the event behind it says more.
    pub(super) fn error_of(&self, error: &KafkaError, doing: &str) {
        self.take(error, doing, false);
    }

    fn take(&self, error: &KafkaError, reason: &str, says_more: bool) {
        let _entered = self.span.enter();
        // Every consumer of a topic that its source has yet to fill begins like this.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
            tracing::debug!(reason, "Waiting for a topic to be created");
            return;
        }
        let code = error.rdkafka_error_code();
        let text =
            code.and_then(in_words).map_or_else(|| format!("{error}: {reason}"), |text| format!("{text}: {reason}"));
        let kind = kind(code);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.told.retain(|(_, at)| at.elapsed() < QUIET);
        if !last.told.iter().any(|(told, _)| *told == kind) {
            tracing::warn!(client = %self.client, error = %text, "Kafka is not well; retrying");
            last.told.push((kind, Instant::now()));
        }
        if says_more || last.text.as_ref().is_none_or(|(_, at)| at.elapsed() >= QUIET) {
            last.text = Some((text, Instant::now()));
        }
    }

    /// The last error, for a text that explains itself.
    pub(super) fn last_error(&self) -> Option<String> {
        self.error_within(Duration::MAX)
    }

    /// The last error, unless it is older than that.
    pub(super) fn error_within(&self, time: Duration) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.text.as_ref().filter(|(_, at)| at.elapsed() <= time).map(|(text, _)| text.clone())
    }
}

/// What the commoner errors mean, for whoever reads them in a status.
fn in_words(code: RDKafkaErrorCode) -> Option<&'static str> {
    Some(match code {
        RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown => "no broker can be reached",
        RDKafkaErrorCode::Resolve => "the broker's name is unknown to DNS",
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => "Kafka refuses the login",
        RDKafkaErrorCode::SSL => "no TLS connection",
        RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut => "Kafka does not answer in time",
        RDKafkaErrorCode::KafkaStorageError => "the broker cannot write to its disk",
        RDKafkaErrorCode::NotEnoughReplicas => "too few replicas are in sync",
        _ => return None,
    })
}

/// Brokers that are away are told by three codes in turn, several times a second, and each time in other words.
fn kind(code: Option<RDKafkaErrorCode>) -> Option<RDKafkaErrorCode> {
    match code {
        Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve) => {
            Some(RDKafkaErrorCode::BrokerTransportFailure)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_away_is_told_once_however_it_is_worded() {
        let events = ClientEvents::new(&ClientProperties::from([("client.id".to_owned(), "c-0".to_owned())]));
        assert_eq!(events.last_error(), None);
        for (code, reason) in [
            (RDKafkaErrorCode::BrokerTransportFailure, "Connection refused"),
            (RDKafkaErrorCode::AllBrokersDown, "0/1 brokers are down"),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"),
            (RDKafkaErrorCode::Resolve, "no such host"),
        ] {
            events.error(&KafkaError::Global(code), reason);
        }
        events.error_of(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "while reading");
        assert_eq!(events.last.lock().unwrap().told.len(), 1);
        assert!(events.last_error().unwrap().ends_with("no such host"), "status shows the latest that says why");
        events.error(&KafkaError::Global(RDKafkaErrorCode::Authentication), "wrong password");
        assert_eq!(events.last.lock().unwrap().told.len(), 2, "another trouble is told at once");
    }
}
