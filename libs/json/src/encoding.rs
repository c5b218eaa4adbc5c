//! The bytes of a document, checked once. Made by every caller first; [`Reader`] walks it.

use pipette_api::{Blob, Result, Text};

use crate::read::{Reader, SyntaxError};

/// A document as text. UTF-8 costs no copy; UTF-16 and UTF-32 of either byte order, with or without a mark, are
/// recognised by their zero bytes as Java does, and recoded.
#[derive(Debug)]
pub struct Document {
    text: Text,
    start: usize,
    /// The text was cut where the input stops being UTF-8. Only a reader that gets there complains, because Java ignores
    /// what follows the value.
    cut: bool,
}

impl Document {
    /// The document in the bytes.
    pub fn new(bytes: &Blob) -> Result<Self> {
        if let Some(text) = recoded(bytes.as_bytes()) {
            return Ok(Self { text: Text::from(text?), start: 0, cut: false });
        }
        let marked = bytes.len() >= SHORTEST_MARKED && bytes.as_bytes().starts_with(&[0xEF, 0xBB, 0xBF]);
        let start = if marked { 3 } else { 0 };
        if let Ok(text) = Text::new(bytes.clone()) {
            return Ok(Self { text, start, cut: false });
        }
        let valid = std::str::from_utf8(bytes.as_bytes()).map_or_else(|error| error.valid_up_to(), str::len);
        let valid = u32::try_from(valid).unwrap_or_else(|_| unreachable!("a blob is shorter than 4 GiB"));
        Ok(Self { text: Text::new(bytes.slice(0, valid))?, start, cut: true })
    }

    /// The text that readers count their positions in.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// A reader at the beginning.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.text, self.start, self.cut)
    }
}

/// Java looks for a mark in no shorter document.
const SHORTEST_MARKED: usize = 4;

fn recoded(bytes: &[u8]) -> Option<Result<String>> {
    // Any ASCII character, as JSON begins with one, shows width and order by its zero bytes.
    match bytes {
        [0, 0, 0xFE, 0xFF, rest @ ..] => Some(utf32(rest, u32::from_be_bytes)),
        [0xFF, 0xFE, 0, 0, rest @ ..] => Some(utf32(rest, u32::from_le_bytes)),
        [0, 0, 0, 1..=255, ..] => Some(utf32(bytes, u32::from_be_bytes)),
        [1..=255, 0, 0, 0, ..] => Some(utf32(bytes, u32::from_le_bytes)),
        [0xFE | 0xFF, ..] if bytes.len() < SHORTEST_MARKED => None,
        [0xFE, 0xFF, rest @ ..] => Some(utf16(rest, u16::from_be_bytes)),
        [0xFF, 0xFE, rest @ ..] => Some(utf16(rest, u16::from_le_bytes)),
        [0, 1..=255, ..] => Some(utf16(bytes, u16::from_be_bytes)),
        [1..=255, 0, ..] => Some(utf16(bytes, u16::from_le_bytes)),
        _ => None,
    }
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> Result<String> {
    let (units, rest) = bytes.as_chunks();
    let text: Option<String> = units.iter().map(|bytes| char::from_u32(unit(*bytes))).collect();
    text.filter(|_| rest.is_empty())
        .ok_or_else(|| SyntaxError::data("invalid JSON: the text is not valid UTF-32".into()))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String> {
    let (units, rest) = bytes.as_chunks();
    let units = units.iter().map(|bytes| unit(*bytes));
    let text = char::decode_utf16(units).collect::<std::result::Result<String, _>>().ok();
    text.filter(|_| rest.is_empty())
        .ok_or_else(|| SyntaxError::data("invalid JSON: the text is not valid UTF-16".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parser;

    #[test]
    fn other_encodings_are_recognised() {
        let source = "{\"a\":\"é😀\"}";
        let units: Vec<u16> = source.encode_utf16().collect();
        let wide: Vec<u32> = source.chars().map(u32::from).collect();
        let expected = crate::parse(&Blob::whole(source).unwrap()).unwrap();
        for bytes in [
            [&[0xEF, 0xBB, 0xBF], source.as_bytes()].concat(),
            units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
            units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
            [0xFEFF].iter().chain(&units).flat_map(|unit| unit.to_be_bytes()).collect(),
            [0xFEFF].iter().chain(&units).flat_map(|unit| unit.to_le_bytes()).collect(),
            wide.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
            wide.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
            [0xFEFF].iter().chain(&wide).flat_map(|unit| unit.to_le_bytes()).collect(),
        ] {
            assert_eq!(crate::parse(&Blob::whole(bytes.clone()).unwrap()).unwrap(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_mark_and_nothing_else_is_no_document() {
        for bytes in [&[0xEF, 0xBB, 0xBF][..], &[0xFE, 0xFF], &[0xFF, 0xFE]] {
            let document = Document::new(&Blob::whole(bytes.to_vec()).unwrap()).unwrap();
            assert!(!document.reader().at_end());
        }
        assert_eq!(crate::parse(&Blob::whole(b"\xEF\xBB\xBF5".to_vec()).unwrap()).unwrap(), pipette_api::Value::I64(5));
    }

    #[test]
    fn bad_utf8_matters_only_where_it_is_read() {
        let document = Document::new(&Blob::whole(b"[1] \xFF".to_vec()).unwrap()).unwrap();
        assert!(Parser::default().value(&mut document.reader()).is_ok());
        let error = crate::parse(&Blob::whole(b"[\"a\xED\xA0\x80\"]".to_vec()).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "[0]: invalid JSON: the text is not valid UTF-8 at byte 3");
    }
}
