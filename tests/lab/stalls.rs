//! How long the emulated machine stood still: its processor is a process of a host that may be
//! busy with other things, and then nothing in here can be in time.
//!
//! A thread sleeps for a moment again and again; what a sleep takes too long is a stall. It does
//! not notice load within the machine, as long as a thread that wakes gets its turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::now_ns;

const SLEEP: Duration = Duration::from_millis(20);
/// Less is not worth a word.
const STALL_NS_MIN: u64 = 100_000_000;

/// Notes stalls while it lives.
pub(crate) struct Stalls {
    /// When each ended, and how long it was, in ns.
    seen: Arc<Mutex<Vec<(u64, u64)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stalls {
    /// Starts to look.
    pub(crate) fn watch() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (noting, stopping) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut before_ns = now_ns();
            while !stopping.load(Ordering::Relaxed) {
                thread::sleep(SLEEP);
                let after_ns = now_ns();
                let took_ns = after_ns - before_ns;
                before_ns = after_ns;
                if took_ns >= STALL_NS_MIN {
                    noting.lock().unwrap_or_else(PoisonError::into_inner).push((after_ns, took_ns));
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// How long the machine stood still between two moments, in ns.
    pub(crate) fn between_ns(&self, from_ns: u64, to_ns: u64) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |(end_ns, took_ns): &(u64, u64)| {
            (*end_ns).min(to_ns).saturating_sub((end_ns - took_ns).max(from_ns))
        };
        seen.iter().map(within).sum()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
