//! Tells the world about errors: the trace a status shows, the log line of a skipped record.
//!
//! The only place that knows Java's exception names, because alerting filters on them.

use std::fmt;
use std::sync::Arc;

use pipette_api::{ConnectError, ErrorKind, Partition, Primitive, TaskId, TopicPartition};

use super::guard::Stage;
use super::spec::ErrorPolicy;
use crate::descriptors;
use crate::settings::secrets::Secrets;

/// Why a task ends: where it was, and the error.
#[derive(Debug)]
pub struct Failure {
    /// Where it was, in words: a stage of a record, or a call of the plugin.
    pub doing: &'static str,
    /// The record it was about.
    pub place: Option<Place>,
    /// The error.
    pub error: ConnectError,
}

/// Which record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A record of a source.
    Source {
        /// The topic it was for, when that is known.
        topic: Option<Arc<str>>,
        /// The source partition it came from.
        from: Option<Arc<Partition>>,
    },
    /// A record of a topic.
    Sink {
        /// Where it was read.
        tp: TopicPartition,
        /// The offset there.
        offset: i64,
    },
}

impl Place {
    fn hide(&mut self, secrets: &Secrets) {
        match self {
            Self::Source { topic, from } => {
                if let Some(topic) = topic {
                    secrets.hide_in_shared(topic);
                }
                for value in from.iter_mut().flat_map(|from| Arc::make_mut(from).0.values_mut()) {
                    if let Primitive::Text(text) = value {
                        secrets.hide_in_shared(text);
                    }
                }
            }
            Self::Sink { tp, .. } => secrets.hide_in_shared(&mut tp.topic),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { topic, from } => {
                f.write_str("a record")?;
                if let Some(topic) = topic {
                    write!(f, " for topic {topic}")?;
                }
                from.as_ref().map_or(Ok(()), |from| write_partition(f, from))
            }
            Self::Sink { tp, offset } => write!(f, "the record at {tp} offset {offset}"),
        }
    }
}

fn write_partition(f: &mut fmt::Formatter<'_>, partition: &Partition) -> fmt::Result {
    for (index, (name, value)) in partition.0.iter().enumerate() {
        f.write_str(if index == 0 { " from " } else { ", " })?;
        match value {
            Primitive::Null => write!(f, "{name}=null")?,
            Primitive::Bool(value) => write!(f, "{name}={value}")?,
            Primitive::Int(value) => write!(f, "{name}={value}")?,
            Primitive::Float(bits) => write!(f, "{name}={}", f64::from_bits(*bits))?,
            Primitive::Text(value) => write!(f, "{name}={value}")?,
        }
    }
    Ok(())
}

impl Failure {
    /// A failure of a call of the plugin, or of the runtime itself.
    pub fn new(doing: &'static str, error: ConnectError) -> Self {
        Self { doing, place: None, error }
    }

    /// A failure of one record.
    pub fn at(stage: Stage, place: Place, error: ConnectError) -> Self {
        Self { doing: stage.name(), place: Some(place), error }
    }

    /// A record whose dead letter cannot be written.
    pub fn of_dead_letter(place: Option<Place>, error: ConnectError) -> Self {
        Self { doing: DEAD_LETTER, place, error }
    }

    /// What statuses and the log show of it.
    pub fn trace(&self, id: &TaskId) -> Trace {
        let place = self.place.as_ref().map(|place| format!(" on {place}")).unwrap_or_default();
        let what = format!("Task {id} failed in {}{place}", self.doing);
        let advice = if self.is_about_a_dead_letter() { "" } else { advice(self.error.kind(), self.doing) };
        let wrapped = self.place.as_ref().map(|_| "Tolerance exceeded in error handler");
        Trace::new(&what, self.doing, self.place.clone(), &self.error, (wrapped, advice))
    }

    /// Its error says itself what to do.
    fn is_about_a_dead_letter(&self) -> bool {
        self.doing == DEAD_LETTER
    }
}

const DEAD_LETTER: &str = "dead letter queue";

/// What to do about a failure, for whoever reads of it first.
fn advice(kind: ErrorKind, doing: &str) -> &'static str {
    match kind {
        ErrorKind::Config => "Correct the connector's configuration; that starts it anew",
        ErrorKind::Data if doing.ends_with("converter") => {
            "Choose the converter that fits these records, or have them skipped with errors.tolerance=all and kept with \
             errors.deadletterqueue.topic.name"
        }
        ErrorKind::Data => {
            "Correct the record where it comes from, or have such records skipped with errors.tolerance=all and kept with \
             errors.deadletterqueue.topic.name; then restart the task"
        }
        ErrorKind::Retriable | ErrorKind::Fatal => "Remove the cause; the next restart goes on from there",
    }
}

/// Why a connector or task has failed: in words, and in parts for machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What `trace` of a status shows: one sentence first, then the causes in Java's form.
    pub text: Arc<str>,
    /// The same in parts.
    pub facts: Arc<Facts>,
}

/// A failure in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What the runtime decides on.
    pub kind: ErrorKind,
    /// Where it was, in words; empty when nobody knows.
    pub stage: &'static str,
    /// The record it was about.
    pub place: Option<Place>,
    /// What went wrong, with its causes.
    pub cause: String,
    /// What to do; empty when the cause says it.
    pub action: &'static str,
    /// False when a restart would only meet it again.
    pub may_pass: bool,
}

