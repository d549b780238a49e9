//! P5: a node that gets its turn sleeps until something is due, and says that its share stalls.

use edge_agent::limits::STALL_MS;

use super::{Checked, Promise, hold};

/// Calls at one moment that cannot be right any more.
const TICKS_MAX: u32 = 100;

/// The engine was called so often at one moment because something was due.
pub(crate) fn ticked(ticks: u32) -> Checked {
    hold(Promise::Stalls, ticks < TICKS_MAX, || {
        format!("an engine is due {ticks} times at one moment: a loop that never sleeps")
    })
}

/// An operation has been outstanding for so long, while its agent ran.
pub(crate) fn waits(for_ms: u64, told: bool) -> Checked {
    let late_ms = u64::from(STALL_MS) + 100;
    hold(Promise::Stalls, told || for_ms <= late_ms, || {
        format!("the share has not answered for {for_ms} ms, and nobody was told")
    })
}
