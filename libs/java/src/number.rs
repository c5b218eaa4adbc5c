//! Numbers in text as Java's `Integer.parseInt`, `Double.parseDouble` and their like read them.

use num_bigint::{BigInt, Sign};
use pipette_api::data::Decimal;

/// Where the digits of each script of Unicode's basic plane begin, in order. Java's `char` knows no others.
const ZEROS: [u16; 37] = [
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6,
    0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40,
    0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

/// The value of a digit of any script.
pub fn digit(character: char) -> Option<u8> {
    let code = u16::try_from(u32::from(character)).ok()?;
    let zero = ZEROS[..ZEROS.partition_point(|zero| *zero <= code)].last()?;
    u8::try_from(code - zero).ok().filter(|digit| *digit < 10)
}

/// `Long.parseLong`, `Integer.parseInt` and so on: a sign, then digits of any script; no blanks.
pub fn integer<T: TryFrom<i64>>(text: &str) -> Option<T> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() {
        return None;
    }
    // Downwards, because there is one more number below zero.
    let below = digits
        .chars()
        .try_fold(0_i64, |number, character| number.checked_mul(10)?.checked_sub(i64::from(digit(character)?)))?;
    let number = if negative { below } else { below.checked_neg()? };
    T::try_from(number).ok()
}

/// `Double.parseDouble`: trimmed, decimal or hexadecimal, an `f` or `d` behind it, `NaN` and `Infinity`.
pub fn double(text: &str) -> Option<f64> {
    match Float::of(text)? {
        Float::Decimal(text) => text.parse().ok(),
        Float::Named(value) => Some(value),
        Float::Hexadecimal(hex) => Some(hex.round::<52, 1023>()),
    }
}

/// `Float.parseFloat`, rounded once.
pub fn float(text: &str) -> Option<f32> {
    match Float::of(text)? {
        Float::Decimal(text) => text.parse().ok(),
        #[expect(clippy::cast_possible_truncation, reason = "zero, infinity and NaN are both")]
        Float::Named(value) => Some(value as f32),
        #[expect(clippy::cast_possible_truncation, reason = "rounded to a float already")]
        Float::Hexadecimal(hex) => Some(hex.round::<23, 127>() as f32),
    }
}

enum Float<'a> {
    Decimal(&'a str),
    Named(f64),
    Hexadecimal(Hexadecimal),
}

/// `significand × 2^exponent`; `sticky` when digits behind the significand are not all zero.
struct Hexadecimal {
    negative: bool,
    significand: u64,
    exponent: i64,
    sticky: bool,
}

impl<'a> Float<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let text = text.trim_matches(|character| character <= ' ');
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        match unsigned {
            "NaN" => return Some(Self::Named(f64::NAN)),
            "Infinity" => return Some(Self::Named(sign * f64::INFINITY)),
            _ => {}
        }
        if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
            return Hexadecimal::of(text.starts_with('-'), digits).map(Self::Hexadecimal);
        }
        let number = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
        // Rust reads `inf` and `nan` too.
        let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
        let sound = number.bytes().all(plain) && number.bytes().any(|byte| byte.is_ascii_digit());
        sound.then_some(Self::Decimal(number))
    }
}

impl Hexadecimal {
    /// Of `1.8p3`; the exponent is never left out.
    fn of(negative: bool, text: &str) -> Option<Self> {
        let text = text.strip_suffix(['f', 'F', 'd', 'D']).filter(|text| text.contains(['p', 'P'])).unwrap_or(text);
        let (mantissa, exponent) = text.split_once(['p', 'P'])?;
        let digits_of = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits_of.is_empty() || !digits_of.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let edge = if exponent.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 };
        let exponent = exponent.parse::<i64>().ok().filter(|exponent| exponent.abs() < i64::MAX / 4).unwrap_or(edge);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut hex = Self { negative, significand: 0, exponent, sticky: false };
        for (index, character) in whole.chars().chain(fraction.chars()).enumerate() {
            hex.add(character.to_digit(16)?, index >= whole.len());
        }
        Some(hex)
    }

    fn add(&mut self, digit: u32, behind_the_point: bool) {
        if self.significand >> 60 == 0 {
            self.significand = self.significand << 4 | u64::from(digit);
            self.exponent -= if behind_the_point { 4 } else { 0 };
        } else {
            self.sticky |= digit != 0;
            self.exponent += if behind_the_point { 0 } else { 4 };
        }
    }

    /// The nearest number of so many bits behind the point, ties to even.
    fn round<const BITS: i64, const BIAS: i64>(&self) -> f64 {
        let sign = if self.negative { -1.0 } else { 1.0 };
        if self.significand == 0 {
            return sign * 0.0;
        }
        let top = 63 - i64::from(self.significand.leading_zeros());
        let exponent = self.exponent + top;
        if exponent > BIAS {
            return sign * f64::INFINITY;
        }
        // The smallest unit that this size of number has.
        let unit = exponent.max(1 - BIAS) - BITS;
        let drop = unit - self.exponent;
        let kept = match drop {
            ..=0 => self.significand << drop.unsigned_abs().min(63),
            1..=63 => {
                let (kept, rest) = (self.significand >> drop, self.significand & ((1 << drop) - 1));
                let half = 1 << (drop - 1);
                kept + u64::from(rest > half || rest == half && (self.sticky || kept & 1 == 1))
            }
            64 => u64::from(self.significand > 1 << 63 || self.significand == 1 << 63 && self.sticky),
            _ => 0,
        };
        #[expect(clippy::cast_precision_loss, reason = "as many bits as fit")]
        let kept = kept as f64;
        let value = scale(kept, unit);
        let limit = if BITS == 23 { f64::from(f32::MAX) } else { f64::MAX };
        sign * if value > limit { f64::INFINITY } else { value }
    }
}

