//! What a master keeps in mind of its present term, beside the books. All of it begins anew with
//! the next term.

use super::cloud::Reason;
use super::ident::Lane;
use crate::limits::{NODE_SILENT_MS, RESIGN_WAIT_MS_MIN};

/// A term's own state.
#[derive(Clone, Hash, Debug)]
pub(super) struct Tenure {
    /// A verdict moved the cursor, and no durable slot says so yet.
    pub(super) cursor_ahead: bool,
    pub(super) refused: Option<Refused>,
    pub(super) declining: Declining,
    pub(super) thing_refused_told: bool,
    pub(super) alerts_put_off_told: bool,
    /// The lock came back while an uplink without a copy of it lives.
    pub(super) lock_pending: bool,
    pub(super) fenced_told: bool,
    pub(super) lease_over_told: bool,
    /// No listing shows all that older terms made before this: a share may hide new names.
    pub(super) listing_from_ms: u64,
    pub(super) segment_missing_told: bool,
    /// By lane, the record behind the last gap in the seqs that was told.
    pub(super) gap_told_seq: [u64; 2],
    pub(super) redundancy_lost: bool,
    pub(super) redundancy_due_ms: u64,
    pub(super) proof_not_before_ms: u64,
    pub(super) append_not_before_ms: u64,
    pub(super) append_wait_ms: u32,
    /// The last order was an append: others that are due go first.
    pub(super) append_was_last: bool,
    /// Old claims were deleted.
    pub(super) tidied: bool,
}

impl Tenure {
    /// A term begins.
    pub(super) fn begin(now_ms: u64) -> Self {
        Self {
            cursor_ahead: false,
            refused: None,
            declining: Declining::default(),
            thing_refused_told: false,
            alerts_put_off_told: false,
            lock_pending: false,
            fenced_told: false,
            lease_over_told: false,
            listing_from_ms: u64::MAX,
            segment_missing_told: false,
            gap_told_seq: [0; 2],
            redundancy_lost: false,
            redundancy_due_ms: now_ms + u64::from(NODE_SILENT_MS),
            proof_not_before_ms: 0,
            append_not_before_ms: 0,
            append_wait_ms: RESIGN_WAIT_MS_MIN,
            append_was_last: false,
            tidied: false,
        }
    }
}

/// Records at a lane's cursor that the cloud refused for good.
#[derive(Clone, Hash, Debug)]
pub(super) struct Refused {
    pub(super) lane: Lane,
    pub(super) records: u32,
    pub(super) status: u16,
    pub(super) reason: Reason,
    /// No earlier try to put them into the declined store.
    pub(super) not_before_ms: u64,
}

/// What the cloud refuses, as far as people are told.
#[derive(Clone, Copy, Default, Hash, Debug)]
pub(super) struct Declining {
    /// Us, or our URL: until it accepts anything.
    pub(super) us: bool,
    /// Records: until it has refused none for a while, so that a poison record now and then is
    /// one condition and not many.
    pub(super) records_until_ms: Option<u64>,
}

impl Declining {
    pub(super) const fn holds(self) -> bool {
        self.us || self.records_until_ms.is_some()
    }
}
