//! Read buffers that come back once the last line in them is gone, so that reading a large file touches the same memory
//! over and over. Without it a third of the source's time goes into page faults. Used by `lines.rs`.

use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Buffers that wait to be used again; more are given back to the system.
const WAITING: usize = 8;
/// Bytes that wait together; what a very long line needs beyond it is given back to the system.
const WAITING_BYTES: usize = 4 << 20;
/// A larger one was made for long lines, whose memory is their batch's and goes with it.
const LARGEST: usize = 2 << 20;

/// Room in a new buffer: a read and what stands before it, so that reading short lines never moves it. The worker's
/// allocator gives blocks of this size back to the system as soon as they are free.
pub(crate) const ROOM: usize = 3 << 19;

/// The buffers of one source.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer with room, one that was used before if there is one.
    pub(crate) fn take(&self) -> Vec<u8> {
        let waits = self.waiting().pop();
        waits.unwrap_or_else(|| Vec::with_capacity(ROOM))
    }

    /// The buffer as shared bytes; it comes back when nobody shares it any more.
    pub(crate) fn share(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared { buffer, home: self.clone() })
    }

    /// Gives what waits back to the system, for a source that has nothing to read.
    pub(crate) fn release(&self) {
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut buffer = take(&mut self.buffer);
        let mut waiting = self.home.waiting();
        let bytes = waiting.iter().map(Vec::capacity).sum::<usize>() + buffer.capacity();
        if waiting.len() < WAITING && bytes <= WAITING_BYTES && buffer.capacity() <= LARGEST {
            buffer.clear();
            waiting.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_after_its_last_reader() {
        let buffers = Buffers::default();
        let mut buffer = Vec::with_capacity(1000);
        buffer.extend_from_slice(b"line");
        let (at, shared) = (buffer.as_ptr(), buffers.share(buffer));
        let reader = shared.clone();
        drop(shared);
        let other = buffers.take();
        assert_ne!(other.as_ptr(), at, "somebody still reads it");
        assert_eq!(&reader[..], b"line");
        drop(reader);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }

    #[test]
    fn memory_that_waits_is_bounded_and_can_be_released() {
        let buffers = Buffers::default();
        let shared: Vec<_> = (0..100).map(|_| buffers.share(Vec::with_capacity(10))).collect();
        drop(shared);
        assert_eq!(buffers.waiting().len(), WAITING);
        buffers.release();
        (0..4).for_each(|_| drop(buffers.share(Vec::with_capacity(LARGEST + 1))));
        assert!(buffers.waiting().is_empty(), "too large");
        let shared: Vec<_> = (0..4).map(|_| buffers.share(Vec::with_capacity(WAITING_BYTES / 2))).collect();
        drop(shared);
        assert_eq!(buffers.waiting().len(), 2);
    }
}
