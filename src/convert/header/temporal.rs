//! Dates, times and timestamps inside header text, recognised by their exact length and parsed leniently, as Java does.

use pipette_api::Value;

use crate::convert::calendar::{DAY_MILLIS, days};

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
            Some(Value::Timestamp(day * DAY_MILLIS + scan.time()?))
        }
        _ => None,
    }
}

struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn date(&mut self) -> Option<i64> {
        let year = self.number()?;
        self.literal(b'-')?;
        let month = self.number()?;
        self.literal(b'-')?;
        Some(days(year, month, self.number()?))
    }

    fn time(&mut self) -> Option<i64> {
        let hours = self.number()?;
        self.literal(b':')?;
        let minutes = self.number()?;
        self.literal(b':')?;
        let seconds = self.number()?;
        self.literal(b'.')?;
        let millis = self.number()?;
        self.literal(b'Z')?;
        Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
    }

    /// At most 22 digits arrive here, and those of 19 or more fit no length.
    fn number(&mut self) -> Option<i64> {
        let blanks = self.0.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let signed = &self.0[blanks..];
        let sign = usize::from(signed.first() == Some(&b'-'));
        let count = sign + signed[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = signed.split_at(count);
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn literal(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }
}
