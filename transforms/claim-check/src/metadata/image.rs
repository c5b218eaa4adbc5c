//! Width and height of images, without decoding any; and where their EXIF data is. Read next: `exif.rs`.

use super::Meta;
use super::ranges::{Ranges, Stop};
use super::sniff::Format;

/// Parts of a file that are looked at before giving up.
const PARTS: usize = 512;

/// Where the EXIF data of an image begins, and how long it is.
pub(crate) type Exif = Option<(u64, usize)>;

/// Puts width and height into the metadata; answers where EXIF data is.
pub(crate) async fn read(format: Format, ranges: &mut Ranges<'_>, meta: &mut Meta) -> Result<Exif, Stop> {
    match format {
        Format::Png => png(ranges, meta).await,
        Format::Jpeg => jpeg(ranges, meta).await,
        Format::Gif => {
            let [a, b, c, d] = ranges.array(6).await?;
            meta.size(u16::from_le_bytes([a, b]).into(), u16::from_le_bytes([c, d]).into());
            Ok(None)
        }
        Format::Bmp => bmp(ranges, meta).await,
        Format::Webp => webp(ranges, meta).await,
        Format::Tiff | Format::Dicom | Format::Other => Ok(None),
    }
}

/// Chunks, of which the first is the header; EXIF data is in one before the pixels, or in none.
async fn png(ranges: &mut Ranges<'_>, meta: &mut Meta) -> Result<Exif, Stop> {
    let header: [u8; 21] = ranges.array(8).await?;
    if &header[4..8] != b"IHDR" {
        return Err("damaged: a PNG without a header".into());
    }
    meta.size(be32(&header[8..]).into(), be32(&header[12..]).into());
    meta.put("image.bits", &header[16]);
    let mut at = 8;
    for _ in 0..PARTS {
        let chunk: [u8; 8] = ranges.array(at).await?;
        let len = be32(&chunk);
        match &chunk[4..] {
            b"eXIf" => return Ok(usize::try_from(len).ok().map(|len| (at + 8, len))),
            b"IDAT" | b"IEND" => return Ok(None),
            _ => at += 12 + u64::from(len),
        }
    }
    Ok(None)
}

/// Segments up to the pixels. EXIF data comes before the size.
async fn jpeg(ranges: &mut Ranges<'_>, meta: &mut Meta) -> Result<Exif, Stop> {
    let (mut at, mut exif) = (2, None);
    for _ in 0..PARTS {
        let [mark, kind, high, low] = ranges.array(at).await?;
        if mark != 0xff {
            return Err("damaged: a JPEG whose segments do not follow each other".into());
        }
        let len = u64::from(u16::from_be_bytes([high, low]));
        match kind {
            // Bytes that only fill.
            0xff => {
                at += 1;
                continue;
            }
            0xd9 | 0xda => return Err("damaged: a JPEG without a size".into()),
            0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                let frame: [u8; 5] = ranges.array(at + 4).await?;
                meta.size(be16(&frame[3..]).into(), be16(&frame[1..]).into());
                meta.put("image.bits", &frame[0]);
                return Ok(exif);
            }
            0xe1 if len > 8 && exif.is_none() => {
                let name: [u8; 6] = ranges.array(at + 4).await?;
                exif = (&name == b"Exif\0\0").then(|| (at + 10, usize::try_from(len - 8).unwrap_or_default()));
            }
            _ => {}
        }
        at += 2 + len.max(2);
    }
    Err(Stop::Note(format!("not read to its end: more than {PARTS} segments")))
}

async fn bmp(ranges: &mut Ranges<'_>, meta: &mut Meta) -> Result<Exif, Stop> {
    let header: [u8; 12] = ranges.array(14).await?;
    let le16 = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let le32 = |at: usize| i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[0] == 12 {
        meta.size(le16(4), le16(6));
    } else {
        // A negative height means that the rows begin at the top.
        meta.size(le32(4).unsigned_abs().into(), le32(8).unsigned_abs().into());
    }
    Ok(None)
}

async fn webp(ranges: &mut Ranges<'_>, meta: &mut Meta) -> Result<Exif, Stop> {
    let header: [u8; 18] = ranges.array(12).await?;
    let body = &header[8..];
    let le24 = |at: usize| u64::from(u32::from_le_bytes([body[at], body[at + 1], body[at + 2], 0]));
    match &header[..4] {
        b"VP8X" => meta.size(le24(4) + 1, le24(7) + 1),
        b"VP8L" => {
            let bits = u32::from_le_bytes([body[1], body[2], body[3], body[4]]);
            meta.size(u64::from(bits & 0x3fff) + 1, u64::from(bits >> 14 & 0x3fff) + 1);
        }
        b"VP8 " => {
            let side = |at: usize| u64::from(u16::from_le_bytes([body[at], body[at + 1]]) & 0x3fff);
            meta.size(side(6), side(8));
        }
        _ => return Err("damaged: a WebP without a picture".into()),
    }
    Ok(None)
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
