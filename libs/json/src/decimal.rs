//! Connect's Decimal as number text and as bytes.

use num_bigint::{BigInt, Sign};
use pipette_api::data::Decimal;

use crate::number::MAX_NUMBER;

/// The decimal of two's complement, most significant byte first; `None` without a byte.
pub fn decimal_from_bytes(bytes: &[u8], scale: i32) -> Option<Decimal> {
    (!bytes.is_empty()).then(|| Decimal::new(BigInt::from_signed_bytes_be(bytes), scale))
}

/// The decimal of text as Java's `BigDecimal` reads it, which allows more than JSON: a plus sign, `.5`, `5.`. `None` when it
/// is none, or when its scale leaves 32 bits.
pub fn decimal_from_text(text: &str) -> Option<Decimal> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let too_many = unsigned.trim_start_matches('0').len() > MAX_NUMBER;
    if unsigned.is_empty() || too_many || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let places = i64::try_from(fraction.len()).ok()?;
    let scale = i32::try_from(places - i64::from(exponent)).ok()?;
    Some(Decimal::new(digits.parse::<BigInt>().ok()?, scale))
}

/// Appends Java's `BigDecimal.toString`: the scale is kept, an exponent where the plain form would need padding.
pub fn write_decimal(decimal: &Decimal, out: &mut Vec<u8>) {
    if decimal.unscaled.sign() == Sign::Minus {
        out.push(b'-');
    }
    let digits = decimal.unscaled.magnitude().to_string();
    let count = i64::try_from(digits.len()).unwrap_or_else(|_| unreachable!("no text is that long"));
    let exponent = count - 1 - i64::from(decimal.scale);
    if decimal.scale >= 0 && exponent >= -6 {
        let places = usize::try_from(decimal.scale).unwrap_or_else(|_| unreachable!("not negative"));
        if let Some(missing) = (places + 1).checked_sub(digits.len()).filter(|missing| *missing > 0) {
            out.extend_from_slice(b"0.");
            out.extend((1..missing).map(|_| b'0'));
            out.extend_from_slice(digits.as_bytes());
            return;
        }
        let (whole, fraction) = digits.as_bytes().split_at(digits.len() - places);
        out.extend_from_slice(whole);
        point(fraction, out);
        return;
    }
    let (first, rest) = digits.as_bytes().split_at(1);
    out.extend_from_slice(first);
    point(rest, out);
    if exponent != 0 {
        out.extend_from_slice(if exponent > 0 { b"E+" } else { b"E" });
        out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
    }
}

fn point(fraction: &[u8], out: &mut Vec<u8>) {
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_text_is_javas() {
        for (unscaled, scale, expected) in [
            (150, 2, "1.50"),
            (15000, 4, "1.5000"),
            (1, -5, "1E+5"),
            (-123, -1, "-1.23E+3"),
            (123, 10, "1.23E-8"),
            (123, 8, "0.00000123"),
            (5, 1, "0.5"),
            (-5, 3, "-0.005"),
            (0, 2, "0.00"),
            (0, 0, "0"),
            (7, 0, "7"),
        ] {
            let mut out = Vec::new();
            write_decimal(&Decimal::new(unscaled, scale), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn text_is_read_as_java_reads_it() {
        let read = |text: &str| decimal_from_text(text);
        for (text, unscaled, scale) in [("+5", 5, 0), ("-.5", -5, 1), ("5.", 5, 0), ("1e3", 1, -3), ("1.50E-2", 150, 4)]
        {
            assert_eq!(read(text), Some(Decimal::new(unscaled, scale)), "{text}");
        }
        for text in ["", "-", ".", "e5", "1e", "1e99999999999", "1_0", "+-5", "5.-1", "0x1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_are_twos_complement() {
        for number in [0, 1, -1, 127, 128, -128, -129, 156, i64::MIN, i64::MAX] {
            let decimal = Decimal::new(number, 2);
            assert_eq!(decimal_from_bytes(&decimal.unscaled.to_signed_bytes_be(), 2), Some(decimal));
        }
        assert_eq!(decimal_from_bytes(&[], 2), None);
    }
}
