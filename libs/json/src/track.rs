//! Objects like earlier ones, passed at a glance: what stands between two values is compared as one vector, and what the
//! values are is only looked at. [`crate::Parser::outline`] passes the members of records so, and the objects inside of them.
//!
//! Everything that is not in the usual form is left to [`crate::walk`] and [`crate::Reader`], which also say what is wrong.
//! Read next: `track/like.rs`.

mod like;
#[cfg(test)]
mod tests;
mod witness;

use pipette_api::data::Span;

use self::like::{NumberLike, StringLike};
use self::witness::{Nobody, Witness};
use crate::scan::{self, Extent};
use crate::walk::{self, Blind};

/// Objects inside of a record that have more members, or lie deeper, are not learnt.
const MEMBERS: usize = 16;
const LEVELS: usize = 4;
/// What stands before a value and is longer is not compared here.
const WIDE: usize = 31;
/// So many bytes are looked at together: what stands before a value, and where it begins.
const WINDOW: usize = 64;

/// A member of objects that were seen before.
#[derive(Debug)]
pub(crate) struct Step {
    /// What stands before its value, and a bit for each byte of that.
    seam: [[u8; 16]; 2],
    bits: [u16; 2],
    seam_len: u8,
    string: StringLike,
    number: NumberLike,
    /// How many values that are objects or arrays were not passed in this way, one after the other.
    strangers: u32,
    /// The members of the object that the value is, or of those in the array that it is.
    below: Option<Box<[Step]>>,
}

impl Step {
    /// A member with this before its value.
    pub(crate) fn new(seam: &[u8]) -> Self {
        let fits = seam.len() <= WIDE;
        let seam_len = if fits { seam.len() } else { 0 };
        let mut begin = [0; 32];
        begin[..seam_len].copy_from_slice(&seam[..seam_len]);
        let (halves, _) = begin.as_chunks();
        // No text begins with 32 zeros where a member does.
        let bits = if fits { (1u32 << seam_len) - 1 } else { u32::MAX };
        let [a, b, c, d] = bits.to_le_bytes();
        Self {
            seam: [halves[0], halves[1]],
            bits: [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])],
            seam_len: u8::try_from(seam_len).unwrap_or_else(|_| unreachable!("at most WIDE")),
            string: StringLike::NONE,
            number: NumberLike::NONE,
            strangers: 0,
            below: None,
        }
    }

    /// True when this member is next.
    #[inline]
    fn stands(&self, window: &[u8; WINDOW]) -> bool {
        let (halves, _) = window.as_chunks();
        scan::differences(&halves[0], &self.seam[0]) & u32::from(self.bits[0]) == 0
            && (self.bits[1] == 0 || scan::differences(&halves[1], &self.seam[1]) & u32::from(self.bits[1]) == 0)
    }
}

/// Passes objects of one document.
pub(crate) struct Passer<'a> {
    bytes: &'a [u8],
    /// About how many bytes of memory were taken for what was learnt.
    pub(crate) learnt: usize,
}

/// So many zeros stand behind a document, so that windows reach to its end. Nothing is passed that has one in it.
const PADDING: [u8; WINDOW] = [0; WINDOW];
/// Of a longer document the last members are left alone.
const MAX_COPY: usize = 8 << 10;

impl<'a> Passer<'a> {
    pub(crate) fn new(bytes: &'a [u8], copy: &'a mut Vec<u8>) -> Self {
        if bytes.len() > MAX_COPY {
            return Self { bytes, learnt: 0 };
        }
        copy.clear();
        copy.extend_from_slice(bytes);
        copy.extend_from_slice(&PADDING);
        Self { bytes: copy, learnt: 0 }
    }

    /// Passes members of a record from there on, as long as they are those of the steps and in the usual form; leaves in
    /// `spans` where each value is. Where the last value ended that was passed.
    #[inline(never)]
    pub(crate) fn members(&mut self, steps: &mut [Step], mut at: usize, spans: &mut Vec<Span>) -> usize {
        let mut passed = spans.len();
        let Some((steps, none)) = steps.get_mut(passed..).zip(Span::other(0)) else { return at };
        spans.resize(passed + steps.len(), none);
        for (step, span) in steps.iter_mut().zip(&mut spans[passed..]) {
            let Some(rest) = self.bytes.get(at..) else { break };
            let Some(len) = self.step(step, rest, at, 0, span) else { break };
            at += len;
            passed += 1;
        }
        spans.truncate(passed);
        at
    }

