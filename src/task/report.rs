//! Tells the world about errors: the trace a status shows, the log line of a skipped record.
//!
//! The only place that knows Java's exception names, because alerting filters on them.

use std::fmt;
use std::sync::Arc;

use pipette_api::{ConnectError, ErrorKind, Partition, Primitive, TaskId, TopicPartition};

use super::guard::Stage;
use super::spec::ErrorPolicy;

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
#[derive(Debug, Clone)]
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
        Self { doing: "dead letter queue", place, error }
    }

    /// The text of a status: one sentence first, then the causes in Java's form.
    pub fn trace(&self, id: &TaskId) -> String {
        let place = self.place.as_ref().map(|place| format!(" on {place}")).unwrap_or_default();
        let mut text = format!("Task {id} failed in {}{place}: {}", self.doing, self.error.chain());
        if self.place.is_some() {
            text.push_str("\norg.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler");
            text.push_str("\nCaused by: ");
        } else {
            text.push('\n');
        }
        text.push_str(&causes(&self.error));
        text
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
    let place = failure.place.as_ref().filter(|_| policy.log_messages).map(Place::to_string).unwrap_or_default();
    tracing::error!(stage = failure.doing, error = %failure.error.chain(), %place, "A record is bad");
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
        assert_eq!(
            Failure::at(Stage::Transform, place, error).trace(&id),
            "Task lab-0 failed in transformation on the record at rows-3 offset 15: field \"x\" is missing: cut off\n\
             org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler\n\
             Caused by: org.apache.kafka.connect.errors.DataException: field \"x\" is missing\n\
             Caused by: cut off"
        );
    }
}
