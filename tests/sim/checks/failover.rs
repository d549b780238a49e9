//! P4: once nothing new goes wrong, somebody who is well collects again in time.
//!
//! Two clocks. The long one runs while nobody who is well collects, since the last fault of any
//! kind: `seize_ms` and a few polls. The short one is set by a clear-cut end of a master on a
//! share that is well: a poll, some round trips, three heartbeats where locks are doubtful.

use super::{Checked, Promise, hold};

/// So long after the last disturbance standbys poll as they should.
const CALM_MS: u64 = 15_000;

/// Until when somebody must collect.
#[derive(Default)]
pub(crate) struct Failover {
    /// The last change of anything, or the last moment at which somebody who is well collected.
    since_ms: u64,
    disturbed_ms: u64,
    short: Option<(u64, &'static str)>,
    /// The longest that was seen, by the long clock.
    pub(crate) longest_ms: u64,
}

impl Failover {
    /// Something goes wrong, or comes right again.
    pub(crate) fn disturbed(&mut self, now_ms: u64) {
        self.since_ms = now_ms;
        self.disturbed_ms = now_ms;
        self.short = None;
    }

    /// Whether nothing went wrong for a while.
    pub(crate) fn is_calm(&self, now_ms: u64) -> bool {
        now_ms >= self.disturbed_ms + CALM_MS
    }

    /// A master ended, and nothing else is wrong.
    pub(crate) fn expect(&mut self, until_ms: u64, why: &'static str) {
        self.short = Some((until_ms, why));
    }

    /// A moment later. `collects`: somebody who is well does; `able`: somebody who is well could.
    pub(crate) fn look(&mut self, now_ms: u64, collects: bool, able: bool, in_ms: u64) -> Checked {
        if collects || !able {
            self.since_ms = now_ms;
            self.short = None;
            return Ok(());
        }
        if let Some((until_ms, why)) = self.short {
            hold(Promise::Failover, now_ms <= until_ms, || {
                format!("{why}: nobody collects {} ms late", now_ms - until_ms)
            })?;
        }
        let gap_ms = now_ms - self.since_ms;
        self.longest_ms = self.longest_ms.max(gap_ms);
        hold(Promise::Failover, gap_ms <= in_ms, || {
            format!("nobody has collected for {gap_ms} ms of calm, {in_ms} allowed")
        })
    }
}
