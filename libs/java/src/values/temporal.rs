//! Dates, times and timestamps inside header text, recognised by their exact length and parsed leniently, as Java does.

use pipette_api::Value;

use crate::calendar::{DAY_MILLIS, days};

/// The value of `yyyy-MM-dd`, `HH:mm:ss.SSSZ` or both with a `T` between them.
pub(super) fn parse(token: &str) -> Option<Value> {
    // A colon behind a backslash is part of its token, backslash included.
    let token = token.replace("\\:", ":");
    let mut scan = Scan(token.as_bytes());
    // Java counts UTF-16 units.
    match token.encode_utf16().count() {
        10 => {
            let day = scan.date()?;
            i32::try_from(day).ok().map(Value::Date)
        }
        13 => {
            // Also one that rolled over into another day.
            i32::try_from(scan.time()?).ok().map(Value::Time)
        }
        24 => {
            let day = scan.date()?;
            scan.literal(b'T')?;
            // Java's overflows too.
            Some(Value::Timestamp(day.wrapping_mul(DAY_MILLIS).wrapping_add(scan.time()?)))
        }
        _ => None,
    }
}

struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn date(&mut self) -> Option<i64> {
        let year = self.number()?;
        self.literal(b'-')?;
        // Java's months count from 0, in 32 bits.
        let month = i64::from(self.number()?.wrapping_sub(1)) + 1;
        self.literal(b'-')?;
        Some(days(i64::from(year), month, i64::from(self.number()?)))
    }

    fn time(&mut self) -> Option<i64> {
        let hours = i64::from(self.number()?);
        self.literal(b':')?;
        let minutes = i64::from(self.number()?);
        self.literal(b':')?;
        let seconds = i64::from(self.number()?);
        self.literal(b'.')?;
        let millis = i64::from(self.number()?);
        self.literal(b'Z')?;
        Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
    }

    /// Java keeps the low bits. At most 22 digits arrive here, and those of 19 or more fit no length.
    #[allow(clippy::cast_possible_truncation)]
    fn number(&mut self) -> Option<i32> {
        let blanks = self.0.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let signed = &self.0[blanks..];
        let sign = usize::from(signed.first() == Some(&b'-'));
        let count = sign + signed[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = signed.split_at(count);
        self.0 = rest;
        let number: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(number as i32)
    }

    fn literal(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is what Java's lenient `SimpleDateFormat` answered.
    #[test]
    fn numbers_that_fit_no_calendar_overflow_as_in_java() {
        for (text, millis) in [
            ("99999999999-1-1T0:0:0.0Z", 1_471_883_220_702_496_768),
            ("292278995-1-01T0:0:0.00Z", -9_223_372_025_043_951_616),
            ("2147483647-1-1T0:0:00.0Z", -6_019_000_092_841_406_464),
            ("1-99999999999-1T0:0:0.0Z", 3_197_122_973_308_800_000),
            ("1-1-99999999999T0:0:0.0Z", 104_978_853_446_400_000),
            ("1-1-1T99999999999:0:0.0Z", 4_314_572_118_000_000),
        ] {
            assert_eq!(parse(text), Some(Value::Timestamp(millis)), "{text}");
        }
    }
}
