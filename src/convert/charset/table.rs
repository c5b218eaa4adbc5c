//! Character sets of one or two bytes a character, by tables. `charset.rs` makes one for each set that is used.

use encoding_rs::Encoding;

/// What makes the web's character set Java's. A code is one byte, or two with the first one as the high bits; what is
/// above U+FFFF is in none of these sets of Java's.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) base: &'static Encoding,
    /// Whether U+0080 to U+009F, which the web puts into every gap of one byte, are in the set.
    pub(super) controls: bool,
    /// Second bytes start here.
    pub(super) trail: u8,
    /// From one code to another: not in the set.
    pub(super) removed: &'static [(u16, u16)],
    /// Code, how many, character: these codes stand for these characters.
    pub(super) changed: &'static [(u16, u16, u16)],
    /// Character, code: written so, never read so.
    pub(super) written: &'static [(u16, u16)],
    /// From one code to another: read, never written while another code means the same.
    pub(super) unloved: &'static [(u16, u16)],
}

impl Rules {
    /// One byte a character, as the web has it.
    pub(super) const fn single(base: &'static Encoding) -> Self {
        Self { base, controls: true, trail: 0, removed: &[], changed: &[], written: &[], unloved: &[] }
    }

    /// Two bytes a character; 0x80 alone is nothing.
    pub(super) const fn double(base: &'static Encoding) -> Self {
        Self { controls: false, ..Self::single(base) }
    }

    fn character(&self, code: u16) -> u16 {
        let within = |&&(from, to): &&(u16, u16)| (from..=to).contains(&code);
        if let Some((first, _, char)) =
            self.changed.iter().find(|(first, count, _)| (*first..first + count).contains(&code))
        {
            return char + (code - first);
        }
        let [lead, trail] = code.to_be_bytes();
        if self.removed.iter().find(within).is_some() || (lead > 0 && trail < self.trail) {
            return NONE;
        }
        let bytes: &[u8] = if lead > 0 { &[lead, trail] } else { &[trail] };
        let Some(text) = self.base.decode_without_bom_handling_and_without_replacement(bytes) else { return NONE };
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some('\u{80}'..='\u{9F}'), None) if !self.controls => NONE,
            (Some(char), None) => u16::try_from(u32::from(char)).unwrap_or(NONE),
            _ => NONE,
        }
    }
}

/// U+FFFD is in none of the sets.
const NONE: u16 = 0xFFFD;

#[derive(Debug)]
pub(super) struct Table {
    single: Vec<u16>,
    /// By first byte and second byte; empty for first bytes that begin no pair.
    pairs: Vec<Vec<u16>>,
    /// Code by character; 0 is in no set but for U+0000.
    codes: Vec<u16>,
}

impl Table {
    pub(super) fn new(rules: &Rules) -> Self {
        let mut table = Self {
            single: (0..=0xFF).map(|byte| rules.character(byte)).collect(),
            pairs: Vec::new(),
            codes: vec![0; 1 << 16],
        };
        for lead in 0..=u8::MAX {
            let single = table.single[usize::from(lead)] != NONE;
            let code = |trail| u16::from_be_bytes([lead, trail]);
            let row: Vec<u16> = if single || lead == 0 {
                Vec::new()
            } else {
                (0..=u8::MAX).map(|trail| rules.character(code(trail))).collect()
            };
            table.pairs.push(if row.iter().all(|char| *char == NONE) { Vec::new() } else { row });
        }
        table.index(rules);
        table
    }

    fn index(&mut self, rules: &Rules) {
        let pairs = (0..=u8::MAX).zip(&self.pairs).flat_map(|(lead, row)| {
            (0..=u8::MAX).zip(row).map(move |(trail, char)| (u16::from_be_bytes([lead, trail]), *char))
        });
        let all: Vec<(u16, u16)> =
            (0..).zip(self.single.iter().copied()).chain(pairs).filter(|(_, char)| *char != NONE).collect();
        let unloved = |code: u16| rules.unloved.iter().any(|(from, to)| (*from..=*to).contains(&code));
        let (last, first): (Vec<_>, Vec<_>) = all.into_iter().partition(|(code, _)| unloved(*code));
        for (code, char) in first.into_iter().chain(last).chain(rules.written.iter().map(|(char, code)| (*code, *char)))
        {
            let place = &mut self.codes[usize::from(char)];
            if *place == 0 {
                *place = code;
            }
        }
    }

    pub(super) fn decode(&self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        while let [first, after @ ..] = rest {
            rest = after;
            let mut char = self.single[usize::from(*first)];
            if char == NONE
                && let [second, after @ ..] = rest
            {
                let row = &self.pairs[usize::from(*first)];
                char = row.get(usize::from(*second)).copied().unwrap_or(NONE);
                if char != NONE || self.is_skipped(*first, *second) {
                    rest = after;
                }
            }
            text.push(char::from_u32(u32::from(char)).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        text
    }

    /// Whether the second byte of a pair that means nothing goes with the first one, instead of being read for itself.
    fn is_skipped(&self, first: u8, second: u8) -> bool {
        let leads = |byte: u8| !self.pairs[usize::from(byte)].is_empty();
        leads(first) && !leads(second) && self.single[usize::from(second)] == NONE
    }

    pub(super) fn encode(&self, text: &str, out: &mut Vec<u8>) {
        out.reserve(text.len());
        for char in text.chars() {
            let code = self.codes.get(u32::from(char) as usize).copied().unwrap_or(0);
            match code.to_be_bytes() {
                [0, 0] if char != '\0' => out.push(b'?'),
                [0, byte] => out.push(byte),
                pair => out.extend_from_slice(&pair),
            }
        }
    }
}
