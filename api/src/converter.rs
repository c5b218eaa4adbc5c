//! Converters between Connect's data and Kafka's bytes. They live in the worker (`src/convert/`).

use crate::data::{Blob, Datum};
use crate::error::Result;
use crate::record::KafkaHeaders;

/// Converts keys or values. One instance per task and side, `&mut self`: caches without locks.
pub trait Converter: Send {
    /// The bytes of a datum, `None` for a Kafka null. The answer borrows the datum (no copy) or the buffer, which the
    /// caller reuses and which is cleared here; nothing may outlive the call.
    fn encode<'a>(
        &mut self,
        topic: &str,
        headers: &mut KafkaHeaders,
        datum: &'a Datum,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>>;

    /// The datum of the bytes; strings and bytes in it are spans of `bytes`, not copies.
    fn decode(&mut self, topic: &str, headers: &KafkaHeaders, bytes: Option<&Blob>) -> Result<Datum>;
}

/// Converts single header values.
pub trait HeaderConverter: Send {
    /// The bytes of a header value, `None` for null. Borrows as [`Converter::encode`] does.
    fn encode<'a>(
        &mut self,
        topic: &str,
        name: &str,
        datum: &'a Datum,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>>;

    /// The datum of a header value.
    fn decode(&mut self, topic: &str, name: &str, bytes: Option<&Blob>) -> Result<Datum>;
}