/// `number × 2^exponent`, exactly: in two steps, since the exponent may be one that no double has.
fn scale(number: f64, exponent: i64) -> f64 {
    let power = |exponent: i64| 2_f64.powi(i32::try_from(exponent).unwrap_or(0));
    let first = exponent.clamp(-1000, 900);
    number * power(first) * power(exponent - first)
}

/// `BigDecimal.longValue`: the low bits of the whole part.
pub fn low_bits(decimal: &Decimal) -> i64 {
    let digits = i64::try_from(decimal.unscaled.bits()).unwrap_or(i64::MAX) / 3 + 1;
    let whole = match i64::from(decimal.scale) {
        // A multiple of 2^64.
        ..=-64 => return 0,
        scale if scale > digits => return 0,
        scale if scale > 0 => &decimal.unscaled / power_of_ten(scale),
        scale => &decimal.unscaled * power_of_ten(-scale),
    };
    let low = whole.iter_u64_digits().next().unwrap_or(0).cast_signed();
    if whole.sign() == Sign::Minus { low.wrapping_neg() } else { low }
}

fn power_of_ten(exponent: i64) -> BigInt {
    BigInt::from(10)
        .pow(u32::try_from(exponent).unwrap_or_else(|_| unreachable!("not negative, and no larger than digits")))
}

/// `BigDecimal.doubleValue`: the nearest one.
pub fn nearest_f64(decimal: &Decimal) -> f64 {
    text_of(decimal).parse().unwrap_or_else(|_| unreachable!("a decimal's text is a number"))
}

/// `BigDecimal.floatValue`: the nearest one.
pub fn nearest_f32(decimal: &Decimal) -> f32 {
    text_of(decimal).parse().unwrap_or_else(|_| unreachable!("a decimal's text is a number"))
}

fn text_of(decimal: &Decimal) -> String {
    format!("{}e{}", decimal.unscaled, -i64::from(decimal.scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_java_reads_them() {
        for (text, expected) in [
            ("+5", Some(5)),
            ("-128", Some(-128)),
            ("٣７", Some(37)),
            ("128", None),
            ("", None),
            ("+", None),
            ("5.0", None),
        ] {
            assert_eq!(integer::<i8>(text), expected, "{text}");
        }
        assert_eq!(integer::<i64>("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer::<i64>("9223372036854775808"), None);
        assert_eq!((digit('9'), digit('٣'), digit('a'), digit('𝟎')), (Some(9), Some(3), None, None));
    }

    #[test]
    fn decimals_become_javas_numbers() {
        for (unscaled, scale, expected) in
            [(199, 2, 1), (-199, 2, -1), (5, -2, 500), (1, -64, 0), (1, i32::MIN, 0), (7, i32::MAX, 0), (-1, 0, -1)]
        {
            assert_eq!(low_bits(&Decimal::new(unscaled, scale)), expected, "{unscaled} {scale}");
        }
        assert_eq!(low_bits(&Decimal::new(BigInt::from(1) << 64 | BigInt::from(5), 0)), 5);
        assert_eq!((nearest_f64(&Decimal::new(11, 1)), nearest_f32(&Decimal::new(11, 1))), (1.1, 1.1));
        assert!(nearest_f64(&Decimal::new(1, i32::MIN)).is_infinite());
    }

    #[test]
    fn floats_are_read_as_java_reads_them() {
        for (text, expected) in [
            (" 1e3\n", 1e3),
            (".5", 0.5),
            ("5.", 5.0),
            ("1.5f", 1.5),
            ("1.5D", 1.5),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1.8p1", 3.0),
            ("-0x.8P0d", -0.5),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1p99999999999999999999", f64::INFINITY),
            ("0x1p-99999999999999999999", 0.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000001p0", 1.000_000_000_000_000_2),
        ] {
            assert_eq!(double(text), Some(expected), "{text}");
        }
        for text in ["", "nan", "inf", "1_0", "1.5ff", "0x1", "0x1.8", "0xp1", "٣", "1e", "\u{a0}1", "--1", "f"] {
            assert_eq!(double(text), None, "{text}");
        }
        assert_eq!(float("0x1.000001p0"), Some(1.0));
        assert_eq!(float("0x1.000001000001p0"), Some(1.000_000_1));
        assert!(double("NaN").is_some_and(f64::is_nan));
    }
}
