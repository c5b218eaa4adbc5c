//! Values that are in memory anyway, for code that reads payloads. Used by `extract_metadata.rs`, and by whoever has both.

use bytes::Bytes;
use pipette_api::{Blob, ConnectError, Payload, PayloadReader, Result, async_trait};

/// Bytes that are here already, as a payload.
#[derive(Debug)]
pub struct InMemory(pub Blob);

#[async_trait]
impl Payload for InMemory {
    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let all = self.0.as_bytes();
        let rest = usize::try_from(start).ok().and_then(|start| all.get(start..));
        let wanted = len.map_or(Some(usize::MAX), |len| usize::try_from(len).ok());
        let part = rest.zip(wanted).map(|(rest, wanted)| &rest[..wanted.min(rest.len())]);
        let part = part.ok_or_else(|| ConnectError::data(format!("bytes from {start} are not there")))?;
        Ok(Box::new(Once(Some(Bytes::copy_from_slice(part)).filter(|part| !part.is_empty()))))
    }
}

struct Once(Option<Bytes>);

#[async_trait]
impl PayloadReader for Once {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}
