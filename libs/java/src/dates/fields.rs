//! Fields of a date that were set one after the other, and the time they mean: Java's lenient calendar.
//!
//! Several sets of fields name a day (month and day, day of the year, week and weekday, …). The set that was completed last
//! counts; nothing has to lie in its range.

use super::print::{first_of_year, weekday};
use crate::calendar::{CHANGE, DAY_MILLIS, Moment, day_number, days};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Era,
    Year,
    Month,
    WeekOfYear,
    WeekOfMonth,
    DayOfMonth,
    DayOfYear,
    DayOfWeek,
    DayOfWeekInMonth,
    AmPm,
    Hour,
    HourOfDay,
    Minute,
    Second,
    Millis,
    /// Milliseconds ahead of UTC.
    Offset,
    WeekYear,
}

const COUNT: usize = Is::WeekYear as usize + 1;

/// A stamp says when a field was set; 0 is never.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    stamps: [u32; COUNT],
    values: [i32; COUNT],
    last: u32,
}

/// The first of a month or year and the day in it, by which a day can be named.
enum Way {
    DayOfMonth,
    WeekOfMonth,
    DayOfWeekInMonth,
    DayOfYear,
    WeekOfYear,
}

impl Fields {
    pub(super) fn set(&mut self, field: Is, value: i32) {
        self.last += 1;
        self.stamps[field as usize] = self.last;
        self.values[field as usize] = value;
    }

    /// The years, to move them by a century.
    pub(super) fn add_years(&mut self, years: i32) {
        for field in [Is::Year, Is::WeekYear] {
            self.values[field as usize] = self.values[field as usize].wrapping_add(years);
        }
    }

    fn stamp(&self, field: Is) -> u32 {
        self.stamps[field as usize]
    }

    fn has(&self, field: Is) -> bool {
        self.stamp(field) > 0
    }

    fn get(&self, field: Is) -> i64 {
        i64::from(self.values[field as usize])
    }

    /// Milliseconds since 1970.
    pub(super) fn time(&self) -> i64 {
        let mut fields = self.clone();
        if self.stamp(Is::WeekYear) > self.stamp(Is::Year) {
            fields.settle_week_date();
        }
        fields.settled()
    }

    fn settled(&self) -> i64 {
        let of_day = self.time_of_day();
        let day = self.day(of_day.div_euclid(DAY_MILLIS));
        let millis = day.wrapping_mul(DAY_MILLIS).wrapping_add(of_day.rem_euclid(DAY_MILLIS));
        millis.wrapping_sub(self.get(Is::Offset))
    }

    fn time_of_day(&self) -> i64 {
        let (day_hour, half_hour) = (self.stamp(Is::HourOfDay), self.both(Is::Hour, Is::AmPm));
        let halves =
            if day_hour.max(half_hour) > 0 { half_hour > day_hour } else { self.has(Is::Hour) || self.has(Is::AmPm) };
        let half = if self.has(Is::AmPm) { 12 * self.get(Is::AmPm) } else { 0 };
        let hours = if halves { self.get(Is::Hour) + half } else { self.get(Is::HourOfDay) };
        ((hours * 60 + self.get(Is::Minute)) * 60 + self.get(Is::Second)) * 1000 + self.get(Is::Millis)
    }

    /// When the later one of two was set, if both were.
    fn both(&self, a: Is, b: Is) -> u32 {
        if self.has(a) && self.has(b) { self.stamp(a).max(self.stamp(b)) } else { 0 }
    }

    /// A year of weeks becomes year, month and day, which count then.
    fn settle_week_date(&mut self) {
        let week = if self.has(Is::WeekOfYear) { self.values[Is::WeekOfYear as usize] } else { 1 };
        // Sunday is 1; a number beyond the week moves on by weeks, counted as ISO does, from Monday.
        let day = if self.has(Is::DayOfWeek) { self.get(Is::DayOfWeek) } else { 1 };
        let (weeks, of_week) = match day {
            1..=7 => (0, day - 1),
            8.. => ((day - 1) / 7, ((day - 1) % 7 + 1) % 7),
            _ => ((day - 1).div_euclid(7), ((day - 1).rem_euclid(7) + 1) % 7),
        };
        let int = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
        // The other fields say whether it is counted backwards.
        let before = Moment::of(self.settled()).year <= 0;
        let first = first_of_year(if before { 1 - self.get(Is::WeekYear) } else { self.get(Is::WeekYear) });
        let weeks = week.wrapping_add(int(weeks)).wrapping_sub(1).wrapping_mul(7);
        let day = first - weekday(first) + i64::from(weeks.wrapping_add(int(of_week)));
        let moment = Moment::of(day.wrapping_mul(DAY_MILLIS));
        self.set(Is::Year, int(moment.year));
        self.set(Is::Month, int(moment.month - 1));
        self.set(Is::DayOfMonth, int(moment.day));
        self.stamps[Is::Era as usize] = 0;
    }

