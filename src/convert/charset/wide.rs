//! UTF-16 and UTF-32 with Java's marks and replacements. `charset.rs` calls it.

/// How a text is written, and read when it has no mark.
#[derive(Debug)]
pub(super) struct Wide {
    pub(super) width: Width,
    pub(super) little: bool,
    /// Written in front of every text but the empty one.
    pub(super) writes_mark: bool,
    pub(super) reads: Mark,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Width {
    Two,
    Four,
}

/// What a mark at the beginning does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing: it is text.
    Text,
    /// One of the order that is expected is dropped.
    Expected,
    /// It tells the order.
    Either,
}

const MARK: char = '\u{FEFF}';

impl Wide {
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u8>) {
        let mark = if self.writes_mark && !text.is_empty() { Some(MARK) } else { None };
        for char in mark.into_iter().chain(text.chars()) {
            match self.width {
                Width::Two => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        out.extend(if self.little { unit.to_le_bytes() } else { unit.to_be_bytes() });
                    }
                }
                Width::Four => {
                    let unit = u32::from(char);
                    out.extend(if self.little { unit.to_le_bytes() } else { unit.to_be_bytes() });
                }
            }
        }
    }

    pub(super) fn decode(&self, bytes: &[u8]) -> String {
        let (little, bytes) = self.order(bytes);
        match self.width {
            Width::Two if little => utf16(bytes, u16::from_le_bytes, None),
            // Java's UTF-16, of all, takes a mark of the other order for a fault.
            Width::Two => {
                utf16(bytes, u16::from_be_bytes, (self.reads == Mark::Either && !self.little).then_some(0xFFFE))
            }
            Width::Four => utf32(bytes, if little { u32::from_le_bytes } else { u32::from_be_bytes }),
        }
    }

    /// The order of the bytes, and the bytes after the mark.
    fn order<'b>(&self, bytes: &'b [u8]) -> (bool, &'b [u8]) {
        let (big, little): (&[u8], &[u8]) = match self.width {
            Width::Two => (&[0xFE, 0xFF], &[0xFF, 0xFE]),
            Width::Four => (&[0, 0, 0xFE, 0xFF], &[0xFF, 0xFE, 0, 0]),
        };
        for (mark, is_little) in [(big, false), (little, true)] {
            let heeded = self.reads == Mark::Either || (self.reads == Mark::Expected && is_little == self.little);
            if let Some(rest) = bytes.strip_prefix(mark).filter(|_| heeded) {
                return (is_little, rest);
            }
        }
        (self.little, bytes)
    }
}

/// Java replaces a high surrogate together with what follows it.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, refused: Option<u16>) -> String {
    let (units, rest) = bytes.as_chunks();
    let mut text = String::with_capacity(bytes.len());
    let mut units = units.iter().map(|bytes| unit(*bytes));
    let mut whole = rest.is_empty();
    while let Some(first) = units.next() {
        let char = match first {
            unit if Some(unit) == refused => None,
            0xD800..=0xDBFF => {
                let second = units.next();
                // What is left of the text is one fault.
                whole |= second.is_none();
                second.and_then(|second| char::decode_utf16([first, second]).next()?.ok())
            }
            unit => char::from_u32(u32::from(unit)),
        };
        text.push(char.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    if !whole {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> String {
    let (units, rest) = bytes.as_chunks();
    let chars = units.iter().map(|bytes| char::from_u32(unit(*bytes)));
    chars.chain((!rest.is_empty()).then_some(None)).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::find;

    /// Each line is what Java answered.
    #[test]
    fn marks_and_faults_are_javas() {
        for (name, bytes, text) in [
            ("UTF-16", &[0xFF, 0xFE, 0x41, 0][..], "A"),
            ("UTF-16", &[0xFE, 0xFF, 0, 0x41], "A"),
            ("UTF-16", &[0, 0x41, 0xFF, 0xFE, 0, 0x42], "A\u{FFFD}B"),
            ("UTF-16", &[0xFF, 0xFE, 0xFE, 0xFF, 0x42, 0], "\u{FFFE}B"),
            ("UTF-16BE", &[0xFE, 0xFF, 0, 0x41], "\u{FEFF}A"),
            ("UTF-16BE", &[0xD8, 0x3D, 0, 0x41, 0, 0x42], "\u{FFFD}B"),
            ("UTF-16BE", &[0xD8, 0x3D, 0xD8, 0x3D, 0xDE, 0], "\u{FFFD}\u{FFFD}"),
            ("UTF-16BE", &[0xD8, 0x3D, 0xDE, 0, 0], "😀\u{FFFD}"),
            ("UTF-16BE", &[0, 0x41, 0xD8, 0, 0x42], "A\u{FFFD}"),
            ("UTF-32", &[0xFF, 0xFE, 0, 0, 0x41, 0, 0, 0], "A"),
            ("UTF-32BE", &[0, 0, 0xFE, 0xFF, 0, 0, 0, 0x41], "A"),
            ("UTF-32BE", &[0, 0x11, 0, 0, 0, 0, 0, 0x41, 0], "\u{FFFD}A\u{FFFD}"),
        ] {
            assert_eq!(find(name).unwrap().unwrap().decode(bytes), text, "{name} {bytes:x?}");
        }
        let written = |name: &str, text| {
            let mut bytes = Vec::new();
            find(name).unwrap().unwrap().encode(text, &mut bytes);
            bytes
        };
        assert_eq!(written("UTF-16", "A"), [0xFE, 0xFF, 0, 0x41]);
        assert!(written("UTF-16", "").is_empty());
    }
}
