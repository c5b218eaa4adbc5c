//! Chance with a taste for extremes.

use pipette_kit::Dice;

pub(crate) struct Chance(Dice);

const TEXTS: [&str; 22] = [
    "",
    "a",
    "b",
    "null",
    "true",
    "12",
    "1.5",
    "NaN",
    "\"q\\",
    "tab\t\n\u{1}/",
    "\u{0}\u{7F}\u{85}\u{2028}",
    "grüße",
    "日本",
    "😀",
    "€ „ \u{152}",
    "\u{FFFD}",
    "\u{10FFFF}",
    "e\u{301}",
    "2020-01-02",
    "[1,2]",
    "{\"a\":1}",
    "org.apache.kafka.connect.data.Dates",
];

impl Chance {
    /// That of the n-th case.
    pub(crate) fn of(number: u64) -> Self {
        Self(Dice(number.wrapping_mul(0xD134_2543_DE82_EF95)))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(end as u64)).unwrap()
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn any(&mut self) -> u64 {
        self.0.bits()
    }

    /// Extremes, small numbers, and any bits.
    pub(crate) fn bits(&mut self) -> i64 {
        match self.below(4) {
            0 => self.pick(&[0, 1, -1, 127, 128, -128, 32_767, 32_768, i64::from(i32::MAX), i64::MAX, i64::MIN]),
            1 => i64::try_from(self.below(2000)).unwrap() - 1000,
            _ => self.0.bits().cast_signed() >> self.below(64),
        }
    }

    /// Extremes, numbers of few digits, and any bits: also all of NaN's.
    #[expect(clippy::cast_precision_loss, reason = "any double will do")]
    pub(crate) fn double(&mut self) -> f64 {
        match self.below(5) {
            0 => self.pick(&[0.0, -0.0, 1.0, 1e7, 1e-3, 9.999e-4, f64::MAX, f64::MIN_POSITIVE, 5e-324, f64::INFINITY]),
            1 => self.pick(&[f64::NAN, f64::NEG_INFINITY, 0.1, 1e23, 2e-3, 123_456_789.0, 1e22]),
            2 => self.bits() as f64 / 1000.0,
            3 if self.one_in(4) => f64::from_bits(0x7FF0_0000_0000_0000 | self.any() & 0x800F_FFFF_FFFF_FFFF),
            _ => f64::from_bits(self.any()),
        }
    }

    /// As [`Chance::double`].
    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    pub(crate) fn float(&mut self) -> f32 {
        match self.below(4) {
            0 if self.one_in(4) => f32::from_bits(0x7F80_0000 | self.any() as u32 & 0x807F_FFFF),
            0 => f32::from_bits(self.any() as u32),
            _ => self.double() as f32,
        }
    }

    pub(crate) fn text(&mut self) -> String {
        (0..=self.below(2)).map(|_| self.pick(&TEXTS)).collect()
    }

    /// Digits, now and then a thousand of them.
    pub(crate) fn digits(&mut self) -> String {
        let count = match self.below(8) {
            0 => 990 + self.below(20),
            1 => 1 + self.below(60),
            _ => 1 + self.below(12),
        };
        (0..count).map(|_| self.pick(b"0123456789") as char).collect()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.any().to_le_bytes()[0]).collect()
    }
}
