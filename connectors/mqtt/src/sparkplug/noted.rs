//! What messages of Sparkplug B give rise to besides records: numbers, and commands to nodes that their births are wanted.
//!
//! `source.rs` has it acted upon behind each batch. Read next: `mod.rs`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::topic::{NAMESPACE, Place};
use super::types::DataType;
use super::wire::{write_bytes, write_varint};
use crate::board::SourceNumbers;
use crate::client::{Link, Outgoing, Qos};

/// What was noticed since this was last asked.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Messages before which others are missing.
    pub(super) gaps: usize,
    /// Metrics without a name or a type.
    pub(super) unknown: usize,
    /// Commands to nodes, to send their births.
    pub(super) commands: Vec<Outgoing>,
}

impl Noted {
    /// Counts, and sends the commands.
    pub(crate) fn act(self, numbers: &SourceNumbers, link: Option<&Link>) {
        numbers.gaps.count(self.gaps);
        numbers.unknown.count(self.unknown);
        numbers.rebirths.count(self.commands.len());
        for command in self.commands {
            tracing::info!(topic = command.topic, "A Sparkplug node is asked for its births");
            // A connection that is gone says so with its next event, and what is unknown then is asked for again.
            if let Some(Err(fault)) = link.map(|link| link.publish(command)) {
                tracing::debug!(%fault, "The command was not sent");
            }
        }
    }
}

/// The command that asks a node to send its births.
pub(super) fn rebirth_of(place: &Place<'_>) -> Outgoing {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let (mut metric, mut payload) = (Vec::new(), Vec::new());
    write_bytes(1, b"Node Control/Rebirth", &mut metric);
    write_varint(4, DataType::Boolean as u64, &mut metric);
    write_varint(14, 1, &mut metric);
    write_varint(1, u64::try_from(since).unwrap_or(0), &mut payload);
    write_bytes(2, &metric, &mut payload);
    Outgoing {
        topic: format!("{NAMESPACE}/{}/NCMD/{}", place.group, place.node),
        payload: payload.into(),
        qos: Qos::AtMostOnce,
        retain: false,
        properties: None,
    }
}
