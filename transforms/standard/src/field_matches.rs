//! FieldMatches: true for records that hold a field of some value.

use pipette_api::config::{Importance, checks};
use pipette_api::{ConfigDef, ConnectError, Key, Predicate, Record, Result, Settings, Side};
use pipette_java::JavaRegex;

use crate::condition::{Condition, Literal, Operator};
use crate::path::FieldPath;

pub(crate) const ABOUT: &str = "Matches records by a field of their key or value: amount > 100.";

static FIELD: Key<String> =
    Key::new("field", "The path to the field: dots lead into fields, backticks hold a name with dots together.")
        .importance(Importance::High)
        .check(path);
static OPERATOR: Key<String> = Key::new(
    "operator",
    "How it is compared with value; in takes a list; matches a Java regular expression; exists and missing nothing.",
)
.default("=")
.importance(Importance::High)
.recommended(OPERATORS)
.check(operator);
static VALUE: Key<String> = Key::new(
    "value",
    "What it is compared with. Numbers are compared by value, dates as 2020-01-02 or 2020-01-02T03:04:05.678Z. What is \
     missing or null equals nothing.",
)
.optional()
.importance(Importance::High);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&FIELD.info, &OPERATOR.info, &VALUE.info]).rule(value_is_one);

const OPERATORS: &[&str] = &["=", "!=", "<", "<=", ">", ">=", "in", "matches", "exists", "missing"];

fn path(text: Option<&str>) -> std::result::Result<(), String> {
    text.map_or(Ok(()), |text| FieldPath::nested(text).map(drop))
}

fn operator(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of(text, OPERATORS)
}

fn value_is_one(settings: &Settings) -> Vec<(&'static str, String)> {
    match condition(settings) {
        Err(reason) => vec![(VALUE.info.name, reason)],
        Ok(_) => vec![],
    }
}

fn condition(settings: &Settings) -> std::result::Result<Condition, String> {
    let text = |error: ConnectError| error.to_string();
    let path = FieldPath::nested(&settings.get(&FIELD).map_err(text)?)?;
    let operator = settings.get(&OPERATOR).map_err(text)?;
    let value = settings.find(&VALUE).map_err(text)?;
    match (operator.as_str(), value) {
        ("exists", _) => Ok(Condition::Exists(path)),
        ("missing", _) => Ok(Condition::Not(Box::new(Condition::Exists(path)))),
        (operator, None) => Err(format!("the operator {operator} compares with a value: say which")),
        ("matches", Some(value)) => Ok(Condition::Matches(path, JavaRegex::new(&value)?)),
        ("in", Some(value)) => {
            Ok(Condition::OneOf(path, value.split(',').map(|part| Literal::new(part.trim())).collect()))
        }
        (sign, Some(value)) => {
            let operator = Operator::SIGNS.iter().find(|(known, _)| *known == sign);
            let (_, operator) = operator.ok_or_else(|| format!("{sign} is no operator"))?;
            Ok(Condition::Compare(path, *operator, Literal::new(&value)))
        }
    }
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Predicate>> {
    let condition = condition(settings).map_err(ConnectError::config)?;
    Ok(Box::new(FieldMatches { side, condition }))
}

struct FieldMatches {
    side: Side,
    condition: Condition,
}

impl Predicate for FieldMatches {
    fn test(&self, record: &Record) -> bool {
        self.condition.holds(self.side.of(record))
    }
}
