//! The journal and its cursor.
//!
//! - A segment is written only once a durable slot of its term names it (B1), and never again
//!   after a write to it failed (B5).
//! - What is deleted lies before a durable cursor (B4).
//! - The cursor of a fenced master never goes back (B3).

use std::collections::{BTreeMap, BTreeSet};

use edge_agent::engine::ident::{Cursor, Term};
use edge_agent::engine::slot::Slot;

use super::{Checked, Promise, hold};
use crate::disk::SegmentKey;

/// What durable slots said.
#[derive(Default)]
pub(crate) struct Journals {
    named: BTreeMap<(usize, Term), u32>,
    failed: BTreeSet<SegmentKey>,
    /// By lane, the furthest durable cursor.
    furthest: [Cursor; 2],
    /// By term, the cursors of its last durable slot.
    last: BTreeMap<Term, [Cursor; 2]>,
}

impl Journals {
    /// A slot is durable.
    pub(crate) fn durable(&mut self, slot: &Slot) -> Checked {
        let cursors = slot.lanes.map(|lane| lane.cursor);
        for (lane, mark) in slot.lanes.iter().enumerate() {
            let named = self.named.entry((lane, slot.term)).or_default();
            *named = (*named).max(mark.newest_segment);
        }
        let before = self.last.insert(slot.term, cursors).unwrap_or_default();
        for (lane, cursor) in cursors.iter().enumerate() {
            let back = before[lane].is_past(cursor);
            hold(Promise::Journal, !back, || {
                format!("term {}: the cursor goes back from {:?} to {cursor:?}", slot.term, before)
            })?;
            if cursor.is_past(&self.furthest[lane]) {
                self.furthest[lane] = *cursor;
            }
        }
        Ok(())
    }

    /// Groups are written to a segment.
    pub(crate) fn written(&self, key: SegmentKey) -> Checked {
        let named = self.named.get(&(key.lane, key.term)).copied().unwrap_or(0);
        hold(Promise::Journal, key.number <= named, || {
            format!("{key:?} is written, and no durable slot names it (B1)")
        })?;
        hold(Promise::Journal, !self.failed.contains(&key), || {
            format!("{key:?} is written after a write to it failed (B5)")
        })
    }

    /// Writing it failed.
    pub(crate) fn failed(&mut self, key: SegmentKey) {
        self.failed.insert(key);
    }

    /// A segment is deleted.
    pub(crate) fn deleted(&self, key: SegmentKey) -> Checked {
        let durable = self.furthest[key.lane];
        let before = (key.term, key.number) < (durable.term, durable.segment);
        hold(Promise::Journal, before, || {
            format!("{key:?} is deleted, and the durable cursor is {durable:?} (B4)")
        })
    }
}
