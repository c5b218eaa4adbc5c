//! Transformations and predicates: synchronous, one record at a time, in place.

use crate::error::Result;
use crate::record::Record;

/// What becomes of a record after a transformation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It is filtered; Java's `null`. Its offset advances all the same.
    Drop,
}

/// Which half of a record a `$Key`/`$Value` plugin works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The record key.
    Key,
    /// The record value.
    Value,
}

impl Side {
    /// The half of the record.
    pub fn of(self, record: &Record) -> &crate::data::Datum {
        match self {
            Self::Key => &record.key,
            Self::Value => &record.value,
        }
    }

    /// The half of the record, to change it.
    pub fn of_mut(self, record: &mut Record) -> &mut crate::data::Datum {
        match self {
            Self::Key => &mut record.key,
            Self::Value => &mut record.value,
        }
    }
}

/// A single message transformation. One instance per task and place in the chain, so caches need no lock.
pub trait Transform: Send {
    /// Changes the record in place. **On an error the record is unchanged** (law T3), because the runtime still needs
    /// it for a retry, the log and the dead letter queue.
    fn apply(&mut self, record: &mut Record) -> Result<Verdict>;
}

/// Decides whether a transformation sees a record.
pub trait Predicate: Send {
    /// True when the record matches.
    fn test(&self, record: &Record) -> bool;
}
