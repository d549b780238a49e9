//! P3: every delivery names records that exist, under their identities; what a durable cursor
//! has passed is never sent again; and never are more than a batch accepted and not yet passed,
//! so that a crash at any moment repeats a batch at most.

use std::collections::{BTreeMap, BTreeSet};

use edge_agent::engine::ident::{Cursor, Term};

use super::{Checked, Promise, hold};
use crate::declined::Identity;

/// More durable slots than are written while a slot is not seen.
const HISTORY: usize = 400;

/// What was sent, and how far durable cursors are.
#[derive(Default)]
pub(crate) struct Repeats {
    /// By lane: accepted, and not passed by a durable cursor.
    open: [BTreeSet<(Term, u64)>; 2],
    /// By lane, the furthest durable cursor.
    passed: [(Term, u64); 2],
    /// By lane and term, the last seq ever given to a record.
    written: BTreeMap<(usize, Term), u64>,
    /// How far cursors were, and when.
    history: Vec<(u64, [(Term, u64); 2])>,
    /// The highest term whose master read the cursors of all others.
    surveyed: Term,
}

impl Repeats {
    /// Records were gathered up to this seq.
    pub(crate) fn written(&mut self, lane: usize, term: Term, through_seq: u64) {
        let last = self.written.entry((lane, term)).or_default();
        *last = through_seq.max(*last);
    }

    /// A master of this term has read all cursors, as they were at that time at the latest: what
    /// lower terms wrote since, it never sees.
    pub(crate) fn surveyed(&mut self, term: Term, as_of_ms: u64) {
        if term <= self.surveyed {
            return;
        }
        self.surveyed = term;
        self.history.retain(|(at_ms, _)| *at_ms <= as_of_ms);
        if let Some((_, passed)) = self.history.last() {
            self.passed = *passed;
        }
    }

    /// A slot with these cursors is durable.
    pub(crate) fn passed(&mut self, now_ms: u64, term: Term, cursors: [Cursor; 2]) {
        if term < self.surveyed {
            return;
        }
        for (lane, cursor) in cursors.into_iter().enumerate() {
            let at = (cursor.term, cursor.seq);
            if at > self.passed[lane] {
                self.passed[lane] = at;
                self.open[lane] = self.open[lane].split_off(&at);
            }
        }
        // the last one before a look counts, however old it is
        if self.history.len() > HISTORY {
            self.history.drain(..HISTORY / 2);
        }
        self.history.push((now_ms, self.passed));
    }

    /// A request with this record starts. `replayed`: out of the declined store.
    pub(crate) fn started(&self, record: Identity, replayed: bool) -> Checked {
        let (lane, term, seq) = record;
        let last = self.written.get(&(lane, term)).copied().unwrap_or(0);
        hold(Promise::Repeats, (1..=last).contains(&seq), || {
            format!("{record:?} (lane, term, seq) is sent, and only {last} were ever written")
        })?;
        hold(Promise::Repeats, replayed || (term, seq) >= self.passed[lane], || {
            let passed = self.passed[lane];
            format!("{record:?} (lane, term, seq) is sent, and {passed:?} is passed durably")
        })
    }

    /// The cloud has it. `records_max`: of a batch; one more may be tried ahead of it.
    pub(crate) fn accepted(&mut self, record: Identity, records_max: u32) -> Checked {
        let (lane, term, seq) = record;
        if (term, seq) >= self.passed[lane] {
            self.open[lane].insert((term, seq));
        }
        let open = self.open[lane].len();
        hold(Promise::Repeats, open <= records_max as usize + 1, || {
            format!("{open} records of lane {lane} are accepted and not passed: more than a batch")
        })
    }
}
