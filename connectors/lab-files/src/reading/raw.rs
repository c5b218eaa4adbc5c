//! Files that are not parsed: whole, in pieces, as a reference, or told of only. A part of `reading.rs`.
//!
//! What is read here is read once, and its digest taken on the way. After a crash in the middle of a file the pieces that are
//! stored are read once more, for the digest of the whole; they are not sent again. Read next: `../claim.rs`.

use std::mem;
use std::sync::{Arc, LazyLock};

use pipette_api::{
    Blob, Datum, KafkaHeaders, Kind, Record, Result, Schema, SchemaBuilder, SourceEntry, SourceRecord, Struct, Text,
    Value,
};
use pipette_store::chunk::{self, Chunk, ChunkId};
use pipette_store::{Digest, HEADER, Hasher, Reference};

use super::{Budget, OpenError, OpenFile, Opening, Portion, Reader};
use crate::emit::{Place, text};
use crate::identity::{Progress, Stage, shown};
use crate::payload::{FilePayload, content_type};
use crate::settings::{LabFilesSettings, Output};
use crate::window::ReadError;

/// How much is looked at together when only the digest is wanted.
const BLOCK: usize = 256 * 1024;

/// Bytes on their way into records.
#[derive(Debug)]
pub(super) struct Raw {
    size: u64,
    /// Of what lies before the window; none when nobody wants it.
    hasher: Option<Hasher>,
    sends: Sends,
}

#[derive(Debug)]
enum Sends {
    Pieces {
        id: ChunkId,
        piece: u64,
        count: u32,
        /// The key of records that have no other: pieces of one file must reach one partition.
        key: Option<Datum>,
    },
    /// One record about the file, complete but for its digest.
    About(Box<[Value]>),
}

impl Raw {
    /// Whether pieces go on there; what is told of a whole file never does.
    pub(super) fn can_go_on_at(&self, resume: Progress) -> bool {
        match self.sends {
            Sends::Pieces { piece, .. } => resume.records.saturating_mul(piece) == resume.position,
            Sends::About(_) => false,
        }
    }
}

impl OpenFile {
    pub(super) fn unparsed(
        &self,
        opening: &Opening<'_>,
        settings: &LabFilesSettings,
    ) -> std::result::Result<Reader, OpenError> {
        let size = opening.look.size;
        let (hasher, sends) = match settings.output {
            Output::Chunks(piece) => {
                let piece = u64::from(piece);
                let count = chunk::count(size, piece).map_err(|error| OpenError::Bad {
                    reason: format!("cannot be sent in pieces: {error}"),
                    fingerprint: self.fingerprint.clone(),
                })?;
                let root = &settings.roots[opening.key.root].id;
                let id = ChunkId::of_position(opening.connector, root, &self.id, piece);
                let key = (settings.key == crate::settings::KeyChoice::None).then(|| text(id.to_string()));
                (Some(Hasher::default()), Sends::Pieces { id, piece, count, key })
            }
            Output::Metadata(digest) => {
                (digest.then(Hasher::default), Sends::About(self.facts(opening, settings).into()))
            }
            Output::Records | Output::Whole | Output::ClaimCheck => {
                return Ok(Reader::Whole(FilePayload::new(opening.path.clone(), opening.look, settings)));
            }
        };
        Ok(Reader::Raw(Box::new(Raw { size, hasher, sends })))
    }

    /// What is known of a file without reading it, in the order of [`SCHEMA`].
    fn facts(&self, opening: &Opening<'_>, settings: &LabFilesSettings) -> [Value; 9] {
        let name = opening.key.name();
        [
            Value::text(name.as_str()),
            Value::text(shown(&opening.path)),
            Value::text(opening.key.shown_path()),
            Value::text(&*settings.roots[opening.key.root].id),
            Value::I64(i64::try_from(opening.look.size).unwrap_or(i64::MAX)),
            Value::Timestamp(opening.look.mtime_ns.div_euclid(1_000_000)),
            Value::text(content_type(&name)),
            Value::Null,
            Value::text(self.id.as_str()),
        ]
    }

    pub(super) fn read_whole(&mut self, portion: &mut Portion) {
        if let Reader::Whole(payload) = mem::replace(&mut self.reader, Reader::Empty) {
            let value = Datum::new(Schema::of(Kind::Bytes), Value::Payload(Arc::new(payload)));
            let record = self.emitter.record(value, Place { record: 1, offset: 0 });
            portion.entries.push(self.only(record));
            portion.bytes = self.fingerprint.size;
        }
        portion.ended = true;
    }

    /// The file as something to upload.
    pub(crate) fn payload(&self) -> Option<FilePayload> {
        match &self.reader {
            Reader::Whole(payload) => Some(payload.clone()),
            _ => None,
        }
    }

    /// Tells generations of the file apart.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The record of a file that is in a store.
    pub(crate) fn referred(&mut self, reference: &Reference) -> Result<SourceEntry> {
        let mut record = self.emitter.record(reference.to_struct()?, Place { record: 1, offset: 0 });
        let header = Text::new(Reference::to_header(std::slice::from_ref(reference))?)?;
        record.headers.add(HEADER, Datum::new(Schema::of(Kind::String), Value::String(header)));
        Ok(self.only(record))
    }

    /// The one record of a file, with which its end is stored.
    fn only(&mut self, record: Record) -> SourceEntry {
        self.progress = Progress { position: self.fingerprint.size, records: 1, lines: 0 };
        let position = Some(self.positions.ended(Stage::Done, self.progress, None));
        SourceEntry::Record(SourceRecord { record, position })
    }

