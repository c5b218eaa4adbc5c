//! What stands beside a committed offset: which values are still open there, and which ids need not come again.
//!
//! Everything before `upto` that does not belong to an open value is dealt with, so it is enough to name those. Kafka keeps
//! little beside an offset: ids are shortened until they fit. Two that look alike then cost a value that comes twice.
//! Pure.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use pipette_store::chunk::ChunkId;

/// Enough to tell the values of a while apart.
pub(super) type Short = [u8; 5];

/// What the runtime takes.
const LONGEST: usize = 3_000;
const VERSION: &str = "1";

/// A note that was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Records before this offset are dealt with, but for those of open values.
    pub(super) upto: i64,
    /// As it was written.
    pub(super) text: String,
    width: usize,
    open: HashSet<Vec<u8>>,
    done: HashSet<Short>,
}

impl Note {
    /// Reads what [`write`] wrote; `None` when it is anything else.
    pub(super) fn read(whole: &str) -> Option<Self> {
        let mut words = whole.split(' ');
        let mut word = || words.next();
        if word()? != VERSION {
            return None;
        }
        let upto = word()?.parse().ok()?;
        let width = word()?.parse().ok().filter(|width| (1..=16).contains(width))?;
        let (open, done) = (BASE64.decode(word()?).ok()?, BASE64.decode(word()?).ok()?);
        let open = open.chunks_exact(width).map(<[u8]>::to_vec).collect();
        Some(Self { upto, text: whole.to_owned(), width, open, done: done.as_chunks().0.iter().copied().collect() })
    }

    /// Whether a value was open.
    pub(super) fn was_open(&self, id: &ChunkId) -> bool {
        self.open.contains(&id.0[..self.width])
    }

    /// Whether a value was delivered, or given up, not long before.
    pub(super) fn was_done(&self, id: &ChunkId) -> bool {
        self.done.contains(&short(id))
    }

    /// The value comes anew.
    pub(super) fn forget(&mut self, id: &ChunkId) {
        self.done.remove(&short(id));
    }

    /// Those that were done.
    pub(super) fn done(&self) -> impl Iterator<Item = Short> {
        self.done.iter().copied()
    }
}

pub(super) fn short(id: &ChunkId) -> Short {
    let mut short = Short::default();
    short.copy_from_slice(&id.0[..size_of::<Short>()]);
    short
}

/// A note: all of the open ones, and as many of the others as fit, from the front.
pub(super) fn write(upto: i64, open: &[ChunkId], done: impl Iterator<Item = Short>) -> String {
    let head = |width: usize| format!("{VERSION} {upto} {width} ");
    let room = (LONGEST - head(16).len() - 1) / 4 * 3 - 3;
    let width = (room / open.len().max(1)).clamp(1, 8);
    let open: Vec<u8> = open.iter().flat_map(|id| &id.0[..width]).copied().collect();
    let done: Vec<Short> = done.take(room.saturating_sub(open.len()) / size_of::<Short>()).collect();
    format!("{}{} {}", head(width), BASE64.encode(open), BASE64.encode(done.as_flattened()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> ChunkId {
        ChunkId::of_position("c", "p", "o", number)
    }

    #[test]
    fn a_note_of_a_thousand_open_values_fits_and_names_each() {
        let open: Vec<_> = (0..1_000).map(id).collect();
        let done: Vec<_> = (1_000..2_000).map(id).collect();
        let text = write(i64::MAX, &open, done.iter().map(short));
        assert!(text.len() <= LONGEST, "{}", text.len());
        let note = Note::read(&text).unwrap();
        assert!(open.iter().all(|id| note.was_open(id)));
        let mistaken = done.iter().filter(|id| note.was_open(id)).count();
        assert!(mistaken < 60, "{mistaken} of a thousand others look alike");
        let text = write(1, &[], done.iter().map(short));
        assert!((1_500..=LONGEST).contains(&text.len()), "{}", text.len());
        let note = Note::read(&text).unwrap();
        assert!(note.was_done(&done[0]) && note.was_done(&done[200]) && !note.was_done(&done[999]));
    }

    #[test]
    fn what_others_wrote_is_no_note() {
        for text in ["", "2 5 8  ", "1 x 8  ", "1 5 0  ", "1 5 17  ", "1 5 8", "1 5 8 ! ", "{}"] {
            assert_eq!(Note::read(text), None, "{text:?}");
        }
        assert!(Note::read("1 5 8  ").is_some(), "nothing open, nothing done");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,64}") {
            let _ = Note::read(&text);
        }
    }
}
