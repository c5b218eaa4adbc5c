//! What librdkafka says by itself: log lines and errors, told to tracing and kept for status.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::Span;

use super::certificates::{ALERT, Doubt, is_about_the_certificate, is_alert};
use super::properties::ClientProperties;
use super::traffic::Traffic;
use crate::descriptors;

/// The last errors of one client, so that a task can say why nothing moves.
#[derive(Debug)]
pub(super) struct ClientEvents {
    client: String,
    /// Whoever has the client tells by itself what is wrong.
    silent: bool,
    /// The connector and task it was made for: librdkafka speaks from threads of its own.
    span: Span,
    doubt: Doubt,
    last: Arc<Mutex<Last>>,
    /// Who hears what it sends and receives.
    pub(super) traffic: Traffic,
}

#[derive(Debug, Default)]
struct Last {
    /// The last error, told or not.
    text: Option<(String, Instant)>,
    /// When a broker last refused the login, or its certificate was refused.
    refused: Option<Instant>,
    /// What was found out about the certificate, which librdkafka does not tell; no text while it is looked at.
    found: Option<(Option<String>, Instant)>,
    /// When each kind of complaint was last logged; there are few kinds.
    told: Vec<(Option<RDKafkaErrorCode>, Instant)>,
}

/// A kind of complaint is logged once in this time: librdkafka repeats it for every attempt to connect.
const QUIET: Duration = Duration::from_secs(30);

impl ClientEvents {
    /// The client is named in its complaints by its `client.id`, and they belong where this is called.
    pub(super) fn new(properties: &ClientProperties) -> Self {
        let client = properties.get("client.id").cloned().unwrap_or_default();
        Self {
            client,
            silent: false,
            span: Span::current(),
            doubt: Doubt::of(properties),
            last: Arc::default(),
            traffic: Traffic::default(),
        }
    }

    /// Of a client that asks one thing: its errors are answers, and not told a second time.
    pub(super) fn silent(properties: &ClientProperties) -> Self {
        Self { silent: true, ..Self::new(properties) }
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
        let code = if is_alert(reason) { Some(RDKafkaErrorCode::SSL) } else { code };
        let refused = is_refusal(code);
        let in_doubt = refused && is_about_the_certificate(reason);
        if in_doubt {
            self.look_at_the_certificate(reason);
        }
        let mut last = self.lock();
        let found = last.found.as_ref().filter(|(_, at)| in_doubt && at.elapsed() < QUIET);
        let found = found.and_then(|(text, _)| text.clone());
        let hint = if is_alert(reason) { ALERT } else { "" };
        let reason = format!("{}{hint}", found.as_deref().unwrap_or(reason));
        let text =
            code.and_then(in_words).map_or_else(|| format!("{error}: {reason}"), |text| format!("{text}: {reason}"));
        let text = descriptors::explained(text);
        let kind = kind(code);
        last.told.retain(|(_, at)| at.elapsed() < QUIET);
        // While it is being looked at, what can be told is not yet the reason.
        let is_new = !last.told.iter().any(|(told, _)| *told == kind);
        if is_new && !self.silent && (!in_doubt || found.is_some()) {
            tracing::warn!(client = %self.client, error = %text, "Kafka is not well; retrying");
            last.told.push((kind, Instant::now()));
        }
        // Connections that break behind a refusal say less than it did.
        let after_refusal = last.refused.is_some_and(|at| at.elapsed() < QUIET) && !refused;
        if refused {
            last.refused = Some(Instant::now());
        }
        if (says_more && !after_refusal) || last.text.as_ref().is_none_or(|(_, at)| at.elapsed() >= QUIET) {
            last.text = Some((text, Instant::now()));
        }
    }

    /// Finds out what is wrong with a broker's certificate, on a thread of its own, and keeps it for the next complaint.
    fn look_at_the_certificate(&self, reason: &str) {
        let mut last = self.lock();
        if last.found.as_ref().is_some_and(|(_, at)| at.elapsed() < QUIET) {
            return;
        }
        last.found = Some((None, Instant::now()));
        drop(last);
        let (doubt, kept, reason) = (self.doubt.clone(), Arc::clone(&self.last), reason.to_owned());
        let (client, silent, span) = (self.client.clone(), self.silent, self.span.clone());
        let looking = std::thread::Builder::new().name("certificate".into()).spawn(move || {
            let found = doubt.look(&reason).unwrap_or_else(|| doubt.in_general());
            let text = format!("no TLS connection: {found}");
            if !silent {
                span.in_scope(|| tracing::warn!(%client, error = %text, "Kafka is not well; retrying"));
            }
            let mut last = kept.lock().unwrap_or_else(PoisonError::into_inner);
            // librdkafka says the same once in a while only.
            last.text = Some((text, Instant::now()));
            last.found = Some((Some(found), Instant::now()));
            last.told.push((Some(RDKafkaErrorCode::SSL), Instant::now()));
        });
        if let Err(error) = looking {
            tracing::warn!(%error, "No thread to look at a broker's certificate with");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a broker refused the login not long ago, or its certificate was refused: waiting will hardly help. Not
    /// before it is known why.
    pub(super) fn is_refused(&self) -> bool {
        let last = self.lock();
        let looking = last.found.as_ref().is_some_and(|(text, at)| text.is_none() && at.elapsed() < QUIET);
        !looking && last.refused.is_some_and(|at| at.elapsed() < QUIET)
    }

    /// The last error, for a text that explains itself.
    pub(super) fn last_error(&self) -> Option<String> {
        self.error_within(Duration::MAX)
    }

    /// The last error, unless it is older than that.
    pub(super) fn error_within(&self, time: Duration) -> Option<String> {
        let last = self.lock();
        last.text.as_ref().filter(|(_, at)| at.elapsed() <= time).map(|(text, _)| text.clone())
    }
}

fn is_refusal(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode::{Authentication, SSL, SaslAuthenticationFailed};
    matches!(code, Some(Authentication | SaslAuthenticationFailed | SSL))
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
