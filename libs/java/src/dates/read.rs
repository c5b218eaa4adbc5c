//! Text as a time.

use super::Century;
use super::fields::{Fields, Is};
use super::names::{DAYS, ERAS, HALVES, MONTHS, ZONES, find, starts_with};
use super::pattern::{Field, Part};
use crate::number::digit;

/// The text that is left, and how much of the whole has been read, in UTF-16 units, as Java counts.
struct Scan<'a> {
    rest: &'a str,
}

pub(super) fn read(parts: &[Part], century: Century, text: &str) -> Option<i64> {
    let mut scan = Scan { rest: text };
    let mut fields = Fields::default();
    let mut on_the_edge = false;
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Literal(literal) => scan.rest = scan.rest.strip_prefix(literal.as_str())?,
            Part::Field(field) => {
                let limited = matches!(parts.get(index + 1), Some(Part::Field(next)) if next.is_number());
                on_the_edge |= scan.field(*field, limited, century, &mut fields)?;
            }
        }
    }
    // Java takes it for an error when nothing was read.
    if scan.rest.len() == text.len() {
        return None;
    }
    let time = fields.time();
    if on_the_edge && time < century.millis {
        fields.add_years(100);
        return Some(fields.time());
    }
    Some(time)
}

impl Field {
    /// Whether a number in front of it ends after as many characters as its own field has letters.
    fn is_number(self) -> bool {
        match self.letter {
            'M' | 'L' => self.count <= 2,
            letter => !matches!(letter, 'G' | 'E' | 'a' | 'z' | 'Z' | 'X'),
        }
    }
}

impl Scan<'_> {
    /// Reads a field; true for a year at the edge of the century.
    fn field(&mut self, field: Field, limited: bool, century: Century, fields: &mut Fields) -> Option<bool> {
        let blanks = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        // Blanks alone are no field, whatever it is.
        if blanks == self.rest.len() {
            return None;
        }
        let limit = limited.then_some(field.count);
        match field.letter {
            'G' => self.name(&ERAS, Is::Era, 0, fields)?,
            'M' | 'L' if field.count > 2 => self.name(&MONTHS, Is::Month, 0, fields)?,
            'E' => self.name(&DAYS, Is::DayOfWeek, 1, fields)?,
            'a' => self.name(&HALVES, Is::AmPm, 0, fields)?,
            'z' | 'Z' => self.zone(blanks, fields)?,
            'X' => self.iso_zone(blanks, field.count, fields)?,
            'y' | 'Y' => {
                return self.year(field, limit, blanks, century, fields);
            }
            letter => {
                let number = self.number(limit, blanks)?;
                let (is, value) = meaning(letter, number);
                fields.set(is, value);
            }
        }
        Some(false)
    }

    fn year(
        &mut self,
        field: Field,
        limit: Option<usize>,
        blanks: usize,
        century: Century,
        fields: &mut Fields,
    ) -> Option<bool> {
        let before = &self.rest[blanks..];
        let mut year = self.number(limit, blanks)?;
        let read = &before[..before.len() - self.rest.len()];
        let two_digits = read.chars().count() == 2 && read.chars().all(|character| digit(character).is_some());
        let mut edge = false;
        if field.count <= 2 && two_digits {
            let first = century.year % 100;
            edge = year == first;
            year += century.year / 100 * 100 + if year < first { 100 } else { 0 };
        }
        fields.set(if field.letter == 'y' { Is::Year } else { Is::WeekYear }, year);
        Some(edge)
    }

    /// A whole number as Java's `NumberFormat` reads it, at most `limit` characters with the blanks before it.
    fn number(&mut self, limit: Option<usize>, blanks: usize) -> Option<i32> {
        let text = match limit {
            None => &self.rest[blanks..],
            Some(limit) => {
                let end = units(self.rest, limit)?;
                self.rest.get(blanks..end)?
            }
        };
        let (number, length) = whole_number(text)?;
        self.rest = &self.rest[blanks + length..];
        Some(number)
    }

    /// Names stand right here: blanks before them are not skipped.
    fn name(&mut self, names: &[[&str; 2]], is: Is, first: usize, fields: &mut Fields) -> Option<()> {
        let (index, length) = find(self.rest, names)?;
        self.rest = &self.rest[length..];
        fields.set(is, i32::try_from(index + first).ok()?);
        Some(())
    }

    /// `+0200`, `GMT`, `GMT+2:00` or a name.
    fn zone(&mut self, blanks: usize, fields: &mut Fields) -> Option<()> {
        let text = &self.rest[blanks..];
        let signed = |text: &str| text.starts_with(['+', '-']);
        let (minutes, left) = if signed(text) {
            offset(text, 0, false)?
        } else if starts_with(self.rest, "GMT").is_some() {
            let behind = &self.rest[3..];
            if signed(behind) { offset(behind, 0, true)? } else { (0, behind) }
        } else {
            let known = ZONES.iter().filter_map(|(name, minutes)| Some((*minutes, starts_with(text, name)?)));
            let (minutes, length) = known.max_by_key(|(_, length)| *length)?;
            self.rest = &text[length..];
            // The zone of the format itself changes nothing, not even an offset that came before.
            if minutes == 0 && starts_with(text, "W").is_none() {
                return Some(());
            }
            (minutes, &text[length..])
        };
        fields.set(Is::Offset, minutes * 60_000);
        self.rest = &self.rest[self.rest.len() - left.len()..];
        Some(())
    }

    /// `Z`, `+02`, `+0200` or `+02:00`, by the number of letters.
    fn iso_zone(&mut self, blanks: usize, count: usize, fields: &mut Fields) -> Option<()> {
        let text = &self.rest[blanks..];
        let (minutes, left) = match text.strip_prefix('Z') {
            Some(left) => (0, left),
            None => offset(text, count, count == 3)?,
        };
        fields.set(Is::Offset, minutes * 60_000);
        self.rest = &self.rest[self.rest.len() - left.len()..];
        Some(())
    }
}

