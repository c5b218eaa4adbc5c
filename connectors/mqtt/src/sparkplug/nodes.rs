//! What is remembered of edge nodes and their devices: the names behind aliases, sequence numbers, births and deaths.
//!
//! Pure. It is memory alone: after a restart names come back with the next birth, which a node can be asked for. What it
//! takes is bounded; beyond that the nodes that were silent longest are forgotten. Read next: `records.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::payload::{Carried, Metric};
use super::topic::Place;
use super::types::DataType;

/// What an entry of a table costs besides its name.
const ENTRY: usize = 160;

/// A metric as its birth described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: Arc<str>,
    pub(super) data_type: DataType,
}

/// Every node that was heard of.
#[derive(Debug)]
pub(super) struct Nodes {
    all: HashMap<String, Node>,
    bytes: usize,
    limit: usize,
    /// Counts messages, so that nodes can be told by how long they are silent.
    clock: u64,
}

#[derive(Debug, Default)]
struct Node {
    /// Of the last message.
    seq: Option<u8>,
    /// Of the last birth.
    bd_seq: Option<u64>,
    own: Table,
    devices: HashMap<String, Table>,
    heard: u64,
    /// When it was last asked for its birth.
    asked: Option<Instant>,
}

/// The metrics of a node or device.
#[derive(Debug, Default)]
pub(super) struct Table {
    is_online: bool,
    by_alias: HashMap<u64, Known>,
    by_name: HashMap<Arc<str>, DataType>,
    bytes: usize,
}

impl Table {
    pub(super) fn by_alias(&self, alias: u64) -> Option<&Known> {
        self.by_alias.get(&alias)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<DataType> {
        self.by_name.get(name).copied()
    }
}

/// What a death means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Death {
    /// False when a later birth has come already: the message is of an earlier connection.
    pub(super) counts: bool,
    /// The devices that are gone with the node.
    pub(super) devices: Vec<String>,
}

impl Nodes {
    pub(super) fn new(limit: usize) -> Self {
        Self { all: HashMap::new(), bytes: 0, limit, clock: 0 }
    }

    fn node(&mut self, place: &Place<'_>) -> &mut Node {
        self.clock += 1;
        let name = place.node_name();
        if !self.all.contains_key(&name) {
            self.bytes += ENTRY + name.len();
        }
        let node = self.all.entry(name).or_default();
        node.heard = self.clock;
        node
    }

    /// What births have said of a node or device.
    pub(super) fn table(&self, place: &Place<'_>) -> Option<&Table> {
        let node = self.all.get(&place.node_name())?;
        match place.device {
            None => Some(&node.own),
            Some(device) => node.devices.get(device),
        }
    }

    /// Takes the number of a message in; true when messages before it are missing.
    pub(super) fn has_gap(&mut self, place: &Place<'_>, seq: u8, is_repeated: bool) -> bool {
        let node = self.node(place);
        let Some(last) = node.seq else {
            node.seq = Some(seq);
            return false;
        };
        let behind = last.wrapping_sub(seq);
        // One that comes again, with its flag, is one of those that were seen.
        if is_repeated && behind < 128 {
            return false;
        }
        node.seq = Some(seq);
        seq != last.wrapping_add(1)
    }

    /// A birth: the tables are as it says, and the devices of a node that is born have yet to be.
    pub(super) fn born(&mut self, place: &Place<'_>, seq: Option<u8>, metrics: &[Metric<'_>]) {
        let mut table = Table { is_online: true, ..Table::default() };
        for metric in metrics {
            let Some(name) = metric.name else { continue };
            let (name, data_type) = (Arc::<str>::from(name), DataType::of(metric.datatype.unwrap_or(0)));
            table.bytes += ENTRY + name.len();
            if let Some(alias) = metric.alias {
                table.by_alias.insert(alias, Known { name: Arc::clone(&name), data_type });
            }
            table.by_name.insert(name, data_type);
        }
        let added = table.bytes + place.device.map_or(0, |device| ENTRY + device.len());
        let node = self.node(place);
        let mut freed = 0;
        if let Some(device) = place.device {
            let earlier = node.devices.insert(device.to_owned(), table);
            freed += earlier.map_or(0, |earlier| ENTRY + device.len() + earlier.bytes);
        } else {
            freed += node.own.bytes + devices_of(node);
            node.devices.clear();
            node.own = table;
            (node.seq, node.bd_seq) = (seq, bd_seq(metrics));
        }
        self.bytes += added;
        self.bytes -= freed;
    }

    /// A death: names and numbers that belonged to that life count no more.
    pub(super) fn died(&mut self, place: &Place<'_>, metrics: &[Metric<'_>]) -> Death {
        let node = self.node(place);
        let mut freed = 0;
        let mut devices = Vec::new();
        if let Some(device) = place.device {
            if let Some(table) = node.devices.remove(device) {
                freed += ENTRY + device.len() + table.bytes;
            }
        } else {
            if let (Some(born), Some(died)) = (node.bd_seq, bd_seq(metrics))
                && node.own.is_online
                && born != died
            {
                return Death { counts: false, devices };
            }
            freed += node.own.bytes + devices_of(node);
            let gone = node.devices.drain().filter(|(_, table)| table.is_online);
            devices.extend(gone.map(|(device, _)| device));
            devices.sort();
            (node.own, node.seq) = (Table::default(), None);
        }
        self.bytes -= freed;
        Death { counts: true, devices }
    }

    /// True when the node may be asked for its birth now, which counts as done.
    pub(super) fn may_ask(&mut self, place: &Place<'_>, now: Instant, interval: Duration) -> bool {
        let node = self.node(place);
        let may = node.asked.is_none_or(|asked| now.duration_since(asked) >= interval);
        if may {
            node.asked = Some(now);
        }
        may
    }

    /// Forgets nodes while memory is over its limit, and says how many.
    pub(super) fn shrink(&mut self) -> usize {
        if self.bytes <= self.limit {
            return 0;
        }
        let mut by_age: Vec<(u64, String)> = self.all.iter().map(|(name, node)| (node.heard, name.clone())).collect();
        by_age.sort_unstable();
        let mut forgotten = 0;
        // More than is needed, so that not each message has to look for the oldest.
        for (_, name) in by_age {
            if self.bytes <= self.limit / 4 * 3 {
                break;
            }
            if let Some(node) = self.all.remove(&name) {
                self.bytes -= ENTRY + name.len() + node.own.bytes + devices_of(&node);
                forgotten += 1;
            }
        }
        forgotten
    }
}

fn devices_of(node: &Node) -> usize {
    node.devices.iter().map(|(name, table)| ENTRY + name.len() + table.bytes).sum()
}

/// The number that ties a death to its birth.
pub(super) fn bd_seq(metrics: &[Metric<'_>]) -> Option<u64> {
    let metric = metrics.iter().find(|metric| metric.name == Some("bdSeq"))?;
    match metric.value {
        Some(Carried::Long(number)) => Some(number),
        Some(Carried::Int(number)) => Some(number.into()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
