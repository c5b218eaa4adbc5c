//! All transformations and predicates: what they make of records, of both sides, with and without schemas.

mod catalogue;
mod ours;
mod records;

use std::sync::LazyLock;

use serde_json::json;

pub(crate) use self::catalogue::NOT_COMPARED;
use super::chance::Chance;
use super::comparison::{Case, Comparison};
use super::settings::Sets;

pub(crate) static TRANSFORMS: Comparison = Comparison {
    name: "transforms",
    main: "Transforms",
    case,
    ours: ours::answer,
    deviations: catalogue::DEVIATIONS,
    sources: &["transforms/standard/src"],
};

pub(crate) const MEMBERS: [&str; 19] = [
    "Cast",
    "DropHeaders",
    "ExtractField",
    "Filter",
    "Flatten",
    "HeaderFrom",
    "HoistField",
    "InsertField",
    "InsertHeader",
    "MaskField",
    "RegexRouter",
    "ReplaceField",
    "SetSchemaMetadata",
    "TimestampConverter",
    "TimestampRouter",
    "ValueToKey",
    "HasHeaderKey",
    "RecordIsTombstone",
    "TopicNameMatches",
];

/// Those without a class for keys and one for values.
const OF_RECORDS: [&str; 6] = ["DropHeaders", "Filter", "InsertHeader", "RegexRouter", "TimestampRouter", "ValueToKey"];

static SETTINGS: LazyLock<Vec<Sets>> = LazyLock::new(|| {
    let table = include_str!("../../java/settings/transforms.txt");
    MEMBERS.iter().map(|member| Sets::of(table, member)).collect()
});

/// The class of a member, for keys or for values where there are two.
fn class_of(member: &str, key: bool) -> String {
    let package = "org.apache.kafka.connect.transforms";
    match member {
        "HasHeaderKey" | "RecordIsTombstone" | "TopicNameMatches" => format!("{package}.predicates.{member}"),
        member if OF_RECORDS.contains(&member) => format!("{package}.{member}"),
        member if key => format!("{package}.{member}$Key"),
        member => format!("{package}.{member}$Value"),
    }
}

fn case(number: u64) -> Case {
    let mut chance = Chance::of(number);
    let index = usize::try_from(number).unwrap() % MEMBERS.len();
    let member = MEMBERS[index];
    let key = chance.one_in(4);
    let settings = SETTINGS[index].pick(&mut chance);
    let record = records::any(&mut chance, key, settings["format"].as_str());
    let task = json!({"class": class_of(member, key), "settings": settings, "record": record});
    Case { member: member.to_owned(), task }
}

/// What the live run compares with Java is what the table says.
#[test]
fn settings_are_refused_where_the_table_says_so() {
    for (member, sets) in MEMBERS.iter().zip(&*SETTINGS) {
        let refused = |settings: &serde_json::Value| ours::make(&class_of(member, false), settings).is_err();
        for settings in &sets.accepted {
            assert!(!refused(settings), "{member}: {settings}");
        }
        for settings in &sets.refused {
            assert!(refused(settings), "{member}: {settings}");
        }
    }
}
