//! Reviewed `unsafe`: calls of librdkafka that rdkafka does not wrap, or wraps per record. The other place with it is
//! `src/allocator.rs`.
//!
//! `admin.rs` asks for group offsets and takes them away; `producer.rs` flushes; `consumer.rs` takes records by the batch
//! and `batch.rs` copies them out. Each call owns what it makes through small guards, so that every way out frees it once.
#![allow(unsafe_code, reason = "librdkafka's C interface; each block says why it is sound")]

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::time::Duration;

use pipette_api::{Offsets, TimestampType, TopicPartition};
use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;
use rdkafka::client::OAuthToken;
use rdkafka::types::{RDKafka, RDKafkaErrorCode};

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

/// Commits and waits for the answer, however long; `meanwhile` is called every `look`. `client` is a consumer and alive for
/// the whole call.
pub(super) fn commit(
    client: *mut RDKafka,
    offsets: &TopicPartitionList,
    look: Duration,
    meanwhile: impl Fn(),
) -> Result<(), RDKafkaErrorCode> {
    let look = i32::try_from(look.as_millis()).unwrap_or(i32::MAX);
    let outcome = |code| if code == RDKafkaErrorCode::NoError { Ok(()) } else { Err(code) };
    // SAFETY: `client` is alive; the list is copied; queue and event live until their guards drop.
    unsafe {
        let queue = Queue(c::rd_kafka_queue_new(client));
        outcome(c::rd_kafka_commit_queue(client, offsets.ptr(), queue.0, None, ptr::null_mut()).into())?;
        loop {
            let event = Event(c::rd_kafka_queue_poll(queue.0, look));
            if !event.0.is_null() {
                return outcome(c::rd_kafka_event_error(event.0).into());
            }
            meanwhile();
        }
    }
}

/// Sets the leader epochs of a list's partitions, in their order; -1 is none.
pub(super) fn set_epochs(partitions: &mut TopicPartitionList, epochs: &[i32]) {
    // SAFETY: the list is alive and nobody else's; `elems` holds `cnt` elements.
    unsafe {
        let list = &mut *partitions.ptr();
        if list.elems.is_null() {
            return;
        }
        let elements = std::slice::from_raw_parts_mut(list.elems, usize::try_from(list.cnt).unwrap_or(0));
        for (element, epoch) in elements.iter_mut().zip(epochs) {
            c::rd_kafka_topic_partition_set_leader_epoch(element, *epoch);
        }
    }
}

/// Takes committed offsets of a consumer group away. `client` is alive for the whole call. The error is librdkafka's text.
pub(super) fn delete_group_offsets(
    client: *mut RDKafka,
    group: &str,
    partitions: &TopicPartitionList,
    timeout: Duration,
) -> Result<(), String> {
    let group = CString::new(group).map_err(|_| "a group id cannot hold a NUL character".to_owned())?;
    let wait = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` and `partitions` are alive; librdkafka copies the request before the call returns; queue and event
    // live until their guards drop, after the last use of what belongs to them.
    unsafe {
        let queue = Queue(c::rd_kafka_queue_new(client));
        let mut request = c::rd_kafka_DeleteConsumerGroupOffsets_new(group.as_ptr(), partitions.ptr());
        c::rd_kafka_DeleteConsumerGroupOffsets(client, &raw mut request, 1, ptr::null(), queue.0);
        c::rd_kafka_DeleteConsumerGroupOffsets_destroy(request);
        let event = Event(c::rd_kafka_queue_poll(queue.0, wait));
        if event.0.is_null() {
            return Err(format!("no answer within {} s", timeout.as_secs()));
        }
        if c::rd_kafka_event_error(event.0) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(c::rd_kafka_event_error_string(event.0)));
        }
        let result = c::rd_kafka_event_DeleteConsumerGroupOffsets_result(event.0);
        if result.is_null() {
            return Err("an answer of another kind".to_owned());
        }
        let mut count = 0;
        let groups = c::rd_kafka_DeleteConsumerGroupOffsets_result_groups(result, &raw mut count);
        if groups.is_null() || count == 0 {
            return Ok(());
        }
        let error = c::rd_kafka_group_result_error(*groups);
        if error.is_null() { Ok(()) } else { Err(text(c::rd_kafka_error_string(error))) }
    }
}

/// Has the client's threads send what they hold without waiting for batches to fill, for as long as this call takes: until
/// everything is delivered, or `wait` is over. `client` is a producer and alive for the whole call.
pub(super) fn flush(client: *mut RDKafka, wait: Duration) {
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` is alive.
    unsafe { c::rd_kafka_flush(client, wait) };
}

