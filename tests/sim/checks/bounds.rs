//! P6: what is asked for at a time is bounded, whatever the backlog. The engine itself has no
//! heap, so that it cannot grow.

use edge_agent::engine::settings::Settings;
use edge_agent::engine::share::{Append, Fetch};
use edge_agent::limits::{GATHER_BYTES_MAX, RECORD_BYTES_MAX};

use super::{Checked, Promise, hold};

/// A batch is asked for.
pub(crate) fn fetch(fetch: &Fetch, settings: &Settings) -> Checked {
    let (records, bytes) = (fetch.records_max, fetch.bytes_max);
    let (records_max, bytes_max) = (settings.batch_records_max, settings.batch_bytes_max);
    hold(Promise::Bounds, records <= records_max && bytes <= bytes_max, || {
        format!("a batch of {records} records, {bytes} bytes; {records_max}, {bytes_max} allowed")
    })
}

/// Groups are handed over.
pub(crate) fn append(append: &Append) -> Checked {
    let bytes_max = GATHER_BYTES_MAX + RECORD_BYTES_MAX;
    hold(Promise::Bounds, append.bytes as usize <= bytes_max, || {
        format!("an append of {} bytes, {bytes_max} allowed", append.bytes)
    })
}