impl Facts {
    fn only(cause: &str) -> Self {
        let (kind, cause) = (ErrorKind::Fatal, cause.to_owned());
        Self { kind, stage: "", place: None, cause, action: "", may_pass: true }
    }
}

impl Trace {
    /// Puts placeholders in the place of what they stand for.
    pub fn hide(&mut self, secrets: &Secrets) {
        secrets.hide_in_shared(&mut self.text);
        let facts = Arc::make_mut(&mut self.facts);
        secrets.hide_in(&mut facts.cause);
        facts.place.iter_mut().for_each(|place| place.hide(secrets));
    }

    /// Of a connector that does not come back from a call; the sentence says so.
    pub fn of_hung(stage: &'static str, sentence: &str) -> Self {
        let action = "Restart or delete the connector";
        // Each restart would leave one more thread behind.
        let facts = Facts { stage, action, may_pass: false, ..Facts::only(sentence) };
        Self { text: sentence.into(), facts: Arc::new(facts) }
    }

    /// Of a connector that failed in a call.
    pub fn of_connector(name: &str, call: &'static str, error: &ConnectError) -> Self {
        let what = format!("Connector {name} failed in {call}");
        Self::new(&what, call, None, error, (None, advice(error.kind(), call)))
    }

    /// Of a connector whose configuration cannot work here.
    pub fn of_config(name: &str, why: &str) -> Self {
        Self::of_connector(name, "start", &ConnectError::config(why))
    }

    fn new(
        what: &str,
        stage: &'static str,
        place: Option<Place>,
        error: &ConnectError,
        (wrapped, action): (Option<&str>, &'static str),
    ) -> Self {
        let cause = descriptors::explained(error.chain());
        // The first line is the sentence, whatever the plugin's error looks like.
        let said = cause.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let mut text = format!("{what}: {said}");
        if !action.is_empty() {
            text = format!("{}. {action}.", text.trim_end_matches('.'));
        }
        text.push('\n');
        if let Some(wrapped) = wrapped {
            text.extend([java_name(ErrorKind::Fatal), ": ", wrapped, "\nCaused by: "]);
        }
        text.push_str(&causes(error));
        // Another start reads the same configuration with the same password, and the same record.
        let may_pass = !matches!(error.kind(), ErrorKind::Config | ErrorKind::Data);
        let facts = Facts { kind: error.kind(), stage, place, cause, action, may_pass };
        Self { text: text.into(), facts: Arc::new(facts) }
    }

    /// The sentence.
    pub fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

/// A failure of which nothing but a sentence is known.
impl From<&str> for Trace {
    fn from(text: &str) -> Self {
        Self { text: text.into(), facts: Arc::new(Facts::only(text)) }
    }
}

/// An error and what caused it, one a line, as Java's stack traces name them.
pub fn causes(error: &ConnectError) -> String {
    let mut text = format!("{}: {error}", java_name(error.kind()));
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str("\nCaused by: ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The Java exception that stands for a kind.
pub fn java_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "org.apache.kafka.common.config.ConfigException",
        ErrorKind::Data => "org.apache.kafka.connect.errors.DataException",
        ErrorKind::Retriable => "org.apache.kafka.connect.errors.RetriableException",
        ErrorKind::Fatal => "org.apache.kafka.connect.errors.ConnectException",
    }
}

/// Logs a record that is skipped or about to fail its task, if `errors.log.enable` says so. With
/// `errors.log.include.messages` the place is named; keys and values never are.
pub fn log_record_error(policy: &ErrorPolicy, failure: &Failure) {
    if !policy.log {
        return;
    }
    let place = failure.place.as_ref().filter(|_| policy.log_messages).map(tracing::field::display);
    tracing::error!(stage = failure.doing, error = %failure.error.chain(), place, "A record is bad");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_it_all() {
        let id = TaskId { connector: "lab".into(), task: 0 };
        let place = Place::Sink { tp: TopicPartition::new("rows", 3), offset: 15 };
        let error = ConnectError::data("field \"x\" is missing").because(std::io::Error::other("cut off"));
        let from = Some(Arc::new(Partition::of("file", "a.csv")));
        assert_eq!(Place::Source { topic: Some("t".into()), from }.to_string(), "a record for topic t from file=a.csv");
        let trace = Failure::at(Stage::Transform, place.clone(), error).trace(&id);
        assert_eq!(
            &*trace.text,
            "Task lab-0 failed in transformation on the record at rows-3 offset 15: field \"x\" is missing: cut off. \
             Correct the record where it comes from, or have such records skipped with errors.tolerance=all and kept with \
             errors.deadletterqueue.topic.name; then restart the task.\n\
             org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler\n\
             Caused by: org.apache.kafka.connect.errors.DataException: field \"x\" is missing\n\
             Caused by: cut off"
        );
        assert_eq!((trace.facts.kind, trace.facts.place.as_ref()), (ErrorKind::Data, Some(&place)));
        let long = Failure::new("put", ConnectError::fatal("one\n  two.")).trace(&id);
        assert_eq!(
            long.first_line(),
            "Task lab-0 failed in put: one two. Remove the cause; the next restart goes on from there."
        );
    }
}
