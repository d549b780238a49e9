//! The declined store in memory: kept once, forgotten by a mark, put back at its end.

use std::collections::BTreeMap;

use edge_agent::engine::ident::{Lane, Ranges, Term};
use edge_agent::engine::share::{Decline, Fetched};
use edge_agent::engine::store::{
    Position, ReplayFetch, Replayed, StoreCount, StoreOrder, StoreOutcome,
};

use crate::disk::RECORD_BYTES;

/// A record by its lane, term and seq.
pub(crate) type Identity = (usize, Term, u64);

#[derive(Clone, Copy, Debug)]
struct Entry {
    position: Position,
    lane: Lane,
    term: Term,
    seq: u64,
}

impl Entry {
    fn identity(&self) -> Identity {
        (self.lane.index(), self.term, self.seq)
    }
}

/// What the cloud refused.
#[derive(Clone, Default)]
pub(crate) struct Declined {
    entries: Vec<Entry>,
    forgotten: Position,
    written: BTreeMap<Term, u32>,
}

impl Declined {
    /// What is not forgotten, the oldest first.
    pub(crate) fn left(&self) -> Vec<Identity> {
        self.open().iter().map(Entry::identity).collect()
    }

    fn open(&self) -> Vec<Entry> {
        let kept = self.entries.iter().filter(|entry| entry.position > self.forgotten);
        let mut kept: Vec<_> = kept.copied().collect();
        kept.sort_by_key(|entry| entry.position);
        kept
    }

    /// Keeps the records of what was read; gives how many are new.
    pub(crate) fn keep(&mut self, writer: Term, order: &Decline, read: &Fetched) -> u32 {
        let mut count = 0;
        let known = self.left();
        for seq in read.first_seq..read.first_seq + u64::from(read.count) {
            let term = order.from.term;
            if !known.contains(&(order.lane.index(), term, seq)) {
                count += 1;
                self.write(writer, order.lane, term, seq);
            }
        }
        count
    }

    fn write(&mut self, writer: Term, lane: Lane, term: Term, seq: u64) {
        let written = self.written.entry(writer).or_default();
        *written += 1;
        let position = Position { term: writer, number: 1, offset: *written };
        self.entries.push(Entry { position, lane, term, seq });
    }

    /// Performs an order of the term that asks; gives what was purged, too.
    pub(crate) fn perform(
        &mut self,
        writer: Term,
        order: &StoreOrder,
    ) -> (StoreOutcome, Vec<Identity>) {
        let mut purged = Vec::new();
        let outcome = match order {
            StoreOrder::Replay(fetch) => StoreOutcome::Replayed(self.replay(fetch)),
            StoreOrder::Forget { through } => {
                self.forgotten = self.forgotten.max(*through);
                StoreOutcome::Forgotten
            }
            StoreOrder::PutBack(order) => {
                let old = self.entries.iter().find(|entry| entry.position == order.through);
                if let Some(Entry { lane, term, seq, .. }) = old.copied() {
                    self.write(writer, lane, term, seq);
                }
                self.forgotten = self.forgotten.max(order.through);
                StoreOutcome::PutBack { dropped: 0 }
            }
            StoreOrder::Purge => {
                purged = self.left();
                self.entries.clear();
                StoreOutcome::Purged { records: purged.len() as u64 }
            }
            StoreOrder::Count => {
                let (records, bytes) = (self.left().len() as u64, self.entries.len() as u64 * 100);
                StoreOutcome::Counted(StoreCount { files: 1, bytes, records, complete: true })
            }
        };
        (outcome, purged)
    }

    fn replay(&self, fetch: &ReplayFetch) -> Replayed {
        let newest = self.written.last_key_value();
        let end = newest.map_or_else(Position::default, |(term, written)| Position {
            term: *term,
            number: 1,
            offset: written + 1,
        });
        let mut seen = Replayed {
            request: fetch.request,
            lane: Lane::Readings,
            ranges: Ranges::default(),
            count: 0,
            bytes: 0,
            through: Position::default(),
            end: fetch.end.unwrap_or(end),
            left: false,
        };
        for entry in self.open().into_iter().filter(|entry| entry.position < seen.end) {
            if seen.count == 0 {
                seen.lane = entry.lane;
            }
            let records_max = if seen.lane == Lane::Alerts { 1 } else { fetch.records_max };
            let fits = entry.lane == seen.lane && seen.count < records_max;
            if !fits || !seen.ranges.add(entry.term, entry.lane, entry.seq) {
                seen.left = true;
                break;
            }
            seen.count += 1;
            seen.bytes += RECORD_BYTES;
            seen.through = entry.position;
        }
        seen
    }
}
