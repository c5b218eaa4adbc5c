//! The bytes of a value, wherever it is: pulled block by block, and again from where they stopped after an error that
//! passes. Used by `chunk.rs` and `split.rs`.

use bytes::Bytes;
use pipette_api::{Body, ConnectError, PayloadReader, Result};

/// How much of a value in memory is handed over at once.
const BLOCK: usize = 1 << 20;

pub(crate) struct Intake {
    body: Body,
    /// How much was handed over.
    at: u64,
    reader: Option<Box<dyn PayloadReader>>,
}

impl Intake {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, at: 0, reader: None }
    }

    /// The size in bytes, when known.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.body {
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::Payload(payload) => payload.len(),
        }
    }

    /// The next bytes, `None` at the end. After a `Retriable` error it goes on where it was.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let block = match &self.body {
            Body::Bytes(bytes) => {
                let rest = usize::try_from(self.at).ok().and_then(|at| bytes.as_bytes().get(at..)).unwrap_or_default();
                let block = &rest[..rest.len().min(BLOCK)];
                (!block.is_empty()).then(|| Bytes::copy_from_slice(block))
            }
            Body::Payload(payload) => {
                let mut reader = match self.reader.take() {
                    Some(reader) => reader,
                    None => payload.open(self.at, None).await?,
                };
                let block = reader.next().await?;
                self.reader = Some(reader);
                block
            }
        };
        match &block {
            Some(block) => self.at += block.len() as u64,
            None => self.hold_length()?,
        }
        Ok(block)
    }

    fn hold_length(&self) -> Result<()> {
        match self.len().filter(|len| *len != self.at) {
            Some(len) => Err(ConnectError::data(format!(
                "a payload of {len} bytes ended after {}: it was changed while it was read",
                self.at
            ))),
            None => Ok(()),
        }
    }
}