    /// The set of fields that was completed last.
    fn way(&self) -> Way {
        let of_month = self.stamp(Is::DayOfMonth);
        let week_of_month = self.both(Is::WeekOfMonth, Is::DayOfWeek);
        let in_month = self.both(Is::DayOfWeekInMonth, Is::DayOfWeek);
        let of_year = self.stamp(Is::DayOfYear);
        let week_of_year = self.both(Is::WeekOfYear, Is::DayOfWeek);
        let stamps = [of_month, week_of_month, in_month, of_year, week_of_year];
        if stamps.iter().any(|stamp| *stamp > 0) {
            return self.way_by(stamps);
        }
        // None is complete; a weekday alone is the first of its kind in the month.
        let in_month = self.stamp(Is::DayOfWeekInMonth).max(self.stamp(Is::DayOfWeek));
        let stamps = [0, self.stamp(Is::WeekOfMonth), in_month, 0, self.stamp(Is::WeekOfYear)];
        if stamps.iter().any(|stamp| *stamp > 0) { self.way_by(stamps) } else { Way::DayOfMonth }
    }

    fn way_by(&self, [of_month, week_of_month, in_month, of_year, week_of_year]: [u32; 5]) -> Way {
        let best = of_month.max(week_of_month).max(in_month).max(of_year).max(week_of_year);
        if best == of_month {
            return Way::DayOfMonth;
        }
        let of_week = self.stamp(Is::WeekOfYear);
        let by_week = best == week_of_month && self.stamp(Is::WeekOfMonth) >= of_week;
        let by_count = best == in_month && self.stamp(Is::DayOfWeekInMonth) >= of_week;
        if by_week || by_count {
            let equal = week_of_month == in_month;
            let week = if equal {
                self.stamp(Is::WeekOfMonth) >= self.stamp(Is::DayOfWeekInMonth)
            } else {
                best == week_of_month
            };
            return if week { Way::WeekOfMonth } else { Way::DayOfWeekInMonth };
        }
        if best == of_year { Way::DayOfYear } else { Way::WeekOfYear }
    }

    /// The days since 1970, moved by some that the time of the day is beyond its own.
    fn day(&self, beyond: i64) -> i64 {
        let year = if self.has(Is::Year) { self.get(Is::Year) } else { 1970 };
        let year = if self.has(Is::Era) && self.get(Is::Era) == 0 { 1 - year } else { year };
        let way = self.way();
        let in_year = matches!(way, Way::DayOfYear | Way::WeekOfYear);
        // A year before the change makes a Julian date, wherever it rolls to.
        if year < 1582 || year == 1582 && in_year {
            return self.day_of(year, &way, false).wrapping_add(beyond);
        }
        let gregorian = self.day_of(year, &way, true).wrapping_add(beyond);
        if gregorian >= CHANGE { gregorian } else { self.day_of(year, &way, false).wrapping_add(beyond) }
    }

    fn day_of(&self, year: i64, way: &Way, gregorian: bool) -> i64 {
        let month = self.get(Is::Month);
        // Java adds them in 32 bits.
        #[expect(clippy::cast_possible_truncation, reason = "so does Java")]
        let rolled = i64::from((year + month.div_euclid(12)) as i32);
        let of_month = day_number(rolled, month.rem_euclid(12) + 1, gregorian);
        let of_year = day_number(year, 1, gregorian);
        let wanted = |other: i64| if self.has(Is::DayOfWeek) { self.get(Is::DayOfWeek) } else { other };
        match way {
            Way::DayOfMonth if !self.has(Is::DayOfMonth) => of_month,
            Way::DayOfMonth => of_month + self.get(Is::DayOfMonth) - 1,
            Way::DayOfYear => of_year + self.get(Is::DayOfYear) - 1,
            Way::WeekOfMonth => {
                // Java multiplies in 32 bits.
                let weeks = self.values[Is::WeekOfMonth as usize].wrapping_sub(1).wrapping_mul(7);
                in_week(of_month, wanted(1)) + i64::from(weeks)
            }
            Way::WeekOfYear => in_week(of_year, wanted(1)) + 7 * (self.get(Is::WeekOfYear) - 1),
            Way::DayOfWeekInMonth => {
                let count = if self.has(Is::DayOfWeekInMonth) { self.values[Is::DayOfWeekInMonth as usize] } else { 1 };
                if count >= 0 {
                    return on_or_before(of_month + i64::from(count.wrapping_mul(7)) - 1, wanted(1));
                }
                let (next_year, next) = ((year * 12 + month + 1).div_euclid(12), (month + 1).rem_euclid(12) + 1);
                let length = days(next_year, next, 1) - days(next_year, next - 1, 1);
                on_or_before(of_month + length + i64::from(count.wrapping_add(1).wrapping_mul(7)) - 1, wanted(1))
            }
        }
    }
}

/// That weekday in the week, from Sunday on, in which a month or year begins.
fn in_week(first: i64, wanted: i64) -> i64 {
    let sunday = first - weekday(first);
    if wanted == 1 { sunday } else { on_or_before(sunday + 6, wanted) }
}

/// The last day on or before one that is that weekday; Sunday is 1, and numbers beyond go round.
fn on_or_before(day: i64, wanted: i64) -> i64 {
    day - (weekday(day) - (wanted - 1)).rem_euclid(7)
}