    pub(super) fn read_raw(&mut self, budget: Budget, portion: &mut Portion) -> Result<()> {
        let Reader::Raw(mut raw) = mem::replace(&mut self.reader, Reader::Empty) else { return Ok(()) };
        let begin = self.window.position();
        // What is read once more after a crash is not counted again.
        let counted = begin.max(self.progress.position);
        while !portion.ended
            && portion.error.is_none()
            && portion.entries.len() < budget.records
            && self.window.position() - begin < budget.bytes as u64
        {
            let read = match &raw.sends {
                _ if self.window.position() < self.progress.position => self.pass(&mut raw),
                Sends::Pieces { .. } => self.piece(&mut raw, portion)?,
                Sends::About(_) => self.about(&mut raw, portion),
            };
            if let Err(error) = read {
                portion.error = Some(error);
            }
        }
        portion.bytes = self.window.position().saturating_sub(counted);
        self.reader = Reader::Raw(raw);
        Ok(())
    }

    /// Reads on to where the stored pieces end.
    fn pass(&mut self, raw: &mut Raw) -> std::result::Result<(), ReadError> {
        let left = self.progress.position - self.window.position();
        let wanted = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        self.window.sample(wanted)?;
        if self.window.text().len() < wanted {
            return Err(ReadError::Changed);
        }
        self.consume(raw, wanted);
        Ok(())
    }

    fn consume(&mut self, raw: &mut Raw, len: usize) {
        if let Some(hasher) = &mut raw.hasher {
            hasher.update(&self.window.text()[..len]);
        }
        self.window.consume(len);
    }

    fn piece(&mut self, raw: &mut Raw, portion: &mut Portion) -> Result<std::result::Result<(), ReadError>> {
        let Sends::Pieces { id, piece, count, ref key } = raw.sends else { return Ok(Ok(())) };
        let offset = self.progress.position;
        let index = u32::try_from(self.progress.records).unwrap_or(u32::MAX);
        let last = index.saturating_add(1) >= count;
        let wanted = usize::try_from((raw.size - offset).min(piece)).unwrap_or(usize::MAX);
        // The end must be seen: what is behind it makes this another file.
        let ended = match self.window.sample(wanted + usize::from(last)) {
            Ok(ended) => ended,
            Err(error) => return Ok(Err(error)),
        };
        if self.window.text().len() < wanted || last != (ended && self.window.text().len() == wanted) {
            return Ok(Err(ReadError::Changed));
        }
        let key = key.clone();
        let body = Blob::whole(self.window.text()[..wanted].to_vec())?;
        self.consume(raw, wanted);
        let chunk = Chunk {
            id,
            index,
            count: Some(count),
            offset: Some(offset),
            total: Some(raw.size),
            crc: Some(Chunk::crc_of(body.as_bytes())),
            digest: raw.hasher.take_if(|_| last).map(Hasher::digest),
        };
        self.progress = Progress { position: offset + wanted as u64, records: u64::from(index) + 1, lines: 0 };
        let place = Place { record: self.progress.records, offset };
        let mut record = self.emitter.record(Datum::new(Schema::of(Kind::Bytes), Value::Bytes(body)), place);
        record.key = key.unwrap_or(record.key);
        let mut headers = KafkaHeaders::new();
        chunk.write(chunk::Format::Native, &mut headers)?;
        for (name, value) in headers {
            let value = value.map_or(Ok(Datum::NULL), |value| Text::new(value).map(text))?;
            record.headers.add(name, value);
        }
        let position = if last {
            self.positions.ended(Stage::Done, self.progress, None)
        } else {
            self.positions.reading(self.progress)
        };
        portion.entries.push(SourceEntry::Record(SourceRecord { record, position: Some(position) }));
        portion.ended = last;
        Ok(Ok(()))
    }

    /// Reads a block for the digest, then tells of the file.
    fn about(&mut self, raw: &mut Raw, portion: &mut Portion) -> std::result::Result<(), ReadError> {
        if raw.hasher.is_some() {
            let ended = self.window.sample(BLOCK)?;
            let len = self.window.text().len();
            self.consume(raw, len);
            if !ended {
                return Ok(());
            }
            if self.window.position() != raw.size {
                return Err(ReadError::Changed);
            }
        }
        let digest = raw.hasher.take().map(Hasher::digest);
        let Sends::About(facts) = &mut raw.sends else { return Ok(()) };
        facts[DIGEST] = digest.map_or(Value::Null, |digest: Digest| Value::text(digest.to_string()));
        let value = Struct::from_parts(Arc::clone(&SCHEMA), mem::take(facts));
        let value = Datum::new(Arc::clone(&SCHEMA), Value::Struct(Box::new(value)));
        let record = self.emitter.record(value, Place { record: 1, offset: 0 });
        portion.entries.push(self.only(record));
        portion.ended = true;
        Ok(())
    }
}

/// Where the digest stands among the facts.
const DIGEST: usize = 7;

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let string = || Schema::of(Kind::String);
    let built = |builder: SchemaBuilder| builder.build().unwrap_or_else(|_| unreachable!("a constant schema is sound"));
    built(
        SchemaBuilder::record()
            .name("io.pipette.labfiles.File")
            .version(1)
            .field("name", string())
            .field("path", string())
            .field("relative_path", string())
            .field("root", string())
            .field("size", Schema::of(Kind::Int64))
            .field("last_modified", built(SchemaBuilder::timestamp()))
            .field("content_type", string())
            .field("digest", Schema::optional(Kind::String))
            .field("id", string()),
    )
});
