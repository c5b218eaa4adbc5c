//! Confluent's Filter: drops records, or keeps only those, for which a condition holds that is written as a JSON path.
//!
//! `filter_path.rs` reads the path.

use pipette_api::config::{Importance, checks};
use pipette_api::{ConfigDef, ConnectError, Key, Record, Result, Settings, Side, Transform, Verdict};

use crate::condition::Condition;
use crate::filter_path;

pub(crate) const ABOUT: &str = "Confluent's Filter: keeps or drops records by a condition on their fields.";

static CONDITION: Key<String> = Key::new(
    "filter.condition",
    "A JSON path: $.field is there, $[?(@.amount > 100 && @.state == 'open')] holds. Comparisons, && || !, in [..], and \
     =~ /pattern/ can be used.",
)
.importance(Importance::High)
.check(condition);
static TYPE: Key<String> =
    Key::new("filter.type", "include keeps only the records for which it holds, exclude drops them.")
        .importance(Importance::High)
        .recommended(&["include", "exclude"])
        .check(kind);
static MISSING: Key<String> = Key::new(
    "missing.or.null.behavior",
    "What becomes of records without a field that the condition names: fail, include (keep) or exclude (drop).",
)
.default("fail")
.recommended(BEHAVIOURS)
.check(behaviour);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&CONDITION.info, &TYPE.info, &MISSING.info]);

const BEHAVIOURS: &[&str] = &["fail", "include", "exclude"];

fn condition(text: Option<&str>) -> std::result::Result<(), String> {
    text.map_or(Ok(()), |text| filter_path::read(text).map(drop))
}

fn kind(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of(text, &["include", "exclude"])
}

fn behaviour(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of(text, BEHAVIOURS)
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let condition = filter_path::read(&settings.get(&CONDITION)?).map_err(ConnectError::config)?;
    let missing = match settings.get(&MISSING)?.as_str() {
        "include" => Some(Verdict::Keep),
        "exclude" => Some(Verdict::Drop),
        _ => None,
    };
    Ok(Box::new(ConditionalFilter { side, condition, keeps: settings.get(&TYPE)? == "include", missing }))
}

struct ConditionalFilter {
    side: Side,
    condition: Condition,
    /// Whether records are kept for which it holds, or dropped.
    keeps: bool,
    /// What becomes of records without the fields; an error when `None`.
    missing: Option<Verdict>,
}

impl Transform for ConditionalFilter {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of(record);
        if let Some(path) = self.condition.paths().into_iter().find(|path| path.find(&datum.value).is_none()) {
            return self.missing.ok_or_else(|| {
                ConnectError::data(format!(
                    "the field {} of the filter's condition is missing or null: missing.or.null.behavior says what to do",
                    path.text()
                ))
            });
        }
        Ok(if self.condition.holds(datum) == self.keeps { Verdict::Keep } else { Verdict::Drop })
    }
}