    /// Passes a member that begins there; how long it is.
    #[inline]
    fn step(
        &mut self,
        step: &mut Step,
        rest: &[u8],
        at: usize,
        level: usize,
        witness: &mut impl Witness,
    ) -> Option<usize> {
        let window = rest.first_chunk::<WINDOW>()?;
        if !step.stands(window) {
            return None;
        }
        let seam = usize::from(step.seam_len) & WIDE;
        let value: &[u8; 32] = window[seam..].first_chunk()?;
        let start = at + seam;
        if value[0] == b'"' {
            let len = match step.string.end(value) {
                Some(end) if value[end & 31] == b'"' => end + 1,
                Some(_) => return None,
                None => string_len(&rest[seam..])?,
            };
            witness.string(start, len)?;
            Some(seam + len)
        } else if value[0].wrapping_sub(b'-') <= b'9' - b'-' {
            let text = value.first_chunk()?;
            if let Some(len) = step.number.len(text) {
                witness.usual_number(text, start, &step.number)?;
                return Some(seam + len);
            }
            let extent = Extent::of(text)?;
            step.number.learn(text, extent);
            witness.number(text, start, extent)?;
            Some(seam + extent.end)
        } else if matches!(value[0], b'{' | b'[') {
            witness.nested(start)?;
            Some(seam + self.nested(step, &rest[seam..], level)?)
        } else {
            let len = word(value)?;
            witness.word(start, len)?;
            Some(seam + len)
        }
    }

    /// How long an object or array is.
    #[inline(never)]
    fn nested(&mut self, step: &mut Step, bytes: &[u8], level: usize) -> Option<usize> {
        let passed = match (&mut step.below, bytes[0]) {
            (Some(steps), b'{') => self.object(steps, bytes, level),
            (Some(steps), _) => self.array(steps, bytes, level),
            (None, b'[') => self.array(&mut [], bytes, level),
            (None, _) => None,
        };
        if passed.is_some() {
            step.strangers = 0;
            return passed;
        }
        let len = walk::walk(bytes, 0, &mut Blind)?;
        step.strangers = step.strangers.wrapping_add(1);
        // One of another kind among many changes nothing, and objects that are never alike would be learnt for nothing.
        let seldom = step.strangers.is_power_of_two() || step.strangers.is_multiple_of(1 << 12);
        let first = step.strangers == 1 && step.below.is_some();
        if seldom
            && !first
            && level < LEVELS
            && let Some(steps) = self.learn(bytes)
        {
            let known = step.below.replace(steps).is_some();
            step.strangers *= u32::from(known);
        }
        Some(len)
    }

    #[inline]
    fn array(&mut self, steps: &mut [Step], bytes: &[u8], level: usize) -> Option<usize> {
        if *bytes.get(1)? == b']' {
            return Some(2);
        }
        let mut at = 1;
        loop {
            at += match bytes.get(at)? {
                b'{' if !steps.is_empty() => self.object(steps, &bytes[at..], level)?,
                b'{' | b'[' => return None,
                _ => walk::scalar(&bytes[at..], 0, &mut Blind)?,
            };
            let byte = bytes.get(at)?;
            at += 1;
            match byte {
                b',' => {}
                b']' => return Some(at),
                _ => return None,
            }
        }
    }

    #[inline(never)]
    fn object(&mut self, steps: &mut [Step], bytes: &[u8], level: usize) -> Option<usize> {
        let mut rest = bytes.get(1..)?;
        for step in steps {
            let len = self.step(step, rest, 0, level + 1, &mut Nobody)?;
            rest = rest.get(len..)?;
        }
        (*rest.first()? == b'}').then_some(bytes.len() - rest.len() + 1)
    }

    /// The members of an object, or of the first one in an array.
    #[cold]
    fn learn(&mut self, bytes: &[u8]) -> Option<Box<[Step]>> {
        let mut at = usize::from(bytes[0] == b'[');
        let mut steps = Vec::new();
        if *bytes.get(at)? != b'{' {
            return None;
        }
        at += 1;
        while steps.len() < MEMBERS {
            let start = at;
            at = walk::name(bytes, at + usize::from(!steps.is_empty()), &mut Blind)?;
            steps.push(Step::new(&bytes[start..at]));
            at = match bytes.get(at)? {
                b'{' | b'[' => walk::walk(bytes, at, &mut Blind)?,
                _ => walk::scalar(bytes, at, &mut Blind)?,
            };
            match bytes.get(at)? {
                b',' => {}
                b'}' => {
                    self.learnt += steps.len() * size_of::<Step>();
                    return Some(steps.into());
                }
                _ => return None,
            }
        }
        None
    }
}

/// The length of a string that is longer than its window.
#[inline(never)]
fn string_len(rest: &[u8]) -> Option<usize> {
    walk::string_end(rest, 0)
}

/// The length of a word that is there.
#[inline]
fn word(window: &[u8; 32]) -> Option<usize> {
    const TRUE: u32 = u32::from_le_bytes(*b"true");
    const NULL: u32 = u32::from_le_bytes(*b"null");
    const FALS: u32 = u32::from_le_bytes(*b"fals");
    match u32::from_le_bytes(*window.first_chunk()?) {
        TRUE | NULL => Some(4),
        FALS if window[4] == b'e' => Some(5),
        _ => None,
    }
}
