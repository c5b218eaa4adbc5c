//! Where a source stands: partitions, offsets and the reader that gives them back after a restart.
//!
//! Java keeps two maps per record. Here a [`Position`] holds an interned partition, a shape that a whole batch shares
//! and two numbers; the map is rendered only when an offset is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;

/// A flat map of primitives, Java's `Map<String, ?>` of a source partition or offset.
pub type OffsetMap = BTreeMap<Arc<str>, Primitive>;

/// What Connect allows inside a partition or an offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Primitive {
    /// JSON `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any integer.
    Int(i64),
    /// A floating-point number by its bits; written by Java connectors only.
    Float(u64),
    /// Text.
    Text(Arc<str>),
}

impl Primitive {
    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }
}

impl From<i64> for Primitive {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Primitive {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Primitive {
    fn from(value: &str) -> Self {
        Self::Text(Arc::from(value))
    }
}

impl From<String> for Primitive {
    fn from(value: String) -> Self {
        Self::Text(Arc::from(value))
    }
}

/// One stream inside a source: a file, a device, a table. Sources make each partition once and share the `Arc`, so
/// that the ledger can tell partitions apart by pointer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub OffsetMap);

impl Partition {
    /// A partition with one member, which is what most sources have.
    pub fn of(name: &str, value: impl Into<Primitive>) -> Self {
        Self(BTreeMap::from([(Arc::from(name), value.into())]))
    }
}

/// What does not vary from record to record, and the names of the (at most two) numbers that do. Shared by a batch, a
/// page or a file. Text that varies means a new shape without marks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OffsetShape {
    /// The members that stay the same.
    pub fixed: OffsetMap,
    /// The names under which [`Position::marks`] are written.
    pub marks: [Option<&'static str>; 2],
}

/// Where a source goes on after the record that carries it.
#[derive(Debug, Clone)]
pub struct Position {
    /// The stream.
    pub partition: Arc<Partition>,
    /// The shared part of the offset.
    pub shape: Arc<OffsetShape>,
    /// The numbers that vary, named by [`OffsetShape::marks`].
    pub marks: [i64; 2],
}

impl Position {
    /// The offset as Connect stores it.
    pub fn render(&self) -> OffsetMap {
        let mut map = self.shape.fixed.clone();
        for (name, mark) in self.shape.marks.iter().zip(self.marks) {
            if let Some(name) = name {
                map.insert(Arc::from(*name), Primitive::Int(mark));
            }
        }
        map
    }
}

/// Reads committed offsets of the connector it was given to. Never sees those of another connector.
#[async_trait]
pub trait OffsetReader: Send + Sync {
    /// The committed offset of a partition, `None` when there is none.
    async fn get(&self, partition: &Partition) -> Result<Option<OffsetMap>>;

    /// Every committed offset of the connector, in no particular order.
    async fn scan(&self) -> Result<Vec<(Partition, OffsetMap)>>;
}
