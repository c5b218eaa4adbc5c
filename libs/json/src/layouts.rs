//! The members that objects had before. [`crate::Parser`] guesses from them which member comes next, so that an object
//! like an earlier one costs a comparison per member: no name is looked for, copied or hashed, and all such objects share
//! one list of keys.
//!
//! A spot is where objects stand in documents: the outermost one, or below a certain member of the objects of another
//! spot. Objects of one spot look alike, or like one of a few.

use std::sync::Arc;

use pipette_api::{Keys, Value};

use crate::track::Step;

/// Where an object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot(u32);

impl Spot {
    /// The outermost object, or the elements of the outermost array.
    pub(crate) const ROOT: Self = Self(0);
    /// Nothing is known here, and nothing is learnt.
    pub(crate) const UNKNOWN: Self = Self(u32::MAX);
}

/// Which layout an object follows so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guess(u32);

impl Guess {
    /// None of those known.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Layouts remembered for a spot; the one not seen for longest makes room.
const ALTERNATIVES: usize = 6;
/// After so many objects of a spot that were like none before, only one in so many is learnt: names that are data do
/// not come again.
const STRANGERS: u32 = 32;
/// Larger objects are not learnt.
const MAX_MEMBERS: usize = 512;
const MAX_SEAMS: usize = 16 << 10;
/// When more is known than this, everything is forgotten.
const MAX_SPOTS: usize = 256;
const MAX_LAYOUTS: usize = 512;
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Layouts {
    spots: Vec<Alternatives>,
    known: Vec<Layout>,
    bytes: usize,
}

/// The layouts of a spot, the last one seen first.
#[derive(Debug, Default)]
struct Alternatives {
    layouts: Vec<u32>,
    strangers: u32,
}

#[derive(Debug)]
struct Layout {
    keys: Arc<Keys>,
    seams: Seams,
    /// The spot of the objects below each member.
    below: Box<[Option<Spot>]>,
    /// For passing such objects; made when the first one is.
    steps: Vec<Step>,
}

/// What stands between the values of an object, in the document's own words: comma, name, colon and white space.
#[derive(Debug, Default)]
pub(crate) struct Seams {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Seams {
    #[inline]
    fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.text.get(start..end)
    }

    pub(crate) fn push(&mut self, seam: &[u8]) {
        self.text.extend_from_slice(seam);
        self.ends.push(self.text.len());
    }

    /// Takes off all from `index` on.
    pub(crate) fn split_off(&mut self, index: usize) -> Self {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let ends = self.ends.drain(index..).map(|end| end - start).collect();
        Self { text: self.text.split_off(start), ends }
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }
}

impl Layouts {
    /// What an object of the spot will be like.
    #[inline]
    pub(crate) fn guess(&self, spot: Spot) -> Guess {
        let known = self.spots.get(spot.0 as usize).and_then(|known| known.layouts.first());
        known.map_or(Guess::NONE, |layout| Guess(*layout))
    }

    /// What stands before the value of the member, if the guess is right.
    #[inline]
    pub(crate) fn seam(&self, guess: Guess, index: usize) -> Option<&[u8]> {
        self.known.get(guess.0 as usize)?.seams.get(index)
    }

    /// How to pass objects like the guess.
    #[inline]
    pub(crate) fn steps(&mut self, guess: Guess) -> &mut [Step] {
        let Some(layout) = self.known.get_mut(guess.0 as usize) else { return &mut [] };
        if layout.steps.is_empty() {
            let seams = &layout.seams;
            layout.steps = (0..seams.ends.len()).filter_map(|index| seams.get(index)).map(Step::new).collect();
            self.bytes += layout.steps.len() * size_of::<Step>();
        }
        &mut layout.steps
    }

    /// Counts memory of what was learnt of the objects inside of others.
    #[inline]
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// The keys of an object that ends after so many members, if it is like the guess or another one of the spot.
    #[inline]
    pub(crate) fn keys(&mut self, spot: Spot, guess: Guess, members: usize) -> Option<Arc<Keys>> {
        let keys = &self.known.get(guess.0 as usize)?.keys;
        if keys.len() == members {
            return Some(Arc::clone(keys));
        }
        let shorter = self.other(spot, guess, members, None)?;
        self.known.get(shorter.0 as usize).map(|layout| Arc::clone(&layout.keys))
    }

