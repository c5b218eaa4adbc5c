//! What is on the disk: one folder per topic with one log per partition, and a journal for everything else.
//!
//! The node (`crate::node`) is the only caller. Nothing here knows the network or the runtime. Reading order:
//! `batch` (a record batch's header), `marker` (the end of a transaction), `producers` (duplicates), `spans` (open and
//! aborted transactions), `log` (a partition), `scan` (what a log holds after a restart), `catalogue` (topics, committed
//! offsets), `transactions` (transactional ids in it), `journal` (the catalogue's changes, made durable), `folder` (the
//! lock and the format).

pub(crate) mod batch;
pub(crate) mod catalogue;
pub(crate) mod folder;
pub(crate) mod journal;
pub(crate) mod log;
pub(crate) mod marker;
pub(crate) mod producers;
mod scan;
pub(crate) mod spans;
pub(crate) mod transactions;

use kafka_protocol::ResponseError;

/// A request's answer when it is no: the protocol's code, and the sentence the client logs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    pub code: ResponseError,
    pub why: String,
}

impl Refused {
    pub(crate) fn new(code: ResponseError, why: impl Into<String>) -> Refused {
        Refused { code, why: why.into() }
    }

    /// The disk said no. Clients retry this code, so a full disk that is cleared heals by itself.
    pub(crate) fn storage(why: impl Into<String>) -> Refused {
        Refused::new(ResponseError::KafkaStorageError, why)
    }
}
