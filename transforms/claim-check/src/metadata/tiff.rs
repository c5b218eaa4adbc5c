//! The first directory of a TIFF or BigTIFF, wherever in the file it is: the size, the tags that are asked for, and the
//! OME-XML of microscopes, which is its description. Read next: `tiff/ome.rs`.

mod ome;

use bytes::Bytes;

use super::Meta;
use super::ranges::{Ranges, Stop};

/// A directory with more entries is no image.
const MOST: u64 = 4096;
/// How much of a text is read for a tag; OME-XML is read up to the limit of the payload.
const TEXT: u64 = 4096;

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const DESCRIPTION: u16 = 270;

/// Tags that come out always, with their names.
const ALWAYS: &[(u16, &str)] = &[
    (WIDTH, "image.width"),
    (HEIGHT, "image.height"),
    (258, "image.bits"),
    (274, "image.orientation"),
    (277, "image.samples"),
];
/// Tags that can be asked for.
const NAMES: &[(u16, &str)] = &[
    (259, "Compression"),
    (262, "PhotometricInterpretation"),
    (269, "DocumentName"),
    (DESCRIPTION, "ImageDescription"),
    (271, "Make"),
    (272, "Model"),
    (282, "XResolution"),
    (283, "YResolution"),
    (285, "PageName"),
    (296, "ResolutionUnit"),
    (305, "Software"),
    (306, "DateTime"),
    (315, "Artist"),
    (316, "HostComputer"),
    (33432, "Copyright"),
];

/// The tags that are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tags {
    tiff: Vec<(u16, &'static str)>,
    ome: Vec<&'static str>,
}

impl Tags {
    pub(crate) fn allow(&mut self, family: &str, name: &str) -> Result<(), String> {
        if family == "ome" {
            let known = ome::NAMES.iter().find(|known| **known == name);
            self.ome.push(known.ok_or_else(|| format!("known are {}", ome::NAMES.join(", ")))?);
            return Ok(());
        }
        let known = NAMES.iter().find(|(_, known)| *known == name);
        let names = || NAMES.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        self.tiff.push(*known.ok_or_else(|| format!("known are {}", names()))?);
        Ok(())
    }
}

/// How numbers are written in this file.
#[derive(Clone, Copy)]
struct Layout {
    little: bool,
    big: bool,
}

/// One entry of a directory.
struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    /// The value itself when it is small, else where it is.
    place: Bytes,
}

/// Puts what is known into the metadata; of the tags only the size without `wanted`.
pub(crate) async fn read(ranges: &mut Ranges<'_>, wanted: Option<&Tags>, meta: &mut Meta) -> Result<(), Stop> {
    let head: [u8; 8] = ranges.array(0).await?;
    let layout = Layout { little: head[0] == b'I', big: head[2] == 43 || head[3] == 43 };
    let first = if layout.big { layout.number(&ranges.get(8, 8).await?) } else { layout.number(&head[4..]) };
    let (count, entry) = if layout.big { (8_u64, 20_usize) } else { (2, 12) };
    let entries = layout.number(&ranges.get(first, usize::try_from(count).unwrap_or_default()).await?);
    if entries == 0 || entries > MOST {
        return Err(Stop::Note(format!("damaged: a TIFF directory of {entries} entries")));
    }
    let start = first.checked_add(count).ok_or(Stop::End)?;
    let directory = ranges.get(start, usize::try_from(entries).unwrap_or_default() * entry).await?;
    for at in (0..directory.len()).step_by(entry) {
        let entry = layout.entry(&directory.slice(at..at + entry));
        put(&entry, layout, ranges, wanted, meta).await?;
    }
    Ok(())
}

async fn put(
    entry: &Entry,
    layout: Layout,
    ranges: &mut Ranges<'_>,
    wanted: Option<&Tags>,
    meta: &mut Meta,
) -> Result<(), Stop> {
    if let Some((_, name)) = ALWAYS.iter().find(|(tag, _)| *tag == entry.tag) {
        let value = entry.bytes(layout, ranges, TEXT).await?;
        if let Some(number) = entry.numbers(layout, &value).next() {
            meta.put(name, &number);
        }
    }
    let Some(wanted) = wanted else { return Ok(()) };
    if let Some((_, name)) = wanted.tiff.iter().find(|(tag, _)| *tag == entry.tag) {
        let value = entry.bytes(layout, ranges, TEXT).await?;
        meta.put(&format!("tiff.{name}"), &entry.text(layout, &value));
    }
    if entry.tag == DESCRIPTION && entry.kind == 2 {
        let begin = entry.bytes(layout, ranges, 256).await?;
        if begin.trim_ascii_start().starts_with(b"<?xml") || begin.windows(4).any(|part| part == b"<OME") {
            let left = ranges.left().max(begin.len() as u64);
            let xml = entry.bytes(layout, ranges, left).await?;
            return ome::read(&xml, xml.len() as u64 == entry.count, &wanted.ome, meta);
        }
    }
    Ok(())
}

impl Layout {
    /// A number of 2, 4 or 8 bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
    }

    fn entry(self, bytes: &Bytes) -> Entry {
        let short = |at: usize| u16::try_from(self.number(&bytes[at..at + 2])).unwrap_or_default();
        let (count, place) = if self.big { (4..12, 12..20) } else { (4..8, 8..12) };
        Entry { tag: short(0), kind: short(2), count: self.number(&bytes[count]), place: bytes.slice(place) }
    }
}

impl Entry {
    /// The size of one part of the value; `None` for types nobody knows.
    fn part(&self) -> Option<u64> {
        match self.kind {
            1 | 2 | 6 | 7 => Some(1),
            3 | 8 => Some(2),
            4 | 9 | 11 | 13 => Some(4),
            5 | 10 | 12 | 16 | 17 | 18 => Some(8),
            _ => None,
        }
    }

    /// The value, at most so many bytes of it.
    async fn bytes(&self, layout: Layout, ranges: &mut Ranges<'_>, most: u64) -> Result<Bytes, Stop> {
        let Some(len) = self.part().and_then(|part| part.checked_mul(self.count)) else { return Ok(Bytes::new()) };
        let wanted = usize::try_from(len.min(most)).unwrap_or(usize::MAX);
        if len <= self.place.len() as u64 {
            return Ok(self.place.slice(..wanted));
        }
        ranges.up_to(layout.number(&self.place), wanted).await
    }

    fn numbers(&self, layout: Layout, value: &[u8]) -> impl Iterator<Item = u64> {
        let whole = matches!(self.kind, 1 | 3 | 4 | 13 | 16 | 18);
        let part = self.part().filter(|_| whole).and_then(|part| usize::try_from(part).ok()).unwrap_or(usize::MAX);
        value.chunks_exact(part).map(move |part| layout.number(part))
    }

    fn text(&self, layout: Layout, value: &[u8]) -> String {
        match self.kind {
            2 => String::from_utf8_lossy(value).trim_end_matches('\0').trim().to_owned(),
            5 => {
                let ratio = |part: &[u8]| format!("{}/{}", layout.number(&part[..4]), layout.number(&part[4..]));
                value.chunks_exact(8).map(ratio).collect::<Vec<_>>().join(" ")
            }
            _ => self.numbers(layout, value).map(|number| number.to_string()).collect::<Vec<_>>().join(" "),
        }
    }
}
