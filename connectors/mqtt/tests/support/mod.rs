//! What the tests of this crate share.

pub(crate) mod mosquitto;
pub(crate) mod proxy;
pub(crate) mod source;

use mosquitto::Mosquitto;
use pipette_api::ConfigMap;
use pipette_kit::build;

/// A source of `lab/#` that comes back quickly.
#[allow(dead_code)] // not each test binary needs it
pub(crate) fn source_config(broker: &Mosquitto, more: &[(&str, &str)]) -> ConfigMap {
    config(&broker.uri(), &[("mqtt.topics", "lab/#"), ("mqtt.value.format", "string"), ("kafka.topic", "lab")], more)
}

/// A connector that comes back quickly.
pub(crate) fn config(uri: &str, some: &[(&str, &str)], more: &[(&str, &str)]) -> ConfigMap {
    let base =
        [("mqtt.server.uri", uri), ("mqtt.reconnect.backoff.ms", "20"), ("mqtt.reconnect.backoff.max.ms", "100")];
    build::config(&[&base, some, more].concat())
}

/// Texts that tell where they stand.
#[allow(dead_code)] // not each test binary needs them
pub(crate) fn texts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number:05}")).collect()
}

/// Free ports of the loopback, for what is shared with the worker's tests.
#[allow(dead_code)] // not each test binary needs them
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| mosquitto::free_port())
}
