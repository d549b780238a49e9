//! Nothing starts after a lease's end. A lease is what a proof gave: from its start, for
//! `fence_ms`, by the clock of its own host; a lost lock ends it.

use std::collections::BTreeMap;

use super::{Checked, Promise, hold};
use crate::node::Life;

/// By process, the end of what its last proof gave, by its own clock, in ms.
#[derive(Default)]
pub(crate) struct Leases {
    ends_ms: BTreeMap<Life, u64>,
}

impl Leases {
    /// A proof that began then succeeded.
    pub(crate) fn proven(&mut self, life: Life, start_ms: u64, fence_ms: u32) {
        self.ends_ms.insert(life, start_ms + u64::from(fence_ms));
    }

    /// A proof said that the lock is lost, a file replaced, a newer term there.
    pub(crate) fn ended(&mut self, life: Life) {
        self.ends_ms.remove(&life);
    }

    /// Whether one runs.
    pub(crate) fn has(&self, life: Life, now_ms: u64) -> bool {
        self.ends_ms.get(&life).is_some_and(|end_ms| now_ms < *end_ms)
    }

    /// A request starts at this time of its host's clock.
    pub(crate) fn started(&self, life: Life, now_ms: u64) -> Checked {
        let end_ms = self.ends_ms.get(&life).copied().unwrap_or(0);
        hold(Promise::Lease, now_ms < end_ms, || {
            format!("{life:?} starts a request at {now_ms}, its lease ended at {end_ms}")
        })
    }
}
