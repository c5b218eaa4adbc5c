//! Split: makes a record of each element of delimited data: lines, rows of CSV, elements of a JSON array or of XML.
//!
//! For values that come whole, by MQTT or HTTP; files are read as rows by their own connector. The worker calls it behind
//! the converters, as the last step of a source, and pulls part by part. Where elements begin and end is in
//! `split/scan.rs`.

mod scan;

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use pipette_api::config::checks::{in_range, not_empty, one_of};
use pipette_api::{
    Blob, Body, ConfigDef, ConnectError, EncodedRecord, Expand, ExpandPlugin, Info, Key, Position, Result, Settings,
    async_trait,
};
use pipette_store::chunk::ChunkId;

use crate::identity::Ids;
use crate::intake::Intake;
use scan::{Json, Lines, Scan, Step, Xml};

const FORMATS: &[&str] = &["lines", "csv", "json-array", "xml"];
const IDS: &[&str] = &["position", "random"];
const KEYS: &[&str] = &["keep", "id"];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

static FORMAT: Key<String> = Key::new(
    "format",
    "What values are: `lines` (also NDJSON), `csv`: rows, in which quotes may hold line ends, `json-array`, `xml`. In UTF-8 \
     or a single-byte encoding.",
)
.default("lines")
.recommended(FORMATS)
.check(|text| one_of(text, FORMATS));
static ELEMENT: Key<String> = Key::new(
    "element",
    "With `format=xml`: the name of the elements that become records, as it is written, with its prefix.",
)
.optional()
.check(not_empty);
static HEADER: Key<bool> =
    Key::new("header", "With `format=csv`: whether the first row is a header, which stands in front of every part.")
        .default("true");
static RECORDS: Key<u32> = Key::new(
    "part.records",
    "How many elements make a part. Several elements of a JSON array are an array again; of XML there is one.",
)
.default("1")
.check(in_range::<1, 1_000_000>);
static MAX_PART: Key<u64> = Key::new(
    "max.part.bytes",
    "A part that is larger makes the value a bad record. Key, headers and 8 KiB more must fit into the producer's \
     `max.request.size` beside it.",
)
.default("800000")
.check(in_range::<1024, 104_857_600>);
static ID: Key<String> = Key::new(
    "id",
    "What the header `split-id` is made of: `position`: where the source read the value, so that parts which are sent again \
     after a restart have the same (random when a source does not say where); `random`.",
)
.default("position")
.recommended(IDS)
.check(|text| one_of(text, IDS));
static KEY: Key<String> = Key::new(
    "key",
    "The key of the parts of a record that has none: `keep`: none either; `id`: their `split-id`, so that all of them reach one \
     partition in their order.",
)
.default("keep")
.recommended(KEYS)
.check(|text| one_of(text, KEYS));

static CONFIG: ConfigDef =
    ConfigDef::new(&[&FORMAT.info, &ELEMENT.info, &HEADER.info, &RECORDS.info, &MAX_PART.info, &ID.info, &KEY.info])
        .rule(rule);

/// The plugin.
pub(crate) const PLUGIN: ExpandPlugin = ExpandPlugin {
    info: Info {
        class: "io.pipette.transforms.Split",
        aliases: &["Split"],
        version: env!("CARGO_PKG_VERSION"),
        about: "Makes a record of each line, row or element of a value; the last transformation of a source.",
        readme: "",
        config: &CONFIG,
    },
    metrics: &[],
    make: |settings, context| Ok(Box::new(Split::new(&settings, context.id.connector)?)),
};

