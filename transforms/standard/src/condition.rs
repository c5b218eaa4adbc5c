//! Conditions on what a record holds: a path, an operator, and what to compare with. FieldMatches and Confluent's Filter
//! stand on it.

use std::cmp::Ordering;

use pipette_api::data::Decimal;
use pipette_api::{Datum, Value};
use pipette_java::{JavaRegex, number};

use crate::path::FieldPath;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// The signs of all, the longer ones first.
    pub(crate) const SIGNS: [(&'static str, Self); 7] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("=", Self::Equal),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// What a field is compared with: text, and the number and time it is, if it is one.
pub(crate) struct Literal {
    text: String,
    number: Option<Number>,
    millis: Option<i64>,
}

struct Number {
    decimal: Decimal,
    double: f64,
}

impl Literal {
    pub(crate) fn new(text: &str) -> Self {
        let number = pipette_json::decimal_from_text(text.trim())
            .map(|decimal| Number { double: number::nearest_f64(&decimal), decimal });
        let millis = pipette_java::values::time(text.trim());
        Self { text: text.to_owned(), number, millis }
    }

    /// A value beside the literal; `None` where they cannot be compared, such as text with an order to numbers.
    fn compare(&self, value: &Value) -> Option<Ordering> {
        match value {
            Value::String(text) => Some(text.as_bytes().cmp(self.text.as_bytes())),
            Value::Bool(flag) => Some(flag.cmp(&self.text.trim().parse().ok()?)),
            Value::I8(number) => self.integer(i64::from(*number)),
            Value::I16(number) => self.integer(i64::from(*number)),
            Value::I32(number) => self.integer(i64::from(*number)),
            Value::I64(number) => self.integer(*number),
            Value::F32(number) => f64::from(*number).partial_cmp(&self.number.as_ref()?.double),
            Value::F64(number) => number.partial_cmp(&self.number.as_ref()?.double),
            Value::Decimal(decimal) => Some(by_value(decimal, &self.number.as_ref()?.decimal)),
            Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => {
                let millis = self.millis.or_else(|| Some(number::low_bits(&self.number.as_ref()?.decimal)))?;
                Some(pipette_java::millis(value)?.cmp(&millis))
            }
            _ => None,
        }
    }

    fn integer(&self, number: i64) -> Option<Ordering> {
        let literal = self.number.as_ref()?;
        // Exactly, where a double has no room.
        match literal.double {
            double if double.abs() < 1e18 && literal.decimal.scale == 0 => {
                Some(number.cmp(&number::low_bits(&literal.decimal)))
            }
            _ => Some(by_value(&Decimal::new(number, 0), &literal.decimal)),
        }
    }
}

/// By value: 1.0 and 1.00 are equal. What is too far apart to be written out is compared by size.
fn by_value(a: &Decimal, b: &Decimal) -> Ordering {
    let scale = i64::from(a.scale) - i64::from(b.scale);
    if scale.abs() > 1000 {
        return number::nearest_f64(a).total_cmp(&number::nearest_f64(b));
    }
    let ten = num_bigint::BigInt::from(10);
    let power = ten.pow(u32::try_from(scale.unsigned_abs()).unwrap_or_else(|_| unreachable!("at most 1000")));
    if scale > 0 { a.unscaled.cmp(&(&b.unscaled * power)) } else { (&a.unscaled * power).cmp(&b.unscaled) }
}

/// One condition.
pub(crate) enum Condition {
    /// Compared with a literal.
    Compare(FieldPath, Operator, Literal),
    /// Equal to one of several.
    OneOf(FieldPath, Vec<Literal>),
    /// A text that the pattern matches as a whole.
    Matches(FieldPath, JavaRegex),
    /// There, and not null.
    Exists(FieldPath),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

impl Condition {
    /// Whether it holds. What is missing or null equals nothing and has no order.
    pub(crate) fn holds(&self, datum: &Datum) -> bool {
        match self {
            Self::Compare(path, operator, literal) => match path.find(&datum.value) {
                Some(value) => match literal.compare(value) {
                    Some(order) => operator.holds(order),
                    None => *operator == Operator::NotEqual,
                },
                None => *operator == Operator::NotEqual,
            },
            Self::OneOf(path, literals) => path
                .find(&datum.value)
                .is_some_and(|value| literals.iter().any(|literal| literal.compare(value) == Some(Ordering::Equal))),
            Self::Matches(path, regex) => match path.find(&datum.value) {
                Some(Value::String(text)) => regex.matches(text.as_str()),
                Some(value) => {
                    let mut text = Vec::new();
                    pipette_java::append_plain(value, &mut text)
                        && str::from_utf8(&text).is_ok_and(|text| regex.matches(text))
                }
                None => false,
            },
            Self::Exists(path) => path.find(&datum.value).is_some(),
            Self::Not(condition) => !condition.holds(datum),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(datum)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(datum)),
        }
    }

    /// The paths it looks at.
    pub(crate) fn paths(&self) -> Vec<&FieldPath> {
        match self {
            Self::Compare(path, ..) | Self::OneOf(path, _) | Self::Matches(path, _) | Self::Exists(path) => vec![path],
            Self::Not(condition) => condition.paths(),
            Self::All(conditions) | Self::Any(conditions) => conditions.iter().flat_map(Self::paths).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::Map;

    use super::*;

    fn holds(sign: &str, literal: &str, value: Value) -> bool {
        let operator = Operator::SIGNS.iter().find(|(known, _)| *known == sign).unwrap().1;
        let map = Map::from(vec![(Value::text("x"), value)]);
        let condition = Condition::Compare(FieldPath::name("x"), operator, Literal::new(literal));
        condition.holds(&Datum::schemaless(Value::Map(Box::new(map))))
    }

    #[test]
    fn numbers_are_compared_by_value_whatever_their_type() {
        assert!(holds(">", "100", Value::I8(101)) && !holds(">", "100", Value::I64(100)));
        assert!(holds("=", "9007199254740993", Value::I64(9_007_199_254_740_993)));
        assert!(!holds("=", "9007199254740992", Value::I64(9_007_199_254_740_993)));
        assert!(holds("<", "1.5", Value::I32(1)) && holds("=", "1.50", Value::F64(1.5)));
        assert!(holds("=", "1.5", Value::Decimal(Box::new(Decimal::new(1500, 3)))));
        assert!(holds("<", "1e400", Value::I64(i64::MAX)) && !holds("<", "x", Value::I64(1)));
        assert!(holds("!=", "x", Value::I64(1)) && holds("!=", "x", Value::Null));
    }

    #[test]
    fn texts_flags_and_times_are_compared_with_their_kind() {
        assert!(holds("=", "open", Value::text("open")) && holds("<", "b", Value::text("a")));
        assert!(holds("=", "true", Value::Bool(true)) && !holds("=", "yes", Value::Bool(true)));
        assert!(holds(">=", "2020-01-02", Value::Timestamp(1_577_923_200_000)));
        assert!(holds("<", "2020-01-02T00:00:00.001Z", Value::Date(18_263)));
        assert!(holds("=", "5", Value::Time(5)));
    }
}
