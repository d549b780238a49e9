//! P3: every delivery names records that exist, under their identities; what a durable cursor
//! has passed is never sent again; and never are more than a batch accepted and not yet passed,
//! so that a crash at any moment repeats a batch at most.

use std::collections::{BTreeMap, BTreeSet};

use edge_agent::engine::ident::{Cursor, Term};

use super::{Checked, Promise, hold};
use crate::declined::Identity;

/// What was sent, and how far durable cursors are.
#[derive(Default)]
pub(crate) struct Repeats {
    /// By lane: accepted, and not passed by a durable cursor.
    open: [BTreeSet<(Term, u64)>; 2],
    /// By lane, the furthest durable cursor.
    passed: [(Term, u64); 2],
    /// By lane and term, the last seq ever given to a record.
    written: BTreeMap<(usize, Term), u64>,
    /// The highest term whose master read the cursors of all others.
    surveyed: Term,
}

impl Repeats {
    /// Records were gathered up to this seq.
    pub(crate) fn written(&mut self, lane: usize, term: Term, through_seq: u64) {
        let last = self.written.entry((lane, term)).or_default();
        *last = through_seq.max(*last);
    }

    /// A master of this term has read all cursors: what lower terms write from now on, it never
    /// sees.
    pub(crate) fn surveyed(&mut self, term: Term) {
        self.surveyed = term.max(self.surveyed);
    }

    /// A slot with these cursors is durable.
    pub(crate) fn passed(&mut self, term: Term, cursors: [Cursor; 2]) {
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
