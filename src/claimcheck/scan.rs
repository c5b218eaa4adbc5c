//! Finds in records which of the objects that are there they refer to.
//!
//! In doubt an object is referred to. Every name of an object has a number of 128 bits or more in it, as digits in base 16: a
//! UUID, a SHA-256, or a position. Where the last 32 of those digits stand in a record, in a header, the key or the value, the
//! record refers to the object: no converter, schema, encoding of addresses or form of reference has to be known. The same
//! content may have an object for each day, so the date in front of the digits tells which.

use pipette_api::{Blob, Body, ConnectError, RawRecord, Result};
use pipette_store::Reference;

/// Digits that tell an object.
const DIGITS: usize = 32;
/// How far in front of the last digits the date can begin: 32 digits before them, a slash in some encoding, the date.
const DATE_WITHIN: usize = 64;

/// Objects of several stores, by what tells them apart: 32 bytes each.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Sorted, once `seal` was called.
    objects: Vec<Mark>,
    referred: Vec<bool>,
}

/// What of an object's name is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    number: u128,
    /// As `yyyymmdd`; 0 where the name has none.
    date: u32,
    /// Which of the stores it is in.
    store: u32,
}

impl Mark {
    fn of(key: &str, store: u32) -> Option<Self> {
        let mut last = None;
        numbers(key.as_bytes(), &mut |number, at| last = Some((number, at)));
        let (number, at) = last?;
        Some(Self { number, date: dates(key.as_bytes(), at).last().unwrap_or_default(), store })
    }
}

/// What a record says of objects.
#[derive(Debug, Default)]
struct Said {
    /// Numbers with a date in front.
    dated: Vec<u128>,
    /// Numbers without; the same number may stand with its date elsewhere in the record.
    bare: Vec<u128>,
}

impl Index {
    /// Adds an object; false when its name has no number in it.
    pub(super) fn add(&mut self, key: &str, store: u32) -> bool {
        let mark = Mark::of(key, store);
        self.objects.extend(mark);
        mark.is_some()
    }

    /// To be called when all objects are there.
    pub(super) fn seal(&mut self) {
        self.objects.sort_unstable();
        self.objects.dedup();
        self.referred = vec![false; self.objects.len()];
    }

    /// True for an object that was added and that no record refers to.
    pub(super) fn is_orphan(&self, key: &str, store: u32) -> bool {
        let found = Mark::of(key, store).and_then(|mark| self.objects.binary_search(&mark).ok());
        found.is_some_and(|at| !self.referred[at])
    }

    /// Whether any record refers to any object of a store.
    pub(super) fn is_referred_to(&self, store: u32) -> bool {
        self.objects.iter().zip(&self.referred).any(|(mark, referred)| *referred && mark.store == store)
    }

    /// Marks what a record refers to; true when it refers to anything that is there. `headers` are those that hold
    /// references: one that is none is an error, since what it was to say is unknown.
    pub(super) fn read(&mut self, record: &RawRecord, headers: &[&str]) -> Result<bool> {
        let mut said = Said::default();
        let mut found = false;
        for (name, value) in &record.headers {
            let Some(value) = value else { continue };
            let has_number = self.look(value.as_bytes(), &mut said, &mut found);
            if !has_number && headers.contains(&&**name) {
                Reference::of_json(value.as_bytes()).map_err(|error| {
                    error.within(format!("{} offset {}, header {name}: nothing was deleted", record.tp, record.offset))
                })?;
            }
        }
        if let Some(key) = &record.key {
            self.look(key.as_bytes(), &mut said, &mut found);
        }
        match &record.value {
            None => {}
            Some(Body::Bytes(value)) => drop(self.look(Blob::as_bytes(value), &mut said, &mut found)),
            Some(Body::Payload(_)) => {
                return Err(ConnectError::fatal(format!(
                    "{} offset {}: the value is no bytes",
                    record.tp, record.offset
                )));
            }
        }
        for number in said.bare {
            if !said.dated.contains(&number) {
                found |= self.mark(number, None);
            }
        }
        Ok(found)
    }

    /// Marks what is dated, notes what is not; true when there is any number, known or not.
    fn look(&mut self, bytes: &[u8], said: &mut Said, found: &mut bool) -> bool {
        let mut any = false;
        numbers(bytes, &mut |number, at| {
            any = true;
            let from = self.objects.partition_point(|mark| mark.number < number);
            if self.objects.get(from).is_none_or(|mark| mark.number != number) {
                return;
            }
            let dates: Vec<u32> = dates(bytes, at).collect();
            if dates.is_empty() {
                said.bare.push(number);
            } else {
                said.dated.push(number);
                *found |= self.mark(number, Some(&dates));
            }
        });
        any
    }

    /// Marks the objects with that number, and with one of these dates or none.
    fn mark(&mut self, number: u128, dates: Option<&[u32]>) -> bool {
        let mut marked = false;
        let from = self.objects.partition_point(|mark| mark.number < number);
        let same = self.objects[from..].iter().take_while(|mark| mark.number == number);
        for (mark, referred) in same.zip(&mut self.referred[from..]) {
            if mark.date == 0 || dates.is_none_or(|dates| dates.contains(&mark.date)) {
                *referred = true;
                marked = true;
            }
        }
        marked
    }
}

/// Every 32 digits in a row, hyphens left out, with the place of the first one. Digits that follow each other without an end
/// give a number for each place where 32 can begin: what stands around a name is not known.
fn numbers(bytes: &[u8], each: &mut dyn FnMut(u128, usize)) {
    let (mut at, mut done) = (DIGITS - 1, 0);
    // Wherever 32 stand in a row, one of them stands here.
    while at < bytes.len() {
        if !is_digit(bytes[at]) {
            at += DIGITS;
            continue;
        }
        let before = bytes[done..at].iter().rev().take_while(|byte| is_digit(**byte)).count();
        let after = bytes[at..].iter().take_while(|byte| is_digit(**byte)).count();
        run(&bytes[at - before..at + after], at - before, each);
        done = at + after;
        at = done + DIGITS;
    }
}

/// The numbers in digits and hyphens only.
fn run(bytes: &[u8], start: usize, each: &mut dyn FnMut(u128, usize)) {
    let (mut number, mut places, mut count) = (0_u128, [0; DIGITS], 0);
    for (index, byte) in bytes.iter().enumerate() {
        let Some(digit) = char::from(*byte).to_digit(16) else { continue };
        number = (number << 4) | u128::from(digit);
        places[count % DIGITS] = start + index;
        count += 1;
        if count >= DIGITS {
            each(number, places[count % DIGITS]);
        }
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == b'-'
}

/// The dates that stand shortly in front of a place, as `yyyymmdd`.
fn dates(bytes: &[u8], at: usize) -> impl Iterator<Item = u32> {
    let before = &bytes[at.saturating_sub(DATE_WITHIN)..at];
    before.windows("yyyy-mm-dd".len()).filter_map(|text| {
        let fits =
            |(place, byte): (usize, &u8)| if matches!(place, 4 | 7) { *byte == b'-' } else { byte.is_ascii_digit() };
        let whole = text.iter().enumerate().all(fits);
        let digits = text.iter().filter(|byte| byte.is_ascii_digit());
        whole.then(|| digits.fold(0, |date, byte| date * 10 + u32::from(byte - b'0')))
    })
}

#[cfg(test)]
mod tests;
