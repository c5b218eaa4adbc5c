//! Connect's Decimal: an integer of any size and a scale.

use std::fmt;

use num_bigint::BigInt;

/// `unscaled × 10^-scale`, Java's `BigDecimal`. Equality is Java's `equals`: 1.0 and 1.00 differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// The digits.
    pub unscaled: BigInt,
    /// How many of them stand behind the point; may be negative.
    pub scale: i32,
}

impl Decimal {
    /// A decimal.
    pub fn new(unscaled: impl Into<BigInt>, scale: i32) -> Self {
        Self { unscaled: unscaled.into(), scale }
    }
}

/// Java's `BigDecimal.toPlainString`: digits and a point, never an exponent.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.unscaled.magnitude().to_string();
        let sign = if self.unscaled.sign() == num_bigint::Sign::Minus { "-" } else { "" };
        let Ok(places) = usize::try_from(self.scale) else {
            let zeros = if digits == "0" { 0 } else { self.scale.unsigned_abs() as usize };
            return write!(f, "{sign}{digits}{:0<zeros$}", "");
        };
        if places == 0 {
            return write!(f, "{sign}{digits}");
        }
        let digits = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_without_an_exponent() {
        let cases =
            [(12345, 2, "123.45"), (-5, 3, "-0.005"), (7, 0, "7"), (7, -2, "700"), (0, -2, "0"), (0, 2, "0.00")];
        for (unscaled, scale, expected) in cases {
            assert_eq!(Decimal::new(unscaled, scale).to_string(), expected);
        }
    }
}
