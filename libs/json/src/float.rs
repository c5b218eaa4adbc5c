//! Floating point numbers in Java's layout: the shortest digits that read back, `1.0E10` from 10^7 on and below 10^-3.

use std::fmt::{self, LowerExp, Write};
use std::ops::Range;

/// Where Java writes plain digits; there every formatter agrees with it.
const PLAIN: Range<f64> = 1e-3..1e7;

/// Appends a number as Java's `Double.toString`: `NaN`, `Infinity` and `-Infinity` by name.
pub fn write_f64(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        finite(value, value.abs(), value.is_subnormal(), out);
    } else {
        out.extend_from_slice(name(value.is_nan(), value > 0.0));
    }
}

/// Appends a number as Java's `Float.toString`: `NaN`, `Infinity` and `-Infinity` by name.
pub fn write_f32(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        finite(value, f64::from(value.abs()), value.is_subnormal(), out);
    } else {
        out.extend_from_slice(name(value.is_nan(), value > 0.0));
    }
}

fn finite(value: impl zmij::Float + LowerExp, magnitude: f64, subnormal: bool, out: &mut Vec<u8>) {
    if PLAIN.contains(&magnitude) || magnitude == 0.0 {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        return;
    }
    let shortest = Exponential::of(&format_args!("{value:e}"));
    // Java never shows a single digit for a subnormal number when a second one is closer: 4.9E-324.
    if subnormal && !shortest.bytes().contains(&b'.') {
        scientific(&Exponential::of(&format_args!("{value:.1e}")), out);
    } else {
        scientific(&shortest, out);
    }
}

fn name(nan: bool, positive: bool) -> &'static [u8] {
    match (nan, positive) {
        (true, _) => b"NaN",
        (false, true) => b"Infinity",
        (false, false) => b"-Infinity",
    }
}

/// Rust's exponential form, `-1.25e-7`, in place.
struct Exponential {
    buffer: [u8; 32],
    len: usize,
}

impl Exponential {
    fn of(text: &fmt::Arguments<'_>) -> Self {
        let mut exponential = Self { buffer: [0; 32], len: 0 };
        if exponential.write_fmt(*text).is_err() {
            unreachable!("17 digits, sign, point and exponent fit in 32 bytes");
        }
        exponential
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Write for Exponential {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.buffer.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

fn scientific(number: &Exponential, out: &mut Vec<u8>) {
    let mut text = number.bytes();
    if let Some(rest) = text.strip_prefix(b"-") {
        out.push(b'-');
        text = rest;
    }
    let split = text.iter().position(|byte| *byte == b'e').unwrap_or(text.len());
    let (mantissa, exponent) = (&text[..split], small_number(text.get(split + 1..).unwrap_or_default()));
    let (first, rest) = (mantissa[0], mantissa.get(2..).unwrap_or_default());
    out.push(first);
    fraction(rest, out);
    out.push(b'E');
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

fn fraction(digits: &[u8], out: &mut Vec<u8>) {
    out.push(b'.');
    out.extend_from_slice(if digits.is_empty() { b"0" } else { digits });
}

fn small_number(text: &[u8]) -> i16 {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let number = digits.iter().fold(0, |number, digit| number * 10 + i16::from(digit - b'0'));
    if negative { -number } else { number }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_look_like_javas() {
        for (value, expected) in [
            (12.34, "12.34"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e10, "1.0E10"),
            (1e-5, "1.0E-5"),
            (0.002, "0.002"),
            (0.001, "0.001"),
            (0.012_34, "0.01234"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1_234_567.5, "1234567.5"),
            (-100.0, "-100.0"),
            (f64::MAX, "1.7976931348623157E308"),
            (5e-324, "4.9E-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn floats_show_the_digits_of_a_float() {
        for (value, expected) in
            [(12.34, "12.34"), (1.1, "1.1"), (f32::MIN_POSITIVE, "1.17549435E-38"), (1e10, "1.0E10")]
        {
            let mut out = Vec::new();
            write_f32(value, &mut out);
            let text = String::from_utf8(out).unwrap();
            // Older Java shows a ninth digit that a float does not need.
            assert!(text == expected || text.parse::<f32>().unwrap().to_bits() == value.to_bits(), "{text}");
            assert!(text.len() <= expected.len());
        }
    }

    proptest! {
        #[test]
        fn every_double_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(value).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
