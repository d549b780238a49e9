//! Counts heap allocations, in debug builds alone: a standby must make none after its start.
//!
//! Not for: release builds, where the count stays 0 and the system's allocator is used as it is.

#[cfg(debug_assertions)]
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Allocations and reallocations of this process so far, modulo 2^32 (a forked child goes on
/// from its parent's count); always 0 in release builds.
pub fn allocations() -> u64 {
    u64::from(COUNT.load(Ordering::Relaxed))
}

/// The system's allocator, counted.
#[cfg(debug_assertions)]
struct Counted;

#[cfg(debug_assertions)]
#[global_allocator]
static COUNTED: Counted = Counted;

#[cfg(debug_assertions)]
// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::allocations;

    #[test]
    fn an_allocation_is_counted() {
        let before = allocations();
        let list = std::hint::black_box(vec![1_u8, 2, 3]);
        assert!(allocations() > before, "other tests may add to the count, never take away");
        drop(list);
    }
}