fn rule(settings: &Settings) -> Vec<(&'static str, String)> {
    let (Ok(format), Ok(element)) = (settings.get(&FORMAT), settings.find(&ELEMENT)) else { return Vec::new() };
    let several = settings.get(&RECORDS).is_ok_and(|records| records > 1);
    match (format.as_str(), element) {
        ("xml", None) => vec![(ELEMENT.info.name, "format=xml needs the name of the elements".into())],
        ("xml", Some(_)) if several => {
            vec![(RECORDS.info.name, "several elements of XML are no document: it must be 1 with format=xml".into())]
        }
        ("xml", Some(_)) | (_, None) => Vec::new(),
        (_, Some(_)) => vec![(ELEMENT.info.name, "it belongs to format=xml".into())],
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Lines,
    Csv { header: bool },
    Json,
    Xml,
}

struct Split {
    format: Format,
    element: String,
    records: u32,
    max: u64,
    keyed: bool,
    ids: Ids,
    splitting: Option<Splitting>,
}

/// A value on its way.
struct Splitting {
    like: EncodedRecord,
    id: ChunkId,
    intake: Intake,
    scan: Box<dyn Scan>,
    window: BytesMut,
    begun: bool,
    ended: bool,
    /// The first row of CSV.
    header: Option<Vec<u8>>,
    /// The part that is being filled, and how many elements it has.
    part: Vec<u8>,
    filled: u32,
    /// A part that is full, until it is known whether it is the last.
    full: Option<Vec<u8>>,
    index: u64,
}

impl Split {
    fn new(settings: &Settings, connector: Arc<str>) -> Result<Self> {
        Ok(Self {
            format: match settings.get(&FORMAT)?.as_str() {
                "csv" => Format::Csv { header: settings.get(&HEADER)? },
                "json-array" => Format::Json,
                "xml" => Format::Xml,
                _ => Format::Lines,
            },
            element: settings.find(&ELEMENT)?.unwrap_or_default(),
            records: settings.get(&RECORDS)?,
            max: settings.get(&MAX_PART)?,
            keyed: settings.get(&KEY)? == "id",
            ids: Ids::new(connector, settings.get(&ID)? == "position"),
            splitting: None,
        })
    }

    fn scanner(&self) -> Box<dyn Scan> {
        match self.format {
            Format::Lines => Box::new(Lines::new(false)),
            Format::Csv { .. } => Box::new(Lines::new(true)),
            Format::Json => Box::new(Json::default()),
            Format::Xml => Box::new(Xml::new(&self.element)),
        }
    }
}

#[async_trait]
impl Expand for Split {
    fn needs(&self, _topic: &str, size: Option<u64>) -> bool {
        size != Some(0)
    }

    fn begin(&mut self, mut record: EncodedRecord, position: Option<&Position>) -> Result<()> {
        let id = self.ids.next(position);
        let Some(body) = record.value.take() else { return Err(ConnectError::data("a tombstone has no parts")) };
        if record.key.is_none() && self.keyed {
            record.key = Some(Blob::whole(id.to_string())?);
        }
        self.splitting = Some(Splitting {
            like: record,
            id,
            intake: Intake::new(body),
            scan: self.scanner(),
            window: BytesMut::new(),
            begun: false,
            ended: false,
            header: None,
            part: Vec::new(),
            filled: 0,
            full: None,
            index: 0,
        });
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<EncodedRecord>> {
        let Some(splitting) = &mut self.splitting else { return Ok(None) };
        loop {
            match splitting.step()? {
                Step::More => splitting.read(self.max).await?,
                Step::Skip(bytes) => splitting.window.advance(bytes),
                Step::Element { from, to, next } => {
                    if let Some(ready) = splitting.take(self.format, self.records, self.max, from..to)? {
                        splitting.window.advance(next);
                        return splitting.record(ready, false).map(Some);
                    }
                    splitting.window.advance(next);
                }
                Step::End => {
                    let rest = splitting.rest(self.format, self.records);
                    let (ready, last) = match (splitting.full.take(), rest) {
                        (Some(full), Some(rest)) => {
                            splitting.full = Some(rest);
                            (full, false)
                        }
                        (Some(only), None) | (None, Some(only)) => (only, true),
                        (None, None) => {
                            self.splitting = None;
                            return Ok(None);
                        }
                    };
                    return splitting.record(ready, last).map(Some);
                }
            }
        }
    }
}

impl Splitting {
    fn step(&mut self) -> Result<Step> {
        if !self.begun {
            if !self.ended && self.window.len() < BYTE_ORDER_MARK.len() {
                return Ok(Step::More);
            }
            self.begun = true;
            if self.window.starts_with(BYTE_ORDER_MARK) {
                return Ok(Step::Skip(BYTE_ORDER_MARK.len()));
            }
        }
        let at = self.index + u64::from(self.full.is_some());
        self.scan.step(&self.window, self.ended).map_err(|error| error.within(format!("behind part {at}")))
    }

    async fn read(&mut self, max: u64) -> Result<()> {
        if self.window.len() as u64 > max {
            return Err(self.too_large(max));
        }
        match self.intake.next().await? {
            Some(bytes) => self.window.extend_from_slice(&bytes),
            None => self.ended = true,
        }
        Ok(())
    }

    /// Takes an element; answers the part before the one that it fills.
    fn take(
        &mut self,
        format: Format,
        records: u32,
        max: u64,
        element: std::ops::Range<usize>,
    ) -> Result<Option<Vec<u8>>> {
        let element = &self.window[element];
        if format == (Format::Csv { header: true }) && self.header.is_none() {
            self.header = Some(element.to_vec());
            return Ok(None);
        }
        if self.filled == 0 {
            self.part.extend(self.header.iter().flatten());
            if format == Format::Json && records > 1 {
                self.part.push(b'[');
            }
        }
        match format {
            Format::Json if self.filled > 0 => self.part.push(b','),
            Format::Lines | Format::Csv { .. } if !self.part.is_empty() => self.part.push(b'\n'),
            _ => {}
        }
        self.part.extend_from_slice(element);
        self.filled += 1;
        if self.part.len() as u64 > max {
            return Err(self.too_large(max));
        }
        if self.filled < records {
            return Ok(None);
        }
        let part = self.rest(format, records);
        Ok(std::mem::replace(&mut self.full, part))
    }

    /// What the part has by now.
    fn rest(&mut self, format: Format, records: u32) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.filled) == 0 {
            return None;
        }
        let mut part = std::mem::take(&mut self.part);
        if format == Format::Json && records > 1 {
            part.push(b']');
        }
        Some(part)
    }

    fn too_large(&self, max: u64) -> ConnectError {
        let at = self.index + u64::from(self.full.is_some());
        ConnectError::data(format!("part {at} of the value is larger than max.part.bytes ({max})"))
    }

    fn record(&mut self, part: Vec<u8>, last: bool) -> Result<EncodedRecord> {
        let mut record = self.like.clone();
        record.value = Some(Body::Bytes(Blob::whole(part)?));
        let headers = [("split-id", self.id.to_string()), ("split-index", self.index.to_string())];
        for (name, text) in headers.into_iter().chain([("split-last", last.to_string())]) {
            record.headers.push((name.into(), Some(Blob::whole(text)?)));
        }
        self.index += 1;
        Ok(record)
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
