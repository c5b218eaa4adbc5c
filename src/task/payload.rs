//! Payload handles on their way to a converter: small ones are read into memory, large ones are refused.
//!
//! A claim check takes them off the path before they get here.

use pipette_api::{Blob, ConnectError, Payload, Result};

/// A payload up to this size may travel as an ordinary Kafka value: what Kafka takes by default.
pub const INLINE_MAX: u64 = 1_000_000;

/// The bytes of a payload, in memory.
pub async fn materialise(payload: &dyn Payload) -> Result<Blob> {
    if let Some(len) = payload.len()
        && len > INLINE_MAX
    {
        return Err(too_large(&format!("{len} bytes")));
    }
    let mut reader = payload.open(0, None).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > INLINE_MAX {
            return Err(too_large("more"));
        }
    }
    Blob::whole(bytes)
}

fn too_large(size: &str) -> ConnectError {
    ConnectError::data(format!(
        "a payload of {size} is too large to be a Kafka value (limit {INLINE_MAX} bytes): \
         read the file as rows or lines, or keep such files out with the connector's filter"
    ))
}