/// Gives a client the token it logs in with. `client` is alive for the whole call. The error is librdkafka's text.
pub(super) fn set_token(client: *mut RDKafka, token: &OAuthToken) -> Result<(), String> {
    let string = |text: &str| CString::new(text).map_err(|_| "a token cannot hold a NUL character".to_owned());
    let (text, principal) = (string(&token.token)?, string(&token.principal_name)?);
    let mut reason = [0; 512];
    // SAFETY: `client` is alive; librdkafka copies both texts, and writes a text with its end into `reason` when it fails,
    // no longer than it is told. There are no extensions.
    unsafe {
        let code = c::rd_kafka_oauthbearer_set_token(
            client,
            text.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            reason.len(),
        );
        if code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            Ok(())
        } else {
            Err(format!("the token cannot be used: {}", self::text(reason.as_ptr())))
        }
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

/// Where the records of a consumer's partitions gather, taken many at a time: polled one by one, each costs an event, an
/// `Arc`, two looks at the clock and a look for headers. Rebalances and errors of the client stay in the consumer's own
/// queue. Drop it before the client.
pub(super) struct FetchQueue(Queue);

// SAFETY: librdkafka's queues have a lock of their own; any thread may use them.
unsafe impl Send for FetchQueue {}

impl FetchQueue {
    /// An empty queue of `client`, which is alive and outlives it.
    pub(super) fn new(client: *mut RDKafka) -> Self {
        // SAFETY: `client` is alive.
        Self(Queue(unsafe { c::rd_kafka_queue_new(client) }))
    }

    /// From here on, what is fetched of this partition comes into this queue. False when librdkafka does not know it.
    pub(super) fn gather(&self, client: *mut RDKafka, partition: &TopicPartition) -> bool {
        let Ok(topic) = CString::new(&*partition.topic) else { return false };
        // SAFETY: `client` is alive; the name is copied; the forwarding outlives the handle that sets it up, and
        // librdkafka keeps the target alive for as long as it forwards.
        unsafe {
            let source = c::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition.partition);
            if source.is_null() {
                return false;
            }
            let source = Queue(source);
            c::rd_kafka_queue_forward(source.0, self.0.0);
        }
        true
    }

    /// Takes up to `limit` records into `fetched`, waiting for the first of them only.
    pub(super) fn take(&self, fetched: &mut Fetched, limit: usize, wait: Duration) {
        fetched.clear();
        self.add(fetched, 1, i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        if !fetched.0.is_empty() && limit > 1 {
            self.add(fetched, limit - 1, 0);
        }
    }

    fn add(&self, fetched: &mut Fetched, limit: usize, wait: i32) {
        let messages = &mut fetched.0;
        messages.reserve(limit);
        // SAFETY: there is room for `limit` pointers behind the last; librdkafka fills in as many as it says, each
        // owned by the caller from then on.
        unsafe {
            let free = messages.as_mut_ptr().add(messages.len());
            let taken = c::rd_kafka_consume_batch_queue(self.0.0, wait, free, limit);
            messages.set_len(messages.len() + usize::try_from(taken).unwrap_or(0));
        }
    }
}

/// Records in librdkafka's memory. Drop it, or clear it, before the client.
#[derive(Default)]
pub(super) struct Fetched(Vec<*mut c::rd_kafka_message_t>);

// SAFETY: a message belongs to whoever holds it; any thread may read and destroy it.
unsafe impl Send for Fetched {}

impl Fetched {
    /// How many they are, errors in their place included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The records, in the order of the queue.
    pub(super) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // SAFETY: each came from librdkafka and is destroyed by `clear` only, which needs this borrow to have ended.
        self.0.iter().map(|message| Message(unsafe { &**message }))
    }

    /// Gives the records back to librdkafka.
    pub(super) fn clear(&mut self) {
        for message in self.0.drain(..) {
            // SAFETY: from librdkafka, and gone from the list: destroyed once.
            unsafe { c::rd_kafka_message_destroy(message) }
        }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One record, or an error that came in its place.
#[derive(Clone, Copy)]
pub(super) struct Message<'a>(&'a c::rd_kafka_message_t);

impl<'a> Message<'a> {
    /// The error that this is instead of a record.
    pub(super) fn error(self) -> Option<RDKafkaErrorCode> {
        (self.0.err != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| self.0.err.into())
    }

    /// True when both are of one topic: asked per record, so that the name is looked up once per topic.
    pub(super) fn is_of_topic_of(self, other: Message<'_>) -> bool {
        self.0.rkt == other.0.rkt
    }

    pub(super) fn topic(self) -> String {
        // SAFETY: a record has a topic, whose name is a C string.
        unsafe { text(c::rd_kafka_topic_name(self.0.rkt)) }
    }

    pub(super) fn partition(self) -> i32 {
        self.0.partition
    }

    pub(super) fn offset(self) -> i64 {
        self.0.offset
    }

    pub(super) fn key(self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka's pointer and length, alive as long as the message.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    pub(super) fn value(self) -> Option<&'a [u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// Milliseconds since 1970, and who set it.
    pub(super) fn timestamp(self) -> (Option<i64>, TimestampType) {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let at = unsafe { c::rd_kafka_message_timestamp(self.0, &raw mut kind) };
        match kind {
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => (Some(at), TimestampType::CreateTime),
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
                (Some(at), TimestampType::LogAppendTime)
            }
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => (None, TimestampType::NotAvailable),
        }
    }

    /// The headers, if there are any. librdkafka reads them anew at each call.
    pub(super) fn headers(self) -> Option<HeaderList<'a>> {
        let mut all = ptr::null_mut();
        // SAFETY: the message is alive; it keeps the headers that it gives out.
        let found = unsafe { c::rd_kafka_message_headers(self.0, &raw mut all) };
        (found == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
            .then_some(HeaderList { all, of: std::marker::PhantomData })
    }
}

/// The headers of one record.
#[derive(Clone, Copy)]
pub(super) struct HeaderList<'a> {
    all: *const c::rd_kafka_headers_t,
    of: std::marker::PhantomData<Message<'a>>,
}

impl<'a> HeaderList<'a> {
    /// Name and value, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a CStr, Option<&'a [u8]>)> {
        (0..).map_while(move |index| {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list lives as long as its message; an index past the last is answered with an error.
            unsafe {
                let found = c::rd_kafka_header_get_all(self.all, index, &raw mut name, &raw mut value, &raw mut len);
                (found == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
                    .then(|| (CStr::from_ptr(name), bytes(value, len)))
            }
        })
    }
}

/// # Safety
/// `start` is null or begins `len` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by contract of this function.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), len) })
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
