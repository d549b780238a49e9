//! A declined store in memory.

use super::*;
use crate::engine::share::{Decline, Declined};
use crate::engine::store::{Position, Replayed, StoreCount, StoreOrder, StoreOutcome};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) position: Position,
    pub(super) term: Term,
    pub(super) lane: Lane,
    pub(super) seq: u64,
}

#[derive(Default)]
pub(super) struct Store {
    entries: Vec<Stored>,
    forgotten: Position,
    /// How often it was counted.
    pub(super) counts: u32,
    /// By the term that writes, how many entries it wrote.
    written: BTreeMap<Term, u32>,
}

impl Store {
    /// What is not forgotten, the oldest first.
    pub(super) fn left(&self) -> Vec<Stored> {
        let mut left: Vec<_> =
            self.entries.iter().filter(|it| it.position > self.forgotten).copied().collect();
        left.sort_by_key(|it| it.position);
        left
    }

    pub(super) fn decline(&mut self, writer: Term, order: &Decline) -> Declined {
        let end = order.from.seq + u64::from(order.records);
        let term = order.from.term;
        let mut count = 0;
        for seq in order.from.seq..end {
            let is_same = |it: &Stored| (it.term, it.lane, it.seq) == (term, order.lane, seq);
            if !self.left().iter().any(is_same) {
                count += 1;
                self.write(writer, term, order.lane, seq);
            }
        }
        Declined { count, next: Cursor { seq: end, ..order.from }, dropped: 0 }
    }

    fn write(&mut self, writer: Term, term: Term, lane: Lane, seq: u64) {
        assert!(writer > 0, "X1: only who has a term writes");
        let written = self.written.entry(writer).or_default();
        *written += 1;
        let position = Position { term: writer, number: 1, offset: *written };
        self.entries.push(Stored { position, term, lane, seq });
    }

    pub(super) fn perform(&mut self, writer: Term, order: &StoreOrder) -> StoreOutcome {
        match order {
            StoreOrder::Replay(fetch) => StoreOutcome::Replayed(self.replay(fetch)),
            StoreOrder::Forget { through } => {
                self.forgotten = self.forgotten.max(*through);
                StoreOutcome::Forgotten
            }
            StoreOrder::PutBack(order) => {
                let old = self.entries.iter().find(|it| it.position == order.through).copied();
                if let Some(Stored { term, lane, seq, .. }) = old {
                    self.write(writer, term, lane, seq);
                }
                self.forgotten = self.forgotten.max(order.through);
                StoreOutcome::PutBack { dropped: 0 }
            }
            StoreOrder::Purge => {
                let records = self.left().len() as u64;
                self.entries.clear();
                StoreOutcome::Purged { records }
            }
            StoreOrder::Count => {
                self.counts += 1;
                let (records, bytes) = (self.left().len() as u64, self.entries.len() as u64 * 100);
                StoreOutcome::Counted(StoreCount { files: 1, bytes, records, complete: true })
            }
        }
    }

    fn replay(&self, fetch: &store::ReplayFetch) -> Replayed {
        let newest = self.written.last_key_value();
        let end = newest.map_or_else(Position::default, |(term, written)| Position {
            term: *term,
            number: 1,
            offset: written + 1,
        });
        let mut seen = Replayed {
            request: fetch.request,
            lane: Lane::Readings,
            ranges: ident::Ranges::default(),
            count: 0,
            bytes: 0,
            through: Position::default(),
            end: fetch.end.unwrap_or(end),
            left: false,
        };
        for it in self.left().into_iter().filter(|it| it.position < seen.end) {
            if seen.count == 0 {
                seen.lane = it.lane;
            }
            let records_max = if seen.lane == Lane::Alerts { 1 } else { fetch.records_max };
            let fits = it.lane == seen.lane && seen.count < records_max;
            if !fits || !seen.ranges.add(it.term, it.lane, it.seq) {
                seen.left = true;
                break;
            }
            seen.count += 1;
            seen.bytes += RECORD_BYTES;
            seen.through = it.position;
        }
        seen
    }
}
