//! Payload handles: values that are read when they are needed, of any size.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// A value of schema type `BYTES` that stays where it is until somebody reads it. It can be opened again, also in
/// part, until the batch it came with is `committed`; there is no other release.
#[async_trait]
pub trait Payload: Send + Sync + fmt::Debug {
    /// The size in bytes, when known.
    fn len(&self) -> Option<u64>;

    /// True when it is known to hold nothing.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The media type, when known.
    fn content_type(&self) -> Option<&str> {
        None
    }

    /// True when it can never be read again because what it stands for has changed since or is gone, and its source is going
    /// to hand over what is there now, if anything. Asked after a data error: such a record is dropped without its position,
    /// and nobody is told of a bad one. When in doubt, false.
    async fn is_superseded(&self) -> bool {
        false
    }

    /// Reads from `start`, to the end or for `len` bytes. A range outside of the payload is a data error.
    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>>;
}

/// The bytes of a payload, piece by piece.
#[async_trait]
pub trait PayloadReader: Send {
    /// The next piece, never empty; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}
