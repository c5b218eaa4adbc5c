//! Chunk: cuts large values into pieces that Kafka takes, in the one form of `pipette_store::chunk`.
//!
//! The worker calls it behind the converters, as the last step of a source, and pulls piece by piece: a payload of any size
//! is never in memory as a whole. `reassemble.rs` is the other end.

use bytes::BytesMut;
use pipette_api::config::checks::{at_least, in_range, one_of};
use pipette_api::{
    Blob, Body, ConfigDef, ConnectError, EncodedRecord, Expand, ExpandPlugin, Info, Key, Position, Result, Settings,
    async_trait,
};
use pipette_store::Hasher;
use pipette_store::chunk::{self, ChunkId, Format};

use crate::identity::Ids;
use crate::intake::Intake;

const FORMATS: &[&str] = &["native", "linkedin"];
const IDS: &[&str] = &["position", "random"];
const CHECKSUMS: &[&str] = &["crc32c", "none"];
/// What LinkedIn's header can say.
const LINKEDIN_MAX: u64 = 2_147_483_647;

static CHUNK_BYTES: Key<u64> = Key::new(
    "chunk.bytes",
    "The size of a piece. A value up to this size goes on as it is. Key, headers and 8 KiB more must fit into the producer's \
     `max.request.size` and the topic's `max.message.bytes` beside it.",
)
.default("800000")
.check(in_range::<1024, 104_857_600>);
static FORMAT: Key<String> = Key::new(
    "format",
    "How pieces are marked: `native`: headers of plain text that begin with `chunk-`; `linkedin`: the header `_lm` of \
     LinkedIn's clients, for payloads of a known size below 2 GiB, without checksums.",
)
.default("native")
.recommended(FORMATS)
.check(|text| one_of(text, FORMATS));
static ID: Key<String> = Key::new(
    "id",
    "What names a value whose pieces belong together: `position`: where the source read it, so that pieces which are sent \
     again after a restart are known as such (random when a source does not say where); `random`.",
)
.default("position")
.recommended(IDS)
.check(|text| one_of(text, IDS));
static MAX_PAYLOAD: Key<u64> = Key::new(
    "max.payload.bytes",
    "A larger value is a bad record, as `errors.tolerance` says. With `format=linkedin` 2147483647 at most.",
)
.default("1073741824")
.check(at_least::<1>);
static CHECKSUM: Key<String> = Key::new(
    "checksum",
    "`crc32c`: each piece has a checksum, and the last one the SHA-256 of the whole; `none`. `linkedin` has no place for \
     either.",
)
.default("crc32c")
.recommended(CHECKSUMS)
.check(|text| one_of(text, CHECKSUMS));
static ALLOW_COMPACTED: Key<bool> = Key::new(
    "allow.compacted",
    "Whether pieces may go to a topic with `cleanup.policy=compact`, which keeps the last piece of each key only: values are \
     lost there. Otherwise the task fails before the first piece.",
)
.default("false");

static CONFIG: ConfigDef = ConfigDef::new(&[
    &CHUNK_BYTES.info,
    &FORMAT.info,
    &ID.info,
    &MAX_PAYLOAD.info,
    &CHECKSUM.info,
    &ALLOW_COMPACTED.info,
])
.rule(rule);

/// The plugin.
pub(crate) const PLUGIN: ExpandPlugin = ExpandPlugin {
    info: Info {
        class: "io.pipette.transforms.Chunk",
        aliases: &["Chunk"],
        version: env!("CARGO_PKG_VERSION"),
        about: "Sends large values in pieces that Kafka takes; the last transformation of a source.",
        readme: "",
        config: &CONFIG,
    },
    metrics: &[],
    make: |settings, context| Ok(Box::new(Chunk::new(&settings, context.id.connector)?)),
};

fn rule(settings: &Settings) -> Vec<(&'static str, String)> {
    let (Ok(chunk), Ok(max)) = (settings.get(&CHUNK_BYTES), settings.get(&MAX_PAYLOAD)) else { return Vec::new() };
    let linkedin = settings.get(&FORMAT).is_ok_and(|format| format == "linkedin");
    let wrong = if max <= chunk {
        Some(format!("it must be more than chunk.bytes ({chunk})"))
    } else if linkedin && max > LINKEDIN_MAX {
        Some(format!("format=linkedin takes payloads of {LINKEDIN_MAX} bytes at most"))
    } else {
        None
    };
    wrong.map(|reason| (MAX_PAYLOAD.info.name, reason)).into_iter().collect()
}

struct Chunk {
    size: u64,
    format: Format,
    max: u64,
    checksum: bool,
    allow_compacted: bool,
    ids: Ids,
    cutting: Option<Cutting>,
}

/// A value on its way.
struct Cutting {
    /// The record of each piece, without what differs.
    like: EncodedRecord,
    intake: Intake,
    id: ChunkId,
    index: u32,
    offset: u64,
    /// When the size is known before.
    total: Option<(u64, u32)>,
    /// What was read and not sent.
    buffer: BytesMut,
    ended: bool,
    hasher: Option<Hasher>,
}

