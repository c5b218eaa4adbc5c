//! The worker's own converters, looked up and set as the worker does it.

use pipette::plugins::Plugins;
use pipette_api::{Blob, ConfigMap, Datum, HeaderConverter, Result, Settings};
use serde_json::Value as Json;

/// Header converters, since all converters are; the others run the same code.
fn converter(class: &str, settings: &Json) -> Box<dyn HeaderConverter> {
    let plugin = *Plugins::built_in().header_converter(class).unwrap();
    let pairs = settings.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().into()));
    (plugin.make)(Settings::new(pairs.collect::<ConfigMap>(), plugin.info.config)).unwrap()
}

pub(crate) fn encode(class: &str, settings: &Json, datum: &Datum) -> Result<Option<Vec<u8>>> {
    let mut buffer = Vec::new();
    let bytes = converter(class, settings).encode("t", "h", datum, &mut buffer)?.map(<[u8]>::to_vec);
    Ok(bytes)
}

pub(crate) fn decode(class: &str, settings: &Json, bytes: Option<Vec<u8>>) -> Result<Datum> {
    let blob = bytes.map(|bytes| Blob::whole(bytes).unwrap());
    converter(class, settings).decode("t", "h", blob.as_ref())
}
