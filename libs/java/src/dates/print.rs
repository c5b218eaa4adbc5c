//! A time as text.

use std::fmt::Write;

use super::names::{DAYS, ERAS, HALVES, MONTHS, UTC};
use super::pattern::{Field, Part};
use crate::calendar::{CHANGE, Moment, day_number, days};

pub(super) fn print(parts: &[Part], millis: i64, out: &mut String) {
    let moment = Moment::of(millis);
    for part in parts {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Field(field) => field.print(&moment, out),
        }
    }
}

impl Field {
    fn print(self, moment: &Moment, out: &mut String) {
        let hour = moment.millis / 3_600_000;
        let number = match self.letter {
            'y' => return self.print_year(year_of_era(moment), out),
            'Y' => return self.print_year(week_year(moment), out),
            'G' => return out.push_str(ERAS[usize::from(moment.year > 0)][0]),
            'M' | 'L' if self.count > 2 => return self.name(&MONTHS, moment.month - 1, out),
            'E' => return self.name(&DAYS, weekday(moment.days), out),
            'a' => return self.name(&HALVES, hour / 12, out),
            'z' => return out.push_str(UTC[usize::from(self.count > 3)]),
            'Z' => return out.push_str("+0000"),
            'X' => return out.push('Z'),
            'M' | 'L' => moment.month,
            'd' => moment.day,
            'k' if hour == 0 => 24,
            'H' | 'k' => hour,
            'h' if hour % 12 == 0 => 12,
            'K' | 'h' => hour % 12,
            'm' => moment.millis / 60_000 % 60,
            's' => moment.millis / 1000 % 60,
            'S' => moment.millis % 1000,
            'D' => moment.days - first_of_year(moment.year) + 1,
            'F' => (moment.days - first_of_month(moment)) / 7 + 1,
            'w' => week_of_year(moment),
            'W' => week_of(first_of_month(moment), moment.days),
            // Monday is 1, Sunday 7.
            _ => (weekday(moment.days) + 6) % 7 + 1,
        };
        pad(number, self.count, out);
    }

    fn name(self, names: &[[&str; 2]], index: i64, out: &mut String) {
        let index = usize::try_from(index).unwrap_or_else(|_| unreachable!("names are counted from 0"));
        out.push_str(names[index][usize::from(self.count > 3)]);
    }

    /// Two letters are the last two digits.
    fn print_year(self, year: i64, out: &mut String) {
        if self.count == 2 {
            out.push_str(if year < 0 { "-" } else { "" });
            pad((year % 100).abs(), 2, out);
        } else {
            pad(year, self.count, out);
        }
    }
}

/// At least so many digits; the sign is none of them.
fn pad(number: i64, digits: usize, out: &mut String) {
    // Nearly every number in a date has one or two digits and is not worth the formatter.
    match (number, digits) {
        (0..=9, 0..=1) => out.push(digit(number)),
        (0..=99, 2) => out.extend([digit(number / 10), digit(number % 10)]),
        (0.., _) => drop(write!(out, "{number:0digits$}")),
        _ => drop(write!(out, "-{:0digits$}", number.unsigned_abs())),
    }
}

fn digit(number: i64) -> char {
    u32::try_from(number).ok().and_then(|number| char::from_digit(number, 10)).unwrap_or('0')
}

fn year_of_era(moment: &Moment) -> i64 {
    if moment.year > 0 { moment.year } else { 1 - moment.year }
}

/// Sunday is 0.
pub(super) fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

pub(super) fn first_of_year(year: i64) -> i64 {
    days(year, 1, 1)
}

/// October 1582 begins with a Julian day.
fn first_of_month(moment: &Moment) -> i64 {
    let first = day_number(moment.year, moment.month, moment.days >= CHANGE);
    if moment.days >= CHANGE && first < CHANGE { day_number(moment.year, moment.month, false) } else { first }
}

/// The week of a period that began on `first`: weeks begin on Sunday, and the first day is in week 1.
fn week_of(first: i64, day: i64) -> i64 {
    (day - (first - weekday(first))) / 7 + 1
}

/// The last days of December may be in week 1.
fn week_of_year(moment: &Moment) -> i64 {
    let next = first_of_year(moment.year + 1);
    if moment.days >= next - weekday(next) { 1 } else { week_of(first_of_year(moment.year), moment.days) }
}

/// The last days of December may be of the next year. Before Christ, Java looks for the first weekday of that year at the
/// year of the same number after Christ.
fn week_year(moment: &Moment) -> i64 {
    let next = first_of_year(moment.year + 1);
    let looked_at = if moment.year > 0 { next } else { first_of_year(-moment.year) };
    moment.year + i64::from(moment.month == 12 && next - moment.days <= weekday(looked_at))
}
