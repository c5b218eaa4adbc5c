//! The elements of a DICOM file before its pixels, one after the other, values skipped unless they are asked for.
//!
//! Explicit and implicit representation, both byte orders; the deflated syntax says no more than its header does. Sequences
//! are walked through and never looked into: what identifies somebody is often inside. Read next: `dicom/dictionary.rs`.

mod dictionary;

use super::ranges::{Ranges, Stop};
use super::{LONGEST, Meta};
use dictionary::{DICTIONARY, Known};

/// Elements of one file that are looked at; a header has a few hundred.
const MOST: usize = 4096;
/// Sequences inside of sequences.
const DEEPEST: usize = 32;
/// A length that is not known: something marks the end.
const UNKNOWN: u32 = u32::MAX;

const TRANSFER_SYNTAX: u32 = 0x0002_0010;
const CHARACTER_SET: u32 = 0x0008_0005;
const ROWS: u32 = 0x0028_0010;
const COLUMNS: u32 = 0x0028_0011;
const PIXELS: u32 = 0x7fe0_0000;
const ITEM_END: u32 = 0xfffe_e00d;
const SEQUENCE_END: u32 = 0xfffe_e0dd;

/// A tag that may come out, and under which name.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    number: u32,
    name: String,
    /// Its type, for files that do not say it.
    vr: Option<[u8; 2]>,
}

impl From<&Known> for Tag {
    fn from(known: &Known) -> Self {
        Self { number: known.tag, name: known.keyword.to_owned(), vr: Some(known.vr) }
    }
}

/// The tags that come out without being asked for: what kind of image it is, and which.
pub(crate) fn always() -> Vec<Tag> {
    DICTIONARY.iter().filter(|known| known.always).map(Tag::from).collect()
}

/// Adds a tag by its keyword or its eight digits.
pub(crate) fn allow(tags: &mut Vec<Tag>, name: &str) -> Result<(), String> {
    let by_number = u32::from_str_radix(name, 16).ok().filter(|_| name.len() == 8);
    let known = DICTIONARY.iter().find(|known| known.keyword == name || Some(known.tag) == by_number);
    let tag = match (known, by_number) {
        (Some(known), _) => Tag { name: name.to_owned(), ..Tag::from(known) },
        (None, Some(tag)) if tag >= PIXELS => return Err("is not before the pixels".into()),
        (None, Some(number)) => Tag { number, name: name.to_owned(), vr: None },
        (None, None) => return Err("is no keyword known here: write the tag as eight digits, such as 00180015".into()),
    };
    if !tags.iter().any(|there| there.number == tag.number && there.name == tag.name) {
        tags.push(tag);
    }
    Ok(())
}

/// Whether a tag names or describes a person. Group 0010 is the patient; private groups may hold anything.
pub(crate) fn identifying(name: &str) -> bool {
    let number = u32::from_str_radix(name, 16).ok().filter(|_| name.len() == 8);
    let known = DICTIONARY.iter().find(|known| known.keyword == name || Some(known.tag) == number);
    match (known, number) {
        (Some(known), _) => known.identifying,
        (None, Some(tag)) => tag >> 16 == 0x0010 || tag >> 16 & 1 == 1,
        (None, None) => false,
    }
}

/// How elements are written.
#[derive(Clone, Copy)]
struct Syntax {
    explicit: bool,
    little: bool,
}

struct Element {
    tag: u32,
    vr: Option<[u8; 2]>,
    len: u32,
    /// Where its value begins.
    value: u64,
}

/// Puts the tags into the metadata.
pub(crate) async fn read(ranges: &mut Ranges<'_>, tags: &[Tag], meta: &mut Meta) -> Result<(), Stop> {
    let mut walk = Walk { at: 132, syntax: Syntax { explicit: true, little: true }, charset: Charset::Other, seen: 0 };
    let mut transfer = String::new();
    while let Some(element) = walk.next_in_header(ranges).await? {
        if element.tag == TRANSFER_SYNTAX {
            transfer = walk.text(&element, None, ranges).await?;
        }
        walk.put(&element, tags, ranges, meta).await?;
        walk.at = element.value.saturating_add(element.len.into());
    }
    walk.syntax = match transfer.as_str() {
        "1.2.840.10008.1.2" => Syntax { explicit: false, little: true },
        "1.2.840.10008.1.2.2" => Syntax { explicit: true, little: false },
        "1.2.840.10008.1.2.1.99" => return Err("not read to its end: it is deflated".into()),
        _ => walk.syntax,
    };
    let last = tags.iter().map(|tag| tag.number).chain([COLUMNS]).max().unwrap_or(COLUMNS);
    let mut depth: usize = 0;
    loop {
        let element = match walk.element(ranges).await {
            // A file may end behind its last element, which need not be the pixels.
            Err(Stop::End) if depth == 0 => return Ok(()),
            element => element?,
        };
        if depth == 0 && (element.tag > last || element.tag >= PIXELS) {
            return Ok(());
        }
        if depth == 0 {
            walk.put(&element, tags, ranges, meta).await?;
        }
        walk.at = element.value;
        match (element.tag, element.len) {
            (ITEM_END | SEQUENCE_END, _) => depth = depth.saturating_sub(1),
            (_, UNKNOWN) if depth == DEEPEST => return Err("damaged: sequences without end".into()),
            (_, UNKNOWN) => depth += 1,
            (_, len) => walk.at = element.value.saturating_add(len.into()),
        }
    }
}

