//! The keys for Sparkplug B, and what they ask of the subscription.
//!
//! Read next: `mod.rs`.

use std::time::Duration;

use pipette_api::config::checks::{at_least, in_range, one_of};
use pipette_api::{Key, Result, Settings};

use super::topic::NAMESPACE;
use crate::budget::Held;
use crate::config::{BUFFER_BYTES, BUFFER_RECORDS, GROUP, KAFKA_KEY, TOPICS};
use crate::filter::Subscription;

const MODES: &[&str] = &["flat", "payload", "raw"];
const UNKNOWNS: &[&str] = &["emit", "buffer"];
const REBIRTHS: &[&str] = &["off", "names", "gaps"];

pub(crate) static MODE: Key<String> = Key::new(
    "mqtt.sparkplug.mode",
    "With `mqtt.value.format=sparkplug_b`: `flat` makes a record of each metric, with names for aliases, and of each birth \
     and death; `payload` makes one of each message, with an array of its metrics, named likewise; `raw` leaves the payload \
     as it is, with headers that tell whose it is.",
)
.default("flat")
.group("Sparkplug")
.recommended(MODES)
.check(|text| one_of(text, MODES));
pub(crate) static REBIRTH: Key<String> = Key::new(
    "mqtt.sparkplug.rebirth",
    "When a node is asked for its births, with a command: `off` never; `names` when it sends an alias or a metric of which \
     no birth was seen; `gaps` also when messages are missing. It writes to the plant, and needs the right to do so.",
)
.default("off")
.group("Sparkplug")
.recommended(REBIRTHS)
.check(|text| one_of(text, REBIRTHS));
pub(crate) static REBIRTH_INTERVAL: Key<Duration> = Key::new(
    "mqtt.sparkplug.rebirth.interval.ms",
    "How long a node is not asked again for its births, whether it answered or not.",
)
.default("60000")
.group("Sparkplug")
.check(at_least::<1000>);
pub(crate) static UNKNOWN: Key<String> = Key::new(
    "mqtt.sparkplug.unknown",
    "What becomes of data of which no birth was seen: `emit` hands it on with its alias and without a name; `buffer` has it \
     wait for the birth, and what follows of its node behind it, in up to a quarter of `mqtt.buffer.max.bytes` and \
     `mqtt.buffer.max.records`. What waits is not acknowledged.",
)
.default("emit")
.group("Sparkplug")
.recommended(UNKNOWNS)
.check(|text| one_of(text, UNKNOWNS));
pub(crate) static PATIENCE: Key<Duration> = Key::new(
    "mqtt.sparkplug.buffer.ms",
    "With `mqtt.sparkplug.unknown=buffer`: how long data waits for a birth. Then it is handed on as with `emit`.",
)
.default("30000")
.group("Sparkplug")
.check(at_least::<1000>);
pub(crate) static MAX_VALUES: Key<u32> = Key::new(
    "mqtt.sparkplug.max.values",
    "The most metrics, cells of tables, members of templates, properties and elements of arrays that a message may have, \
     taken together. One with more is bad input.",
)
.default("50000")
.group("Sparkplug")
.check(in_range::<1, 10_000_000>);
pub(crate) static STATE_BYTES: Key<u32> = Key::new(
    "mqtt.sparkplug.state.max.bytes",
    "Memory of a task for the names behind aliases. Beyond it the nodes that were silent longest are forgotten until their \
     next birth.",
)
.default("67108864")
.group("Sparkplug")
.check(in_range::<65_536, 2_147_483_647>);

/// What a message becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A record of each metric, birth and death.
    Flat,
    /// One record.
    Payload,
    /// Bytes.
    Raw,
}

/// When a node is asked for its births.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rebirth {
    Off,
    Names,
    Gaps,
}

