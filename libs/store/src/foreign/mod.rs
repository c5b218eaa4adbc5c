//! References as others write them, for consumers and producers that are there already.
//!
//! Nothing of theirs is believed either: what is found here goes through [`crate::Allowed`] like a native reference. Most of
//! these forms know neither a digest nor a size, so that reading them needs `integrity=if-present`.
//!
//! | form | where it stands | what it lacks |
//! |---|---|---|
//! | `bakdata-header` | a flag in a header, the address as the value (bytes) | size, digest |
//! | `bakdata-flag` | a flag in the first byte, the address behind it (bytes) | size, digest; behind a converter only |
//! | `sqs` | the value: JSON with bucket and key (text) | digest; S3 only |
//! | `smt-toolkit` | a header with JSON; the value is a placeholder | digest |
//! | `kaf-s3` | the value: JSON with bucket, key and SHA-256 (text) | size; S3 only |
//! | `cloudevents` | the header `ce_dataref` | size, digest |

mod bakdata;
mod cloud_events;
mod json;
mod placeholder;

use pipette_api::{Blob, ConnectError, Record, Result, Side, Value};

use crate::reference::Reference;
use crate::uri::{ObjectUri, Scheme};

pub use bakdata::inline_flag;
pub use cloud_events::{Attributes, add as add_cloud_event};

/// A form of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Of bakdata's large-message serde, with headers.
    BakdataHeader,
    /// The same with a flag in front of every value, those that stay in Kafka included ([`inline_flag`]).
    BakdataFlag,
    /// Of Amazon's extended clients for SQS and SNS.
    Sqs,
    /// Of the claim check in kafka-connect-smt-toolkit.
    SmtToolkit,
    /// Of kaf-s3-connector.
    KafS3,
    /// The attribute `dataref` of CloudEvents.
    CloudEvents,
}

/// What a record holds, as a form sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that the form knows.
    Nothing,
    /// The form marks the value as one that stayed in Kafka; the bytes without the mark, where there is one in them.
    Inline(Option<Blob>),
    /// A reference.
    Reference(Box<Reference>),
}

const NAMES: [(Form, &str); 6] = [
    (Form::BakdataHeader, "bakdata-header"),
    (Form::BakdataFlag, "bakdata-flag"),
    (Form::Sqs, "sqs"),
    (Form::SmtToolkit, "smt-toolkit"),
    (Form::KafS3, "kaf-s3"),
    (Form::CloudEvents, "cloudevents"),
];

impl Form {
    /// By the name in configurations.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(form, _)| *form)
    }

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(form, _)| *form == self).map_or("", |(_, name)| name)
    }

    /// What a record holds on one side. A data error when it is marked as a reference and cannot be read as one.
    pub fn find(self, side: Side, record: &Record) -> Result<Found> {
        match self {
            Self::BakdataHeader => bakdata::find_by_header(side, record),
            Self::BakdataFlag => bakdata::find_by_flag(side, record),
            Self::Sqs => json::find_sqs(side, record),
            Self::SmtToolkit => json::find_smt_toolkit(record),
            Self::KafS3 => json::find_kaf_s3(side, record),
            Self::CloudEvents => cloud_events::find(record),
        }
    }

    /// Puts a reference in the place of a side of a record, with its headers. A config error when the form cannot say it: an
    /// address that is not of S3, a compression that it does not know. CloudEvents are written beside another form, by
    /// [`add_cloud_event`].
    pub fn put(self, side: Side, reference: &Reference, record: &mut Record) -> Result<()> {
        match self {
            Self::BakdataHeader => bakdata::put_with_header(side, reference, record),
            Self::BakdataFlag => bakdata::put_with_flag(side, reference, record),
            Self::Sqs => json::put_sqs(side, reference, record),
            Self::SmtToolkit => json::put_smt_toolkit(reference, record),
            Self::KafS3 => json::put_kaf_s3(side, reference, record),
            Self::CloudEvents => Err(ConnectError::config(
                "reference.format: cloudevents has no form of its own; it is added with emit.cloudevents=true",
            )),
        }
    }

    /// Takes the headers of the form away, for a record whose value is back.
    pub fn strip(self, record: &mut Record) {
        let names: &[&str] = match self {
            Self::BakdataHeader => bakdata::HEADERS,
            Self::BakdataFlag | Self::KafS3 => &[],
            Self::Sqs => json::SQS_HEADERS,
            Self::SmtToolkit => json::SMT_TOOLKIT_HEADERS,
            Self::CloudEvents => cloud_events::HEADERS,
        };
        record.headers.0.retain(|(name, _)| !names.contains(&&**name));
    }
}

/// The bytes of text or of bytes; longer ones are payloads, not references.
fn short_bytes(value: &Value) -> Option<&[u8]> {
    let bytes = match value {
        Value::String(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes.as_bytes(),
        _ => return None,
    };
    (bytes.len() <= 64 << 10).then_some(bytes)
}

fn s3_parts(form: Form, reference: &Reference) -> Result<ObjectUri> {
    match ObjectUri::read(&reference.uri) {
        Ok(uri) if uri.scheme == Scheme::S3 => Ok(uri),
        _ => Err(ConnectError::config(format!("reference.format: {} knows addresses of S3 only", form.name()))),
    }
}

fn s3_uri(bucket: &str, key: &str) -> String {
    ObjectUri { scheme: Scheme::S3, bucket: bucket.to_owned(), key: key.to_owned() }.to_string()
}

fn broken(form: Form, how: &str) -> ConnectError {
    ConnectError::data(format!("a reference of the form {} cannot be read: {how}", form.name()))
}

#[cfg(test)]
mod tests;