/// Which field of the calendar a number is for.
fn meaning(letter: char, number: i32) -> (Is, i32) {
    match letter {
        'M' | 'L' => (Is::Month, number.wrapping_sub(1)),
        'd' => (Is::DayOfMonth, number),
        'k' => (Is::HourOfDay, if number == 24 { 0 } else { number }),
        'H' => (Is::HourOfDay, number),
        'm' => (Is::Minute, number),
        's' => (Is::Second, number),
        'S' => (Is::Millis, number),
        'D' => (Is::DayOfYear, number),
        'F' => (Is::DayOfWeekInMonth, number),
        'w' => (Is::WeekOfYear, number),
        'W' => (Is::WeekOfMonth, number),
        'h' => (Is::Hour, if number == 12 { 0 } else { number }),
        'K' => (Is::Hour, number),
        // Monday is 1 and becomes 2, as Sunday is 1 there; what is no day of the week stays.
        _ => (Is::DayOfWeek, if (1..=7).contains(&number) { number % 7 + 1 } else { number }),
    }
}

/// Where so many UTF-16 units end; `None` when there are fewer.
fn units(text: &str, count: usize) -> Option<usize> {
    let mut left = count;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.saturating_sub(character.len_utf16());
    }
    (left == 0).then_some(text.len())
}

/// A number and its length: a minus, digits of any script, an exponent. Java's `intValue`: the low bits of what fits in 64
/// bits, the nearest of what does not.
fn whole_number(text: &str) -> Option<(i32, usize)> {
    if text.starts_with("NaN") {
        return Some((0, 3));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let negative = digits.len() < text.len();
    let edge = if negative { i32::MIN } else { i32::MAX };
    if let Some(rest) = digits.strip_prefix('∞') {
        return Some((edge, text.len() - rest.len()));
    }
    let (below, mut rest) = leading_digits(digits)?;
    let mut number = if negative { below } else { below.and_then(i64::checked_neg) };
    if let Some((exponent, behind)) = rest.strip_prefix('E').and_then(exponent) {
        let mantissa = &text[..text.len() - rest.len()];
        number = scaled(mantissa, exponent);
        rest = behind;
    }
    #[expect(clippy::cast_possible_truncation, reason = "Java keeps the low bits")]
    let value = number.map_or(edge, |number| number as i32);
    Some((value, text.len() - rest.len()))
}

/// The digits that a text begins with, as a number below zero if it fits in 64 bits, and what is behind them.
fn leading_digits(text: &str) -> Option<(Option<i64>, &str)> {
    let mut number = Some(0_i64);
    let mut length = 0;
    for character in text.chars() {
        let Some(digit) = digit(character) else { break };
        number = number.and_then(|number| number.checked_mul(10)?.checked_sub(i64::from(digit)));
        length += character.len_utf8();
    }
    (length > 0).then(|| (number, &text[length..]))
}

/// What stands behind an `E`, if it is an exponent of 64 bits, of which Java keeps 32.
fn exponent(text: &str) -> Option<(i32, &str)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (below, rest) = leading_digits(digits)?;
    let exponent = if digits.len() < text.len() { below? } else { below?.checked_neg()? };
    #[expect(clippy::cast_possible_truncation, reason = "Java keeps the low bits")]
    Some((exponent as i32, rest))
}

/// Digits with an exponent, cut off at the point; `None` beyond 64 bits.
fn scaled(mantissa: &str, exponent: i32) -> Option<i64> {
    let (sign, digits) = mantissa.strip_prefix('-').map_or((1, mantissa), |digits| (-1, digits));
    let digits: String = digits.chars().filter_map(digit).map(|digit| char::from(b'0' + digit)).collect();
    let digits = digits.trim_start_matches('0');
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX) + i64::from(exponent);
    let whole = match usize::try_from(length) {
        _ if digits.is_empty() => return Some(0),
        Err(_) | Ok(0) => return Some(0),
        Ok(20..) => return None,
        Ok(length) => format!("{digits:0<length$}"),
    };
    let number: i128 = whole[..usize::try_from(length).ok()?].parse().ok()?;
    i64::try_from(sign * number).ok()
}

/// An offset such as `+0200` in minutes, and the text behind it. With a colon one digit is enough for the hours of no
/// certain form (`count` 0), and `count` 1 has no minutes.
fn offset(text: &str, count: usize, colon: bool) -> Option<(i32, &str)> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let mut rest = text.strip_prefix(['+', '-'])?;
    let mut digit = |optional: bool| {
        let byte = rest.bytes().next()?;
        if byte.is_ascii_digit() {
            rest = &rest[1..];
            return Some(Some(i32::from(byte - b'0')));
        }
        optional.then_some(None)
    };
    let first = digit(false)??;
    let hours = digit(colon && count == 0)?.map_or(first, |second| first * 10 + second);
    if hours > 23 {
        return None;
    }
    if count == 1 {
        return Some((sign * hours * 60, rest));
    }
    if colon {
        rest = rest.strip_prefix(':')?;
    }
    let minutes: i32 = rest.get(..2).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    (minutes < 60).then(|| (sign * (hours * 60 + minutes), &rest[2..]))
}