/// A walk from element to element.
struct Walk {
    at: u64,
    syntax: Syntax,
    charset: Charset,
    seen: usize,
}

#[derive(Clone, Copy)]
enum Charset {
    Utf8,
    Latin1,
    /// ASCII, or one of those nobody reads here.
    Other,
}

impl Walk {
    /// The next element of group 2, which is always written alike; `None` behind the last.
    async fn next_in_header(&mut self, ranges: &mut Ranges<'_>) -> Result<Option<Element>, Stop> {
        let group: [u8; 2] = ranges.array(self.at).await?;
        if u16::from_le_bytes(group) == 2 { self.element(ranges).await.map(Some) } else { Ok(None) }
    }

    async fn element(&mut self, ranges: &mut Ranges<'_>) -> Result<Element, Stop> {
        self.seen += 1;
        if self.seen > MOST {
            return Err(Stop::Note(format!("not read to its end: more than {MOST} elements")));
        }
        let head: [u8; 8] = ranges.array(self.at).await?;
        let tag = u32::from(self.short(&head)) << 16 | u32::from(self.short(&head[2..]));
        // Marks of sequences have no type in any syntax.
        if !self.syntax.explicit || tag >> 16 == 0xfffe {
            return Ok(Element { tag, vr: None, len: self.long(&head[4..]), value: self.at + 8 });
        }
        let vr = [head[4], head[5]];
        if !vr.iter().all(u8::is_ascii_uppercase) {
            return Err(Stop::Note(format!("damaged: element {tag:08x} has no type")));
        }
        let long = matches!(
            &vr,
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
        );
        if !long {
            return Ok(Element { tag, vr: Some(vr), len: self.short(&head[6..]).into(), value: self.at + 8 });
        }
        let len: [u8; 4] = ranges.array(self.at + 8).await?;
        Ok(Element { tag, vr: Some(vr), len: self.long(&len), value: self.at + 12 })
    }

    /// Puts an element into the metadata when it is asked for.
    async fn put(
        &mut self,
        element: &Element,
        tags: &[Tag],
        ranges: &mut Ranges<'_>,
        meta: &mut Meta,
    ) -> Result<(), Stop> {
        if element.tag == CHARACTER_SET {
            let name = self.text(element, Some(*b"CS"), ranges).await?;
            self.charset = match name.as_str() {
                "ISO_IR 192" => Charset::Utf8,
                "ISO_IR 100" => Charset::Latin1,
                _ => Charset::Other,
            };
        }
        for tag in tags.iter().filter(|tag| tag.number == element.tag && element.len > 0) {
            let text = self.text(element, tag.vr, ranges).await?;
            match element.tag {
                ROWS => meta.put("image.height", &text),
                COLUMNS => meta.put("image.width", &text),
                _ => {}
            }
            if !text.is_empty() {
                meta.put(&format!("dicom.{}", tag.name), &text);
            }
        }
        Ok(())
    }

    /// The text of a value: numbers parted by backslashes, as texts are. Empty for what has none.
    async fn text(&self, element: &Element, known: Option<[u8; 2]>, ranges: &mut Ranges<'_>) -> Result<String, Stop> {
        let vr = element.vr.filter(|vr| vr != b"UN").or(known).unwrap_or(*b"UN");
        let size = match &vr {
            b"US" | b"SS" => 2,
            b"UL" | b"SL" | b"FL" | b"AT" => 4,
            b"FD" | b"UV" | b"SV" => 8,
            b"SQ" | b"UN" | b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" => return Ok(String::new()),
            _ => 0,
        };
        if element.len == UNKNOWN {
            return Ok(String::new());
        }
        let most = usize::try_from(element.len).unwrap_or(usize::MAX).min(LONGEST);
        let value = ranges.get(element.value, most).await?;
        if size == 0 {
            return Ok(self.decode(&value));
        }
        let parts = value.chunks_exact(size).map(|part| self.number(vr, part));
        Ok(parts.collect::<Vec<_>>().join("\\"))
    }

    fn decode(&self, value: &[u8]) -> String {
        let text = match self.charset {
            Charset::Utf8 => String::from_utf8_lossy(value).into_owned(),
            Charset::Latin1 => value.iter().map(|byte| char::from(*byte)).collect(),
            Charset::Other => value.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect(),
        };
        text.trim_matches([' ', '\0']).to_owned()
    }

    fn number(&self, vr: [u8; 2], part: &[u8]) -> String {
        let bits = if self.syntax.little {
            part.iter().rev().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte))
        } else {
            part.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte))
        };
        let narrow = || u32::try_from(bits).unwrap_or_default();
        match &vr {
            b"SS" => u16::try_from(bits).unwrap_or_default().cast_signed().to_string(),
            b"SL" => narrow().cast_signed().to_string(),
            b"SV" => bits.cast_signed().to_string(),
            b"FL" => f32::from_bits(narrow()).to_string(),
            b"FD" => f64::from_bits(bits).to_string(),
            b"AT" => format!("{:04x}{:04x}", self.short(part), self.short(&part[2..])),
            _ => bits.to_string(),
        }
    }

    fn short(&self, bytes: &[u8]) -> u16 {
        let bytes = [bytes[0], bytes[1]];
        if self.syntax.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }

    fn long(&self, bytes: &[u8]) -> u32 {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self.syntax.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }
}