/// The settings of the keys.
#[derive(Debug, Clone)]
pub(crate) struct SparkplugSettings {
    pub(crate) mode: Mode,
    pub(crate) rebirth: Rebirth,
    pub(crate) interval: Duration,
    pub(crate) max_values: usize,
    pub(crate) state_bytes: usize,
    /// How long data waits for a birth, and how much of it; `None` hands it on.
    pub(crate) waits: Option<(Duration, Held)>,
    /// Whether records have the name of their metric as key, because no other was asked for.
    pub(crate) names_are_keys: bool,
}

impl SparkplugSettings {
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        Ok(Self {
            mode: match settings.get(&MODE)?.as_str() {
                "payload" => Mode::Payload,
                "raw" => Mode::Raw,
                _ => Mode::Flat,
            },
            rebirth: match settings.get(&REBIRTH)?.as_str() {
                "names" => Rebirth::Names,
                "gaps" => Rebirth::Gaps,
                _ => Rebirth::Off,
            },
            interval: settings.get(&REBIRTH_INTERVAL)?,
            max_values: settings.get(&MAX_VALUES)? as usize,
            state_bytes: settings.get(&STATE_BYTES)? as usize,
            waits: if settings.get(&UNKNOWN)? == "buffer" {
                // Of a full memory nothing is read any more, and no birth would come.
                let quarter = |key| Ok::<_, pipette_api::ConnectError>(settings.get(key)? as usize / 4);
                let limit = Held { bytes: quarter(&BUFFER_BYTES)?, records: quarter(&BUFFER_RECORDS)? };
                Some((settings.get(&PATIENCE)?, limit))
            } else {
                None
            },
            names_are_keys: settings.raw(KAFKA_KEY.info.name).is_none(),
        })
    }

    /// What is wrong with the subscription: names come with births, so that one task must see all messages of a node.
    pub(crate) fn rules(&self, subscriptions: &[Subscription], is_shared: bool, tasks: Option<&str>) -> Broken {
        if self.mode == Mode::Raw {
            return Vec::new();
        }
        if is_shared {
            return vec![(
                GROUP.info.name,
                "is not possible with Sparkplug B: births and data of a node must reach the same task. Leave $share/ and \
                 the group out, or set mqtt.sparkplug.mode=raw"
                    .into(),
            )];
        }
        let is_alone = tasks.is_none_or(|tasks| tasks.trim() == "1") || subscriptions.len() < 2;
        let parted = subscriptions.iter().find(|subscription| !owns_nodes(&subscription.filter));
        match parted.filter(|_| !is_alone) {
            None => Vec::new(),
            Some(Subscription { filter, .. }) => vec![(
                TOPICS.info.name,
                format!(
                    "'{filter}' takes some messages of a node and leaves others to another task: with more than one task \
                     filters must be like {NAMESPACE}/GROUP/# or {NAMESPACE}/GROUP/+/NODE/#, or set tasks.max=1"
                ),
            )],
        }
    }
}

type Broken = Vec<(&'static str, String)>;

/// True when a filter takes all messages of a node or none.
fn owns_nodes(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    match levels.as_slice() {
        ["STATE", ..] | [NAMESPACE, "STATE", ..] => true,
        [.., "#"] if levels.len() <= 3 => true,
        [_, _, "+", .., "#"] => levels.len() <= 5,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_with_whole_nodes_are_told_from_others() {
        for filter in
            ["#", "spBv1.0/#", "spBv1.0/g/#", "spBv1.0/g/+/#", "spBv1.0/+/+/n/#", "spBv1.0/STATE/+", "STATE/x"]
        {
            assert!(owns_nodes(filter), "{filter}");
        }
        for filter in
            ["spBv1.0/g/NDATA/#", "spBv1.0/g/+/n", "spBv1.0/g/+/+/+", "spBv1.0/g/+/n/d/#", "spBv1.0/g/DBIRTH/n/d"]
        {
            assert!(!owns_nodes(filter), "{filter}");
        }
    }
}
