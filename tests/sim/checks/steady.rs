//! No change of roles while master and share are healthy.

use super::{Checked, Promise, hold};

/// So long after the last disturbance a site has settled.
const SETTLED_MS: u64 = 30_000;

/// Since when nothing went wrong while somebody was master.
#[derive(Default)]
pub(crate) struct Steady {
    /// The last disturbance, or the last change that followed from one.
    since_ms: u64,
    /// For how long calm was seen at most.
    pub(crate) longest_ms: u64,
}

impl Steady {
    /// Something goes wrong, comes right again, or is asked for.
    pub(crate) fn disturbed(&mut self, now_ms: u64) {
        self.since_ms = now_ms;
    }

    /// Somebody begins or ceases to be master. `in_ms`: how long a takeover may take.
    pub(crate) fn changed(&mut self, now_ms: u64, what: &str, in_ms: u64) -> Checked {
        let calm_ms = now_ms - self.since_ms;
        self.longest_ms = self.longest_ms.max(calm_ms);
        hold(Promise::Steady, calm_ms < SETTLED_MS + in_ms, || {
            format!("{what} after {calm_ms} ms without a fault")
        })
    }
}