    /// The first keys of a guess and their seams, for an object that went on in another way.
    pub(crate) fn begin(&self, guess: Guess, members: usize) -> impl Iterator<Item = (&Value, &[u8])> {
        let layout = self.known.get(guess.0 as usize);
        let known = layout.into_iter().flat_map(|layout| {
            layout.keys.iter().enumerate().map(|(index, key)| (key, layout.seams.get(index).unwrap_or_default()))
        });
        known.take(members)
    }

    /// A layout of the spot that begins as the guess does and goes on with that name; without a name, that ends there.
    pub(crate) fn other(&mut self, spot: Spot, guess: Guess, index: usize, name: Option<&[u8]>) -> Option<Guess> {
        let begin = self.known.get(guess.0 as usize)?.keys.get(..index)?;
        let known = self.spots.get(spot.0 as usize)?;
        let fits = |layout: &u32| {
            let keys = &self.known[*layout as usize].keys;
            let next = match (keys.get(index), name) {
                (Some(Value::String(key)), Some(name)) => key.as_bytes() == name,
                (None, None) => keys.len() == index,
                _ => false,
            };
            // Of the guess itself that is known, at every member of a document with other white space.
            next && (*layout == guess.0 || keys[..index] == *begin)
        };
        let found = known.layouts.iter().position(fits)?;
        let known = &mut self.spots[spot.0 as usize];
        known.layouts[..=found].rotate_right(1);
        known.strangers = 0;
        Some(Guess(known.layouts[0]))
    }

    /// The spot of objects below a member.
    #[inline]
    pub(crate) fn below(&mut self, guess: Guess, index: usize) -> Spot {
        let spots = self.spots.len();
        let Some(layout) = self.known.get_mut(guess.0 as usize) else { return Spot::UNKNOWN };
        match layout.below.get_mut(index) {
            Some(Some(spot)) => *spot,
            Some(none) if spots < MAX_SPOTS => {
                let spot = Spot(u32::try_from(spots).unwrap_or_else(|_| unreachable!("at most MAX_SPOTS")));
                *none = Some(spot);
                self.spots.push(Alternatives::default());
                spot
            }
            _ => Spot::UNKNOWN,
        }
    }

    /// Shares the keys of an object that was like none before, and remembers them.
    pub(crate) fn learn(&mut self, spot: Spot, mut keys: Vec<Value>, seams: Seams) -> Arc<Keys> {
        if spot == Spot::ROOT && self.spots.is_empty() {
            self.spots.push(Alternatives::default());
        }
        let Some(known) = self.spots.get_mut(spot.0 as usize) else { return Arc::new(Keys::from(keys)) };
        known.strangers = known.strangers.wrapping_add(1);
        let often = known.strangers > STRANGERS && !known.strangers.is_multiple_of(STRANGERS);
        if often || keys.len() > MAX_MEMBERS || seams.text.len() > MAX_SEAMS {
            return Arc::new(Keys::from(keys));
        }
        // They stay longer than their document, which a long name would keep in memory with its whole batch.
        for key in &mut keys {
            if let Value::String(name) = key {
                *name = name.detach();
            }
        }
        let keys = Arc::new(Keys::from(keys));
        self.bytes += 2 * seams.text.len() + keys.len() * size_of::<Value>();
        let layout = Layout { keys: Arc::clone(&keys), seams, below: vec![None; keys.len()].into(), steps: Vec::new() };
        if known.layouts.len() == ALTERNATIVES {
            known.layouts.rotate_right(1);
            self.known[known.layouts[0] as usize] = layout;
        } else {
            let id = u32::try_from(self.known.len()).unwrap_or_else(|_| unreachable!("at most MAX_LAYOUTS"));
            known.layouts.insert(0, id);
            self.known.push(layout);
        }
        keys
    }

    /// Between documents: what is known stays within bounds.
    #[inline]
    pub(crate) fn tidy(&mut self) {
        if self.spots.len() >= MAX_SPOTS || self.known.len() >= MAX_LAYOUTS || self.bytes >= MAX_BYTES {
            *self = Self::default();
        }
    }
}
