//! What a payload is by its first bytes, whatever its name or sender says. Pure.

/// A type of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The media type.
    pub(crate) media: &'static str,
    pub(crate) format: Format,
}

/// The formats of which more is known than their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Jpeg,
    Gif,
    Bmp,
    Webp,
    Tiff,
    Dicom,
    Other,
}

/// Where the bytes stand, the bytes, and what they mean. The first that fits counts.
const MAGIC: &[(usize, &[u8], &str, Format)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "image/png", Format::Png),
    (0, b"\xff\xd8\xff", "image/jpeg", Format::Jpeg),
    (0, b"GIF87a", "image/gif", Format::Gif),
    (0, b"GIF89a", "image/gif", Format::Gif),
    (0, b"II*\0", "image/tiff", Format::Tiff),
    (0, b"MM\0*", "image/tiff", Format::Tiff),
    (0, b"II+\0", "image/tiff", Format::Tiff),
    (0, b"MM\0+", "image/tiff", Format::Tiff),
    (128, b"DICM", "application/dicom", Format::Dicom),
    (8, b"WEBP", "image/webp", Format::Webp),
    (0, b"8BPS", "image/vnd.adobe.photoshop", Format::Other),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2", Format::Other),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl", Format::Other),
    (4, b"ftypheic", "image/heic", Format::Other),
    (4, b"ftypmif1", "image/heif", Format::Other),
    (4, b"ftypavif", "image/avif", Format::Other),
    (4, b"ftypqt  ", "video/quicktime", Format::Other),
    (4, b"ftyp", "video/mp4", Format::Other),
    (0, b"\x1a\x45\xdf\xa3", "video/x-matroska", Format::Other),
    (8, b"AVI ", "video/x-msvideo", Format::Other),
    (8, b"WAVE", "audio/wav", Format::Other),
    (0, b"OggS", "audio/ogg", Format::Other),
    (0, b"fLaC", "audio/flac", Format::Other),
    (0, b"ID3", "audio/mpeg", Format::Other),
    (0, b"%PDF-", "application/pdf", Format::Other),
    (0, b"%!PS", "application/postscript", Format::Other),
    (0, b"{\\rtf", "application/rtf", Format::Other),
    (0, b"PK\x03\x04", "application/zip", Format::Other),
    (0, b"PK\x05\x06", "application/zip", Format::Other),
    (0, b"\x1f\x8b", "application/gzip", Format::Other),
    (0, b"BZh", "application/x-bzip2", Format::Other),
    (0, b"\xfd7zXZ\0", "application/x-xz", Format::Other),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd", Format::Other),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed", Format::Other),
    (257, b"ustar", "application/x-tar", Format::Other),
    (0, b"\x89HDF\r\n\x1a\n", "application/x-hdf5", Format::Other),
    (0, b"CDF\x01", "application/x-netcdf", Format::Other),
    (0, b"CDF\x02", "application/x-netcdf", Format::Other),
    (0, b"PAR1", "application/vnd.apache.parquet", Format::Other),
    (0, b"Obj\x01", "application/avro", Format::Other),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3", Format::Other),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", Format::Other),
    (0, b"SIMPLE  =", "application/fits", Format::Other),
    (0, b"ZISRAWFILE", "image/x-zeiss-czi", Format::Other),
    (0, b"<?xml", "application/xml", Format::Other),
];

/// Sizes that the second header of a BMP can have: without them any text that begins with BM would be one.
const BMP_HEADERS: &[u8] = &[12, 16, 40, 52, 56, 64, 108, 124];

/// The type of a payload that begins like this; `None` when nobody knows.
pub(crate) fn sniff(head: &[u8]) -> Option<Kind> {
    let fits = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let found = MAGIC.iter().find(|(at, magic, ..)| fits(*at, magic) && (*at != 8 || fits(0, b"RIFF")));
    if let Some((_, _, media, format)) = found {
        return Some(Kind { media, format: *format });
    }
    if fits(0, b"BM") && head.get(14).is_some_and(|size| BMP_HEADERS.contains(size)) && fits(15, b"\0\0\0") {
        return Some(Kind { media: "image/bmp", format: Format::Bmp });
    }
    is_text(head).then_some(Kind { media: "text/plain", format: Format::Other })
}

/// UTF-8 without characters that no text has; a character that is cut off at the end does not count.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.chars().any(|char| char.is_control() && !matches!(char, '\t' | '\n' | '\r' | '\u{c}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_by_their_first_bytes() {
        let dicom = [&[0; 128][..], b"DICM"].concat();
        for (head, media) in [
            (&b"\x89PNG\r\n\x1a\n\0"[..], Some("image/png")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVE", Some("audio/wav")),
            (b"xxxx\0\0\0\0WEBP", None),
            (&dicom, Some("application/dicom")),
            (b"BM\0\0\0\0\0\0\0\0\0\0\0\0\x28\0\0\0", Some("image/bmp")),
            (b"BM is a text", Some("text/plain")),
            ("Gr\u{f6}\u{df}e;1\r\n".as_bytes(), Some("text/plain")),
            (&"caf\u{e9}".as_bytes()[..4], Some("text/plain")),
            (b"\x01\x02", None),
            (b"", None),
        ] {
            assert_eq!(sniff(head).map(|kind| kind.media), media, "{head:?}");
        }
    }
}
