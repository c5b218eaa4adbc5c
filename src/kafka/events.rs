//! What librdkafka says by itself: log lines and errors, told to tracing and kept for status.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// The last errors of one client, so that a task can say why nothing moves.
#[derive(Debug, Default)]
pub(super) struct ClientEvents {
    last: Mutex<Option<Told>>,
}

#[derive(Debug)]
struct Told {
    text: String,
    at: Instant,
}

/// The same complaint is logged once in this time: librdkafka repeats it for every attempt to connect.
const QUIET: Duration = Duration::from_secs(30);

impl ClientEvents {
    /// A log line of librdkafka.
    pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
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
        // Every consumer of a topic that its source has yet to fill begins like this.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
            tracing::debug!(reason, "Waiting for a topic to be created");
            return;
        }
        let text = format!("{error}: {reason}");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let repeated = last.as_ref().is_some_and(|told| told.text == text && told.at.elapsed() < QUIET);
        if !repeated {
            tracing::warn!(error = %text, "Kafka is not well; retrying");
            *last = Some(Told { text, at: Instant::now() });
        }
    }

    /// The last error, for a status that explains itself.
    pub(super) fn last_error(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|told| told.text.clone())
    }
}
