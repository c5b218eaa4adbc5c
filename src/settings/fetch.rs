//! The worker's key about how sinks read. Read by `worker.rs`; `src/kafka/direct.rs` acts on it.

use pipette_api::config::checks::one_of;
use pipette_api::config::key::Importance;
use pipette_api::{Key, Result, Settings};

pub(super) static DIRECT: Key<String> = Key::new(
    "fetch.direct",
    "How sinks read busy partitions. `auto`: straight from the partition's leader while batches come full and nothing is out of \
     the ordinary, which costs a third to a half less CPU; encrypted connections, logins, compressed batches and \
     `isolation.level=read_committed` are librdkafka's. `never`: everything through librdkafka. `always`: straight from the \
     leader however few records there are.",
)
.default("auto")
.importance(Importance::Low)
.check(|text| one_of(text, &["auto", "never", "always"]));

/// `fetch.direct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectFetch {
    /// Where it pays.
    Auto,
    /// Nowhere.
    Never,
    /// Wherever it can.
    Always,
}

impl DirectFetch {
    pub(super) fn read(settings: &Settings) -> Result<Self> {
        Ok(match settings.get(&DIRECT)?.as_str() {
            "never" => Self::Never,
            "always" => Self::Always,
            _ => Self::Auto,
        })
    }
}
