//! Dates as Java's default calendar counts them: Julian before 1582-10-15, Gregorian from then on. UTC only.

use std::time::SystemTime;

/// Milliseconds of a day.
pub const DAY_MILLIS: i64 = 86_400_000;

/// The day of the change, 1582-10-15, counted from 1970.
pub(crate) const CHANGE: i64 = -141_427;

/// A point in time, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970.
    pub days: i64,
    /// 0 is the year before 1.
    pub year: i64,
    /// From 1.
    pub month: i64,
    /// From 1.
    pub day: i64,
    /// Since midnight.
    pub millis: i64,
}

impl Moment {
    /// The moment so many milliseconds after 1970 began.
    pub fn of(millis: i64) -> Self {
        let days = millis.div_euclid(DAY_MILLIS);
        let (year, month, day) = date(days);
        Self { days, year, month, day, millis: millis.rem_euclid(DAY_MILLIS) }
    }

    /// `yyyy-MM-dd`.
    pub fn iso_date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.shown_year(), self.month, self.day)
    }

    /// `HH:mm:ss.SSS` and the letter Z.
    pub fn iso_time(&self) -> String {
        format!("{}.{:03}Z", self.clock(), self.millis % 1000)
    }

    /// Both, with the letter T in between.
    pub(super) fn iso(&self) -> String {
        format!("{}T{}", self.iso_date(), self.iso_time())
    }

    /// Java's `Date.toString`: `Tue Jan 03 06:30:01 UTC 2017`.
    pub fn java_text(&self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let name = |names: &[&'static str], index: i64| usize::try_from(index).map_or("", |index| names[index]);
        let (weekday, month) = (name(&DAYS, self.days.rem_euclid(7)), name(&MONTHS, self.month - 1));
        let (day, clock, year) = (self.day, self.clock(), self.shown_year());
        format!("{weekday} {month} {day:02} {clock} UTC {year}")
    }

    fn clock(&self) -> String {
        let seconds = self.millis / 1000;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    /// Java prints the year of the era and leaves the era out.
    fn shown_year(&self) -> i64 {
        if self.year > 0 { self.year } else { 1 - self.year }
    }
}

/// Connect's text of a date, time or timestamp, of which Java chooses the form by the value alone, whatever the schema says:
/// every date before 1970-01-02 loses its day.
pub fn iso_text(millis: i64) -> String {
    let moment = Moment::of(millis);
    if millis < DAY_MILLIS {
        moment.iso_time()
    } else if millis % DAY_MILLIS == 0 {
        moment.iso_date()
    } else {
        moment.iso()
    }
}

/// A time of our days as ISO 8601 writes it, in UTC.
pub fn utc(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment::of(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).iso()
}

/// The days since 1970 of a date; month and day may lie outside of their range and roll over.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    // A year before the change makes a Julian date, wherever it rolls to.
    let julian = year < 1582;
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    let gregorian = day_number(year, month, true) + day - 1;
    if gregorian >= CHANGE && !julian { gregorian } else { day_number(year, month, false) + day - 1 }
}

/// The days since 1970 of the first of a month. Years begin in March here, so that the leap day is the last.
pub(crate) fn day_number(year: i64, month: i64, gregorian: bool) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    let leap_days = if gregorian {
        year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) - 719_468
    } else {
        year.div_euclid(4) - 719_470
    };
    year * 365 + leap_days + days_before_month
}

fn date(days: i64) -> (i64, i64, i64) {
    let gregorian = days >= CHANGE;
    // A close guess, never too late, then forward.
    let mut year = 1970 + days.div_euclid(366) - 1;
    if days < 0 {
        year = 1970 + days.div_euclid(365) - 1;
    }
    let step = |year: i64, month: i64| day_number(year, month, gregorian);
    // Years of the guess err by one in 1,460.
    while step(year + 1, 1) <= days {
        let missing = (days - step(year + 1, 1)) / 366;
        year += 1 + missing;
    }
    let month = (1..=12).rev().find(|month| step(year, *month) <= days).unwrap_or(1);
    (year, month, days - step(year, month) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (millis, date, text) in [
            (0, "1970-01-01", "Thu Jan 01 00:00:00 UTC 1970"),
            (1_483_425_001_000, "2017-01-03", "Tue Jan 03 06:30:01 UTC 2017"),
            (951_782_400_000, "2000-02-29", "Tue Feb 29 00:00:00 UTC 2000"),
            (-12_219_292_800_001, "1582-10-04", "Thu Oct 04 23:59:59 UTC 1582"),
            (-12_219_292_800_000, "1582-10-15", "Fri Oct 15 00:00:00 UTC 1582"),
            (-62_135_596_800_000, "0001-01-03", "Mon Jan 03 00:00:00 UTC 1"),
        ] {
            let moment = Moment::of(millis);
            assert_eq!((moment.iso_date().as_str(), moment.java_text().as_str()), (date, text));
        }
        assert_eq!(Moment::of(-1).iso_time(), "23:59:59.999Z");
        assert_eq!(days(2020, 13, 45), days(2021, 2, 14), "dates roll over");
    }

    #[test]
    fn every_day_reads_back() {
        let mut day = -800_000;
        while day < 4_000_000 {
            let (year, month, of_month) = date(day);
            assert!((1..=12).contains(&month) && (1..=31).contains(&of_month));
            assert_eq!(days(year, month, of_month), day, "{year}-{month}-{of_month}");
            day += 13;
        }
        // The ends of what a timestamp can hold.
        for millis in [i64::MIN, i64::MAX] {
            let moment = Moment::of(millis);
            assert_eq!(days(moment.year, moment.month, moment.day), millis.div_euclid(DAY_MILLIS));
        }
    }
}