impl Chunk {
    fn new(settings: &Settings, connector: std::sync::Arc<str>) -> Result<Self> {
        let format = if settings.get(&FORMAT)? == "linkedin" { Format::LinkedIn } else { Format::Native };
        Ok(Self {
            size: settings.get(&CHUNK_BYTES)?,
            format,
            max: settings.get(&MAX_PAYLOAD)?,
            checksum: settings.get(&CHECKSUM)? == "crc32c" && format == Format::Native,
            allow_compacted: settings.get(&ALLOW_COMPACTED)?,
            ids: Ids::new(connector, settings.get(&ID)? == "position"),
            cutting: None,
        })
    }

    fn hold_limit(&self, size: u64) -> Result<()> {
        if size <= self.max {
            return Ok(());
        }
        Err(ConnectError::data(format!(
            "a value of {size} bytes or more is larger than max.payload.bytes ({}): raise it, or keep such values in an \
             object store with ClaimCheck",
            self.max
        )))
    }
}

#[async_trait]
impl Expand for Chunk {
    fn needs(&self, _topic: &str, size: Option<u64>) -> bool {
        size.is_none_or(|size| size > self.size)
    }

    fn takes_compacted(&self) -> bool {
        self.allow_compacted
    }

    fn begin(&mut self, mut record: EncodedRecord, position: Option<&Position>) -> Result<()> {
        self.cutting = None;
        // Taken for every value, so that the next ones are counted as they were before a restart.
        let id = self.ids.next(position);
        if chunk::Chunk::read(&record.headers)?.is_some() {
            return Err(ConnectError::data(
                "the record is a piece of a large value already: Chunk would hide what it is a piece of",
            ));
        }
        let Some(body) = record.value.take() else { return Err(ConnectError::data("a tombstone has no pieces")) };
        let intake = Intake::new(body);
        let total = intake.len().map(|total| {
            self.hold_limit(total)?;
            Ok((total, chunk::count(total, self.size)?))
        });
        if record.key.is_none() && record.partition.is_none() {
            // All pieces reach one partition that way; `Reassemble` takes it away again.
            record.key = Some(match self.format {
                Format::Native => Blob::whole(id.to_string())?,
                Format::LinkedIn => Blob::whole(id.0.to_vec())?,
            });
        }
        self.cutting = Some(Cutting {
            like: record,
            intake,
            id,
            index: 0,
            offset: 0,
            total: total.transpose()?,
            buffer: BytesMut::new(),
            ended: false,
            hasher: self.checksum.then(Hasher::default),
        });
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<EncodedRecord>> {
        let Some(mut cutting) = self.cutting.take() else { return Ok(None) };
        let filled = cutting.fill(self.size).await;
        let filled = filled.and_then(|()| self.hold_limit(cutting.offset + cutting.buffer.len() as u64));
        if let Err(error) = filled {
            self.cutting = Some(cutting);
            return Err(error);
        }
        let piece = cutting.cut(self.size, self.format, self.checksum)?;
        if !cutting.ended || !cutting.buffer.is_empty() {
            self.cutting = Some(cutting);
        }
        Ok(Some(piece))
    }
}

impl Cutting {
    /// Reads more than a piece, so that the last one is known to be it.
    async fn fill(&mut self, size: u64) -> Result<()> {
        while !self.ended && self.buffer.len() as u64 <= size {
            match self.intake.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn cut(&mut self, size: u64, format: Format, checksum: bool) -> Result<EncodedRecord> {
        let len = usize::try_from(size).map_or(self.buffer.len(), |size| size.min(self.buffer.len()));
        let body = self.buffer.split_to(len).freeze();
        let last = self.ended && self.buffer.is_empty();
        let mut piece = self.like.clone();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&body);
        }
        let known = self.total.map(|(_, count)| count);
        let ends = self.index.checked_add(1).filter(|_| last);
        // What nobody knew the size of may fit after all.
        let is_piece = !(last && self.index == 0);
        let headers = chunk::Chunk {
            id: self.id,
            index: self.index,
            count: known.or(ends),
            offset: Some(self.offset),
            total: self.total.map(|(total, _)| total).or(last.then_some(self.offset + body.len() as u64)),
            crc: checksum.then(|| chunk::Chunk::crc_of(&body)),
            digest: self.hasher.take_if(|_| last).map(Hasher::digest),
        };
        self.index = self.index.checked_add(1).ok_or_else(|| ConnectError::data("a value has too many pieces"))?;
        self.offset += body.len() as u64;
        piece.value = Some(Body::Bytes(Blob::whole(body)?));
        if is_piece {
            headers.write(format, &mut piece.headers)?;
        } else if piece.key.as_ref().is_some_and(|key| is_made_of(key.as_bytes(), &self.id)) {
            piece.key = None;
        }
        Ok(piece)
    }
}

/// Whether a key was made of the id, because the record had none.
pub(crate) fn is_made_of(key: &[u8], id: &ChunkId) -> bool {
    key == id.0 || key == id.to_string().as_bytes()
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
