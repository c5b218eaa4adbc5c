//! What is done to the bytes of a payload on their way into a store: counted, hashed, compressed.

use bytes::Bytes;
use pipette_api::{ConnectError, Payload, PayloadReader, Result};

use crate::compression::{Compression, Encoder};
use crate::digest::{Digest, Hasher};

/// From here on a piece is worked on where blocking is allowed: the task's own thread has others to serve.
const LARGE_PIECE: usize = 256 << 10;

/// What is known of a payload at its end: of its own bytes, whatever is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) size: u64,
    /// `None` when nobody wants it.
    pub(crate) digest: Option<Digest>,
}

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) compression: Option<Compression>,
    pub(crate) digest: bool,
}

/// Takes pieces, gives what is to be stored.
pub(crate) struct Mill {
    hasher: Option<Hasher>,
    size: u64,
    encoder: Option<Encoder>,
}

impl Mill {
    pub(crate) fn new(work: Work) -> Result<Self> {
        let encoder = work.compression.map(Encoder::new).transpose().map_err(broken)?;
        Ok(Self { hasher: work.digest.then(Hasher::default), size: 0, encoder })
    }

    pub(crate) fn turn(&mut self, piece: Bytes) -> Result<Bytes> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        self.size += piece.len() as u64;
        match &mut self.encoder {
            None => Ok(piece),
            Some(encoder) => encoder.push(&piece).map(Bytes::from).map_err(broken),
        }
    }

    /// The last bytes to be stored.
    pub(crate) fn end(self) -> Result<(Content, Bytes)> {
        let tail = self.encoder.map_or(Ok(Vec::new()), Encoder::end).map_err(broken)?;
        Ok((Content { size: self.size, digest: self.hasher.map(Hasher::digest) }, tail.into()))
    }
}

fn broken(error: std::io::Error) -> ConnectError {
    ConnectError::fatal("the compression of a payload failed").because(error)
}

/// A payload that is being read, with a limit and with what it said about its length.
pub(crate) struct Intake {
    reader: Box<dyn PayloadReader>,
    said: Option<u64>,
    limit: u64,
    read: u64,
}

impl Intake {
    pub(crate) async fn open(payload: &dyn Payload, limit: u64) -> Result<Self> {
        let said = payload.len();
        if let Some(len) = said
            && len > limit
        {
            return Err(too_large(limit));
        }
        Ok(Self { reader: payload.open(0, None).await?, said, limit, read: 0 })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.reader.next().await?;
        self.read += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.read > self.limit {
            return Err(too_large(self.limit));
        }
        if piece.is_none()
            && let Some(said) = self.said
            && said != self.read
        {
            return Err(changed(&format!("{said} bytes were announced, {} came", self.read)));
        }
        Ok(piece)
    }
}

/// A payload on its way into a store in parts.
pub(crate) struct Feed {
    intake: Intake,
    /// Out while a piece is worked on, and at the end.
    mill: Option<Mill>,
    content: Option<Content>,
}

impl Feed {
    pub(crate) async fn open(payload: &dyn Payload, limit: u64, work: Work) -> Result<Self> {
        let mill = Some(Mill::new(work)?);
        Ok(Self { intake: Intake::open(payload, limit).await?, mill, content: None })
    }

    /// The next bytes to be stored; possibly none yet.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(mut mill) = self.mill.take() else { return Ok(None) };
        let Some(piece) = self.intake.next().await? else {
            let (content, tail) = mill.end()?;
            self.content = Some(content);
            return Ok(Some(tail));
        };
        let turned = if piece.len() < LARGE_PIECE {
            mill.turn(piece)?
        } else {
            let (back, turned) = crate::store::blocking(move || {
                let turned = mill.turn(piece)?;
                Ok((mill, turned))
            })
            .await?;
            mill = back;
            turned
        };
        self.mill = Some(mill);
        Ok(Some(turned))
    }

    /// Fills a part; a shorter one is the last. What is left over goes into the next one.
    pub(crate) async fn part(&mut self, size: u64, over: &mut Bytes) -> Result<Part> {
        let mut part = Part::default();
        loop {
            let room = usize::try_from(size - part.size).unwrap_or(usize::MAX).min(over.len());
            if room > 0 {
                part.size += room as u64;
                part.pieces.push(over.split_to(room));
            }
            if part.size == size {
                return Ok(part);
            }
            match self.next().await? {
                Some(bytes) => *over = bytes,
                None => return Ok(part),
            }
        }
    }

    /// Reads on to the end and keeps nothing but what is known of it.
    pub(crate) async fn drain(&mut self) -> Result<Content> {
        while self.next().await?.is_some() {}
        Ok(self.content())
    }

    /// At the end.
    pub(crate) fn content(&self) -> Content {
        self.content.unwrap_or_else(|| unreachable!("asked for at the end only"))
    }
}

/// Bytes to be stored together.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) size: u64,
}

fn too_large(limit: u64) -> ConnectError {
    ConnectError::data(format!("the payload is larger than max.payload.bytes ({limit})"))
}

/// Waiting helps: whoever writes it will be done.
pub(crate) fn changed(how: &str) -> ConnectError {
    ConnectError::retriable(format!("the payload changed while it was read: {how}"))
}
