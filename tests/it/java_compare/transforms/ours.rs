//! The worker's own transformations and predicates. As in a task, one instance serves many records.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use pipette::plugins::Plugins;
use pipette_api::{ConfigMap, Headers, Predicate, Record, Result, Settings, Transform, Verdict};
use serde_json::{Value as Json, json};

use super::super::notation::{datum, shown};
use super::super::verdict;

pub(crate) enum Made {
    Transform(Box<dyn Transform>),
    Predicate(Box<dyn Predicate>),
}

pub(crate) fn make(class: &str, settings: &Json) -> Result<Made> {
    let pairs = settings.as_object().unwrap().iter();
    let config: ConfigMap = pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap().into())).collect();
    let plugins = Plugins::built_in();
    if let Some(plugin) = plugins.predicate(class) {
        return (plugin.make)(Settings::new(config, plugin.info.config)).map(Made::Predicate);
    }
    let plugin = plugins.transform(class).unwrap();
    (plugin.make)(Settings::new(config, plugin.info.config)).map(Made::Transform)
}

pub(crate) fn record(json: &Json) -> Record {
    let number = |name: &str| json[name].as_str().map(|text| text.parse::<i64>().unwrap());
    let header = |header: &Json| (header[0].as_str().unwrap().into(), datum(&header[1]));
    Record {
        topic: json["topic"].as_str().unwrap().into(),
        partition: json["partition"].as_i64().map(|number| number.try_into().unwrap()),
        key: datum(&json["key"]),
        value: datum(&json["value"]),
        headers: Headers(json["headers"].as_array().unwrap().iter().map(header).collect()),
        timestamp: number("timestamp"),
        offset: number("offset"),
    }
}

fn shown_record(record: &Record) -> Json {
    json!({
        "topic": &*record.topic,
        "partition": record.partition,
        "timestamp": record.timestamp.map(|number| number.to_string()),
        "offset": record.offset.map(|number| number.to_string()),
        "key": shown(&record.key),
        "value": shown(&record.value),
        "headers": record.headers.0.iter().map(|(name, datum)| json!([&**name, shown(datum)])).collect::<Json>(),
    })
}

thread_local! {
    static KNOWN: RefCell<HashMap<String, Made>> = RefCell::default();
}

/// Our answer to a task. A record that fails must be as it was.
pub(crate) fn answer(task: &Json) -> Json {
    let (class, settings) = (task["class"].as_str().unwrap(), &task["settings"]);
    KNOWN.with_borrow_mut(|known| {
        let made = match known.entry(format!("{class}{settings}")) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match make(class, settings) {
                Ok(made) => place.insert(made),
                Err(error) => return verdict::refusal(&error),
            },
        };
        let mut record = record(&task["record"]);
        let before = record.clone();
        match made {
            Made::Predicate(predicate) => json!({"answer": predicate.test(&record)}),
            Made::Transform(transform) => match transform.apply(&mut record) {
                Ok(Verdict::Drop) => json!({"drop": true}),
                Ok(Verdict::Keep) => json!({"record": shown_record(&record)}),
                Err(error) => {
                    assert!(record == before, "T3: changed by a step that failed: {task}");
                    verdict::error(&error)
                }
            },
        }
    })
}
