//! The one reviewed place with `unsafe`: admin calls that rdkafka does not wrap.
//!
//! Used by `admin.rs` alone. Each call owns what it makes through the small guards at the end, so that every way out
//! frees it once.
#![allow(unsafe_code, reason = "librdkafka's C interface; each block says why it is sound")]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use pipette_api::{Offsets, TopicPartition};
use rdkafka::bindings as c;
use rdkafka::types::RDKafka;

/// Every offset a consumer group has committed, whatever its topics. `client` is alive for the whole call. The error is
/// librdkafka's text.
pub(super) fn group_offsets(client: *mut RDKafka, group: &str, timeout: Duration) -> Result<Offsets, String> {
    let group = CString::new(group).map_err(|_| "a group id cannot hold a NUL character".to_owned())?;
    let wait = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` is alive; the request is given to librdkafka, which copies it before the call returns; queue and
    // event live until their guards drop, after the last use of what belongs to them.
    unsafe {
        let queue = Queue(c::rd_kafka_queue_new(client));
        let mut request = c::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), ptr::null());
        c::rd_kafka_ListConsumerGroupOffsets(client, &raw mut request, 1, ptr::null(), queue.0);
        c::rd_kafka_ListConsumerGroupOffsets_destroy(request);
        let event = Event(c::rd_kafka_queue_poll(queue.0, wait));
        if event.0.is_null() {
            return Err(format!("no answer within {} s", timeout.as_secs()));
        }
        if c::rd_kafka_event_error(event.0) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(c::rd_kafka_event_error_string(event.0)));
        }
        let result = c::rd_kafka_event_ListConsumerGroupOffsets_result(event.0);
        if result.is_null() {
            return Err("an answer of another kind".to_owned());
        }
        let mut count = 0;
        let groups = c::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        if groups.is_null() || count == 0 {
            return Ok(Offsets::new());
        }
        let error = c::rd_kafka_group_result_error(*groups);
        if !error.is_null() {
            return Err(text(c::rd_kafka_error_string(error)));
        }
        Ok(offsets(c::rd_kafka_group_result_partitions(*groups)))
    }
}

/// The partitions of a list that have an offset.
///
/// # Safety
/// `list` is null or a list of librdkafka that outlives the call.
unsafe fn offsets(list: *const c::rd_kafka_topic_partition_list_t) -> Offsets {
    // SAFETY: by contract of this function; `elems` holds `cnt` elements.
    unsafe {
        let Some(list) = list.as_ref().filter(|list| !list.elems.is_null()) else { return Offsets::new() };
        std::slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0))
            .iter()
            .filter(|element| element.offset >= 0)
            .map(|element| (TopicPartition::new(text(element.topic), element.partition), element.offset))
            .collect()
    }
}

/// # Safety
/// `string` is null or ends with a NUL.
unsafe fn text(string: *const std::ffi::c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: by contract of this function.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

struct Queue(*mut c::rd_kafka_queue_t);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, freed here only.
        unsafe { c::rd_kafka_queue_destroy(self.0) }
    }
}

struct Event(*mut c::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: from `rd_kafka_queue_poll`, freed here only; null is allowed.
        unsafe { c::rd_kafka_event_destroy(self.0) }
    }
}
