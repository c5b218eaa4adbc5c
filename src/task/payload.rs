//! Payload handles on their way to a converter: small ones are read into memory, large ones are refused.
//!
//! A claim check takes them off the path before they get here.

use pipette_api::{Blob, ConnectError, Payload, Result};

/// The bytes of a payload of up to `most` bytes, in memory.
pub async fn materialise(payload: &dyn Payload, most: u64) -> Result<Blob> {
    let len = payload.len();
    if let Some(len) = len.filter(|len| *len > most) {
        return Err(too_large(&format!("{len} bytes"), most));
    }
    let mut reader = payload.open(0, None).await?;
    // As much as it says: a buffer that grows is there twice while it does.
    let mut bytes = Vec::with_capacity(len.and_then(|len| usize::try_from(len).ok()).unwrap_or_default());
    while let Some(piece) = reader.next().await? {
        if (bytes.len() + piece.len()) as u64 > most {
            return Err(too_large("more", most));
        }
        bytes.extend_from_slice(&piece);
    }
    Blob::whole(bytes)
}

fn too_large(size: &str, most: u64) -> ConnectError {
    ConnectError::data(format!(
        "a payload of {size} is too large to be a Kafka value (payload.inline.max.bytes={most}): keep such payloads in a \
         bucket (transforms with ClaimCheck) or cut them (Chunk, which needs value.converter=ByteArrayConverter), raise payload.inline.max.bytes, or leave such files out"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use pipette_api::{PayloadReader, async_trait};

    use super::*;

    /// Pieces, and what it says of their length.
    #[derive(Debug)]
    struct Pieces(Vec<Bytes>, Option<u64>);

    struct Rest(std::vec::IntoIter<Bytes>);

    #[async_trait]
    impl PayloadReader for Rest {
        async fn next(&mut self) -> Result<Option<Bytes>> {
            Ok(self.0.next())
        }
    }

    #[async_trait]
    impl Payload for Pieces {
        fn len(&self) -> Option<u64> {
            self.1
        }

        async fn open(&self, _start: u64, _len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
            Ok(Box::new(Rest(self.0.clone().into_iter())))
        }
    }

    #[tokio::test]
    async fn what_is_larger_than_the_cap_is_refused_whatever_it_says_of_itself() {
        let pieces = |count: usize, len| Arc::new(Pieces(vec![Bytes::from_static(b"0123456789"); count], len));
        assert_eq!(materialise(&*pieces(2, Some(20)), 20).await.unwrap().as_bytes(), b"01234567890123456789");
        assert_eq!(materialise(&*pieces(1, None), 20).await.unwrap().len(), 10);
        for payload in [pieces(3, Some(30)), pieces(3, None), pieces(3, Some(20))] {
            let error = materialise(&*payload, 20).await.unwrap_err().to_string();
            assert!(error.contains("payload.inline.max.bytes=20"), "{error}");
        }
    }
}
