//! Records for unit tests that look at nothing but where a record stands.

use pipette_api::record::TimestampType;
use pipette_api::{RawRecord, TopicPartition};

/// Without key, value, headers and time.
pub(crate) fn bare(tp: TopicPartition, offset: i64) -> RawRecord {
    let timestamp_type = TimestampType::NotAvailable;
    RawRecord { tp, offset, key: None, value: None, headers: Vec::new(), timestamp: None, timestamp_type }
}
