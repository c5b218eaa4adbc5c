//! The worker's own converters, looked up and set as the worker does it. As in a task, one instance serves many records.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use pipette::plugins::Plugins;
use pipette_api::record::KafkaHeaders;
use pipette_api::{Blob, ConfigMap, Converter, Datum, HeaderConverter, Result, Settings, Side};
use serde_json::{Value as Json, json};

use super::super::notation::{datum, hex, shown, unhex};
use super::super::verdict;

enum Made {
    Record(Box<dyn Converter>),
    Header(Box<dyn HeaderConverter>),
}

fn make(task: &Json) -> Result<Made> {
    let (class, plugins) = (task["class"].as_str().unwrap(), Plugins::built_in());
    let pairs = task["settings"].as_object().unwrap().iter();
    let config: ConfigMap = pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap().into())).collect();
    if task["as"] == "header" {
        let plugin = *plugins.header_converter(class).unwrap();
        return Ok(Made::Header((plugin.make)(Settings::new(config, plugin.info.config))?));
    }
    let side = if task["as"] == "key" { Side::Key } else { Side::Value };
    let plugin = *plugins.converter(class).unwrap();
    Ok(Made::Record((plugin.make)(Settings::new(config, plugin.info.config), side)?))
}

impl Made {
    fn encode(&mut self, datum: &Datum) -> Result<Option<Vec<u8>>> {
        let mut buffer = b"left over".to_vec();
        let bytes = match self {
            Self::Record(converter) => converter.encode("t", &mut KafkaHeaders::default(), datum, &mut buffer)?,
            Self::Header(converter) => converter.encode("t", "h", datum, &mut buffer)?,
        };
        Ok(bytes.map(<[u8]>::to_vec))
    }

    fn decode(&mut self, bytes: Option<&Blob>) -> Result<Datum> {
        match self {
            Self::Record(converter) => converter.decode("t", &KafkaHeaders::default(), bytes),
            Self::Header(converter) => converter.decode("t", "h", bytes),
        }
    }
}

thread_local! {
    static KNOWN: RefCell<HashMap<String, Made>> = RefCell::default();
}

/// Our answer to a task.
pub(crate) fn answer(task: &Json) -> Json {
    let name = format!("{}{}{}", task["class"], task["as"], task["settings"]);
    KNOWN.with_borrow_mut(|known| {
        let converter = match known.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match make(task) {
                Ok(made) => place.insert(made),
                Err(error) => return verdict::refusal(&error),
            },
        };
        let answer = if let Some(written) = task.get("encode") {
            converter.encode(&datum(written)).map(|bytes| json!({"bytes": bytes.map(|bytes| hex(&bytes))}))
        } else {
            let blob = task["decode"].as_str().map(|text| Blob::whole(unhex(text)).unwrap());
            let answer = converter.decode(blob.as_ref()).map(|datum| shown(&datum));
            assert_eq!(again(task, blob.as_ref()), answer.as_ref().ok().cloned(), "{task}");
            answer
        };
        answer.unwrap_or_else(|error| verdict::error(&error))
    })
}

/// The same bytes after themselves: a converter that knows records of their kind takes other ways.
fn again(task: &Json, bytes: Option<&Blob>) -> Option<Json> {
    let mut anew = make(task).ok()?;
    let _ = anew.decode(bytes);
    anew.decode(bytes).ok().map(|datum| shown(&datum))
}

/// The JSON of a datum as our converter writes it, if it can.
pub(crate) fn json_of(settings: &Json, written: &Json) -> Option<Vec<u8>> {
    let class = "org.apache.kafka.connect.json.JsonConverter";
    let answer = answer(&json!({"class": class, "as": "value", "settings": settings, "encode": written}));
    answer["bytes"].as_str().map(unhex)
}
