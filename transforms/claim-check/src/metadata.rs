//! What can be known of a payload from a few of its bytes: its type, its size in pixels, and the tags somebody asked for.
//!
//! [`extract`] is called by `extract_metadata.rs` and by whoever else holds a payload. All input is hostile: it is read in
//! bounded pieces ([`Limits`]), nothing in it makes an error of the record, and what identifies a person comes out only when
//! it stands in the list of tags. Reading order: this file, `metadata/ranges.rs`, `metadata/sniff.rs`, `metadata/image.rs`,
//! then the formats.

#[cfg(feature = "dicom")]
mod dicom;
#[cfg(feature = "exif")]
mod exif;
mod image;
mod ranges;
mod sniff;
#[cfg(feature = "tiff")]
mod tiff;
mod wanted;

use std::collections::BTreeMap;
use std::time::Duration;

use pipette_api::{ErrorKind, Payload, Result, Value};

use ranges::{Ranges, Stop};
use sniff::Format;
pub use wanted::Wanted;
pub(crate) use wanted::{LEVELS, identifying};

/// The longest text of an entry, in bytes.
const LONGEST: usize = 1024;
/// Most entries of one payload.
const ENTRIES: usize = 256;

/// How much may be spent on one payload.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that are read of it, and held while it is looked at.
    pub bytes: u64,
    /// How long reading them may take.
    pub time: Duration,
}

/// What is known of a payload: texts under stable names such as `image.width`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    entries: BTreeMap<String, String>,
}

/// Looks at a payload. What is damaged or goes beyond the limits is no error: the metadata is what was found until then, and
/// says so under `note`. An error is that of a payload that cannot be read now; a payload that can never be read is one
/// to note too.
pub async fn extract(payload: &dyn Payload, wanted: &Wanted, limits: Limits) -> Result<Meta> {
    let mut meta = Meta::default();
    if let Some(len) = payload.len() {
        meta.put("content.length", &len);
    }
    let declared = payload.content_type();
    if let Some(declared) = declared {
        meta.put("content.type", declared);
    }
    if payload.is_empty() {
        return Ok(meta);
    }
    let stopped = look(&mut Ranges::new(payload, limits), declared, wanted, &mut meta).await.err();
    match stopped {
        None => {}
        Some(Stop::End) => meta.put("note", "damaged: it ends too early"),
        Some(Stop::Note(reason)) => meta.put("note", &reason),
        Some(Stop::Failed(error)) if error.kind() == ErrorKind::Data => meta.put("note", &error.chain()),
        Some(Stop::Failed(error)) => return Err(error),
    }
    Ok(meta)
}

async fn look(
    ranges: &mut Ranges<'_>,
    declared: Option<&str>,
    wanted: &Wanted,
    meta: &mut Meta,
) -> std::result::Result<(), Stop> {
    let Some(kind) = sniff::sniff(&ranges.head().await?) else { return Ok(()) };
    // Text says little: what was declared (CSV, say) says more.
    let vague = kind.media == "text/plain" || kind.media == "application/zip" || kind.media == "application/xml";
    if declared.is_none_or(|declared| declared != kind.media && (!vague || declared == "application/octet-stream")) {
        if let Some(declared) = declared.filter(|declared| *declared != "application/octet-stream") {
            meta.put("content.type.declared", declared);
        }
        meta.put("content.type", kind.media);
    }
    if let Some(format) = kind.media.strip_prefix("image/").filter(|_| kind.format != Format::Other) {
        meta.put("image.format", format);
    }
    details(kind.format, ranges, wanted, meta).await
}

async fn details(
    format: Format,
    ranges: &mut Ranges<'_>,
    wanted: &Wanted,
    meta: &mut Meta,
) -> std::result::Result<(), Stop> {
    match format {
        #[cfg(feature = "tiff")]
        Format::Tiff => tiff::read(ranges, wanted.tiff.as_ref(), meta).await,
        #[cfg(feature = "dicom")]
        Format::Dicom => match &wanted.dicom {
            Some(tags) => dicom::read(ranges, tags, meta).await,
            None => Ok(()),
        },
        format => {
            let found = image::read(format, ranges, meta).await?;
            exif_tags(found, ranges, wanted, meta).await
        }
    }
}

#[cfg(feature = "exif")]
async fn exif_tags(
    found: image::Exif,
    ranges: &mut Ranges<'_>,
    wanted: &Wanted,
    meta: &mut Meta,
) -> std::result::Result<(), Stop> {
    match (found, &wanted.exif) {
        (Some((start, len)), Some(names)) if len <= exif::SEGMENT => {
            let segment = ranges.get(start, len).await?;
            exif::read(segment.to_vec(), names, meta)
        }
        (Some((_, len)), Some(_)) => Err(Stop::Note(format!("EXIF data of {len} bytes was not read"))),
        _ => Ok(()),
    }
}

#[cfg(not(feature = "exif"))]
#[allow(clippy::unused_async, reason = "the signature is that of the other one")]
async fn exif_tags(_: image::Exif, _: &mut Ranges<'_>, _: &Wanted, _: &mut Meta) -> std::result::Result<(), Stop> {
    Ok(())
}

impl Meta {
    /// The names and texts, sorted by name.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The text under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(String::as_str)
    }

    /// The media type: what the first bytes say, else what was declared.
    pub fn content_type(&self) -> Option<&str> {
        self.get("content.type")
    }

    /// Why not everything was read, if so.
    pub fn note(&self) -> Option<&str> {
        self.get("note")
    }

    /// A map from names to texts, as references to payloads carry it.
    pub fn to_value(&self) -> Value {
        let pairs = self.entries().map(|(name, text)| (Value::text(name), Value::text(text)));
        Value::Map(Box::new(pairs.collect()))
    }

    /// Adds an entry: what nobody can see is left out, and what is too long is cut.
    fn put(&mut self, name: &str, value: &(impl ToString + ?Sized)) {
        let mut text = value.to_string();
        text.retain(|char| !char.is_control());
        text.truncate(text.floor_char_boundary(LONGEST));
        if self.entries.len() < ENTRIES || self.entries.contains_key(name) {
            self.entries.insert(name.to_owned(), text);
        }
    }

    fn size(&mut self, width: u64, height: u64) {
        self.put("image.width", &width);
        self.put("image.height", &height);
    }
}
