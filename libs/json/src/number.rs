//! A number as it stands in the text, read as what the caller needs.

use pipette_api::Value;
use pipette_api::data::Decimal;

use crate::decimal::decimal_from_text;

/// The text of a JSON number, already checked. Every reading costs time linear in the text but for decimals, which have at
/// most [`MAX_NUMBER`] digits.
#[derive(Debug, Clone, Copy)]
pub struct Number<'a> {
    text: &'a [u8],
    negative: bool,
    integer: bool,
    /// The digits before the point, modulo 2^64.
    low: u64,
    /// All digits and how many of them stand behind the point, if the number is short.
    digits: Option<(u64, usize)>,
}

/// Numbers without exponent and up to this long are quotients of two integers that a double holds exactly, so that one
/// division gives the nearest double.
pub(crate) const SHORT_NUMBER: usize = 15;
const POWERS: [f64; SHORT_NUMBER] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// Java's limit on the digits of one number, without zeros before them.
pub(crate) const MAX_NUMBER: usize = 1000;

impl<'a> Number<'a> {
    #[inline]
    pub(crate) fn new(text: &'a [u8], integer: bool, low: u64) -> Self {
        Self { text, negative: text.first() == Some(&b'-'), integer, low, digits: None }
    }

    /// For a number of at most [`SHORT_NUMBER`] characters: all its digits, and how many stand behind the point.
    #[inline]
    pub(crate) fn with_digits(self, digits: u64, places: usize) -> Self {
        Self { digits: Some((digits, places)), ..self }
    }

    /// Why Java refuses a number that is long or has a long exponent, if it does.
    #[cold]
    pub(crate) fn excess(&self) -> Option<String> {
        // Zeros that a number begins with do not count, but one before the point does.
        let counted = self.text().trim_start_matches(['-', '0']);
        let zero = usize::from(!counted.starts_with(|first: char| first.is_ascii_digit()));
        if zero + counted.bytes().filter(u8::is_ascii_digit).count() > MAX_NUMBER {
            return Some(format!("a number has more than {MAX_NUMBER} digits"));
        }
        let fits = decimal_from_text(self.text()).is_some();
        if fits { None } else { Some("the exponent of a number leaves 32 bits".to_owned()) }
    }

    fn text(&self) -> &'a str {
        std::str::from_utf8(self.text).unwrap_or_else(|_| unreachable!("digits and signs only"))
    }

    /// True without point and exponent, whatever its size.
    pub fn is_integer(&self) -> bool {
        self.integer
    }

    /// The number, if it is an integer of 64 bits.
    pub fn exact(&self) -> Option<i64> {
        self.text().parse().ok().filter(|_| self.integer)
    }

    /// The schemaless value: integers are 64 bits wide, everything else is a double.
    #[inline]
    pub fn value(&self) -> Value {
        if self.integer { Value::I64(self.as_i64()) } else { Value::F64(self.as_f64()) }
    }

    /// The integer part, modulo 2^64: what Java's `longValue` makes of any number.
    #[inline]
    pub fn as_i64(&self) -> i64 {
        let low = if self.integer { self.low } else { self.low_of_all() };
        if self.negative { low.wrapping_neg().cast_signed() } else { low.cast_signed() }
    }

    /// The low bits of [`Number::as_i64`]: Java's `intValue` of any number.
    #[allow(clippy::cast_possible_truncation)]
    pub fn as_i32(&self) -> i32 {
        self.as_i64() as i32
    }

    /// The nearest double; beyond its range infinite. Zero has no sign, because Java reads it as a decimal first.
    #[inline]
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(&self) -> f64 {
        match self.digits {
            Some((0, _)) => 0.0,
            Some((digits, places)) => {
                (if self.negative { -1.0 } else { 1.0 }) * (digits.cast_signed() as f64 / POWERS[places])
            }
            None => self.parsed_f64(),
        }
    }

    fn parsed_f64(&self) -> f64 {
        let value: f64 = self.text().parse().unwrap_or_else(|_| unreachable!("Rust reads every JSON number"));
        if value == 0.0 && self.is_zero() { 0.0 } else { value }
    }

    /// The nearest float, rounded once.
    pub fn as_f32(&self) -> f32 {
        let value: f32 = self.text().parse().unwrap_or_else(|_| unreachable!("Rust reads every JSON number"));
        if value == 0.0 && self.is_zero() { 0.0 } else { value }
    }

    /// The decimal with the scale as written: `1.50` has scale 2, `1E+5` scale -5.
    pub fn as_decimal(&self) -> Decimal {
        decimal_from_text(self.text()).unwrap_or_else(|| unreachable!("the reader refuses scales beyond 32 bits"))
    }

    fn is_zero(&self) -> bool {
        let parts = self.parts();
        parts.whole.bytes().chain(parts.fraction.bytes()).all(|digit| digit == b'0')
    }

    fn parts(&self) -> Parts<'a> {
        let text = self.text();
        let text = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or_else(|_| unreachable!("of 32 bits"))),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Parts { whole, fraction, exponent }
    }

    fn low_of_all(&self) -> u64 {
        let parts = self.parts();
        let places = length(parts.whole) + parts.exponent;
        // 10^64 = 0 mod 2^64.
        if places <= 0 || parts.exponent - length(parts.fraction) >= 64 {
            return 0;
        }
        let digits = parts.whole.bytes().chain(parts.fraction.bytes()).chain(std::iter::repeat(b'0'));
        let places = usize::try_from(places).unwrap_or_else(|_| unreachable!("positive"));
        digits.take(places).fold(0u64, |low, digit| low.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    }
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

struct Parts<'a> {
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn number(text: &str) -> Number<'_> {
        let integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let digits = text.trim_start_matches('-').bytes().take_while(u8::is_ascii_digit);
        let low = digits.fold(0u64, |low, digit| low.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
        Number::new(text.as_bytes(), integer, low)
    }

    #[test]
    fn integers_wrap_as_javas_do() {
        for (text, expected) in [
            ("007", 7),
            ("-0", 0),
            ("1.9", 1),
            ("-1.9", -1),
            ("1e3", 1000),
            ("12345e-2", 123),
            ("0.00123e5", 123),
            ("1e-400", 0),
            ("1e64", 0),
            ("1e2147483647", 0),
            ("9223372036854775807", i64::MAX),
            ("9223372036854775808", i64::MIN),
            ("18446744073709551617", 1),
            ("1e30", 5_076_944_270_305_263_616),
        ] {
            assert_eq!(number(text).as_i64(), expected, "{text}");
        }
    }

    #[test]
    fn floats_and_decimals() {
        assert_eq!(number("-0.0").as_f64().to_bits(), 0);
        assert_eq!(number("1e10").as_i32(), 1_410_065_408);
        assert!(number("1e400").as_f64().is_infinite());
        assert!(number("1e39").as_f32().is_infinite());
        assert_eq!(number("1.1").as_f32().to_bits(), 1.1f32.to_bits());
        assert_eq!(number("-1.50").as_decimal(), Decimal::new(-150, 2));
        assert_eq!(number("1E+5").as_decimal(), Decimal::new(1, -5));
        assert_eq!(parse(&pipette_api::Blob::whole("1.50").unwrap()).unwrap(), Value::F64(1.5));
    }
}
