//! The allocator of Rust's side: mimalloc for what is small, the system for large blocks, which go back when they are freed.
//!
//! `main.rs` makes it the program's; `worker.rs` has the C library do the same for librdkafka's blocks. Why:
//! docs/decisions/mimalloc.md.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its interface; each block passes on what its caller promised"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

use mimalloc::MiMalloc;

/// From here on blocks are large. A batch of small records has none as large as that.
const LARGE: u32 = 1_500_000;

/// A batch is thousands of small values made by one thread and dropped by it: mimalloc's. It keeps what is freed for a
/// second, though, and with records of megabytes that is more memory than is in use.
pub struct Allocator;

fn is_large(size: usize) -> bool {
    size >= LARGE as usize
}

// SAFETY: a block's layout, which its owner hands back unchanged, says which of the two allocators it came from; each is
// asked for its own blocks only, and what callers promise is passed on.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        unsafe { if is_large(layout.size()) { System.alloc(layout) } else { MiMalloc.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        unsafe { if is_large(layout.size()) { System.alloc_zeroed(layout) } else { MiMalloc.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises; `alloc` and `realloc` chose by the same size.
        unsafe { if is_large(layout.size()) { System.dealloc(block, layout) } else { MiMalloc.dealloc(block, layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises, of which one is that `size` makes a layout with this alignment. A block that changes
        // sides is copied as far as both are long, and the old one is freed once.
        unsafe {
            match (is_large(layout.size()), is_large(size)) {
                (true, true) => System.realloc(block, layout, size),
                (false, false) => MiMalloc.realloc(block, layout, size),
                _ => {
                    let other = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !other.is_null() {
                        ptr::copy_nonoverlapping(block, other, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    other
                }
            }
        }
    }
}

/// Has the C library give large blocks back to the system when they are freed. By itself it raises the size from which it
/// does so with each such block, up to 32 MiB, and then keeps records of megabytes for later in each thread's heap. What
/// librdkafka's fetches and requests of small records are made of stays where it is, near at hand.
pub fn give_large_blocks_back() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        const TRIM_THRESHOLD: std::ffi::c_int = -1;
        const MMAP_THRESHOLD: std::ffi::c_int = -3;
        // SAFETY: two numbers into the C library's settings; it refuses what it cannot use.
        unsafe {
            mallopt(MMAP_THRESHOLD, LARGE.cast_signed());
            mallopt(TRIM_THRESHOLD, 4 << 20);
        }
    }
}

unsafe extern "C" {
    fn mi_option_set(option: std::ffi::c_int, value: std::ffi::c_long);
}

/// The place of `purge_delay` among mimalloc's options, in milliseconds.
const PURGE_DELAY: std::ffi::c_int = 15;
const DELAY: std::ffi::c_long = 25;

/// Has mimalloc give free pages back after 25 milliseconds instead of a whole second, in which gigabytes may have come and
/// gone: uploads in parts otherwise take up to a third more memory than is promised to be in use. To be called before
/// anything was freed.
pub fn give_free_pages_back_soon() {
    // SAFETY: a number into mimalloc's settings, which may be set at any time.
    unsafe { mi_option_set(PURGE_DELAY, DELAY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new mimalloc may have its options in another order.
    #[test]
    fn the_option_that_is_set_is_the_delay() {
        unsafe extern "C" {
            fn mi_option_get(option: std::ffi::c_int) -> std::ffi::c_long;
        }
        // SAFETY: a number out of mimalloc's settings.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert!([1000, DELAY].contains(&delay()), "{} is mimalloc's own, or ours", delay());
        give_free_pages_back_soon();
        assert_eq!(delay(), DELAY);
    }

    const LARGE: usize = super::LARGE as usize;

    fn bytes(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn a_block_keeps_its_content_when_it_changes_sides() {
        let sizes = [100, LARGE - 1, LARGE, 3 * LARGE, 2 * LARGE, 50, 2 * LARGE];
        // SAFETY: each block is used within its size, and handed back with its layout.
        unsafe {
            let mut block = Allocator.alloc(bytes(sizes[0]));
            block.write_bytes(7, 50);
            for pair in sizes.windows(2) {
                block = Allocator.realloc(block, bytes(pair[0]), pair[1]);
                assert!(!block.is_null());
                assert!((0..50).all(|at| *block.add(at) == 7), "from {} to {}", pair[0], pair[1]);
            }
            Allocator.dealloc(block, bytes(sizes[sizes.len() - 1]));
            for size in [100, LARGE] {
                let zeroed = Allocator.alloc_zeroed(bytes(size));
                assert!((0..size).all(|at| *zeroed.add(at) == 0), "{size}");
                Allocator.dealloc(zeroed, bytes(size));
            }
        }
    }
}
